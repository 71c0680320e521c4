"""The part of ``make model`` with two ledgers: the production saga and ledger, searched whole."""

from __future__ import annotations

import pytest

from tests.model.mutations import MUTATIONS, Mutation
from tests.model.run import TWO_LEDGERS, Configuration, caught, searched

STATES_MIN = {"2 ledgers, everyone can pay": 40_000, "2 ledgers, one refuses": 2_000}
"""Far fewer would mean that the model has lost a part of the world."""


@pytest.mark.parametrize("configuration", TWO_LEDGERS, ids=lambda it: it.name)
def test_no_rule_breaks_and_nothing_is_stuck_with_two_ledgers(configuration: Configuration) -> None:
    """In every state that two ledgers and two coordinators can reach, the rules hold and rest can be reached."""
    report = searched(configuration)
    assert (report.found, report.story) == ("", ())
    assert report.states >= STATES_MIN[configuration.name]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda it: it.name)
def test_a_fault_put_in_by_hand_is_caught(mutation: Mutation) -> None:
    """The search finds the harm that a broken rule does, and tells the way there."""
    report = caught(mutation)
    assert report.found
    assert report.story[-1].endswith(report.found)
