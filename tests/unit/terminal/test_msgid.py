"""The msgid: unique for a terminal whatever its clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gongji_terminal.msgid import next_msgid
from kernel.ids import parsed_msgid

HOSPITAL: Final = "H65010000001"
NOW: Final = datetime(2026, 11, 21, 16, 30, 5, tzinfo=UTC)


def test_a_msgid_is_institution_time_terminal_and_running_digits() -> None:
    """Twelve characters of the institution, the time of Asia/Shanghai, 07, 00."""
    assert next_msgid(HOSPITAL, 7, now=NOW) == "H65010000001" + "20261122003005" + "07" + "00"


def test_within_a_second_the_last_digits_run() -> None:
    """The second request of a second is 01."""
    first = next_msgid(HOSPITAL, 7, now=NOW)
    assert next_msgid(HOSPITAL, 7, now=NOW, last=first) == first[:-2] + "01"


def test_after_the_hundredth_the_next_second_begins() -> None:
    """A second has room for a hundred; one more takes the next second, so no msgid is used twice."""
    last = "H65010000001" + "20261122003005" + "07" + "99"
    assert next_msgid(HOSPITAL, 7, now=NOW, last=last) == "H65010000001" + "20261122003006" + "0700"


@given(st.lists(st.integers(-120, 120), min_size=1, max_size=300))
def test_no_clock_makes_a_terminal_repeat_itself(steps_s: list[int]) -> None:
    """However the clock jumps, each msgid is later than the one before, and the service can read it."""
    last = None
    now = NOW
    for step_s in steps_s:
        now += timedelta(seconds=step_s)
        made = next_msgid(HOSPITAL, 7, now=now, last=last)
        assert parsed_msgid(made).fixmedins_code == HOSPITAL
        assert last is None or made > last
        last = made


@pytest.mark.parametrize(("code", "number"), [("X65010000001", 1), ("H6501000001", 1), (HOSPITAL, 100), (HOSPITAL, -1)])
def test_a_wrong_institution_or_terminal_number_is_refused_at_once(code: str, number: int) -> None:
    """A msgid that the service would refuse is not made."""
    with pytest.raises(ValueError, match="msgid"):
        next_msgid(code, number, now=NOW)
