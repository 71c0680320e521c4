"""How the commands that mend a system run: what stops them is told, and then nothing more was done than was said."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from ops.consent import NotAgreedError
from ops.options import give_up

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """What the work gives; ends the command where it cannot be done, or nobody agreed to it."""
    from ops.sources import CannotMendError  # noqa: PLC0415  So that every other command starts without it.

    try:
        return asyncio.run(work)
    except (CannotMendError, NotAgreedError) as problem:
        give_up(problem)
