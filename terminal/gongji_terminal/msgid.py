"""The msgid (发送方报文ID): institution (12) + yyyyMMddHHmmss + two digits of the terminal + two running digits.

It is the request's key together with infno, made and stored before the request is sent the first time.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Final

SHANGHAI: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
TERMINAL_MAX: Final = 99
RUNNING_MAX: Final = 99
AHEAD_MAX: Final = timedelta(minutes=10)
"""A msgid further ahead than this is refused by the service (protocol rule 6)."""
_INSTITUTION: Final = re.compile(r"[HP][1-9][0-9]{10}")
_INSTITUTION_LENGTH: Final = 12
_TIME_END: Final = 26
_TIME_FORMAT: Final = "%Y%m%d%H%M%S"


def next_msgid(fixmedins_code: str, terminal: int, *, now: datetime, last: str | None = None) -> str:
    """A msgid that this terminal has never used, given the ``last`` one it made.

    Its time is ``now`` in Asia/Shanghai, or ``last``'s where the clock stands still or was set back; when a second's
    hundred is used up, the next second's begins. ValueError if the code or the terminal's number has the wrong form.
    """
    if not _INSTITUTION.fullmatch(fixmedins_code) or not 0 <= terminal <= TERMINAL_MAX:
        raise ValueError("a msgid needs an institution's code (H or P and 11 digits) and a terminal number of 0 to 99")
    second, running = now.astimezone(SHANGHAI).replace(microsecond=0), 0
    if last is not None:
        last_second = datetime.strptime(last[_INSTITUTION_LENGTH:_TIME_END], _TIME_FORMAT).replace(tzinfo=SHANGHAI)
        if last_second >= second:
            second, running = last_second, int(last[-2:]) + 1
        if running > RUNNING_MAX:
            second, running = second + timedelta(seconds=1), 0
    return f"{fixmedins_code}{second.strftime(_TIME_FORMAT)}{terminal:02d}{running:02d}"


def last_that_counts(fixmedins_code: str, *, now: datetime) -> str:
    """The greatest msgid that the service may take now.

    What a terminal made beyond it, by a clock that was set far ahead and is right again, was refused for good: counting
    on from there would be refused until that time has come.
    """
    return f"{fixmedins_code}{(now + AHEAD_MAX).astimezone(SHANGHAI).strftime(_TIME_FORMAT)}{TERMINAL_MAX}{RUNNING_MAX}"
