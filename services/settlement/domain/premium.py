"""Residents' premiums (居民医保个人缴费): what an area asks for a year, and who may pay it for whom (domain §5).

A premium is paid by a CHARGE of the saga. Its key says whose premium it is, so everything that must never be lost of it
is in the payment's row (and in what the ledgers keep of it for a restore).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.clock import business_midnight
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PaymentId, PsnNo
from kernel.money import Fen
from kernel.policy import Part, PremiumPayment, RegionPolicy
from services.settlement.domain.payment import PREMIUM_INFNO, Key, request_hash
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import INSUTYPE_EMPLOYEE, PSN_INSU_STAS_NORMAL, Role
from services.settlement.domain.visit import AccountReading, KnownPerson
from services.settlement.domain.wallet import Wallet, check_wallet_area, wallet_of

INSUTYPE_RESIDENT: Final = "390"
PSN_INSU_STAS_ENDED: Final = "4"
LIST_AFTER: Final = timedelta(hours=1)
"""After the midnight of a tariff's last day: no request lives as long."""
_SEPARATOR: Final = "/"


@dataclass(frozen=True, slots=True)
class Tariff:
    """What an area asks for a year of cover; the days are civil days (Asia/Shanghai), each included."""

    area: AdmDvs
    year: int
    amount_fen: Fen
    opens_on: date
    closes_on: date
    revocable_until: date
    opter: str

    @property
    def days(self) -> tuple[date, date, date]:
        """All of them."""
        return self.opens_on, self.closes_on, self.revocable_until

    @property
    def final_from(self) -> datetime:
        """When the list of those who have paid stands: what was asked on the last day has an end by then."""
        return business_midnight(self.revocable_until + timedelta(days=1)) + LIST_AFTER


@dataclass(frozen=True, slots=True)
class PremiumAsked:
    """A payment as its payer asks for it, under an id of his own; he names what he was shown."""

    request_id: UUID
    payer: PsnNo
    source: Role
    insured: PsnNo
    year: int
    amount_fen: Fen

    @property
    def is_own(self) -> bool:
        """Whether the payer pays his own premium."""
        return self.payer == self.insured

    @property
    def content(self) -> bytes:
        """The hash of what is asked for; out of which parts it is paid is found out when it begins."""
        return request_hash("premium", self.payer, self.source.value, self.insured, self.year, self.amount_fen)

    def key(self, area: AdmDvs) -> Key:
        """The payment's key, for the premium of this area."""
        parts = (self.insured, str(self.year), self.payer, str(self.request_id))
        return Key(area, PREMIUM_INFNO, _SEPARATOR.join(parts))


@dataclass(frozen=True, slots=True)
class PremiumNamed:
    """What a payment's key says of it."""

    area: AdmDvs
    insured: PsnNo
    year: int
    payer: PsnNo
    request_id: UUID


class PremiumState(Enum):
    """Where a premium's payment stands; the comment says who acts next."""

    PAYING = "PAYING"  # The payer's ledger.
    PAID = "PAID"  # Nobody.
    REFUSED = "REFUSED"  # Nobody: nothing was taken.
    REVOKED = "REVOKED"  # Nobody: it was taken back.


@dataclass(frozen=True, slots=True)
class PremiumShown:
    """A payment as its payer or its insured sees it; the name is masked, and empty while it is not known."""

    premium_id: PaymentId
    is_payer: bool
    payer: PsnNo
    insured: PsnNo
    insured_name: str
    relation: str
    """What the payer is to the insured; empty of one's own premium, and where a restore has lost it."""
    year: int
    area: AdmDvs
    amount_fen: Fen
    source: Role
    state: PremiumState
    cause: str
    begun_at: datetime
    decided_at: datetime | None
    revoked_at: datetime | None


def named_by(key: Key) -> PremiumNamed:
    """Whose premium a payment or its refund is for."""
    insured, year, payer, request_id = key.msgid.split(_SEPARATOR)
    return PremiumNamed(AdmDvs(key.fixmedins_code), PsnNo(insured), int(year), PsnNo(payer), UUID(request_id))


def check_tariff(tariff: Tariff) -> None:
    """PREMIUM_TARIFF_DATES_WRONG: the days are out of order, or belong to another year of cover."""
    around = range(tariff.year - 1, tariff.year + 1)
    in_order = tariff.opens_on <= tariff.closes_on <= tariff.revocable_until
    if not in_order or tariff.opens_on.year not in around or tariff.revocable_until.year not in around:
        raise Failure(Kind.INVALID, "PREMIUM_TARIFF_DATES_WRONG")


def check_fixed(tariff: Tariff, known: Tariff | None, *, is_paid: bool, today: date) -> None:
    """What may no longer change once somebody has paid or is paying.

    Refusals in this order: PREMIUM_TARIFF_IN_USE: the amount. PREMIUM_TARIFF_CLOSED: any day once the last one has
    passed, and the last one to a day that has: by it the list of payers is final, and somebody may just revoke.
    """
    if known is None or not is_paid:
        return
    if known.amount_fen != tariff.amount_fen:
        raise Failure(Kind.PRECONDITION, "PREMIUM_TARIFF_IN_USE", amount_fen=known.amount_fen)
    same = known.days == tariff.days
    if not same and today > min(known.revocable_until, tariff.revocable_until):
        raise Failure(Kind.PRECONDITION, "PREMIUM_TARIFF_CLOSED", revocable_until=known.revocable_until.isoformat())


def tariff_of(tariff: Tariff | None, area: AdmDvs, year: int) -> Tariff:
    """The tariff; PREMIUM_TARIFF_UNKNOWN if the area has set none for the year."""
    if tariff is None:
        raise Failure(Kind.NOT_FOUND, "PREMIUM_TARIFF_UNKNOWN", area=area, year=year)
    return tariff


def check_due(tariff: Tariff, *, amount_fen: Fen, today: date) -> None:
    """It may be paid today, with this amount. Refusals in this order: PREMIUM_NOT_OPEN, PREMIUM_AMOUNT_DIFFERS."""
    if not tariff.opens_on <= today <= tariff.closes_on:
        raise Failure(
            Kind.PRECONDITION,
            "PREMIUM_NOT_OPEN",
            opens_on=tariff.opens_on.isoformat(),
            closes_on=tariff.closes_on.isoformat(),
        )
    if tariff.amount_fen != amount_fen:
        raise Failure(Kind.PRECONDITION, "PREMIUM_AMOUNT_DIFFERS", amount_fen=tariff.amount_fen)


def check_revocable(tariff: Tariff, *, today: date) -> None:
    """PREMIUM_FINAL: the tax bureau has the list."""
    if today > tariff.revocable_until:
        raise Failure(Kind.PRECONDITION, "PREMIUM_FINAL", revocable_until=tariff.revocable_until.isoformat())


def check_final(tariff: Tariff, *, now: datetime, open_count: int) -> None:
    """The list of those who have paid stands. Refusals in this order: PREMIUM_LIST_NOT_FINAL, PREMIUM_LIST_OPEN."""
    if now < tariff.final_from:
        raise Failure(Kind.PRECONDITION, "PREMIUM_LIST_NOT_FINAL", final_from=tariff.final_from.isoformat())
    if open_count:
        raise Failure(Kind.UNAVAILABLE, "PREMIUM_LIST_OPEN", open=open_count)


def resident_area(insured: KnownPerson) -> AdmDvs:
    """The area whose residents' insurance a person is in, paused or not; INSURED_NOT_RESIDENT if in none."""
    for enrolment in insured.enrolments:
        if enrolment.insutype == INSUTYPE_RESIDENT and enrolment.psn_insu_stas != PSN_INSU_STAS_ENDED:
            return enrolment.insuplc_admdvs
    raise Failure(Kind.PRECONDITION, "INSURED_NOT_RESIDENT")


def paying_area(asked: PremiumAsked, payer: KnownPerson, wallet: Wallet | None) -> AdmDvs:
    """The area whose ledger keeps what is paid from. WALLET_UNKNOWN; of an own account PAYER_NOT_INSURED."""
    if asked.source is Role.WALLET:
        return wallet_of(wallet).area
    enrolment = payer.enrolment
    insured = (INSUTYPE_EMPLOYEE, PSN_INSU_STAS_NORMAL)
    if enrolment is None or (enrolment.insutype, enrolment.psn_insu_stas) != insured:
        raise Failure(Kind.PRECONDITION, "PAYER_NOT_INSURED")
    return enrolment.insuplc_admdvs


def check_policy(asked: PremiumAsked, policy: RegionPolicy, area: AdmDvs, *, is_filed: bool) -> None:
    """What the policy of the area that is paid from says; of one's own premium it says nothing but of wallets.

    Refusals in this order: WALLET_NOT_IN_AREA, PREMIUM_PAYMENT_NOT_IN_AREA, PREMIUM_FILING_MISSING.
    """
    if asked.source is Role.WALLET:
        check_wallet_area(policy, area)
    if asked.is_own:
        return
    if policy.premium_payment is PremiumPayment.NO:
        raise Failure(Kind.PRECONDITION, "PREMIUM_PAYMENT_NOT_IN_AREA")
    if policy.premium_payment is PremiumPayment.AFTER_FILING and not is_filed:
        raise Failure(Kind.PRECONDITION, "PREMIUM_FILING_MISSING")


def leg_of_premium(
    asked: PremiumAsked, reading: AccountReading | None, policy: RegionPolicy, *, area: AdmDvs, year: int
) -> PlanLeg:
    """What is taken: of an own account ``shareable_parts`` above ``funder_floor_balance`` when it is for a relative.

    Past years first; ``year`` is that of the account. Refusals in this order: ACCOUNT_NOT_FOUND, ACCOUNT_FROZEN (an
    own account), INSUFFICIENT_FUNDS, FLOOR_NOT_KEPT. The ledger judges it all once more.
    """
    if reading is None:
        raise Failure(Kind.NOT_FOUND, "ACCOUNT_NOT_FOUND")
    if asked.source is Role.OWN and reading.frozen:
        raise Failure(Kind.PRECONDITION, "ACCOUNT_FROZEN")
    past_fen, current_fen = reading.parts_in(year)
    floor_fen = 0
    floor_parts: tuple[Part, ...] = ()
    if asked.source is Role.OWN:
        named = policy.own_order if asked.is_own else policy.shareable_parts
        past_fen, current_fen = past_fen * (Part.PAST in named), current_fen * (Part.CURRENT in named)
        if not asked.is_own and policy.funder_floor_balance:
            floor_fen, floor_parts = policy.funder_floor_balance, tuple(part for part in Part if part in named)
    if asked.amount_fen > past_fen + current_fen:
        raise Failure(Kind.PRECONDITION, "INSUFFICIENT_FUNDS")
    if asked.amount_fen > past_fen + current_fen - floor_fen:
        raise Failure(Kind.PRECONDITION, "FLOOR_NOT_KEPT", floor_fen=floor_fen)
    past = min(asked.amount_fen, past_fen)
    return PlanLeg(1, asked.source, asked.payer, area, past, asked.amount_fen - past, None, floor_fen, floor_parts)
