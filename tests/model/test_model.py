"""The part of ``make model`` with one and two ledgers: the production saga, ledger and bindings, searched whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.functions import PRODUCTION
from tests.model.ledgers import Money
from tests.model.mutations import MUTATIONS, Mutation
from tests.model.run import ENDINGS, TRANSFERS, TWO_LEDGERS, Configuration, caught, searched
from tests.model.world import Model, World

STATES_MIN = {
    "2 ledgers, everyone can pay": 40_000,
    "2 ledgers, one refuses": 2_000,
    "2 ledgers, a transfer": 20_000,
    "2 ledgers, a transfer not covered": 2_000,
    "1 ledger, a binding ends": 50_000,
    "1 ledger, a binding opens and ends": 100_000,
}
"""Far fewer would mean that the model has lost a part of the world."""
_OF_A_BILL = {"never asked for", "reversed before it came", "nothing taken", "paid", "paid and given back"}
_OF_A_BINDING = {f"{bill}, {binding}" for bill in _OF_A_BILL for binding in ("ACTIVE", "UNBOUND", "SUSPENDED")}
OUTCOMES = {
    "2 ledgers, everyone can pay": _OF_A_BILL,
    "2 ledgers, one refuses": {"never asked for", "reversed before it came", "nothing taken"},
    "2 ledgers, a transfer": {"never asked for", "reversed before it came", "returned", "accepted"},
    "2 ledgers, a transfer not covered": {"never asked for", "reversed before it came", "returned"},
    "1 ledger, a binding ends": _OF_A_BINDING,
    "1 ledger, a binding opens and ends": _OF_A_BINDING,
}
"""How a payment can end; an end that is never reached would prove nothing."""


@pytest.mark.parametrize("configuration", [*TWO_LEDGERS, *TRANSFERS], ids=lambda it: it.name)
def test_no_rule_breaks_and_nothing_is_stuck_with_two_ledgers(configuration: Configuration) -> None:
    """In every state that two ledgers and two coordinators can reach, the rules hold and rest can be reached."""
    report = searched(configuration)
    assert (report.found, report.story) == ("", ())
    assert report.states >= STATES_MIN[configuration.name]
    assert set(report.rests) == OUTCOMES[configuration.name]


@pytest.mark.parametrize("configuration", ENDINGS, ids=lambda it: it.name)
def test_a_bill_has_a_funders_money_or_is_refused_never_after_the_binding_ended(configuration: Configuration) -> None:
    """However a bill meets its binding's opening or end, no hold begins after the end and none is lost."""
    report = searched(configuration)
    assert (report.found, report.story) == ("", ())
    assert report.states >= STATES_MIN[configuration.name]
    assert set(report.rests) == OUTCOMES[configuration.name]


def test_states_that_count_as_one_differ_in_names_alone() -> None:
    """Searched without exchanging coordinators or equal ledgers, no state appears that the search has not seen."""
    model = Model((Money.SHORT, Money.SHORT), PRODUCTION)
    reduced = _reached(model, model.canonical)
    whole = _reached(model, lambda world: world)
    assert {model.canonical(world) for world in whole} == reduced
    assert len(whole) > 3 * len(reduced)


def _reached(model: Model, one_for_all: Callable[[World], World]) -> set[World]:
    start = one_for_all(model.start())
    seen, waiting = {start}, [start]
    while waiting:
        for step in model.steps(waiting.pop()):
            world = one_for_all(step.to)
            if world not in seen:
                seen.add(world)
                waiting.append(world)
    return seen


def test_a_fault_that_does_no_harm_is_not_called_caught() -> None:
    """What fails the run is a fault without a finding: production's own functions as a fault have none."""
    assert not caught(Mutation("none", "", PRODUCTION, needs_refusal=True)).found


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda it: it.name)
def test_a_fault_put_in_by_hand_is_caught(mutation: Mutation) -> None:
    """The search finds the harm that a broken rule does, and tells the way there."""
    report = caught(mutation)
    assert report.found
    assert report.story[-1].endswith(report.found)
