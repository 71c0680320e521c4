"""What every face of identity works with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from chassis.db import Database
from chassis.rpc.client import CALLER
from chassis.rpc.interceptors import Context, header
from kernel.callers import parsed_caller
from kernel.clock import Clock
from kernel.randomness import Randomness
from services.identity.domain.lookup import check_names_nobody
from services.identity.domain.sealing import Seals
from services.identity.operations.signing_keys import SigningKeys

NOBODY: Final = "unauthenticated"
CALLERS_KNOWN_MAX: Final = 4_096
"""Of so many the form was checked before: the desks and rooms that one replica serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the calls work with."""

    database: Database
    seals: Seals
    keys: SigningKeys
    clock: Clock
    randomness: Randomness
    code_lifetime_s: int
    sandbox_verifiers: bool = False
    """Whether verifiers that vouch for whoever asks count."""


def check_caller(context: Context) -> None:
    """What the room's server asks of every call, whether or not it is kept who asks.

    CALLER_MALFORMED (INVALID) if what the caller declares in ``gongji-caller`` has no known form, or an ID number
    stands where a number of another kind belongs.
    """
    declared = header(context, CALLER)
    if declared is not None:
        _check_declared(declared)


@lru_cache(CALLERS_KNOWN_MAX)
def _check_declared(caller: str) -> None:
    """The same few callers call all day; a refusal is not kept."""
    check_names_nobody(parsed_caller(caller))


def asked_by(context: Context) -> str:
    """Who asks, for the audit: what the caller declares (checked by ``check_caller``), or that he declared nothing.

    Whether it is true nobody checks; the audit marks it as declared until officers and services sign in.
    """
    return header(context, CALLER) or NOBODY
