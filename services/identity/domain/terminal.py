"""终端: registered with an institution, signed in (签到 9001) and out (签退 9002) by whoever works there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from enum import Enum
from typing import Final

from kernel.clock import SHANGHAI
from kernel.ids import FixmedinsCode
from services.identity.domain.institution import Place, TerminalState, terminal_unknown

SIGN_IN_DAYS: Final = 2
"""A sign-in counts on its own civil day and the next: a shift that goes on past midnight is not cut off, and one that
nobody ended is over before the shift after the next."""


class SignEnd(Enum):
    """How a sign-in ended before its time; the value is what the database keeps."""

    SIGNED_OUT = "SIGNED_OUT"
    REPLACED = "REPLACED"  # Another cashier signed in.
    RETIRED = "RETIRED"  # The terminal went out of service.


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who works at a terminal; it counts from ``signed_in_at`` until just before ``ends_at``."""

    sign_no: str
    opter: str
    signed_in_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal; ``version`` counts the changes told to others, from 1. ``sign_in`` is the last, unless ended."""

    fixmedins_code: FixmedinsCode
    terminal_no: str
    terminal_name: str
    place: Place | None = None
    state: TerminalState = TerminalState.ACTIVE
    sign_in: SignIn | None = None
    version: int = 1


def known(terminal: Terminal | None) -> Terminal:
    """The terminal; TERMINAL_UNKNOWN (NOT_FOUND) if there is none."""
    if terminal is None:
        raise terminal_unknown()
    return terminal


def changed(terminal: Terminal, wanted: Terminal) -> Terminal:
    """The terminal in service, named and placed as wanted; the same one if it is so already."""
    wanted = replace(wanted, sign_in=terminal.sign_in, state=TerminalState.ACTIVE, version=terminal.version)
    return terminal if wanted == terminal else replace(wanted, version=terminal.version + 1)


def retired(terminal: Terminal) -> Terminal:
    """The terminal out of service, with nobody signed in; the same one if it is so already."""
    if terminal.state is TerminalState.RETIRED:
        return terminal
    return replace(terminal, state=TerminalState.RETIRED, sign_in=None, version=terminal.version + 1)


def signed_in(terminal: Terminal, *, opter: str, sign_no: str, now: datetime) -> tuple[Terminal, SignIn]:
    """The terminal with this cashier at work, and his sign-in; both as they were if he did so this very day.

    On the next day his earlier sign-in still counts, but would end in the middle of a night shift: a new one takes its
    place. TERMINAL_UNKNOWN (NOT_FOUND) if it is out of service.
    """
    if terminal.state is not TerminalState.ACTIVE:
        raise terminal_unknown()
    standing, ends_at = terminal.sign_in, sign_in_ends_at(now)
    if standing is not None and standing.opter == opter and standing.ends_at >= ends_at:
        return terminal, standing
    sign_in = SignIn(sign_no, opter, now, ends_at)
    return replace(terminal, sign_in=sign_in, version=terminal.version + 1), sign_in


def signed_out(terminal: Terminal, *, sign_no: str) -> Terminal:
    """The terminal without this sign-in; the same one if it is another's by now, or nobody's."""
    if terminal.sign_in is None or terminal.sign_in.sign_no != sign_no:
        return terminal
    return replace(terminal, sign_in=None, version=terminal.version + 1)


def sign_in_ends_at(now: datetime) -> datetime:
    """Midnight in Asia/Shanghai at the end of the civil day after this one."""
    midnight = datetime.combine(now.astimezone(SHANGHAI).date(), time.min, SHANGHAI)
    return midnight + timedelta(days=SIGN_IN_DAYS)
