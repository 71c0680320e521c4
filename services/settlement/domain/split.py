"""The split: who pays the personal burden of a visit, from which part, for which kind (domain §6).

One pure function serves `gongji plan` and PreSettle. It judges eligibility and money; whether a family may exist at
all (relations, limits of members, a required authorised amount) was judged when it was built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, PsnNo, province_of
from kernel.money import Fen, share_floor
from kernel.policy import (
    COST_KINDS,
    BenefitRow,
    BenefitTable,
    CareLevel,
    CostKind,
    ExternalBenefit,
    FunderOrder,
    OpenBenefit,
    Part,
    PolicySet,
    RegionPolicy,
    YearSoFar,
)
from services.settlement.domain.bill import Bill, Burden, KindAmounts, burden_of

INSUTYPE_EMPLOYEE: Final = "310"
INSUTYPE_RESIDENT: Final = "390"
PSN_INSU_STAS_NORMAL: Final = "1"


class Role(Enum):
    """In what capacity an account takes part in a payment."""

    OWN = "OWN"  # The patient's own account.
    WALLET = "WALLET"  # The patient's own wallet.
    FUNDER = "FUNDER"  # A relative's account, under an authorisation.
    RECEIVER = "RECEIVER"  # The wallet that a transfer brings money to; never a source of a split.
    MOVED_TO = "MOVED_TO"  # The same person's personal account in another area, which a move brings money to.

    @property
    def is_receiving(self) -> bool:
        """Whether its leg brings money instead of taking it."""
        return self is Role.RECEIVER or self is Role.MOVED_TO


class SkipReason(Enum):
    """Why a funder is left out, in the order of examination: the first that applies is the one shown."""

    IDENTITY_STALE = "IDENTITY_STALE"  # Live plans only: what is known of everyone is too old to rule out a sanction.
    UNBOUND = "UNBOUND"  # A person ended the binding.
    SANCTIONED = "SANCTIONED"  # Suspended from online settlement (domain §8).
    NOT_INSURED = "NOT_INSURED"  # Not a normally insured employee.
    OTHER_PROVINCE = "OTHER_PROVINCE"  # Insured in another province than the patient.
    FROZEN = "FROZEN"  # The account is frozen.
    AREA_UNREACHABLE = "AREA_UNREACHABLE"  # Live plans only: the funder's ledger did not answer in time.


@dataclass(frozen=True, slots=True)
class Person:
    """A person with the money that is free at this moment: balance less what is held, in fen, never negative."""

    psn_no: PsnNo
    area: AdmDvs  # 参保地医保区划, the insured area.
    insutype: str
    past_fen: Fen = 0
    current_fen: Fen = 0
    wallet_fen: Fen = 0
    psn_insu_stas: str = PSN_INSU_STAS_NORMAL
    sanctioned: bool = False
    frozen: bool = False  # The personal account; a wallet is never frozen with it.
    reachable: bool = True  # False when the area's ledger did not answer; the amounts are then 0.
    wallet_area: AdmDvs | None = None  # Where the wallet is used; None = the insured area.


@dataclass(frozen=True, slots=True)
class Binding:
    """One funder bound for the patient. Several of one pair may be given: only the latest by ``bound_at`` counts."""

    funder: Person
    bound_at: datetime
    authorised_fen: Fen | None = None  # 授权金额; None = no limit.
    used_fen: Fen = 0  # Used and held together.
    order: int | None = None  # 扣款顺序 as the beneficiary set it.
    unbound: bool = False
    stale: bool = False  # True when identity was not heard for too long; nothing else counts then.
    authorisation_id: AuthorisationId | None = None  # What the funder's ledger knows it by; None in a dry run.
    per_payment_fen: Fen | None = None  # 单笔限额; None = no limit.
    per_month_fen: Fen | None = None  # 月限额; None = no limit.
    month_used_fen: Fen = 0  # Used and held together, of the civil month of the visit.

    @property
    def left_fen(self) -> Fen | None:
        """What the binding still lets this visit take, below zero if more was used already; None = no limit."""
        limits = (
            None if self.authorised_fen is None else self.authorised_fen - self.used_fen,
            self.per_payment_fen,
            None if self.per_month_fen is None else self.per_month_fen - self.month_used_fen,
        )
        return min((limit for limit in limits if limit is not None), default=None)


@dataclass(frozen=True, slots=True)
class BenefitCase:
    """Under which row of a benefit table a bill falls, beside the insutype, and what the year has used of it."""

    med_type: str
    level: CareLevel
    retired: bool = False
    year: YearSoFar = field(default_factory=YearSoFar)
    """Of the row's pool."""
    pool: str = ""
    """As the row has it, where it has been looked up."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One bill of one patient, at an institution in the area of care, with the patient's bindings."""

    patient: Person
    area: AdmDvs  # 就医地医保区划, the area of care.
    bill: Bill
    bindings: tuple[Binding, ...] = ()
    wallet_capable: bool = True  # Whether the institution takes wallets.
    case: BenefitCase | None = None  # Needed where the patient's insured area has a benefit table.


@dataclass(frozen=True, slots=True)
class Slice:
    """So many fen of one kind, out of one part. A wallet has one part, kept as past."""

    kind: CostKind
    part: Part
    amount_fen: Fen


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one source gives: the leg of a payment, and which kinds it pays."""

    role: Role
    psn_no: PsnNo
    area: AdmDvs
    slices: tuple[Slice, ...]
    authorisation_id: AuthorisationId | None = None  # FUNDER only.
    floor_fen: Fen = 0  # FUNDER only: what must stay in the account, over the floor parts.
    floor_parts: frozenset[Part] = frozenset()  # FUNDER only: the shareable parts.

    @property
    def amount_fen(self) -> Fen:
        """All that the source gives."""
        return sum(piece.amount_fen for piece in self.slices)

    @property
    def past_fen(self) -> Fen:
        """What comes out of past years; a wallet's money counts here."""
        return sum(piece.amount_fen for piece in self.slices if piece.part is Part.PAST)

    @property
    def current_fen(self) -> Fen:
        """What comes out of the current year."""
        return sum(piece.amount_fen for piece in self.slices if piece.part is Part.CURRENT)

    @property
    def by_kind(self) -> KindAmounts:
        """What the source pays of each kind; every kind is named."""
        return MappingProxyType(
            {kind: sum(piece.amount_fen for piece in self.slices if piece.kind is kind) for kind in COST_KINDS}
        )


@dataclass(frozen=True, slots=True)
class Skipped:
    """A funder that was left out, and the first reason that applies."""

    psn_no: PsnNo
    reason: SkipReason


@dataclass(frozen=True, slots=True)
class Split:
    """Who pays what. Own, wallet, funders and cash together are the personal burden, in sum and kind by kind."""

    burden: Burden
    own: Contribution
    wallet: Contribution
    funders: tuple[Contribution, ...]  # In order of deduction; each gives something.
    skipped: tuple[Skipped, ...]  # In the same order.
    cash_by_kind: KindAmounts
    funders_cap_fen: Fen | None  # What all funders together may give; None = no cap.
    mulaid_included_in_acct_pay: bool
    policy_version: str

    @property
    def acct_mulaid_pay(self) -> Fen:
        """个人账户共济支付金额: what the funders pay."""
        return sum(funder.amount_fen for funder in self.funders)

    @property
    def acct_pay(self) -> Fen:
        """个人账户支出: the own account, and the funders where the patient's area counts them in."""
        return self.own.amount_fen + (self.acct_mulaid_pay if self.mulaid_included_in_acct_pay else 0)

    @property
    def wallet_pay(self) -> Fen:
        """What the patient's own wallet pays."""
        return self.wallet.amount_fen

    @property
    def psn_cash_pay(self) -> Fen:
        """个人现金支出: the rest."""
        return self.burden.psn_part_amt - self.own.amount_fen - self.wallet_pay - self.acct_mulaid_pay

    @property
    def contributions(self) -> tuple[Contribution, ...]:
        """Every source that gives something, in order of deduction: one leg each."""
        return tuple(source for source in (self.own, self.wallet, *self.funders) if source.slices)


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """A funder of a patient before any bill: whether he may pay, and what the binding's limits leave for one."""

    psn_no: PsnNo
    area: AdmDvs
    skip: SkipReason | None
    limit_left_fen: Fen | None  # None = no limit. What is in the account is nobody's to see.


def family_of(visit: Visit, policies: PolicySet) -> tuple[FamilyMember, ...]:
    """Everyone bound for the patient, in the order of deduction, judged as ``split`` judges them."""
    order = policies.for_area(visit.patient.area, field="patient.area").funder_order
    return tuple(
        FamilyMember(
            psn_no=offer.binding.funder.psn_no,
            area=offer.binding.funder.area,
            skip=offer.skip,
            limit_left_fen=None if (left_fen := offer.binding.left_fen) is None else max(left_fen, 0),
        )
        for offer in _offers(visit, policies, order)
    )


def split(visit: Visit, policies: PolicySet, *, benefit: ExternalBenefit | OpenBenefit | None = None) -> Split:
    """The plan of one visit. ``benefit``: by what the pooled part comes about, whatever the policy says of today.

    Whose policy decides: benefit, own order, kinds and funder order are the patient's insured area's; floor and
    shareable parts each funder's insured area's; cap and wallet those of the area of care.

    Refusals in this order: AREA_MALFORMED, POLICY_AREA_UNKNOWN; those of ``open_benefit`` and of ``burden_of``;
    PATIENT_SANCTIONED, PATIENT_NOT_INSURED (no plan: pay in full and claim later, domain §8); FUNDER_IS_BENEFICIARY.
    """
    patient = visit.patient
    at_home = policies.for_area(patient.area, field="patient.area")
    at_care = policies.for_area(visit.area, field="area")
    burden = burden_of(visit.bill, benefit or open_benefit(visit, at_home))
    check_patient(patient)
    open_fen = dict(burden.by_kind)
    own = _contribution(Role.OWN, patient, _drawn(open_fen, at_home.own_account_kinds, _own_purses(patient, at_home)))
    takes_wallets = at_care.wallet and visit.wallet_capable
    wallet_purses = [(Part.PAST, patient.wallet_fen)] if takes_wallets else []
    wallet = _contribution(Role.WALLET, patient, _drawn(open_fen, at_home.mutual_aid_kinds, wallet_purses))
    cap_fen = None
    if at_care.single_pay_ratio_cap is not None:
        cap_fen = share_floor(visit.bill.medfee_sumamt - visit.bill.fulamt_ownpay_amt, at_care.single_pay_ratio_cap)
    funders: list[Contribution] = []
    skipped: list[Skipped] = []
    for offer in _offers(visit, policies, at_home.funder_order):
        if offer.skip is not None:
            skipped.append(Skipped(offer.binding.funder.psn_no, offer.skip))
            continue
        given_fen = sum(funder.amount_fen for funder in funders)
        limit_fen = offer.can_give_fen if cap_fen is None else min(offer.can_give_fen, cap_fen - given_fen)
        slices = _drawn(open_fen, at_home.mutual_aid_kinds, offer.purses, limit_fen)
        if slices:
            funders.append(_funder_contribution(offer, slices))
    return Split(
        burden=burden,
        own=own,
        wallet=wallet,
        funders=tuple(funders),
        skipped=tuple(skipped),
        cash_by_kind=MappingProxyType(open_fen),
        funders_cap_fen=cap_fen,
        mulaid_included_in_acct_pay=at_home.mulaid_included_in_acct_pay,
        policy_version=policies.version,
    )


def open_benefit(visit: Visit, at_home: RegionPolicy) -> ExternalBenefit | OpenBenefit:
    """By what the visit's pooled part is computed: as the policy gives it, or what the year left of the table's row.

    BENEFIT_CASE_UNKNOWN where the area has a table and the visit does not say under which row it falls;
    BENEFIT_ROW_MISSING where the table says nothing of it.
    """
    if not isinstance(at_home.benefit, BenefitTable):
        return at_home.benefit
    if visit.case is None:
        raise Failure(Kind.PRECONDITION, "BENEFIT_CASE_UNKNOWN", field="patient", area=visit.patient.area)
    return row_of(at_home.benefit, insutype=visit.patient.insutype, case=visit.case).open_after(visit.case.year)


def row_of(table: BenefitTable, *, insutype: str, case: BenefitCase) -> BenefitRow:
    """The table's row for a case; BENEFIT_ROW_MISSING."""
    return table.row_for(insutype=insutype, med_type=case.med_type, level=case.level, retired=case.retired)


def check_patient(patient: Person) -> None:
    """A patient may settle online: not sanctioned, and normally insured as employee or resident.

    PATIENT_SANCTIONED or PATIENT_NOT_INSURED otherwise.
    """
    if patient.sanctioned:
        raise Failure(Kind.PRECONDITION, "PATIENT_SANCTIONED", field="patient")
    known = patient.insutype in {INSUTYPE_EMPLOYEE, INSUTYPE_RESIDENT}
    if not known or patient.psn_insu_stas != PSN_INSU_STAS_NORMAL:
        raise Failure(
            Kind.PRECONDITION,
            "PATIENT_NOT_INSURED",
            field="patient",
            insutype=patient.insutype,
            psn_insu_stas=patient.psn_insu_stas,
        )


_Purses: TypeAlias = Iterable[tuple[Part, Fen]]


@dataclass(frozen=True, slots=True)
class _Offer:
    """A binding judged: whether its funder is eligible, and what the funder can give before the cap."""

    binding: Binding
    skip: SkipReason | None
    can_give_fen: Fen
    purses: tuple[tuple[Part, Fen], ...]  # The shareable parts, past years first.
    policy: RegionPolicy  # Of the funder's insured area.


_SKIP_RULES: Final[tuple[tuple[SkipReason, Callable[[Binding, Person], bool]], ...]] = (
    (SkipReason.IDENTITY_STALE, lambda binding, _: binding.stale),
    (SkipReason.UNBOUND, lambda binding, _: binding.unbound),
    (SkipReason.SANCTIONED, lambda binding, _: binding.funder.sanctioned),
    (
        SkipReason.NOT_INSURED,
        lambda binding, _: (
            (binding.funder.insutype, binding.funder.psn_insu_stas) != (INSUTYPE_EMPLOYEE, PSN_INSU_STAS_NORMAL)
        ),
    ),
    (
        SkipReason.OTHER_PROVINCE,
        lambda binding, patient: province_of(binding.funder.area) != province_of(patient.area),
    ),
    (SkipReason.FROZEN, lambda binding, _: binding.funder.frozen),
    (SkipReason.AREA_UNREACHABLE, lambda binding, _: not binding.funder.reachable),
)


def _offers(visit: Visit, policies: PolicySet, funder_order: FunderOrder) -> list[_Offer]:
    latest: dict[PsnNo, Binding] = {}
    for binding in visit.bindings:
        psn_no = binding.funder.psn_no
        if psn_no == visit.patient.psn_no:
            raise Failure(Kind.INVALID, "FUNDER_IS_BENEFICIARY", field="bindings")
        # Of two with the same instant the one given last stands: the caller lists them as they came about.
        if psn_no not in latest or binding.bound_at >= latest[psn_no].bound_at:
            latest[psn_no] = binding
    offers = [_offer(binding, visit.patient, policies) for binding in latest.values()]
    return sorted(offers, key=lambda offer: _order_key(offer, funder_order))


def _offer(binding: Binding, patient: Person, policies: PolicySet) -> _Offer:
    funder = binding.funder
    policy = policies.for_area(funder.area, field="funder.area")
    balances = ((Part.PAST, funder.past_fen), (Part.CURRENT, funder.current_fen))
    purses = tuple((part, fen) for part, fen in balances if part in policy.shareable_parts)
    can_give_fen = sum(fen for _, fen in purses) - policy.funder_floor_balance
    if binding.left_fen is not None:
        can_give_fen = min(can_give_fen, binding.left_fen)
    skip = next((reason for reason, applies in _SKIP_RULES if applies(binding, patient)), None)
    return _Offer(binding, skip, max(can_give_fen, 0), purses, policy)


def _order_key(offer: _Offer, funder_order: FunderOrder) -> tuple[int, int, datetime, PsnNo]:
    binding = offer.binding
    match funder_order:
        case FunderOrder.EXPLICIT:
            rank = (1, 0) if binding.order is None else (0, binding.order)
        case FunderOrder.BIND_TIME:
            rank = (0, 0)
        case FunderOrder.BALANCE_DESC:
            rank = (0, -offer.can_give_fen)
        case _:
            assert_never(funder_order)
    return (*rank, binding.bound_at, binding.funder.psn_no)


def _own_purses(patient: Person, policy: RegionPolicy) -> _Purses:
    """The parts of the own account in the policy's order; none for a resident or a frozen account."""
    if patient.insutype != INSUTYPE_EMPLOYEE or patient.frozen:
        return ()
    balances = {Part.PAST: patient.past_fen, Part.CURRENT: patient.current_fen}
    return tuple((part, balances[part]) for part in policy.own_order)


def _drawn(
    open_fen: dict[CostKind, Fen], allowed: frozenset[CostKind], purses: _Purses, limit_fen: Fen | None = None
) -> tuple[Slice, ...]:
    """As much as the purses, the limit and the open kinds let through, kinds and purses each in their order.

    What is drawn is taken off ``open_fen``. Pieces of 0 fen are not told.
    """
    left_fen = dict(purses)
    limit_left_fen = sum(left_fen.values()) if limit_fen is None else limit_fen
    slices: list[Slice] = []
    for kind in COST_KINDS:
        if kind not in allowed:
            continue
        for part, part_left_fen in left_fen.items():
            amount_fen = min(open_fen[kind], part_left_fen, limit_left_fen)
            if amount_fen > 0:
                slices.append(Slice(kind, part, amount_fen))
                open_fen[kind] -= amount_fen
                left_fen[part] -= amount_fen
                limit_left_fen -= amount_fen
    return tuple(slices)


def _contribution(role: Role, patient: Person, slices: tuple[Slice, ...]) -> Contribution:
    area = (patient.wallet_area or patient.area) if role is Role.WALLET else patient.area
    return Contribution(role=role, psn_no=patient.psn_no, area=area, slices=slices)


def _funder_contribution(offer: _Offer, slices: tuple[Slice, ...]) -> Contribution:
    funder = offer.binding.funder
    return Contribution(
        role=Role.FUNDER,
        psn_no=funder.psn_no,
        area=funder.area,
        slices=slices,
        authorisation_id=offer.binding.authorisation_id,
        floor_fen=offer.policy.funder_floor_balance,
        floor_parts=offer.policy.shareable_parts,
    )
