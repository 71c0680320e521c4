"""Until when a settlement may be taken back: each rule at both of its edges, by Shanghai's calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kernel.policy import RevokeWindow
from services.settlement.domain.payment import Window, may_take_back

MOMENT = timedelta(microseconds=1)
PAID = datetime(2026, 11, 15, 3, 0, tzinfo=UTC)
"""11:00 in Shanghai."""


@pytest.mark.parametrize(
    ("rule", "end"),
    [
        (RevokeWindow.SAME_DAY, datetime(2026, 11, 15, 16, tzinfo=UTC)),
        (RevokeWindow.SAME_MONTH, datetime(2026, 11, 30, 16, tzinfo=UTC)),
        (RevokeWindow.SAME_YEAR, datetime(2026, 12, 31, 16, tzinfo=UTC)),
        (RevokeWindow.SAME_YEAR_BEFORE_CLEARING, datetime(2026, 12, 31, 16, tzinfo=UTC)),
    ],
)
def test_a_window_ends_at_midnight_in_shanghai(rule: RevokeWindow, end: datetime) -> None:
    """The last moment counts, the next does not."""
    assert may_take_back(PAID, end - MOMENT, Window(rule))
    assert not may_take_back(PAID, end, Window(rule))


@pytest.mark.parametrize("rule", list(RevokeWindow))
def test_clearing_ends_the_one_window_that_names_it(rule: RevokeWindow) -> None:
    """The others let a later period give back what this one has counted."""
    expected = rule is not RevokeWindow.SAME_YEAR_BEFORE_CLEARING
    assert may_take_back(PAID, PAID, Window(rule, is_cleared=True)) is expected
