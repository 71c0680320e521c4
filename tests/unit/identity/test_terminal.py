"""Terminals: registered, retired, and who is signed in until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kernel.clock import SHANGHAI
from kernel.failures import Failure
from kernel.ids import FixmedinsCode
from services.identity.domain.institution import Place, TerminalState
from services.identity.domain.terminal import (
    Terminal,
    changed,
    known,
    retired,
    sign_in_ends_at,
    signed_in,
    signed_out,
)

NOW = datetime(2026, 7, 1, 4, 30, tzinfo=UTC)
WINDOW = Terminal(FixmedinsCode("H65010000001"), "T1", "收费一窗口", version=3)
AT_WORK, SIGN_IN = signed_in(WINDOW, opter="li01", sign_no="S1", now=NOW)


def test_a_cashier_signs_in_once() -> None:
    """Again by the same cashier on the same day, the sign-in that stands is answered; nothing is told anew."""
    assert AT_WORK.version == 4
    assert signed_in(AT_WORK, opter="li01", sign_no="S2", now=NOW + timedelta(hours=11)) == (AT_WORK, SIGN_IN)


def test_a_night_shift_is_not_cut_off_by_what_the_cashier_forgot_the_day_before() -> None:
    """On the next day his sign-in is a new one: the old one would end at the first midnight."""
    evening = NOW + timedelta(hours=34)
    after, sign_in = signed_in(AT_WORK, opter="li01", sign_no="S2", now=evening)
    assert after.sign_in == sign_in
    assert (sign_in.sign_no, after.version) == ("S2", 5)
    assert sign_in.ends_at > evening + timedelta(hours=8)


def test_another_cashier_takes_the_terminal_over() -> None:
    """The new sign-in has a number of its own."""
    after, sign_in = signed_in(AT_WORK, opter="ma02", sign_no="S2", now=NOW)
    assert after.sign_in == sign_in
    assert (sign_in.sign_no, sign_in.opter, after.version) == ("S2", "ma02", 5)


@pytest.mark.parametrize(
    ("civil", "ends"),
    [
        ((2026, 7, 1, 0, 0), (2026, 7, 3)),
        ((2026, 7, 1, 12, 30), (2026, 7, 3)),
        ((2026, 7, 1, 23, 59), (2026, 7, 3)),
        ((2026, 12, 31, 23, 59), (2027, 1, 2)),
    ],
)
def test_a_sign_in_counts_on_its_day_and_the_next(
    civil: tuple[int, int, int, int, int], ends: tuple[int, int, int]
) -> None:
    """Civil days of Shanghai, whatever the machine's zone: at the midnight that ends the next day it is over."""
    year, month, day, hour, minute = civil
    now = datetime(year, month, day, hour, minute, tzinfo=SHANGHAI).astimezone(UTC)
    assert sign_in_ends_at(now) == datetime(*ends, tzinfo=SHANGHAI)
    _, sign_in = signed_in(WINDOW, opter="li01", sign_no="S1", now=now)
    assert (sign_in.signed_in_at, sign_in.ends_at) == (now, sign_in_ends_at(now))


def test_when_a_sign_in_is_over_the_same_cashier_gets_a_new_one() -> None:
    """It ended by itself; nobody needs to sign out first."""
    later = sign_in_ends_at(NOW)
    after, sign_in = signed_in(AT_WORK, opter="li01", sign_no="S2", now=later)
    assert after.sign_in == sign_in
    assert (sign_in.sign_no, sign_in.signed_in_at) == ("S2", later)


def test_signing_out_ends_ones_own_sign_in_alone() -> None:
    """The number of an earlier sign-in, or of nobody's, changes nothing."""
    out = signed_out(AT_WORK, sign_no="S1")
    assert (out.sign_in, out.version) == (None, 5)
    assert signed_out(out, sign_no="S1") is out
    assert signed_out(AT_WORK, sign_no="S0") is AT_WORK


def test_a_retired_terminal_has_nobody_and_takes_nobody_in() -> None:
    """Until it is registered again, under the same number."""
    out = retired(AT_WORK)
    assert (out.state, out.sign_in, out.version) == (TerminalState.RETIRED, None, 5)
    assert retired(out) is out
    with pytest.raises(Failure, match="TERMINAL_UNKNOWN"):
        signed_in(out, opter="li01", sign_no="S2", now=NOW)
    back = changed(out, WINDOW)
    assert (back.state, back.version) == (TerminalState.ACTIVE, 6)


def test_a_new_name_or_place_leaves_whoever_is_at_work_there() -> None:
    """Described anew, the terminal keeps its cashier; described as it is, it is the same and nothing is told."""
    moved = changed(AT_WORK, replace(WINDOW, place=Place(87_600_000, 43_800_000)))
    assert (moved.sign_in, moved.version) == (AT_WORK.sign_in, 5)
    assert changed(moved, replace(WINDOW, place=Place(87_600_000, 43_800_000))) is moved


def test_a_terminal_that_nobody_registered_is_unknown() -> None:
    """Asked for a terminal that is not on record, the rule refuses with TERMINAL_UNKNOWN."""
    with pytest.raises(Failure, match="TERMINAL_UNKNOWN"):
        known(None)
