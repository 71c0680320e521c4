"""A binding and the real ledger's rules, with commands and answers lost, repeated, late and out of order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernel.failures import Failure, Kind
from kernel.policy import RegionPolicy
from services.family.domain.bindings import (
    Amend,
    Binding,
    BindingState,
    Close,
    LedgerAnswer,
    LedgerCommand,
    Open,
    Step,
    amended,
    answered,
    closing,
    due,
    judged,
)
from services.family.domain.groups import Kinship
from services.settlement.ledger.domain.commands import (
    AmendAuthorisation,
    AuthorisationReply,
    CloseAuthorisation,
    OpenAuthorisation,
    Request,
)
from services.settlement.ledger.domain.deciding import apply
from services.settlement.ledger.domain.model import Authorisation, AuthorisationState
from services.settlement.ledger.domain.state import State
from tests.unit.family.given import CHILD, MOTHER, NOW, binding

IN_USE_FEN: Final = 40_00
"""A payment that holds so much arrives at the ledger at some time: amounts below it are refused from then on."""

ACTS: Final = st.one_of(
    st.just("send"),
    st.just("use"),
    st.just("unbind"),
    st.just("fall"),
    st.tuples(st.just("amend"), st.sampled_from([None, 10_00, 50_00, 200_00])),
    st.tuples(st.sampled_from(["deliver", "repeat", "lose", "answer", "answer again"]), st.integers(0, 5)),
)

BEGINNING: Final[list[object]] = ["send", ("deliver", 0), ("answer", 0), "use"]
"""Opened, and a payment under way."""

OVERTAKEN: Final[list[object]] = [
    *(("amend", 50_00), "send", ("amend", 10_00), "send"),
    *(("deliver", 1), ("answer", 0)),
]
"""Two amounts in a row, of which the ledger hears the second first and refuses it: the first, late, must not count."""


@dataclass
class Story:
    """A binding's row, its ledger, and everything that is on its way between them."""

    row: Binding
    ledger: State = field(default_factory=State)
    commands: list[LedgerCommand] = field(default_factory=list)
    answers: list[tuple[LedgerCommand, LedgerAnswer]] = field(default_factory=list)

    @property
    def kept(self) -> Authorisation | None:
        """What the ledger keeps."""
        return self.ledger.authorisations.get(self.row.authorisation_id)

    def act(self, act: object) -> None:
        """One thing that may happen at any time."""
        match act:
            case "send":
                if (command := due(self.row)) is not None:
                    self.commands.append(command)
            case "use":
                self._use()
            case "unbind":
                self._take(closing(self.row, by=CHILD))
            case "fall":
                self._take(judged(self.row, Kinship(None, "NO_CHAIN"), RegionPolicy()))
            case ("amend", int() | None as amount_fen):
                with suppress(Failure):
                    self._take(amended(self.row, by=MOTHER, wanted_fen=amount_fen))
            case (str(what), int(place)):
                self._travel(what, place)
        self.check()

    def _travel(self, what: str, place: int) -> None:
        """What a network may do."""
        match what:
            case "deliver" if self.commands:
                self._deliver(self.commands.pop(place % len(self.commands)))
            case "repeat" if self.commands:
                self._deliver(self.commands[place % len(self.commands)])
            case "lose" if self.commands:
                self.commands.pop(place % len(self.commands))
            case "answer" if self.answers:
                self._take(answered(self.row, *self.answers.pop(place % len(self.answers))))
            case "answer again" if self.answers:
                self._take(answered(self.row, *self.answers[place % len(self.answers)]))

    def check(self) -> None:
        """What holds at every moment."""
        if self.row.state is BindingState.ACTIVE:
            assert self.kept is not None
            assert self.kept.state is AuthorisationState.OPEN
        if self.row.state in {BindingState.UNBOUND, BindingState.SUSPENDED}:
            assert self.kept is not None
            assert self.kept.state is AuthorisationState.CLOSED

    def settle(self) -> None:
        """Whatever is still on its way arrives in the wrong order, and the sweep says what is due until nothing is."""
        for _ in range(3):
            for command in reversed(self.commands):
                self._deliver(command)
            for command, answer in reversed(self.answers):
                self._take(answered(self.row, command, answer))
            self.check()
            self.act("send")
        assert due(self.row) is None
        for command in self.commands:
            self._deliver(command)
        self.check()

    def _take(self, step: Step | None) -> None:
        if step is not None:
            self.row = step.binding

    def _use(self) -> None:
        kept = self.kept
        if kept is None or kept.state is not AuthorisationState.OPEN:
            return
        if kept.authorised_fen is None or kept.authorised_fen >= IN_USE_FEN:
            self.ledger.authorisations[kept.authorisation_id] = replace(kept, held_fen=IN_USE_FEN)

    def _deliver(self, command: LedgerCommand) -> None:
        self.ledger, outcome = apply(self.ledger, Request(_ledgers(command)), now=NOW)
        assert isinstance(outcome.reply, AuthorisationReply)
        told, refusal = outcome.reply.authorisation, outcome.reply.refusal
        answer = LedgerAnswer(
            is_open=told is not None and told.state is AuthorisationState.OPEN,
            authorised_fen=None if told is None else told.authorised_fen,
            refusal=None if refusal is None else Failure(Kind.PRECONDITION, refusal.reason),
        )
        self.answers.append((command, answer))


def _ledgers(command: LedgerCommand) -> OpenAuthorisation | AmendAuthorisation | CloseAuthorisation:
    match command:
        case Open():
            return OpenAuthorisation(
                command.authorisation_id, command.funder, command.beneficiary, command.authorised_fen
            )
        case Amend():
            return AmendAuthorisation(command.authorisation_id, command.version, command.authorised_fen)
        case Close():
            return CloseAuthorisation(command.authorisation_id)


@settings(max_examples=600, deadline=None)
@example(begun=True, acts=OVERTAKEN)
@given(begun=st.booleans(), acts=st.lists(ACTS, max_size=30))
def test_binding_and_ledger_agree_in_the_end_whatever_the_network_does(*, begun: bool, acts: list[object]) -> None:
    """ACTIVE means open at the ledger with the very amount the binding shows; ended or stopped, closed; nothing hangs.

    Stopped by itself it is SUSPENDED in the end, unless a person has ended it.
    """
    story = Story(binding(state=BindingState.OPENING))
    for act in [*(BEGINNING if begun else []), *acts]:
        story.act(act)
    story.settle()
    fallen, ended = "fall" in acts, "unbind" in acts
    allowed = {BindingState.UNBOUND} if ended else {BindingState.SUSPENDED} if fallen else {BindingState.ACTIVE}
    assert story.row.state in allowed
    if story.row.state is BindingState.ACTIVE:
        assert story.kept is not None
        assert story.kept.authorised_fen == story.row.authorised_fen
