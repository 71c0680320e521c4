"""The family room in the model: one binding's row, what people do to it, and what it has told its funder's ledger.

Each step of the row is production's. Its database gives a row that is locked while it moves, so the present row is all
that a step needs; what was told from older rows is still on its way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from uuid import UUID

from gongji.ledger.v1 import ledger_pb2
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, BindingId, GroupId, PsnNo
from kernel.policy import Relation
from services.family import wire
from services.family.domain.bindings import Amend, Binding, BindingState, Close, LedgerAnswer, LedgerCommand, Open
from services.settlement.ledger.domain.model import AuthorisationState
from services.settlement.ledger.domain.state import Outcome
from services.settlement.ledger.domain.state import State as LedgerState
from services.settlement.ledger.wire.commands import parse_batch
from services.settlement.ledger.wire.replies import render_batch, render_reply
from tests.model.functions import NOW, Functions

ENDED: Final = frozenset({BindingState.UNBOUND, BindingState.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Bond:
    """A binding as the search begins with it: agreed (OPENING, not yet vouched for), or open at the ledger (ACTIVE)."""

    begins: BindingState
    is_lowered: bool = False
    """Whether its funder may lower the amount, once."""
    moves_to: AdmDvs | None = None
    """The area to which its funder's account may move, once."""


class Family(NamedTuple):
    """The binding's row, all that its ledger was ever told and ever answered, and whether money went after its end."""

    row: int
    sent: int
    given: int
    is_late: bool
    elsewhere: int = 0
    """How the ledger stands to whose area the account moves, by its place."""


class Stand(NamedTuple):
    """How an authorisation stands in its ledger."""

    is_open: bool
    authorised_fen: int | None


class Left(NamedTuple):
    """What the ledger that the bill draws on has used and holds under the authorisation."""

    used_fen: int
    held_fen: int


class Answered(NamedTuple):
    """What a ledger answered to a command; ``reason`` is empty if it did not refuse."""

    command: LedgerCommand
    answer: LedgerAnswer
    reason: str


def agreed(
    *, authorisation_id: AuthorisationId, funder: PsnNo, beneficiary: PsnNo, area: AdmDvs, authorised_fen: int
) -> Binding:
    """The row as binding inserts it."""
    return Binding(
        binding_id=BindingId(UUID(int=4)),
        group_id=GroupId(UUID(int=5)),
        funder=funder,
        beneficiary=beneficiary,
        relation=Relation.PARENT,
        state=BindingState.OPENING,
        authorised_fen=authorised_fen,
        bound_at=NOW,
        authorisation_id=authorisation_id,
        funder_area=area,
        request_id=UUID(int=6),
        requested_fen=authorised_fen,
    )


def lowered(binding: Binding) -> int:
    """What its funder may ask for instead: one fen less than the bill takes."""
    return (binding.requested_fen or 0) - 1


def commands(binding: Binding, bond: Bond) -> tuple[LedgerCommand, ...]:
    """Everything that the ledger can be told of this binding."""
    amendments = (Amend(binding.authorisation_id, 2, lowered(binding)),) if bond.is_lowered else ()
    opening = Open(binding.authorisation_id, binding.funder, binding.beneficiary, binding.requested_fen)
    return (opening, *amendments, Close(binding.authorisation_id))


def told(state: LedgerState, command: LedgerCommand, functions: Functions) -> tuple[LedgerState, Outcome, Answered]:
    """One command of the family room at a ledger, over both wire files."""
    batch = ledger_pb2.CommandBatch(commands=[wire.ledger_command(command, traceparent="")])
    [(index, request)] = parse_batch(batch.SerializeToString()).writes
    after, outcome = functions.apply(state, request)
    payload = render_batch([render_reply(index, outcome.reply)])
    [reply] = ledger_pb2.ReplyBatch.FromString(payload).replies
    answer = wire.ledger_answer(reply)
    if answer is None:
        raise AssertionError(f"no answer to {command}")
    reason = answer.refusal.reason if answer.refusal else ""
    return after, outcome, Answered(command, replace(answer, refusal=None), reason)


class Household:
    """Steps of the binding's row; rows, commands and answers are known by their place."""

    def __init__(self, binding: Binding, bond: Bond, functions: Functions) -> None:
        self._functions = functions
        self._bond = bond
        self.rows: list[Binding] = []
        self.answers: list[Answered] = []
        self.commands = [*commands(binding, bond)]
        self.told_here = len(self.commands)
        """So many of the commands are for the ledger that the bill draws on; those that follow are for another."""
        self.others: list[LedgerState] = [LedgerState()]
        self._known: dict[tuple[int, int], list[tuple[tuple[str | int, ...], int, bool]]] = {}
        is_open = bond.begins is BindingState.ACTIVE
        first = replace(binding, state=bond.begins, vouched=is_open)
        self.start = self._moved(Family(row=-1, sent=0, given=0, is_late=False), first)

    def steps(self, family: Family) -> Iterator[tuple[tuple[str | int, ...], Family, bool]]:
        """What people, identity and the ledger's answers make of the row: (name, what follows, whether it is sure)."""
        key = (family.row, family.given)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = list(self._followed(self.rows[family.row], family.given))
        for name, row, is_helpful in known:
            yield name, self._moved(family, self.rows[row]), is_helpful

    def answered(self, family: Family, answer: Answered) -> Family:
        """The ledger has given this answer: it may be heard from now on, at any time."""
        if self._bond.moves_to is None:
            # Where nothing moves, nobody looks at what was used and held.
            answer = answer._replace(answer=replace(answer.answer, used_fen=0, held_fen=0))
        if answer not in self.answers:
            self.answers.append(answer)
        return family._replace(given=family.given | 1 << self.answers.index(answer))

    def told_elsewhere(self, family: Family, command: int) -> Family:
        """The ledger of the area to which the account has moved hears this."""
        after, _, answer = told(self.others[family.elsewhere], self.commands[command], self._functions)
        if after not in self.others:
            self.others.append(after)
        return self.answered(family._replace(elsewhere=self.others.index(after)), answer)

    def stands_elsewhere(self, family: Family) -> Stand | None:
        """How the binding's present authorisation stands there."""
        kept = self.others[family.elsewhere].authorisations.get(self.rows[family.row].authorisation_id)
        return None if kept is None else Stand(kept.state is AuthorisationState.OPEN, kept.authorised_fen)

    def is_due(self, family: Family, command: int) -> bool:
        """Whether the sweep tells the ledger this again."""
        return self._functions.due(self.rows[family.row]) == self.commands[command]

    def _followed(self, binding: Binding, given: int) -> Iterator[tuple[tuple[str | int, ...], int, bool]]:
        """Every row that can come next, by its place."""
        functions = self._functions
        found: list[tuple[tuple[str | int, ...], Binding | None, bool]] = [
            (("unbind",), functions.unbound(binding), False),
            (("stop",), functions.stopped(binding), False),
            (("vouch",), functions.vouched(binding), True),
        ]
        if self._bond.is_lowered and binding.authorisation_version == 1:
            found.append((("amend",), functions.amended(binding, lowered(binding)), False))
        if self._bond.moves_to is not None and not binding.moves:
            found.append((("move",), functions.moved(binding, self._bond.moves_to), False))
        found += [
            (("answer", number), self._heard(binding, answer), True)
            for number, answer in enumerate(self.answers)
            if given >> number & 1
        ]
        for name, after, is_helpful in found:
            if after is not None and _bare(after) != binding:
                yield name, self._place(_bare(after)), is_helpful

    def _heard(self, binding: Binding, answer: Answered) -> Binding | None:
        refusal = Failure(Kind.PRECONDITION, answer.reason) if answer.reason else None
        return self._functions.answered(binding, answer.command, replace(answer.answer, refusal=refusal))

    def _moved(self, family: Family, binding: Binding) -> Family:
        """The next row, and what the ledger is to be told of it; whether and when it arrives is the network's."""
        command = self._functions.due(binding)
        if command is not None and command not in self.commands:
            self.commands.append(command)
        sent = 0 if command is None else 1 << self.commands.index(command)
        return family._replace(row=self._place(_bare(binding)), sent=family.sent | sent)

    def _place(self, binding: Binding) -> int:
        if binding not in self.rows:
            self.rows.append(binding)
        return self.rows.index(binding)


def _bare(binding: Binding) -> Binding:
    """The row without what is only told or counted: how many events it has had, and when it was ended."""
    return replace(binding, version=1, ended_at=None)


def is_over(binding: Binding) -> bool:
    """Whether the authorisation of the bill has ended by the family room's word: ended, or opened anew elsewhere."""
    return binding.state in ENDED or binding.moves > 0


def broken_bond(binding: Binding, authorisation: Stand | None, left: Left, *, is_late: bool) -> str:
    """The first rule of a binding that is broken (domain §2); ``authorisation`` is its present one."""
    if is_late:
        return "a payment has taken hold of the funder's money after his binding's end was said"
    if binding.moves and (left.held_fen or left.used_fen > binding.carried_fen):
        return "the binding is opened anew, and the ledger that it left holds under it or has used more than is carried"
    if binding.state is not BindingState.ACTIVE:
        return ""
    if authorisation is None or not authorisation.is_open:
        return "the family says that the binding is active, and the ledger does not keep it open"
    if not binding.amending and authorisation.authorised_fen != binding.authorised_fen:
        return "the family and the ledger keep different authorised amounts, and nothing is under way"
    return ""
