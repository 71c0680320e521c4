"""What the ledgers' branches prove of a payment whose decision the coordinator has lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.settlement.domain.payment import Key
from services.settlement.saga.payment import State
from services.settlement.saga.restoring import UNCLEAR, Found, Standing, Verdict, is_unclear, verdict_of
from tests.unit.saga.dialogue import SETTLE_KEY, settlement

HELD, CONFIRMED, NONE, LOST = Found.HELD, Found.CONFIRMED, Found.NONE, Found.LOST


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([CONFIRMED, HELD], Verdict.COMMIT),
        ([CONFIRMED, LOST], Verdict.COMMIT),
        ([CONFIRMED, NONE], Verdict.COMMIT),
        ([HELD, HELD], Verdict.UNCLEAR),
        ([HELD, LOST], Verdict.UNCLEAR),
        ([HELD, NONE], Verdict.ABORT),
        ([HELD, Found.REFUSED], Verdict.ABORT),
        ([HELD, Found.BLOCKED], Verdict.ABORT),
        ([Found.CANCELLED, LOST], Verdict.ABORT),
        ([CONFIRMED, Found.CANCELLED], Verdict.CONTRADICTION),
        ([CONFIRMED, Found.REFUSED], Verdict.CONTRADICTION),
    ],
)
def test_only_what_a_ledger_proves_is_decided(found: list[Found], verdict: Verdict) -> None:
    """Confirmed anywhere was committed; let go anywhere was never paid; held wherever it is known is a person's."""
    assert verdict_of(found) is verdict
    assert verdict_of(found[::-1]) is verdict


def test_an_unclear_settlement_is_one_that_was_put_aside_and_is_not_decided_yet() -> None:
    """Any other quarantine goes on being driven, and so does one that was decided since."""
    undecided = settlement(State.TRYING)
    assert not is_unclear(undecided)
    put_aside = replace(undecided, quarantine=UNCLEAR)
    assert is_unclear(put_aside)
    assert not is_unclear(replace(put_aside, state=State.ABORTED))


def test_a_request_of_before_the_restore_is_told_from_one_of_after_it_by_its_msgid() -> None:
    """Without a restore nothing predates anything."""
    made_at = datetime(2026, 6, 1, 4, 0, tzinfo=UTC)
    key = Key(SETTLE_KEY.fixmedins_code, "2207", f"{SETTLE_KEY.fixmedins_code}202606011200000001")
    assert not Standing(1).predates(key)
    assert Standing(2, restored_until=made_at + timedelta(seconds=1)).predates(key)
    assert not Standing(2, restored_until=made_at - timedelta(seconds=1)).predates(key)
