"""共济绑定: who may pay for whom, and how a binding lives (domain §2).

A binding follows its authorisation in the funder's ledger: it is ACTIVE only once the ledger has opened it, UNBOUND or
SUSPENDED only once the ledger has closed it, so that no payment slips through afterwards. What the ledger is to be told
is a function of the row alone (`due`), so that any process can say it again at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final, TypeAlias
from uuid import UUID

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, BindingId, GroupId, PsnNo, province_of
from kernel.money import Fen
from kernel.policy import PolicySet, RegionPolicy, Relation
from services.family.domain.groups import Group, Kinship, refuse_outsider, refuse_relation, refuse_unsigned
from services.family.domain.people import EMPLOYEE, RESIDENT, Person, refuse_oneself


class BindingState(Enum):
    """Where a binding stands; the comment says who acts next."""

    OPENING = "OPENING"  # The funder's ledger opens the authorisation.
    ACTIVE = "ACTIVE"  # The beneficiary's bills may be paid.
    CLOSING = "CLOSING"  # Ended or stopped for new bills; the funder's ledger closes the authorisation.
    UNBOUND = "UNBOUND"  # Nobody: a person ended it.
    SUSPENDED = "SUSPENDED"  # The two people: stopped by itself, with its cause; needs consent anew.


LIVE: Final = frozenset({BindingState.OPENING, BindingState.ACTIVE})
"""The states in which a pair counts as bound."""


FUNDERS_MAX: Final = 60
"""More than any policy asks for. With the patient's own account and wallet they fit into one command to one ledger (its
contract takes 64 legs and 64 accounts): a patient with more could not pay at all, not even out of his own account."""


class Change(Enum):
    """What has just happened to a binding; the notices to people rest on it."""

    OPENING = "OPENING"
    BOUND = "BOUND"
    AMOUNT = "AMOUNT"
    ORDER = "ORDER"
    RELATION = "RELATION"
    CLOSING = "CLOSING"
    UNBOUND = "UNBOUND"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True)
class Binding:
    """One funder's promise to one beneficiary.

    ``authorised_fen`` is what the ledger is known to keep (None = no limit). ``wanted_fen`` with ``amending`` is what a
    funder has asked for and the ledger has not yet answered. ``authorisation_version`` is the last number ever used for
    an amendment, so a number is never used for two. ``requested_fen`` under ``request_id`` is what binding asked for,
    to tell a repeated request from another one. ``cause`` says why it stopped by itself, from CLOSING on. When
    ``judge_at`` is set, it is judged then whether it still stands. ``vouched`` is whether identity has said so since
    the row was made: before that, the ledger opens nothing. ``version`` counts the binding's events.
    """

    binding_id: BindingId
    group_id: GroupId
    funder: PsnNo
    beneficiary: PsnNo
    relation: Relation
    state: BindingState
    authorised_fen: Fen | None
    bound_at: datetime
    authorisation_id: AuthorisationId
    funder_area: AdmDvs
    request_id: UUID
    requested_fen: Fen | None
    deduct_order: int | None = None
    cause: str = ""
    judge_at: datetime | None = None
    vouched: bool = False
    authorisation_version: int = 1
    amending: bool = False
    wanted_fen: Fen | None = None
    version: int = 1

    @property
    def awaits_ledger(self) -> bool:
        """Whether the funder's ledger has still to follow, now or once identity has answered."""
        return self.state in {BindingState.OPENING, BindingState.CLOSING} or self.amending


@dataclass(frozen=True, slots=True)
class Bind:
    """Everything that decides whether two people may be bound. ``live`` are the beneficiary's live bindings.

    ``pledges`` is how many pledges the funder has signed.
    """

    group: Group
    funder: Person
    beneficiary: Person
    proven: Kinship
    authorised_fen: Fen | None
    live: Sequence[Binding]
    pledges: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What follows for a binding that is allowed."""

    relation: Relation
    funder_area: AdmDvs


def agreed_terms(asked: Bind, *, policies: PolicySet, now: datetime) -> Terms:
    """The terms of a new binding, or why there can be none, the first that applies.

    RELATIVE_IS_ONESELF, NOT_A_MEMBER (either), PLEDGE_NOT_SIGNED (by the funder, whose money it is),
    FUNDER_NOT_INSURED (310, normal), BENEFICIARY_NOT_INSURED (310 or 390, normal), FUNDER_SANCTIONED,
    BENEFICIARY_SANCTIONED, BINDING_ACROSS_PROVINCES, KINSHIP_NOT_PROVEN, RELATION_NOT_ALLOWED,
    AUTHORISED_AMOUNT_REQUIRED, ALREADY_BOUND, FUNDERS_TOO_MANY. Whose policy: ``relations`` and
    ``authorized_amount_required`` the funder's insured area, ``max_funders_per_beneficiary`` the beneficiary's.
    """
    funder, beneficiary = asked.funder, asked.beneficiary
    refuse_oneself(funder.psn_no, beneficiary.psn_no)
    refuse_outsider(asked.group, funder.psn_no)
    refuse_outsider(asked.group, beneficiary.psn_no)
    refuse_unsigned(asked.pledges)
    funding = funder.normal_enrolment(EMPLOYEE)
    if funding is None:
        raise Failure(Kind.PRECONDITION, "FUNDER_NOT_INSURED")
    benefiting = beneficiary.normal_enrolment(EMPLOYEE, RESIDENT)
    if benefiting is None:
        raise Failure(Kind.PRECONDITION, "BENEFICIARY_NOT_INSURED")
    if funder.is_sanctioned(now):
        raise Failure(Kind.PRECONDITION, "FUNDER_SANCTIONED")
    if beneficiary.is_sanctioned(now):
        raise Failure(Kind.PRECONDITION, "BENEFICIARY_SANCTIONED")
    if province_of(funding.area) != province_of(benefiting.area):
        raise Failure(Kind.PRECONDITION, "BINDING_ACROSS_PROVINCES")
    policy = policies.for_area(funding.area)
    relation = refuse_relation(asked.proven, policy)
    refuse_missing_amount(asked.authorised_fen, required=policy.authorized_amount_required)
    if any(binding.funder == funder.psn_no for binding in asked.live):
        raise Failure(Kind.EXISTS, "ALREADY_BOUND")
    policy_max = policies.for_area(benefiting.area).max_funders_per_beneficiary
    funders_max = FUNDERS_MAX if policy_max is None else min(policy_max, FUNDERS_MAX)
    if len(asked.live) >= funders_max:
        raise Failure(Kind.PRECONDITION, "FUNDERS_TOO_MANY", funders_max=funders_max)
    return Terms(relation=relation, funder_area=funding.area)


def refuse_missing_amount(authorised_fen: Fen | None, *, required: bool) -> None:
    """AUTHORISED_AMOUNT_REQUIRED: where the policy asks for a 授权金额, "no limit" is no answer."""
    if required and authorised_fen is None:
        raise Failure(Kind.PRECONDITION, "AUTHORISED_AMOUNT_REQUIRED")


# --- What the ledger is told, and what follows from its answer.


@dataclass(frozen=True, slots=True)
class Open:
    """OPEN_AUTHORISATION, under version 1."""

    authorisation_id: AuthorisationId
    funder: PsnNo
    beneficiary: PsnNo
    authorised_fen: Fen | None


@dataclass(frozen=True, slots=True)
class Amend:
    """AMEND_AUTHORISATION under a version of its own."""

    authorisation_id: AuthorisationId
    version: int
    authorised_fen: Fen | None


@dataclass(frozen=True, slots=True)
class Close:
    """CLOSE_AUTHORISATION."""

    authorisation_id: AuthorisationId


LedgerCommand: TypeAlias = Open | Amend | Close


@dataclass(frozen=True, slots=True)
class LedgerAnswer:
    """How the authorisation stands in the ledger, and why the command was refused if it was."""

    is_open: bool
    authorised_fen: Fen | None
    refusal: Failure | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A binding's next row and what to tell about it (None: nothing that others see)."""

    binding: Binding
    change: Change | None


def due(binding: Binding) -> LedgerCommand | None:
    """What the funder's ledger still has to be told; None if nothing. A function of the row alone."""
    match binding.state:
        case BindingState.OPENING if not binding.vouched:
            return None
        case BindingState.OPENING:
            return Open(binding.authorisation_id, binding.funder, binding.beneficiary, binding.authorised_fen)
        case BindingState.ACTIVE if binding.amending:
            return Amend(binding.authorisation_id, binding.authorisation_version, binding.wanted_fen)
        case BindingState.CLOSING:
            return Close(binding.authorisation_id)
        case BindingState.ACTIVE | BindingState.UNBOUND | BindingState.SUSPENDED:
            return None


def answered(binding: Binding, command: LedgerCommand, answer: LedgerAnswer) -> Step | None:
    """The binding after the ledger's answer to ``command``; None if the row has moved on and the answer is stale.

    A refused OPEN suspends the binding with the ledger's reason: it was never active, and a new one needs a new
    consent. A refused AMEND leaves what the ledger keeps. CLOSE is not refused; one that is stays due.
    """
    if due(binding) != command:
        return None
    match command:
        case Open() if answer.refusal or not answer.is_open:
            cause = answer.refusal.reason if answer.refusal else "BINDING_NOT_OPENED"
            return _said(replace(binding, state=BindingState.SUSPENDED, cause=cause), Change.SUSPENDED)
        case Open():
            return _said(replace(binding, state=BindingState.ACTIVE), Change.BOUND)
        case Amend():
            # An authorisation that the ledger does not keep open tells no amount.
            amount_fen = answer.authorised_fen if answer.is_open else binding.authorised_fen
            settled = replace(binding, authorised_fen=amount_fen, amending=False, wanted_fen=None)
            same = amount_fen == binding.authorised_fen
            return Step(settled, None) if same else _said(settled, Change.AMOUNT)
        case Close():
            ended = BindingState.SUSPENDED if binding.cause else BindingState.UNBOUND
            return None if answer.is_open else _said(replace(binding, state=ended), Change.UNBOUND)


def amended(binding: Binding, *, by: PsnNo, wanted_fen: Fen | None) -> Step | None:
    """The binding with an amendment to be told to the ledger; None if that amount stands or is under way already.

    NOT_THE_FUNDER, BINDING_NOT_ACTIVE, AMENDMENT_PENDING (another amount is under way: it is settled first, since a
    late command for it must not take effect after the ledger has refused this one). Whether the amount is at least
    what is used and held only the ledger can say.
    """
    if binding.funder != by:
        raise Failure(Kind.FORBIDDEN, "NOT_THE_FUNDER")
    if binding.state is not BindingState.ACTIVE:
        raise Failure(Kind.PRECONDITION, "BINDING_NOT_ACTIVE", state=binding.state.value)
    if wanted_fen == (binding.wanted_fen if binding.amending else binding.authorised_fen):
        return None
    if binding.amending:
        raise Failure(Kind.UNAVAILABLE, "AMENDMENT_PENDING", area=binding.funder_area)
    version = binding.authorisation_version + 1
    return Step(replace(binding, amending=True, wanted_fen=wanted_fen, authorisation_version=version), None)


def closing(binding: Binding, *, by: PsnNo) -> Step | None:
    """The binding ended for new bills; None if it is ended already. NOT_A_PARTY: only funder and beneficiary end it."""
    if by not in {binding.funder, binding.beneficiary}:
        raise Failure(Kind.FORBIDDEN, "NOT_A_PARTY")
    if binding.state in {BindingState.CLOSING, BindingState.UNBOUND} and not binding.cause:
        return None
    ended = replace(binding, state=BindingState.CLOSING, cause="", amending=False, wanted_fen=None)
    return _said(ended, Change.CLOSING)


def judged(binding: Binding, proven: Kinship, policy: RegionPolicy) -> Step | None:
    """What identity's word on the two people makes of a live binding; None if it leaves it as it is.

    Relatives no more, or no longer of a kind that the funder's region lets count: stopped for new bills with that cause
    (domain §2). Another relation that counts takes the place of the former.
    """
    if binding.state not in LIVE:
        return None
    try:
        relation = refuse_relation(proven, policy)
    except Failure as lost:
        stopped = replace(binding, state=BindingState.CLOSING, cause=lost.reason, amending=False, wanted_fen=None)
        return _said(stopped, Change.SUSPENDED)
    return None if relation is binding.relation else _said(replace(binding, relation=relation), Change.RELATION)


def reordered(live: Sequence[Binding], funders: Sequence[PsnNo]) -> list[Step]:
    """The bindings whose 扣款顺序 changes: those named get 1, 2, ..., the others come last.

    FUNDER_NOT_BOUND names the first place in the list that no live binding stands behind.
    """
    place = {funder: position for position, funder in enumerate(funders, start=1)}
    bound = {binding.funder for binding in live}
    for funder, position in place.items():
        if funder not in bound:
            raise Failure(Kind.PRECONDITION, "FUNDER_NOT_BOUND", position=position)
    return [
        _said(replace(binding, deduct_order=place.get(binding.funder)), Change.ORDER)
        for binding in live
        if binding.deduct_order != place.get(binding.funder)
    ]


def order_key(binding: Binding) -> tuple[bool, int, datetime, PsnNo]:
    """The order of deduction: by stated order, missing last; then by when they were bound; then by person number."""
    return (binding.deduct_order is None, binding.deduct_order or 0, binding.bound_at, binding.funder)


def _said(binding: Binding, change: Change) -> Step:
    return Step(replace(binding, version=binding.version + 1), change)
