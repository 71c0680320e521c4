"""What every face of identity works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chassis.db import Database
from chassis.rpc.interceptors import Context
from kernel.clock import Clock
from kernel.randomness import Randomness
from services.identity.domain.sealing import Seals
from services.identity.recovery import SigningKeys

NOBODY: Final = "unauthenticated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the calls work with."""

    database: Database
    seals: Seals
    keys: SigningKeys
    clock: Clock
    randomness: Randomness
    code_lifetime_s: int
    ec_token_lifetime: timedelta


def asked_by(_: Context) -> str:
    """Who asks, for the audit. Officers and services sign in with a later release; then their name stands here."""
    return NOBODY
