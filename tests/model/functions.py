"""The production functions that the model drives, gathered so that a mutation can replace exactly one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Final, TypeAlias

from kernel.clock import business_date
from kernel.failures import Failure
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import PolicySet
from services.family.domain import bindings as family
from services.family.domain import judging
from services.family.domain.groups import Kinship
from services.family.domain.people import EMPLOYEE, NORMAL, Enrolment, Person
from services.settlement.domain.payment import Window
from services.settlement.ledger.domain import deciding
from services.settlement.ledger.domain.commands import Request
from services.settlement.ledger.domain.state import Outcome
from services.settlement.ledger.domain.state import State as LedgerState
from services.settlement.saga import coordinator, requests, transfers
from services.settlement.saga.coordinator import Advance, Drive, Event, Write
from services.settlement.saga.payment import OPEN_STATES, REFUSED_STATES, Payment, State

NOW: Final = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
"""Every clock stands still: what matters of time, the deadline, is an event of its own."""

LedgerStep: TypeAlias = Callable[[LedgerState, Request], tuple[LedgerState, Outcome]]


def compare_and_set(row: Payment, write: Write) -> Payment:
    """What the store's one UPDATE does: the row moves on if it still stands where the Write expects it."""
    return written(row, write) if coordinator.wins(row, write) else row


def written(row: Payment, write: Write) -> Payment:
    """The row after a Write, with the time of its decision."""
    after = coordinator.applied(row, write)
    return after if after.state is State.TRYING else replace(after, decided_at=NOW)


def is_taken_up(row: Payment) -> bool:
    """Whether a coordinator that does not drive this payment takes it up from its row (the engine's ``take_up``)."""
    return row.state in OPEN_STATES


def apply(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """One command at a ledger."""
    return deciding.apply(state, request, now=NOW)


def begin(payment: Payment) -> Advance:
    """Takes a payment up."""
    return coordinator.begin(payment)


def advance(drive: Drive, event: Event) -> Advance:
    """One step of a coordinator."""
    return coordinator.advance(drive, event)


def reverse(original: Payment | None, refund: Payment | None, new: Payment) -> requests.Reversal | None:
    """2601, or a giver's withdrawal; ``new`` lends its id to whatever row is made. None if it is refused."""
    content = b"r" * 32
    try:
        return requests.reverse(
            original,
            refund,
            original_key=new.key,
            new_id=new.payment_id,
            request_hash=content,
            now=NOW,
            window=Window(),
        )
    except Failure:
        return None


def revoke(original: Payment | None, refund: Payment | None, new: Payment) -> requests.GiveBack | None:
    """2208; ``new`` lends its id and key to the refund. None if it is refused or has been done before."""
    try:
        step = requests.revoke(
            original,
            refund,
            key=new.key,
            request_hash=new.request_hash,
            refund_id=new.payment_id,
            now=NOW,
            window=Window(),
        )
    except Failure:
        return None
    return step if isinstance(step, requests.GiveBack) else None


def accept(found: Payment | None) -> Write | Payment | None:
    """The receiver of a transfer says yes. None if that is refused."""
    return _voted(transfers.accept, found)


def decline(found: Payment | None) -> Write | Payment | None:
    """The receiver of a transfer says no. None if that is refused."""
    return _voted(transfers.decline, found)


def _voted(vote: Callable[..., Write | Payment], found: Payment | None) -> Write | Payment | None:
    if found is not None and found.state in REFUSED_STATES:
        return None  # Its reason, which alone tells one refusal from the same answer again, is blanked here.
    try:
        return vote(found, by=None if found is None else transfers.receiver_of(found))
    except Failure:
        return None


def unbound(binding: family.Binding) -> family.Binding | None:
    """The funder ends his binding. None if it is ended already."""
    step = family.closing(binding, by=binding.funder, now=NOW)
    return None if step is None else step.binding


def stopped(binding: family.Binding) -> family.Binding | None:
    """Identity is asked, and the funder has died. None if the binding is not judged any more."""
    step = _judged(binding, died_on=business_date(NOW))
    return None if step is None else step.binding


def vouched(binding: family.Binding) -> family.Binding:
    """Identity is asked, and everything the binding rests on stands (as ``operations.bindings.judge`` notes)."""
    step = _judged(binding, died_on=None)
    return replace(binding, vouched=True) if step is None else step.binding


def moved(binding: family.Binding, area: AdmDvs) -> family.Binding | None:
    """Identity is asked, and the funder is insured in this area, where his account is by now."""
    step = _judged(binding, died_on=None, account_at=area)
    return None if step is None else step.binding


def _judged(binding: family.Binding, *, died_on: date | None, account_at: AdmDvs | None = None) -> family.Step | None:
    def person(psn_no: PsnNo, area: AdmDvs, died_on: date | None) -> Person:
        return Person(psn_no, "", None, (Enrolment(EMPLOYEE, area, NORMAL),), (), died_on, None)

    standing = judging.Standing(
        person(binding.funder, account_at or binding.funder_area, died_on),
        person(binding.beneficiary, binding.funder_area, None),
        Kinship(binding.relation),
        account_at,
    )
    return judging.judged(binding, standing, PolicySet.of({}).for_area(binding.funder_area), now=NOW)


def amended(binding: family.Binding, wanted_fen: int | None) -> family.Binding | None:
    """The funder asks for another amount. None if that is refused, or stands already."""
    try:
        step = family.amended(binding, by=binding.funder, wanted_fen=wanted_fen)
    except Failure:
        return None
    return None if step is None else step.binding


def answered(
    binding: family.Binding, command: family.LedgerCommand, answer: family.LedgerAnswer
) -> family.Binding | None:
    """The ledger's answer is taken into the row. None if it says nothing about it any more."""
    step = family.answered(binding, command, answer)
    return None if step is None else step.binding


def inquired(found: Payment | None) -> requests.Decision | Write:
    """What a ledger is told that asks."""
    return requests.inquired(found)


@dataclass(frozen=True, slots=True)
class Functions:
    """What production does; ``expires`` is what no ledger does: to end a hold by itself."""

    begin: Callable[[Payment], Advance] = begin
    advance: Callable[[Drive, Event], Advance] = advance
    write: Callable[[Payment, Write], Payment] = compare_and_set
    is_taken_up: Callable[[Payment], bool] = is_taken_up
    reverse: Callable[[Payment | None, Payment | None, Payment], requests.Reversal | None] = reverse
    revoke: Callable[[Payment | None, Payment | None, Payment], requests.GiveBack | None] = revoke
    accept: Callable[[Payment | None], Write | Payment | None] = accept
    decline: Callable[[Payment | None], Write | Payment | None] = decline
    inquired: Callable[[Payment | None], requests.Decision | Write] = inquired
    apply: LedgerStep = apply
    due: Callable[[family.Binding], family.LedgerCommand | None] = family.due
    unbound: Callable[[family.Binding], family.Binding | None] = unbound
    stopped: Callable[[family.Binding], family.Binding | None] = stopped
    vouched: Callable[[family.Binding], family.Binding | None] = vouched
    moved: Callable[[family.Binding, AdmDvs], family.Binding | None] = moved
    amended: Callable[[family.Binding, int | None], family.Binding | None] = amended
    answered: Callable[[family.Binding, family.LedgerCommand, family.LedgerAnswer], family.Binding | None] = answered
    expires: bool = False


PRODUCTION: Final = Functions()
