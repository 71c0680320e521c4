"""Everything there is in one state of the model, and every step that can follow.

A state is a tuple of numbers: (history of the settlement's row, of the refund's row, what the terminal was told, Writes
under way, coordinator A, coordinator B, the family room, then one number for each ledger). A ledger's number stands for
its shape, every order ever sent to it, every answer it ever gave, and what each coordinator has heard from it. The
family room's stands for a binding's row, and everything it ever told that binding's ledger and was answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from kernel.failures import Failure
from services.family.domain.bindings import Binding
from services.settlement.ledger.domain.commands import Confirm
from services.settlement.ledger.domain.model import BranchState
from services.settlement.ledger.wire.inquiries import parse_inquiry
from services.settlement.saga.coordinator import Order, Write
from services.settlement.saga.payment import Payment, State
from services.settlement.saga.requests import (
    AlreadyGivenBack,
    AlreadyStopped,
    Bury,
    Decision,
    GiveBack,
    check_same_request,
    refund_of,
)
from services.settlement.wire.ledger import inquiry_answer
from tests.model.bindings import Bond, Family, Household, Left, broken_bond, is_over
from tests.model.drives import (
    ORDER_BIT,
    TOLD_NOTHING,
    TOLD_PAID,
    Drives,
    Numbered,
    Slot,
    Stepped,
    Told,
    bare_row,
    bare_write,
)
from tests.model.functions import NOW, Functions
from tests.model.ledgers import KEY, PAYMENT_ID, REFUND_ID, Money, Shape, bound, tabulate, trying
from tests.model.rules import broken_rule, is_quiet, outcome

World: TypeAlias = tuple[int, ...]
History: TypeAlias = tuple[int, ...]
"""Every version a row has had, the present one last; a read may find any of them, or nothing."""

FAMILY_AT = 6
"""Where the family room stands in a state; NO_FAMILY where no binding is opened or ended."""
NO_FAMILY = -1
AREAS_AT = 7
"""Where the ledgers begin in a state."""
REFUND_KEY = KEY._replace(infno="2208", msgid=KEY.msgid[:-1] + "2")


class Area(NamedTuple):
    """One ledger and everything between it and the coordinators; ``told`` is by (coordinator, payment)."""

    shape: int
    sent: int
    given: int
    told: tuple[int, int, int, int]


class Taken(NamedTuple):
    """A step: what it is called, where it leads, whether it needs no luck, and what it breaks by itself."""

    name: tuple[str | int, ...]
    to: World
    is_helpful: bool
    alarm: str = ""


class Coordinator(NamedTuple):
    """What one coordinator remembers of the settlement and of its refund."""

    settlement: Slot | None
    refund: Slot | None


NOBODY = Coordinator(None, None)


class Model:
    """One configuration: how many ledgers, what their accounts can do, which functions drive them."""

    def __init__(self, accounts: tuple[Money, ...], functions: Functions, bond: Bond | None = None) -> None:
        """A bond is that of the last funder; without one every funder is bound all the time."""
        self.functions = functions
        self.count = len(accounts)
        self.accounts = accounts
        self.settlement = bare_row(trying(accounts))
        paid = replace(self.settlement, state=State.COMMITTED, decided_at=NOW)
        self.refund = bare_row(refund_of(paid, refund_id=REFUND_ID, key=REFUND_KEY, request_hash=b"r" * 32))
        self.refund = replace(self.refund, decided_at=NOW)
        self.bound_at = NO_FAMILY if bond is None else max(at for at, it in enumerate(accounts) if it is Money.FUNDER)
        self.tables = [
            tabulate(self.settlement, self.refund, area, money, functions, bond if at == self.bound_at else None)
            for at, (area, money) in enumerate(zip(self.settlement.areas, accounts, strict=True))
        ]
        self.household: Household | None = None
        if bond is not None:
            binding = bound(self.settlement, self.settlement.areas[self.bound_at])
            self.household = Household(binding, bond, functions)
        self.families: Numbered[Family] = Numbered()
        self.drives = Drives(functions)
        self.histories: Numbered[History] = Numbered()
        self.shapes: Numbered[Shape] = Numbered()
        self.write_sets: Numbered[frozenset[int]] = Numbered()
        self.coordinators: Numbered[Coordinator] = Numbered()
        self.areas: Numbered[Area] = Numbered()
        self.alike = [
            [place for place in range(self.count) if self.tables[place] == self.tables[first]]
            for first in range(self.count)
            if self.tables[first] not in self.tables[:first]
        ]
        self._deliveries: dict[tuple[int, int], list[tuple[str, Order | None, int, str]]] = {}
        self._moves: dict[object, list[tuple[tuple[str | int, ...], Stepped, bool]]] = {}
        self._changed: dict[tuple[int, int, int, int], int] = {}
        self._swapped: dict[int, int] = {}
        self._living: dict[tuple[int, int, int], int] = {}
        self._requests: dict[tuple[int, int], list[tuple[tuple[str | int, ...], int, int, int, frozenset[int]]]] = {}
        self._inquiries: dict[int, list[tuple[int, bool, Order | None, int | None]]] = {}
        self._rules: dict[tuple[int, ...], str] = {}
        self._order_of_decision = self._orders_of_decisions()

    def start(self) -> World:
        """Nothing has happened yet; the terminal's request may be on its way."""
        nobody, nothing = self.coordinators.of(NOBODY), self.histories.of(())
        ledgers = [self.areas.of(Area(self.shapes.of(table.start), 0, 0, (0, 0, 0, 0))) for table in self.tables]
        family = NO_FAMILY if self.household is None else self.families.of(self.household.start)
        return self.canonical((nothing, nothing, 0, self.write_sets.of(frozenset()), nobody, nobody, family, *ledgers))

    # Which states are one and the same.

    def canonical(self, world: World) -> World:
        """The one state that stands for all that differ only in which coordinator or which equal ledger is meant."""
        first, second = world[4], world[5]
        if first == second:
            return min(self._sorted(world), self._sorted(self._exchanged(world)))
        return self._sorted(world if first < second else self._exchanged(world))

    def _sorted(self, world: World) -> World:
        if len(self.alike) == self.count:
            return world
        ledgers = list(world[AREAS_AT:])
        for places in self.alike:
            for place, code in zip(places, sorted(ledgers[place] for place in places), strict=True):
                ledgers[place] = code
        return (*world[:AREAS_AT], *ledgers)

    def _exchanged(self, world: World) -> World:
        return (*world[:4], world[5], world[4], world[FAMILY_AT], *map(self._area_exchanged, world[AREAS_AT:]))

    def _area_exchanged(self, code: int) -> int:
        swapped = self._swapped.get(code)
        if swapped is None:
            area = self.areas.values[code]
            told = area.told
            swapped = self._swapped[code] = self.areas.of(area._replace(told=(told[2], told[3], told[0], told[1])))
        return swapped

    # What can follow.

    def steps(self, world: World) -> Iterator[Taken]:
        """Every step that changes something."""
        yield from self._of_ledgers(world)
        if self.household is not None:
            yield from self._of_family(world, self.household)
        for who in (0, 1):
            yield from self._of_coordinator(world, who)
        yield from self._of_requests(world)
        yield from self._of_database(world)
        yield from self._of_inquiries(world)

    def _of_ledgers(self, world: World) -> Iterator[Taken]:
        for place in range(self.count):
            code = world[AREAS_AT + place]
            known = self._deliveries.get((place, code))
            if known is None:
                known = self._deliveries[place, code] = list(self._delivered(place, self.areas.values[code]))
            for kind, order, after, alarm in known:
                to = _with_area(world, place, after)
                if place == self.bound_at and order is Order.TRY:
                    to = self._with_lateness(to, self.areas.values[code], self.areas.values[after])
                yield Taken((kind, place, order.value if order else ""), to, kind == "deliver", alarm)

    def _delivered(self, place: int, area: Area) -> Iterator[tuple[str, Order | None, int, str]]:
        table, shape = self.tables[place], self.shapes.values[area.shape]
        for order in Order:
            if area.sent & ORDER_BIT[order]:
                step = table.steps[shape, order]
                given = area.given if step.reply is None else area.given | 1 << step.reply
                after = area._replace(shape=self.shapes.of(step.shape), given=given)
                if after != area or step.alarm:
                    yield "deliver", order, self.areas.of(after), step.alarm
        if self.functions.expires and shape in table.expiries:
            yield "expire", None, self.areas.of(area._replace(shape=self.shapes.of(table.expiries[shape]))), ""

    def _of_family(self, world: World, household: Household) -> Iterator[Taken]:
        """What becomes of the binding's row, and what its ledger hears of it."""
        family, area = self.families.values[world[FAMILY_AT]], self.areas.values[world[AREAS_AT + self.bound_at]]
        for name, after, is_helpful in household.steps(family):
            yield Taken(name, _with_family(world, self.families.of(after)), is_helpful)
        for command in _bits(family.sent):
            if command >= household.told_here:
                to = _with_family(world, self.families.of(household.told_elsewhere(family, command)))
                if to != world:
                    yield Taken(("told elsewhere", command), to, household.is_due(family, command))
                continue
            step = self.tables[self.bound_at].told[self.shapes.values[area.shape], command]
            to = _with_family(world, self.families.of(household.answered(family, step.answer)))
            to = _with_area(to, self.bound_at, self.areas.of(area._replace(shape=self.shapes.of(step.shape))))
            if to != world:
                yield Taken(("told", self.bound_at, command), to, household.is_due(family, command))

    def _with_lateness(self, world: World, before: Area, after: Area) -> World:
        """Marks a payment that takes hold of the money after the binding's end was said."""
        branches = [self.shapes.values[area.shape].branch for area in (before, after)]
        binding = self.binding_in(world)
        if branches != [None, BranchState.HELD] or binding is None or not is_over(binding):
            return world
        return _with_family(world, self.families.of(self.families.values[world[FAMILY_AT]]._replace(is_late=True)))

    def _of_coordinator(self, world: World, who: int) -> Iterator[Taken]:
        memory = self.coordinators.values[world[4 + who]]
        areas = [self.areas.values[code] for code in world[AREAS_AT:]]
        given = tuple([area.given for area in areas])
        for which in (0, 1):
            slot = memory[which]
            told = tuple([area.told[2 * who + which] for area in areas])
            key = (slot, told, given, world[which])
            known = self._moves.get(key)
            if known is None:
                known = self._moves[key] = list(self._moved_by(slot, told, given, self.histories.values[world[which]]))
            for (kind, *rest), step, is_helpful in known:
                if (to := self._after(world, who, which, step)) != world:
                    yield Taken((kind, who, which, *rest), to, is_helpful)
        if memory != NOBODY:
            forgotten = Stepped(None, (0,) * self.count, (0,) * self.count, (), 0)
            to = self._after(self._after(world, who, 0, forgotten), who, 1, forgotten)
            yield Taken(("crash", who), to, is_helpful=False)

    def _moved_by(
        self, slot: Slot | None, told: Told, given: tuple[int, ...], history: History
    ) -> Iterator[tuple[tuple[str | int, ...], Stepped, bool]]:
        """What a coordinator can do about one payment that changes anything: (name, what it leads to, is_helpful)."""
        idle = Stepped(slot, told, (0,) * self.count, (), 0)
        for row in dict.fromkeys(history):
            if (step := self.drives.read(slot, told, row)) != idle:
                yield ("read", row), step, row == history[-1]
        if slot is None:
            return
        for place, answers in enumerate(given):
            for reply in _bits(answers):
                if (step := self.drives.heard(slot, told, place, reply)) != idle:
                    yield ("hear", place, reply), step, True
        if (step := self.drives.ticked(slot, told)) != idle:
            yield ("tick",), step, True

    def _after(self, world: World, who: int, which: int, step: Stepped) -> World:
        """The state once a coordinator has made a step: its memory, what it sent, what it asked to be written."""
        to = list(world)
        memory = self.coordinators.values[world[4 + who]]
        if memory[which] != step.slot:
            memory = memory._replace(settlement=step.slot) if which == 0 else memory._replace(refund=step.slot)
            to[4 + who] = self.coordinators.of(memory)
        for place in range(self.count):
            to[AREAS_AT + place] = self._area_after(
                world[AREAS_AT + place], 2 * who + which, step.told[place], step.sent[place]
            )
        to[2] |= step.answered
        if step.writes:
            to[3] = self._with_writes(world, frozenset(step.writes))
        return tuple(to)

    def _area_after(self, code: int, column: int, told: int, sent: int) -> int:
        key = (code, column, told, sent)
        after = self._changed.get(key)
        if after is None:
            area = self.areas.values[code]
            columns = (*area.told[:column], told, *area.told[column + 1 :])
            changed = area._replace(sent=area.sent | sent, told=(columns[0], columns[1], columns[2], columns[3]))
            after = self._changed[key] = self.areas.of(changed)
        return after

    # The coordinator's database: rows, and the Writes that may still reach it.

    def _with_writes(self, world: World, more: frozenset[int]) -> int:
        asked = self.write_sets.of(self.write_sets.values[world[3]] | more)
        return self._still_able(world[0], world[1], asked)

    def _still_able(self, history: int, refunds: int, writes: int) -> int:
        """Without the Writes that can never win again: a row only moves forward."""
        key = (history, refunds, writes)
        able = self._living.get(key)
        if able is None:
            kept = [it for it in self.write_sets.values[writes] if self._written(history, refunds, it) is not None]
            able = self._living[key] = self.write_sets.of(frozenset(kept))
        return able

    def _written(self, history: int, refunds: int, number: int) -> tuple[int, int] | None:
        """Which of the two rows a Write moves, and to what; None if it changes nothing."""
        write = self.drives.writes.values[number]
        which = 0 if write.payment_id == PAYMENT_ID else 1
        versions = self.histories.values[(history, refunds)[which]]
        row = self.drives.rows.values[versions[-1]]
        after = bare_row(self.functions.write(row, write))
        return None if after == row else (which, self.drives.rows.of(after))

    def _of_database(self, world: World) -> Iterator[Taken]:
        for number in self.write_sets.values[world[3]]:
            moved = self._written(world[0], world[1], number)
            if moved is not None:
                yield Taken(("write", *moved), self._moved(world, *moved), is_helpful=True)
        versions = self.histories.values[world[0]]
        if not versions:
            number = self.drives.rows.of(self.settlement)
            yield Taken(("settle",), self._moved(world, 0, number), is_helpful=False)
            return
        row = self.drives.rows.values[versions[-1]]
        if row.state is State.TRYING and not row.overdue:
            number = self.drives.rows.of(replace(row, overdue=True))
            yield Taken(("deadline",), self._moved(world, 0, number), is_helpful=True)
        try:
            check_same_request(row, self.settlement.request_hash)
        except Failure:
            if not world[2] & TOLD_NOTHING:
                told = (*world[:2], world[2] | TOLD_NOTHING, *world[3:])
                yield Taken(("settle too late",), told, is_helpful=False)

    def _moved(self, world: World, which: int, row: int) -> World:
        to = list(world)
        versions = self.histories.values[world[which]]
        to[which] = self.histories.of((*versions, row))
        to[3] = self._still_able(to[0], to[1], world[3])
        return tuple(to)

    # Requests: each reads rows, perhaps old ones, and writes at most once.

    def _of_requests(self, world: World) -> Iterator[Taken]:
        known = self._requests.get((world[0], world[1]))
        if known is None:
            known = self._requests[world[0], world[1]] = [*self._reversals(world), *self._answers(world)]
        for name, which, row, told, writes in known:
            to = world if row < 0 else self._moved(world, which, row)
            to = (*to[:2], to[2] | told, *to[3:])
            if writes:
                to = (*to[:3], self._with_writes(to, writes), *to[4:])
            if to != world:
                yield Taken(name, to, is_helpful=False)

    def _reversals(self, world: World) -> Iterator[tuple[tuple[str | int, ...], int, int, int, frozenset[int]]]:
        """2601 by any version of the rows: (name, which row, the new row or -1, told, Writes asked for)."""
        rows = self.drives.rows
        versions, refunds = self.histories.values[world[0]], self.histories.values[world[1]]
        for seen in (-1, *dict.fromkeys(versions)):
            original = None if seen < 0 else rows.values[seen]
            for refund in (None, rows.values[refunds[-1]]) if refunds else (None,):
                name = ("reverse", seen)
                new = self.settlement if original is None else self.refund
                match self.functions.reverse(original, refund, new):
                    case Bury(tombstone) if not versions:
                        yield name, 0, rows.of(bare_row(tombstone)), TOLD_NOTHING, frozenset()
                    case GiveBack() if not refunds:
                        yield name, 1, rows.of(self.refund), 0, frozenset()
                    case AlreadyStopped():
                        yield name, 0, -1, TOLD_NOTHING, frozenset()
                    case Write() as write:
                        yield name, 0, -1, 0, frozenset({self.drives.writes.of(bare_write(write))})
                    case Bury() | GiveBack() | AlreadyGivenBack() | None:
                        pass  # The key is taken, or a refund lives: read and decided again. Or it is refused.
                if isinstance(self.functions.revoke(original, refund, self.refund), GiveBack) and not refunds:
                    yield ("revoke", seen), 1, rows.of(self.refund), 0, frozenset()

    def _answers(self, world: World) -> Iterator[tuple[tuple[str | int, ...], int, int, int, frozenset[int]]]:
        """A transfer's receiver says yes or no, by any version of the row; told as ``_reversals`` does."""
        for seen in dict.fromkeys(self.histories.values[world[0]]):
            row = self.drives.rows.values[seen]
            for name, vote, told in (
                ("accept", self.functions.accept, TOLD_PAID),
                ("decline", self.functions.decline, TOLD_NOTHING),
            ):
                step = vote(row)
                if isinstance(step, Write):
                    yield (name, seen), 0, -1, 0, frozenset({self.drives.writes.of(bare_write(step))})
                elif step is not None:
                    yield (name, seen), 0, -1, told, frozenset()

    def _of_inquiries(self, world: World) -> Iterator[Taken]:
        known = self._inquiries.get(world[0])
        if known is None:
            known = self._inquiries[world[0]] = list(self._inquired(world[0]))
        for place in range(self.count):
            code = world[AREAS_AT + place]
            area = self.areas.values[code]
            if self.shapes.values[area.shape].branch is not BranchState.HELD:
                continue
            for seen, is_present, order, write in known:
                if order is not None:
                    to = _with_area(world, place, self._area_after(code, 0, area.told[0], ORDER_BIT[order]))
                elif write is not None:
                    to = (*world[:3], self._with_writes(world, frozenset({write})), *world[4:])
                else:
                    continue
                if to != world:
                    yield Taken(("inquire", place, seen), to, is_present)

    def _inquired(self, history: int) -> Iterator[tuple[int, bool, Order | None, int | None]]:
        versions = self.histories.values[history]
        for seen in (-1, *dict.fromkeys(versions)):
            answer = self.functions.inquired(None if seen < 0 else self.drives.rows.values[seen])
            is_present = bool(versions) and seen == versions[-1]
            if isinstance(answer, Write):
                yield seen, is_present, None, self.drives.writes.of(bare_write(answer))
            else:
                yield seen, is_present, self._order_of_decision[answer], None

    @staticmethod
    def _orders_of_decisions() -> dict[Decision, Order | None]:
        """What each answer to an inquiry becomes at the ledger, over both wire files."""
        orders: dict[Decision, Order | None] = {}
        for decision in Decision:
            told = inquiry_answer([(PAYMENT_ID, decision, False)], epoch=1)
            [inquiry] = parse_inquiry(told, [PAYMENT_ID])
            if inquiry.command is None:
                orders[decision] = None
            else:
                orders[decision] = Order.CONFIRM if isinstance(inquiry.command, Confirm) else Order.CANCEL
        return orders

    # What is looked at in a state.

    def present(self, world: World, which: int) -> Payment | None:
        """The settlement's row (0) or the refund's (1) as it is durable now."""
        versions = self.histories.values[world[which]]
        return self.drives.rows.values[versions[-1]] if versions else None

    def shapes_in(self, world: World) -> list[Shape]:
        """How each ledger stands."""
        return [self.shapes.values[self.areas.values[code].shape] for code in world[AREAS_AT:]]

    def broken(self, world: World) -> str:
        """The first rule that does not hold here; empty if all do."""
        key = (*world[:3], world[FAMILY_AT], *(self.areas.values[code].shape for code in world[AREAS_AT:]))
        known = self._rules.get(key)
        if known is None:
            rows = self.present(world, 0), self.present(world, 1)
            known = self._rules[key] = self._broken_bond(world) or broken_rule(*rows, world[2], self.shapes_in(world))
        return known

    def binding_in(self, world: World) -> Binding | None:
        """The binding's row, if one is opened or ended."""
        if self.household is None:
            return None
        return self.household.rows[self.families.values[world[FAMILY_AT]].row]

    def _broken_bond(self, world: World) -> str:
        binding = self.binding_in(world)
        if binding is None:
            return ""
        family, shape = self.families.values[world[FAMILY_AT]], self.shapes_in(world)[self.bound_at]
        left = Left(shape.used_fen, shape.authorised_held_fen)
        stand = self.household.stands_elsewhere(family) if binding.moves and self.household else shape.authorisation
        return broken_bond(binding, stand, left, is_late=family.is_late)

    def outcome(self, world: World) -> str:
        """How the payment ended."""
        binding = self.binding_in(world)
        paid = outcome(self.present(world, 0), self.present(world, 1))
        return paid if binding is None else f"{paid}, {binding.state.value}"

    def is_quiet(self, world: World) -> bool:
        """Whether nothing is left to do and nothing is held."""
        binding = self.binding_in(world)
        if binding is not None and binding.awaits_ledger:
            return False
        return is_quiet(self.present(world, 0), self.present(world, 1), self.shapes_in(world))


def _with_area(world: World, place: int, code: int) -> World:
    return (*world[: AREAS_AT + place], code, *world[AREAS_AT + place + 1 :])


def _with_family(world: World, family: int) -> World:
    return (*world[:FAMILY_AT], family, *world[AREAS_AT:])


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
