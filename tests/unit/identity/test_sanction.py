"""Sanctions: their term, their end, and when two are one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import SHANGHAI
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.sanction import (
    Appeal,
    AppealState,
    Decision,
    Sanction,
    Sanctioned,
    SanctionRecord,
    SanctionState,
    check_appeal,
    check_begin,
    check_term,
    decided,
    freed,
    lifted,
    months_after,
    same_appeal,
    same_decision,
)
from tests.unit.identity.refusals import NONE, reason_of

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
SANCTION = Sanction(UUID(int=1), NOW, NOW + timedelta(days=120), "第41条", "疆医保罚〔2026〕3号", "乌鲁木齐市医保局")
RECORD = SanctionRecord(SANCTION, Sanctioned(psn_no=PsnNo("650100000000001")), NOW, "zhang01")
APPEAL = Appeal(UUID(int=5), SANCTION.sanction_id, "乌府复〔2026〕7号", date(2026, 7, 1), "zhang01", NOW)
GRANTED = Decision(AppealState.GRANTED, "乌府复决〔2026〕7号", "证据不足", "li02", NOW)


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


def test_what_a_sanction_is_follows_from_the_instant() -> None:
    """To come, in force from its first instant, over from its last on, and lifted whenever it was lifted."""
    assert [
        SANCTION.state(NOW - timedelta(seconds=1)),
        SANCTION.state(NOW),
        SANCTION.state(SANCTION.to_at - timedelta(seconds=1)),
        SANCTION.state(SANCTION.to_at),
        lifted(SANCTION, now=NOW).state(SANCTION.to_at),
    ] == [
        SanctionState.TO_COME,
        SanctionState.IN_FORCE,
        SanctionState.IN_FORCE,
        SanctionState.OVER,
        SanctionState.LIFTED,
    ]


@pytest.mark.parametrize(
    ("begin", "allowed"),
    [
        (NOW - timedelta(days=30), True),
        (NOW - timedelta(days=30, seconds=1), False),
        (NOW, True),
        (datetime(2027, 7, 1, 4, tzinfo=UTC), True),
        (datetime(2027, 7, 1, 5, tzinfo=UTC), False),
    ],
)
def test_a_sanction_begins_near_the_day_on_which_it_is_typed_in(begin: datetime, *, allowed: bool) -> None:
    """At most 30 days before and 12 calendar months after."""
    try:
        check_begin(begin, now=NOW)
    except Failure as failure:
        assert failure.reason == "SANCTION_FROM_OUT_OF_RANGE"  # noqa: PT017  Either outcome may be the right one.
        assert not allowed
    else:
        assert allowed


@pytest.mark.parametrize(
    ("appeal", "record", "refused"),
    [
        (APPEAL, RECORD, None),
        (replace(APPEAL, filed_on=date(2026, 6, 30)), RECORD, (Kind.INVALID, "APPEAL_DATE_WRONG")),
        (replace(APPEAL, filed_on=date(2026, 7, 2)), RECORD, (Kind.INVALID, "APPEAL_DATE_WRONG")),
        (
            replace(APPEAL, filed_on=date(2026, 6, 30)),
            replace(RECORD, sanction=replace(SANCTION, from_at=NOW - timedelta(days=3))),
            None,
        ),
        (
            APPEAL,
            replace(RECORD, sanction=lifted(SANCTION, now=NOW), appeals=(APPEAL,)),
            (Kind.PRECONDITION, "SANCTION_LIFTED"),
        ),
        (APPEAL, replace(RECORD, appeals=(APPEAL,)), (Kind.EXISTS, "APPEAL_PENDING")),
        (APPEAL, replace(RECORD, appeals=(decided(APPEAL, replace(GRANTED, state=AppealState.UPHELD)),)), None),
    ],
)
def test_an_appeal_is_filed_after_the_sanction_and_one_at_a_time(
    appeal: Appeal, record: SanctionRecord, refused: tuple[Kind, str] | None
) -> None:
    """Not before there was a sanction, not tomorrow, not against one that was lifted, not beside one that waits."""
    try:
        check_appeal(appeal, record, now=NOW)
    except Failure as failure:
        assert (failure.kind, failure.reason) == refused  # noqa: PT017  Either outcome may be the right one.
    else:
        assert refused is None


def test_an_appeal_may_be_filed_against_a_sanction_that_is_over() -> None:
    """Whoever was sanctioned may clear his name afterwards."""
    after = SANCTION.to_at + timedelta(days=1)
    assert reason_of(lambda: check_appeal(replace(APPEAL, filed_on=date(2026, 7, 2)), RECORD, now=after)) == NONE


def test_an_appeal_told_twice_is_one() -> None:
    """Who typed it in, and when, does not matter; what it is against, its number and its date do."""
    again = replace(APPEAL, appeal_id=UUID(int=6), filed_by="li02", recorded_at=NOW + timedelta(days=1))
    assert same_appeal(APPEAL, decided(again, GRANTED))
    assert not same_appeal(APPEAL, replace(again, sanction_id=UUID(int=9)))
    assert not same_appeal(APPEAL, replace(again, filed_on=date(2026, 7, 2)))


def test_an_appeal_is_decided_once() -> None:
    """The same decision again changes nothing; another state or another paper is refused."""
    settled = decided(APPEAL, GRANTED)
    assert (APPEAL.state, settled.state) == (AppealState.FILED, AppealState.GRANTED)
    assert decided(settled, replace(GRANTED, opter="wang03", decided_at=NOW + timedelta(days=1))) is settled
    for other in (replace(GRANTED, state=AppealState.UPHELD), replace(GRANTED, decision_no="8号")):
        with pytest.raises(Failure) as refused:
            decided(settled, other)
        assert refused.value == Failure(Kind.PRECONDITION, "APPEAL_DECIDED", state="GRANTED")


def test_a_granted_appeal_lifts_what_still_stands() -> None:
    """A sanction in force ends at once; one that ran out, or was lifted before, stays as it is."""
    assert freed(SANCTION, now=NOW).lifted_at == NOW
    assert freed(SANCTION, now=SANCTION.to_at) is SANCTION
    earlier = lifted(SANCTION, now=NOW)
    assert freed(earlier, now=NOW + timedelta(days=1)) is earlier
