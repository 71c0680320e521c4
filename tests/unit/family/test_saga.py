"""A binding and the real ledger's rules, with commands and answers lost, repeated, late and out of order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs
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
)
from services.family.domain.groups import Kinship
from services.family.domain.judging import judged
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
from tests.unit.family.given import CHILD, HAMI, MOTHER, NOW, URUMQI, binding, person, standing

IN_USE_FEN: Final = 40_00
"""A payment that holds so much arrives at the ledger at some time: amounts below it are refused from then on."""
AREAS: Final = (HAMI, URUMQI)

ACTS: Final = st.one_of(
    st.just("send"),
    st.just("use"),
    st.just("spend"),
    st.tuples(st.just("move"), st.sampled_from(AREAS)),
    st.just("unbind"),
    st.just("fall"),
    st.tuples(st.just("amend"), st.sampled_from([None, 10_00, 50_00, 200_00])),
    st.tuples(st.sampled_from(["deliver", "repeat", "lose", "answer", "answer again"]), st.integers(0, 5)),
)

LEAVING: Final[list[object]] = [("move", URUMQI), "send", ("deliver", 0), ("answer", 0), "spend", ("move", HAMI)]
"""On its way to another area with a payment under way, and back before it has arrived."""

TO_AND_FRO: Final[list[object]] = [
    step
    for area in (URUMQI, HAMI, URUMQI)
    for step in (("move", area), "spend", *(2 * ["send", ("deliver", 0), ("answer", 0)]))
]
"""There, back, and there again: both ledgers know closed authorisations of it by then."""

BEGINNING: Final[list[object]] = ["send", ("deliver", 0), ("answer", 0), "use"]
"""Opened, and a payment under way."""

OVERTAKEN: Final[list[object]] = [
    *(("amend", 50_00), "send", ("amend", 10_00), "send"),
    *(("deliver", 1), ("answer", 0)),
]
"""Two amounts in a row, of which the ledger hears the second first and refuses it: the first, late, must not count."""


@dataclass
class Story:
    """A binding's row, the ledgers of two areas, and everything that is on its way between them."""

    row: Binding
    ledgers: dict[AdmDvs, State] = field(default_factory=lambda: {area: State() for area in AREAS})
    commands: list[tuple[AdmDvs, LedgerCommand]] = field(default_factory=list)
    answers: list[tuple[LedgerCommand, LedgerAnswer]] = field(default_factory=list)
    spent_fen: int = 0

    @property
    def kept(self) -> Authorisation | None:
        """What the ledger keeps."""
        return self.ledgers[self.row.funder_area].authorisations.get(self.row.authorisation_id)

    @property
    def open(self) -> list[Authorisation]:
        """Under which of all there ever were new holds may be placed."""
        every = [one for ledger in self.ledgers.values() for one in ledger.authorisations.values()]
        return [one for one in every if one.state is AuthorisationState.OPEN]

    def act(self, act: object) -> None:
        """One thing that may happen at any time."""
        match act:
            case "send":
                if (command := due(self.row)) is not None:
                    self.commands.append((self.row.funder_area, command))
            case "use":
                self._use()
            case "spend":
                self.spend()
            case ("move", str(area)):
                moved = standing(funder=person(MOTHER, area=AdmDvs(area)), account_at=AdmDvs(area))
                self._take(judged(self.row, moved, RegionPolicy(), now=NOW))
            case "unbind":
                self._take(closing(self.row, by=CHILD, now=NOW))
            case "fall":
                self._take(judged(self.row, standing(proven=Kinship(None, "NO_CHAIN")), RegionPolicy(), now=NOW))
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
                self._deliver(*self.commands.pop(place % len(self.commands)))
            case "repeat" if self.commands:
                self._deliver(*self.commands[place % len(self.commands)])
            case "lose" if self.commands:
                self.commands.pop(place % len(self.commands))
            case "answer" if self.answers:
                self._take(answered(self.row, *self.answers.pop(place % len(self.answers))))
            case "answer again" if self.answers:
                self._take(answered(self.row, *self.answers[place % len(self.answers)]))

    def check(self) -> None:
        """What holds at every moment."""
        assert len(self.open) <= 1
        assert all(one.authorised_fen is None or one.used_fen <= one.authorised_fen for one in self.open)
        if self.row.state is BindingState.ACTIVE:
            assert self.kept is not None
            assert self.kept.state is AuthorisationState.OPEN
        if self.row.state in {BindingState.UNBOUND, BindingState.SUSPENDED}:
            assert self.kept is not None
            assert self.kept.state is AuthorisationState.CLOSED

    def settle(self) -> None:
        """Whatever is still on its way arrives in the wrong order, and the sweep says what is due until nothing is."""
        self.spend()
        for _ in range(5):
            for area, command in reversed(self.commands):
                self._deliver(area, command)
            for command, answer in reversed(self.answers):
                self._take(answered(self.row, command, answer))
            self.check()
            self.act("send")
        assert due(self.row) is None
        for area, command in self.commands:
            self._deliver(area, command)
        self.check()

    def spend(self) -> None:
        """Payments under way end well, also under an authorisation that is closed."""
        for ledger in self.ledgers.values():
            for kept in list(ledger.authorisations.values()):
                self.spent_fen += kept.held_fen
                ledger.authorisations[kept.authorisation_id] = kept.with_spent(kept.held_fen)

    def _take(self, step: Step | None) -> None:
        if step is not None:
            self.row = step.binding

    def _use(self) -> None:
        kept = self.kept
        if kept is None or kept.state is not AuthorisationState.OPEN:
            return
        if kept.held_fen == 0 and (kept.left_fen is None or kept.left_fen >= IN_USE_FEN):
            self.ledgers[self.row.funder_area].authorisations[kept.authorisation_id] = kept.with_held(IN_USE_FEN)

    def _deliver(self, area: AdmDvs, command: LedgerCommand) -> None:
        self.ledgers[area], outcome = apply(self.ledgers[area], Request(_ledgers(command)), now=NOW)
        assert isinstance(outcome.reply, AuthorisationReply)
        told, refusal = outcome.reply.authorisation, outcome.reply.refusal
        answer = LedgerAnswer(
            is_open=told is not None and told.state is AuthorisationState.OPEN,
            authorised_fen=None if told is None else told.authorised_fen,
            refusal=None if refusal is None else Failure(Kind.PRECONDITION, refusal.reason),
            used_fen=0 if told is None else told.used_fen,
            held_fen=0 if told is None else told.held_fen,
            was_opened=told is not None and told.version > 0,
        )
        self.answers.append((command, answer))


def _ledgers(command: LedgerCommand) -> OpenAuthorisation | AmendAuthorisation | CloseAuthorisation:
    match command:
        case Open():
            return OpenAuthorisation(
                command.authorisation_id,
                command.funder,
                command.beneficiary,
                command.authorised_fen,
                command.used_fen,
            )
        case Amend():
            return AmendAuthorisation(command.authorisation_id, command.version, command.authorised_fen)
        case Close():
            return CloseAuthorisation(command.authorisation_id)


@settings(max_examples=600, deadline=None)
@example(begun=True, acts=OVERTAKEN)
@example(begun=True, acts=LEAVING)
@example(begun=True, acts=TO_AND_FRO)
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
        assert story.kept.used_fen == story.spent_fen
        assert [story.kept] == story.open
