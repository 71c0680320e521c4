"""The seeded simulation of docs/simulation.md: a hundred seeds hold, one replays, and broken decisions are noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.fault.simulation.decisions import BROKEN, PRODUCTION
from tests.fault.simulation.run import Result, run
from tests.fault.simulation.scenario import scenario_of
from tests.fault.simulation.shrink import shrunk, story

ROOT: Final = Path(__file__).resolve().parents[2]
PAYMENTS: Final = 50
SEEDS: Final = 100
NOTICED_WITHIN: Final = 60
"""So many seeds may pass before a broken decision is noticed."""
SITUATIONS: Final = (
    "ACCEPT told ACCEPTED",
    "ACCEPT told PAYMENT_REVERSED",
    "ACCEPT told TRANSFER_DECLINED",
    "ACCEPT told TRANSFER_NOT_ACCEPTED_IN_TIME",
    "ASK told PAYMENT_IN_PROGRESS",
    "CANCEL BLOCKED",
    "CANCEL CANCELLED again",
    "CONFIRM CONFIRMED again",
    "CREDIT of a charge",
    "CREDIT of a hold, confirmed first",
    "DECLINE told DECLINED",
    "DECLINE told TRANSFER_ACCEPTED",
    "INQUIRE answered CANCEL",
    "INQUIRE answered CONFIRM",
    "REVERSE told REFUNDED",
    "REVERSE told REVOCATION_STANDS",
    "REVERSE told REVOKE_WINDOW_CLOSED",
    "REVERSE told STOPPED",
    "REVERSE told TRANSFER_ACCEPTED",
    "REVOKE told ALREADY_REVOKED",
    "REVOKE told PAYMENT_REVERSED",
    "REVOKE told REFUNDED",
    "SETTLE told KEY_REUSED_WITH_OTHER_CONTENT",
    "SETTLE told PATIENT_BUSY",
    "SETTLE told PAYMENT_REVERSED",
    "SETTLE told PLAN_STALE",
    "SETTLE told VOTE_DEADLINE_PASSED",
    "TRANSFER told INSUFFICIENT_FUNDS",
    "TRANSFER told PAYMENT_REVERSED",
    "TRANSFER told PENDING",
    "TRANSFER told VOTE_DEADLINE_PASSED",
    "TRY ACCOUNT_FROZEN",
    "TRY AUTHORISATION_NOT_OPEN",
    "TRY AUTHORISED_AMOUNT_EXCEEDED",
    "TRY HELD again",
    "TRY INSUFFICIENT_FUNDS",
    "TRY MONTH_LIMIT_EXCEEDED",
    "TRY PAYMENT_CANCELLED again",
    "TRY PAYMENT_LIMIT_EXCEEDED",
    "a write that lost its race",
)


@pytest.fixture(scope="module")
def lived() -> list[Result]:
    """A hundred seeds, lived through once for all tests."""
    return [run(scenario_of(seed, PAYMENTS)) for seed in range(SEEDS)]


def test_every_rule_holds_in_every_seed(lived: list[Result]) -> None:
    """No seed breaks an invariant, leaves anything held, or loses a fen."""
    failed = [result for result in lived if result.violation]
    assert not failed, story(shrunk(failed[0], PRODUCTION))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_seeds_reach_every_situation(lived: list[Result], situation: str) -> None:
    """What the rules are about does happen: a simulation that never gets there would prove nothing."""
    assert sum(result.seen[situation] for result in lived) > 0


def noticed(broken: str) -> Result:
    """The first seed's run in which this broken decision breaks a rule."""
    for seed in range(NOTICED_WITHIN):
        result = run(scenario_of(seed, PAYMENTS), BROKEN[broken])
        if result.violation:
            return result
    pytest.fail(f"{NOTICED_WITHIN} seeds passed, though the decision is broken: {broken}")


@pytest.mark.parametrize("broken", sorted(BROKEN))
def test_a_broken_decision_is_noticed(broken: str) -> None:
    """Within sixty seeds each broken decision breaks a rule."""
    assert noticed(broken).violation


def test_a_failing_seed_becomes_a_short_story_that_still_fails() -> None:
    """A late original after a reversal without a tombstone needs one bill only, and no other trouble to be seen."""
    failing = noticed("no-tombstone")
    smallest = shrunk(failing, BROKEN["no-tombstone"])
    assert smallest.violation.startswith("I7")
    assert len(smallest.scenario.operations) == 1
    assert run(smallest.scenario, BROKEN["no-tombstone"]).digest == smallest.digest
    assert run(smallest.scenario).violation == ""
    assert "SETTLE" in story(smallest)


def digest_of(seed: int, hash_seed: str) -> str:
    """What another process prints of a seed."""
    command = [sys.executable, "-m", "tests.fault.simulate", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)  # noqa: S603  Our own.
    return next(line for line in told.stdout.splitlines() if "digest" in line)


def test_a_seed_replays_exactly_in_another_process() -> None:
    """Neither the process, nor its hash seed, nor the clock on the wall changes what happens in a seed."""
    here = run(scenario_of(7, PAYMENTS)).digest
    first, second = digest_of(7, "1"), digest_of(7, "4711")
    assert first == second
    assert here in first
