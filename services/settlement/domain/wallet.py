"""The wallet (医保钱包) and the rules of a transfer to a relative's (domain §3), by the policy of the giver's area."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.clock import SHANGHAI, business_date
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PaymentId, PsnNo
from kernel.money import Fen
from kernel.policy import Part, RegionPolicy, WalletLimits
from services.settlement.domain.split import INSUTYPE_EMPLOYEE, PSN_INSU_STAS_NORMAL, Role
from services.settlement.domain.visit import AccountReading, KnownPerson

SOURCES: Final = frozenset({Role.OWN, Role.WALLET})
"""What a giver may give from."""


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet on record. ``area``: whose ledger keeps its money; ``opener``: the relative who opened it, if one did.

    ``wallet_id`` is the id of the request that opened it. ``version`` counts its changes from 1.
    """

    wallet_id: UUID
    psn_no: PsnNo
    area: AdmDvs
    opener: PsnNo | None
    opened_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class Opening:
    """A wallet asked for. ``opener`` is the relative who opens it for somebody without a smartphone, or None."""

    wallet_id: UUID
    psn_no: PsnNo
    area: AdmDvs
    opener: PsnNo | None
    attestation_id: UUID

    @property
    def shown(self) -> PsnNo:
        """Whose face was shown."""
        return self.opener or self.psn_no


@dataclass(frozen=True, slots=True)
class Gift:
    """What a giver asks for, under an id of his own."""

    request_id: UUID
    giver: PsnNo
    source: Role
    receiver: PsnNo
    amount_fen: Fen


class TransferState(Enum):
    """Where a transfer stands; the comment says who acts next."""

    HOLDING = "HOLDING"  # The ledgers.
    PENDING_ACCEPT = "PENDING_ACCEPT"  # The receiver.
    ACCEPTED = "ACCEPTED"  # Nobody.
    RETURNED = "RETURNED"  # Nobody.
    REFUSED = "REFUSED"  # Nobody: a ledger said no before the receiver was asked.


@dataclass(frozen=True, slots=True)
class TransferShown:
    """A transfer as one of its people sees it; ``other_name`` is masked, and empty while it is not known."""

    transfer_id: PaymentId
    is_given: bool
    other_name: str
    relation: str
    """What the giver is to the receiver."""
    amount_fen: Fen
    source: Role
    state: TransferState
    cause: str
    begun_at: datetime
    accept_by: datetime
    decided_at: datetime | None


def is_closed(now: datetime, limits: WalletLimits) -> bool:
    """Whether no transfer begins at this instant: from ``closed_from`` on, until before ``closed_to``."""
    local = now.astimezone(SHANGHAI).time()
    if limits.closed_from < limits.closed_to:
        return limits.closed_from <= local < limits.closed_to
    return local >= limits.closed_from or local < limits.closed_to


def accept_by(now: datetime, limits: WalletLimits) -> datetime:
    """Until when a transfer that begins now may be accepted: ``return_at`` of the next civil day."""
    return datetime.combine(business_date(now) + timedelta(days=1), limits.return_at, SHANGHAI)


def check_wallet_area(policy: RegionPolicy, area: AdmDvs) -> None:
    """WALLET_NOT_IN_AREA: the area supports no wallets."""
    if not policy.wallet:
        raise Failure(Kind.PRECONDITION, "WALLET_NOT_IN_AREA", area=area)


def wallet_of(wallet: Wallet | None) -> Wallet:
    """The wallet; WALLET_UNKNOWN if the person has none."""
    if wallet is None:
        raise Failure(Kind.NOT_FOUND, "WALLET_UNKNOWN")
    return wallet


def refuse_merged(person: KnownPerson | None, field: str) -> None:
    """PERSON_MERGED: whatever begins anew begins under the number that counts."""
    if person is not None and person.merged_into is not None:
        raise Failure(Kind.PRECONDITION, "PERSON_MERGED", field=field)


def check_living(person: KnownPerson, field: str) -> None:
    """PERSON_DECEASED: parents stay parents when they die, and a wallet asks for no insurance; so it is asked here."""
    if person.deceased:
        raise Failure(Kind.PRECONDITION, "PERSON_DECEASED", field=field)


def check_accepts(person: KnownPerson) -> None:
    """What counts when money is given counts of the receiver once more when he accepts.

    Refusals in this order: PERSON_DECEASED, ACCEPTING_WHILE_SANCTIONED.
    """
    check_living(person, "receiver_psn_no")
    if person.sanctioned:
        raise Failure(Kind.PRECONDITION, "ACCEPTING_WHILE_SANCTIONED")


def home_of(giver: KnownPerson, wallet: Wallet | None) -> AdmDvs:
    """Whose policy counts for what a person gives: that of the area that insures him, else of his wallet's area."""
    if giver.enrolment is not None:
        return giver.enrolment.insuplc_admdvs
    return wallet_of(wallet).area


def source_area(gift: Gift, giver: KnownPerson, wallet: Wallet | None) -> AdmDvs:
    """The area whose ledger keeps what is given from.

    GIVER_NOT_INSURED: an own account is given from by a normally insured employee alone, as when he funds a bill.
    WALLET_UNKNOWN: there is no wallet to give from.
    """
    if gift.source is Role.WALLET:
        return wallet_of(wallet).area
    enrolment = giver.enrolment
    insured = (INSUTYPE_EMPLOYEE, PSN_INSU_STAS_NORMAL)
    if enrolment is None or (enrolment.insutype, enrolment.psn_insu_stas) != insured:
        raise Failure(Kind.PRECONDITION, "GIVER_NOT_INSURED")
    return enrolment.insuplc_admdvs


def check_gift(gift: Gift, limits: WalletLimits, *, now: datetime) -> None:
    """Whether the giver may begin this transfer now, whoever receives it.

    Refusals in this order: TRANSFER_HOURS_CLOSED, TRANSFER_TOO_LARGE.
    """
    if is_closed(now, limits):
        raise Failure(
            Kind.PRECONDITION,
            "TRANSFER_HOURS_CLOSED",
            closed_from=limits.closed_from.isoformat("minutes"),
            closed_to=limits.closed_to.isoformat("minutes"),
        )
    if gift.amount_fen > limits.each_fen:
        raise Failure(Kind.PRECONDITION, "TRANSFER_TOO_LARGE", each_fen=limits.each_fen)


def check_day(begun: int, limits: WalletLimits) -> None:
    """TRANSFERS_OF_DAY_USED: so many have begun that day, and no more may, whatever became of them."""
    if begun >= limits.per_day:
        raise Failure(Kind.PRECONDITION, "TRANSFERS_OF_DAY_USED", per_day=limits.per_day)


def floor_of(gift: Gift, policy: RegionPolicy) -> tuple[Fen, tuple[Part, ...]]:
    """What must stay, and in which parts together: of an own account as when it funds a bill, of a wallet nothing."""
    if gift.source is Role.WALLET or not policy.funder_floor_balance:
        return 0, ()
    return policy.funder_floor_balance, tuple(part for part in Part if part in policy.shareable_parts)


def parts_of(gift: Gift, reading: AccountReading | None, policy: RegionPolicy, *, year: int) -> tuple[Fen, Fen]:
    """What is taken from past years and from the current one.

    Of an own account only ``shareable_parts`` are given, and ``funder_floor_balance`` stays in them, as when it funds a
    bill; past years first (domain §6). Refusals in this order: ACCOUNT_NOT_FOUND, ACCOUNT_FROZEN (an own account),
    INSUFFICIENT_FUNDS, FLOOR_NOT_KEPT. The ledger judges it all once more.
    """
    if reading is None:
        raise Failure(Kind.NOT_FOUND, "ACCOUNT_NOT_FOUND")
    if gift.source is Role.OWN and reading.frozen:
        raise Failure(Kind.PRECONDITION, "ACCOUNT_FROZEN")
    past_fen, current_fen = reading.parts_in(year)
    free = {Part.PAST: past_fen, Part.CURRENT: current_fen}
    floor_fen, _ = floor_of(gift, policy)
    if gift.source is Role.OWN:
        free = {part: fen if part in policy.shareable_parts else 0 for part, fen in free.items()}
    if gift.amount_fen > sum(free.values()):
        raise Failure(Kind.PRECONDITION, "INSUFFICIENT_FUNDS")
    if gift.amount_fen > sum(free.values()) - floor_fen:
        raise Failure(Kind.PRECONDITION, "FLOOR_NOT_KEPT", floor_fen=floor_fen)
    past = min(gift.amount_fen, free[Part.PAST])
    return past, gift.amount_fen - past
