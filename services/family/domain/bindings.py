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
from uuid import UUID, uuid5

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, BindingId, GroupId, PsnNo, province_of
from kernel.money import Fen
from kernel.policy import PolicySet, Relation
from services.family.domain.groups import (
    Group,
    Kinship,
    refuse_ended,
    refuse_going,
    refuse_outsider,
    refuse_relation,
)
from services.family.domain.limits import NO_LIMITS, Limits, MonthUse, refuse_odd_limits
from services.family.domain.people import EMPLOYEE, RESIDENT, Person, refuse_oneself
from services.family.domain.pledges import refuse_unsigned


class BindingState(Enum):
    """Where a binding stands; the comment says who acts next."""

    OPENING = "OPENING"  # The funder's ledger opens the authorisation.
    ACTIVE = "ACTIVE"  # The beneficiary's bills may be paid.
    CLOSING = "CLOSING"  # Ended or stopped for new bills; the funder's ledger closes the authorisation.
    UNBOUND = "UNBOUND"  # Nobody: a person ended it.
    SUSPENDED = "SUSPENDED"  # The two people: stopped by itself, with its cause; needs consent anew.


LIVE: Final = frozenset({BindingState.OPENING, BindingState.ACTIVE})
"""The states in which a pair counts as bound; so it does while a binding moves (``moving_to``)."""
ACCOUNT_MOVED: Final = "ACCOUNT_MOVED"
"""The cause while a binding follows its funder's account to another area."""
_REOPENINGS: Final = UUID("6d0f3a37-9a0e-5a52-8b1f-0f4f7b7e3c19")


FUNDERS_MAX: Final = 60
"""More than any policy asks for. With the patient's own account and wallet they fit into one command to one ledger (its
contract takes 64 legs and 64 accounts): a patient with more could not pay at all, not even out of his own account."""


class Change(Enum):
    """What has just happened to a binding; the notices to people rest on it."""

    OPENING = "OPENING"
    BOUND = "BOUND"
    AMOUNT = "AMOUNT"
    LIMITS = "LIMITS"
    ORDER = "ORDER"
    RELATION = "RELATION"
    CLOSING = "CLOSING"
    UNBOUND = "UNBOUND"
    SUSPENDED = "SUSPENDED"
    MOVING = "MOVING"
    MOVED = "MOVED"


@dataclass(frozen=True, slots=True)
class Binding:
    """One funder's promise to one beneficiary.

    ``authorised_fen`` and ``limits`` are what the ledger is known to keep (None = no limit). ``wanted_fen`` and
    ``wanted_limits`` with ``amending`` are what a funder has asked for and the ledger has not yet answered.
    ``authorisation_version`` is the last number ever used for an amendment, so a number is never used for two.
    ``requested_fen`` and ``requested_limits`` under ``request_id`` are what binding asked for, to tell a repeated
    request from another one. ``cause`` says why it stopped by itself, from CLOSING on. When ``judge_at`` is set, it is
    judged then whether it still stands. ``vouched`` is whether identity has said so since the row was made: before
    that, the ledger opens nothing. ``ended_at`` is when a person ended it while it stood. ``version`` counts the
    binding's events.

    ``moving_to`` is set from when its funder's account was moved until the ledger that it leaves holds nothing for it
    any more; it is CLOSING meanwhile, and then opened anew in that area. ``moves`` counts these, ``carried_fen`` is
    what had been used under it in the areas it has left, ``carried_month`` what of it counts in the month it was left.
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
    ended_at: datetime | None = None
    vouched: bool = False
    authorisation_version: int = 1
    amending: bool = False
    wanted_fen: Fen | None = None
    version: int = 1
    limits: Limits = NO_LIMITS
    wanted_limits: Limits = NO_LIMITS
    requested_limits: Limits = NO_LIMITS
    moving_to: AdmDvs | None = None
    moves: int = 0
    carried_fen: Fen = 0
    carried_month: MonthUse | None = None

    @property
    def is_live(self) -> bool:
        """Whether the pair counts as bound."""
        return self.state in LIVE or self.moving_to is not None

    @property
    def is_ended(self) -> bool:
        """Whether a person has ended it, also while its ledger has still to follow."""
        return self.state in {BindingState.CLOSING, BindingState.UNBOUND} and not self.cause

    @property
    def awaits_ledger(self) -> bool:
        """Whether the funder's ledger has still to follow, now or once identity has answered."""
        return self.state in {BindingState.OPENING, BindingState.CLOSING} or self.amending


@dataclass(frozen=True, slots=True)
class Bind:
    """Everything that decides whether two people may be bound. ``live`` are the beneficiary's live bindings.

    ``pledges`` is how many pledges the funder has signed, ``ended`` how many bindings of the pair a person has ended
    in this calendar year, by when he said so.
    """

    group: Group
    funder: Person
    beneficiary: Person
    proven: Kinship
    authorised_fen: Fen | None
    live: Sequence[Binding]
    pledges: int
    ended: int = 0
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Terms:
    """What follows for a binding that is allowed."""

    relation: Relation
    funder_area: AdmDvs


def agreed_terms(asked: Bind, *, policies: PolicySet, now: datetime) -> Terms:
    """The terms of a new binding, or why there can be none, the first that applies.

    RELATIVE_IS_ONESELF, NOT_A_MEMBER (either), GROUP_DISSOLVED, MEMBER_IS_LEAVING (either), PLEDGE_NOT_SIGNED (by the
    funder, whose money it is),
    FUNDER_NOT_INSURED (310, normal), BENEFICIARY_NOT_INSURED (310 or 390, normal), FUNDER_SANCTIONED,
    BENEFICIARY_SANCTIONED, BINDING_ACROSS_PROVINCES, KINSHIP_NOT_PROVEN, RELATION_NOT_ALLOWED,
    AUTHORISED_AMOUNT_REQUIRED, those of ``refuse_odd_limits``, ALREADY_BOUND, REBINDS_TOO_MANY, FUNDERS_TOO_MANY. Whose
    policy: ``relations``, ``authorized_amount_required`` and ``rebind_per_year`` the funder's insured area,
    ``max_funders_per_beneficiary`` the beneficiary's.
    """
    funder, beneficiary = asked.funder, asked.beneficiary
    refuse_oneself(funder.psn_no, beneficiary.psn_no)
    refuse_outsider(asked.group, funder.psn_no)
    refuse_outsider(asked.group, beneficiary.psn_no)
    refuse_ended(asked.group)
    refuse_going(asked.group, funder.psn_no)
    refuse_going(asked.group, beneficiary.psn_no)
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
    refuse_odd_limits(asked.limits, asked.authorised_fen)
    if any(binding.funder == funder.psn_no for binding in asked.live):
        raise Failure(Kind.EXISTS, "ALREADY_BOUND")
    if policy.rebind_per_year is not None and asked.ended > policy.rebind_per_year:
        raise Failure(Kind.PRECONDITION, "REBINDS_TOO_MANY", rebinds_max=policy.rebind_per_year)
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
    """OPEN_AUTHORISATION, under version 1. ``used_fen`` and a ``month`` of it come from areas it has left."""

    authorisation_id: AuthorisationId
    funder: PsnNo
    beneficiary: PsnNo
    authorised_fen: Fen | None
    limits: Limits = NO_LIMITS
    used_fen: Fen = 0
    month: MonthUse | None = None


@dataclass(frozen=True, slots=True)
class Amend:
    """AMEND_AUTHORISATION under a version of its own: amount and limits as they shall stand, all of them."""

    authorisation_id: AuthorisationId
    version: int
    authorised_fen: Fen | None
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Close:
    """CLOSE_AUTHORISATION."""

    authorisation_id: AuthorisationId


LedgerCommand: TypeAlias = Open | Amend | Close


@dataclass(frozen=True, slots=True)
class LedgerAnswer:
    """How the authorisation stands in the ledger, and why the command was refused if it was.

    ``was_opened`` is False of one that was closed before it was ever opened: it tells no amount.
    ``month`` is what the present month took, where the ledger counts months and closes.
    """

    is_open: bool
    authorised_fen: Fen | None
    refusal: Failure | None = None
    limits: Limits = NO_LIMITS
    used_fen: Fen = 0
    held_fen: Fen = 0
    was_opened: bool = True
    month: MonthUse | None = None


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
            return Open(
                binding.authorisation_id,
                binding.funder,
                binding.beneficiary,
                binding.authorised_fen,
                binding.limits,
                binding.carried_fen,
                binding.carried_month,
            )
        case BindingState.ACTIVE if binding.amending:
            return Amend(
                binding.authorisation_id, binding.authorisation_version, binding.wanted_fen, binding.wanted_limits
            )
        case BindingState.CLOSING:
            return Close(binding.authorisation_id)
        case BindingState.ACTIVE | BindingState.UNBOUND | BindingState.SUSPENDED:
            return None


def answered(binding: Binding, command: LedgerCommand, answer: LedgerAnswer) -> Step | None:
    """The binding after the ledger's answer to ``command``; None if the row has moved on and the answer is stale.

    A refused OPEN suspends the binding with the ledger's reason: it was never active, and a new one needs a new
    consent. One whose limits the ledger does not know, being of an older release, stays OPENING: nothing is paid under
    it. A refused AMEND leaves what the ledger keeps. CLOSE is not refused; one that is stays due, and so does that of a
    binding that moves while something is held under it: only then is it known what was used.
    """
    if due(binding) != command:
        return None
    match command:
        case Open() if answer.refusal or not answer.is_open:
            cause = answer.refusal.reason if answer.refusal else "BINDING_NOT_OPENED"
            return said(replace(binding, state=BindingState.SUSPENDED, cause=cause), Change.SUSPENDED)
        case Open() if answer.limits != binding.limits:
            return None
        case Open():
            change = Change.MOVED if binding.moves else Change.BOUND
            return said(replace(binding, state=BindingState.ACTIVE), change)
        case Amend():
            return _amendment_settled(binding, answer)
        case Close():
            return None if answer.is_open else _closed(binding, answer)


def _closed(binding: Binding, answer: LedgerAnswer) -> Step | None:
    if binding.moving_to is not None:
        return None if answer.held_fen else _reopened(binding, binding.moving_to, answer)
    ended = BindingState.SUSPENDED if binding.cause else BindingState.UNBOUND
    return said(replace(binding, state=ended), Change.UNBOUND)


def _reopened(binding: Binding, area: AdmDvs, left: LedgerAnswer) -> Step:
    """The binding to be opened in the area where its funder's account is now, with what was used where it was.

    What the funder had asked for meanwhile is taken over, unless the amount is less than that.
    """
    used_fen = left.used_fen if left.was_opened else binding.carried_fen
    is_amended = binding.amending and (binding.wanted_fen is None or binding.wanted_fen >= used_fen)
    moves = binding.moves + 1
    opening = replace(
        binding,
        state=BindingState.OPENING,
        cause="",
        funder_area=area,
        # An id is used once, also in an area to which the account comes back; and the same whoever works it out.
        authorisation_id=AuthorisationId(uuid5(_REOPENINGS, f"{binding.binding_id}/{moves}")),
        authorised_fen=binding.wanted_fen if is_amended else binding.authorised_fen,
        limits=binding.wanted_limits if is_amended else binding.limits,
        authorisation_version=1,
        carried_fen=used_fen,
        carried_month=left.month if left.was_opened else binding.carried_month,
        amending=False,
        wanted_fen=None,
        wanted_limits=NO_LIMITS,
        moving_to=None,
        moves=moves,
    )
    return said(opening, Change.OPENING)


def _amendment_settled(binding: Binding, answer: LedgerAnswer) -> Step:
    settled = replace(binding, amending=False, wanted_fen=None, wanted_limits=NO_LIMITS)
    if not answer.is_open:
        return Step(settled, None)  # An authorisation that the ledger does not keep open tells no amount.
    settled = replace(settled, authorised_fen=answer.authorised_fen, limits=answer.limits)
    if settled.limits != binding.limits:
        return said(settled, Change.LIMITS)
    return Step(settled, None) if settled.authorised_fen == binding.authorised_fen else said(settled, Change.AMOUNT)


def amended(binding: Binding, *, by: PsnNo, wanted_fen: Fen | None) -> Step | None:
    """The binding with an amendment to be told to the ledger; None if that amount stands or is under way already.

    NOT_THE_FUNDER, BINDING_NOT_ACTIVE, AMENDMENT_PENDING (another amount or limit is under way: it is settled first,
    since a late command for it must not take effect after the ledger has refused this one). Whether the amount is at
    least what is used and held only the ledger can say. The limits stay as they are.
    """
    refuse_amendment(binding, by=by)
    return _amendment(binding, wanted_fen, binding.wanted_limits if binding.amending else binding.limits)


def limited(binding: Binding, *, by: PsnNo, wanted: Limits) -> Step | None:
    """The same for both limits, beside the amount that stands or is under way; first those of ``refuse_odd_limits``.

    They may be below what was used: then nothing more is let through (ADR 27).
    """
    refuse_amendment(binding, by=by)
    authorised_fen = binding.wanted_fen if binding.amending else binding.authorised_fen
    refuse_odd_limits(wanted, authorised_fen)
    return _amendment(binding, authorised_fen, wanted)


def refuse_amendment(binding: Binding, *, by: PsnNo) -> None:
    """NOT_THE_FUNDER, BINDING_NOT_ACTIVE: whose money it is decides, as long as it pays."""
    if binding.funder != by:
        raise Failure(Kind.FORBIDDEN, "NOT_THE_FUNDER")
    if binding.state is not BindingState.ACTIVE:
        raise Failure(Kind.PRECONDITION, "BINDING_NOT_ACTIVE", state=binding.state.value)


def _amendment(binding: Binding, wanted_fen: Fen | None, limits: Limits) -> Step | None:
    aim = (binding.wanted_fen, binding.wanted_limits) if binding.amending else (binding.authorised_fen, binding.limits)
    if (wanted_fen, limits) == aim:
        return None
    if binding.amending:
        raise Failure(Kind.UNAVAILABLE, "AMENDMENT_PENDING", area=binding.funder_area)
    version = binding.authorisation_version + 1
    wanted = replace(binding, amending=True, wanted_fen=wanted_fen, wanted_limits=limits, authorisation_version=version)
    return Step(wanted, None)


def closing(binding: Binding, *, by: PsnNo, now: datetime) -> Step | None:
    """The binding ended for new bills; None if it is ended already. NOT_A_PARTY: only funder and beneficiary end it."""
    if by not in {binding.funder, binding.beneficiary}:
        raise Failure(Kind.FORBIDDEN, "NOT_A_PARTY")
    return None if binding.is_ended else ended(binding, now=now)


def ended(binding: Binding, *, now: datetime) -> Step:
    """The binding ended by a person for new bills; it is judged no more. One that had stopped by itself ended then."""
    ended_at = now if binding.is_live else binding.ended_at
    return said(replace(stopping(binding, cause=""), judge_at=None, ended_at=ended_at), Change.CLOSING)


def stopping(binding: Binding, *, cause: str) -> Binding:
    """The binding closed for new bills; ``cause`` is empty if a person has ended it."""
    closing_now = replace(binding, state=BindingState.CLOSING, cause=cause, moving_to=None)
    return replace(closing_now, amending=False, wanted_fen=None, wanted_limits=NO_LIMITS)


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
        said(replace(binding, deduct_order=place.get(binding.funder)), Change.ORDER)
        for binding in live
        if binding.deduct_order != place.get(binding.funder)
    ]


def order_key(binding: Binding) -> tuple[bool, int, datetime, PsnNo]:
    """The order of deduction: by stated order, missing last; then by when they were bound; then by person number."""
    return (binding.deduct_order is None, binding.deduct_order or 0, binding.bound_at, binding.funder)


def said(binding: Binding, change: Change) -> Step:
    """The binding's next row under its next version, which others are told of."""
    return Step(replace(binding, version=binding.version + 1), change)
