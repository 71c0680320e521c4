"""Named points at which a test may kill this process as ``kill -9`` would: before and after every commit and send.

A point that is not armed costs one comparison. ``GONGJI_FAULT_POINT`` arms one of them and is refused unless
``GONGJI_ENVIRONMENT`` is ``test``. Its form is ``name[#passage][+seconds]``: die at the given passage (the first by
default), or, at points that can wait, that much later. ``GONGJI_FAULT_FILE``, under the same condition, names a file
from which a running process takes such a spec when it gets SIGUSR1; it removes the file once the point is armed.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SPEC_PATTERN: Final = re.compile(
    r"(?P<name>[a-z]+(?:[._][a-z]+)*)(?:#(?P<passage>[1-9][0-9]{0,5}))?(?:\+(?P<delay_s>[0-9]{1,3}(?:\.[0-9]{1,3})?))?"
)


@dataclass(slots=True)
class _Armed:
    name: str
    passages_left: int
    delay_s: float


_armed: _Armed | None = None


def arm(spec: str | None) -> None:
    """Arms the point of a checked spec, or none. Only ``process`` calls this, from settings that have been checked."""
    global _armed  # noqa: PLW0603  A process dies as a whole, so what kills it belongs to the whole process.
    if spec is None:
        _armed = None
        return
    found = SPEC_PATTERN.fullmatch(spec)
    if found is None:
        raise ValueError("a fault point reads name[#passage][+seconds]")
    _armed = _Armed(found["name"], int(found["passage"] or 1), float(found["delay_s"] or 0))


def arm_from(file: Path) -> None:
    """Arms the point that the file names, for the next passages, and removes the file: so the test knows of it."""
    arm(file.read_text(encoding="utf-8").strip())
    file.unlink()


def fault_point(name: str) -> None:
    """Here the process dies if this point is armed and this is the passage that was asked for."""
    if _armed is not None and _armed.name == name:
        _armed.passages_left -= 1
        if _armed.passages_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def awaited_fault_point(name: str) -> None:
    """As ``fault_point``, where the work may first wait: other work of the process goes on until it dies."""
    if _armed is not None and _armed.name == name and _armed.passages_left == 1 and _armed.delay_s:
        await asyncio.sleep(_armed.delay_s)
    fault_point(name)
