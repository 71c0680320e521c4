"""Sanctions: their term, their end, and when two are one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import SHANGHAI
from kernel.failures import Failure, Kind
from services.identity.domain.sanction import Sanction, check_term, lifted, months_after, same_decision

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
SANCTION = Sanction(UUID(int=1), NOW, NOW + timedelta(days=120), "第41条", "疆医保罚〔2026〕3号", "乌鲁木齐市医保局")


def civil(text: str) -> datetime:
    """An instant told in civil time."""
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


@pytest.mark.parametrize(
    ("begin", "end", "allowed"),
    [
        ("2026-01-15T00:00", "2026-04-15T00:00", True),
        ("2026-01-15T00:00", "2026-04-14T23:59", False),
        ("2026-01-15T00:00", "2027-01-15T00:00", True),
        ("2026-01-15T00:00", "2027-01-15T00:01", False),
        ("2025-11-30T00:00", "2026-02-28T00:00", True),
        ("2025-11-30T00:00", "2026-02-27T00:00", False),
        ("2024-02-29T00:00", "2025-02-28T00:00", True),
        ("2024-02-29T00:00", "2025-03-01T00:00", False),
        ("2026-01-15T00:00", "2026-01-15T00:00", False),
        ("2026-01-15T00:00", "2025-06-15T00:00", False),
    ],
)
def test_a_sanction_lasts_three_to_twelve_months(begin: str, end: str, *, allowed: bool) -> None:
    """Months are counted by the calendar in civil time, both ends allowed (条例 art. 41)."""
    try:
        check_term(civil(begin), civil(end))
    except Failure as failure:
        assert failure.reason == "SANCTION_TERM_OUT_OF_RANGE"  # noqa: PT017  Either outcome may be the right one.
        assert not allowed
    else:
        assert allowed


def test_months_are_counted_in_civil_time() -> None:
    """The last evening of a month in UTC is the first morning of the next in Shanghai."""
    assert months_after(datetime(2026, 1, 31, 17, tzinfo=UTC), 1) == civil("2026-03-01T01:00")


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(0, 24))  # noqa: DTZ001  Given its zone below.
def test_months_after_lands_in_the_month_that_is_meant(instant: datetime, months: int) -> None:
    """So many months on, it is that month, and the day is the same or the month's last."""
    begin = instant.replace(tzinfo=SHANGHAI)
    end = months_after(begin, months)
    assert (end.year * 12 + end.month) - (begin.year * 12 + begin.month) == months
    assert end.day == begin.day or (end + timedelta(days=1)).day == 1
    assert end.timetz() == begin.timetz()


def test_a_lifted_sanction_stands_no_more() -> None:
    """Lifting ends a sanction; lifting again changes nothing."""
    assert SANCTION.stands(NOW)
    freed = lifted(SANCTION, now=NOW)
    assert not freed.stands(NOW)
    assert lifted(freed, now=NOW + timedelta(days=1)) is freed


def test_a_sanction_that_ran_out_cannot_be_lifted() -> None:
    """From its last instant on, a sanction is over by itself."""
    with pytest.raises(Failure) as refused:
        lifted(SANCTION, now=SANCTION.to_at)
    assert refused.value == Failure(Kind.PRECONDITION, "SANCTION_OVER")


def test_a_decision_told_twice_is_one() -> None:
    """The id does not matter, everything else does."""
    again = Sanction(UUID(int=2), SANCTION.from_at, SANCTION.to_at, "第41条", SANCTION.decision_no, SANCTION.organ)
    other = Sanction(UUID(int=2), SANCTION.from_at, SANCTION.to_at, "第40条", SANCTION.decision_no, SANCTION.organ)
    assert same_decision(SANCTION, again)
    assert not same_decision(SANCTION, other)
