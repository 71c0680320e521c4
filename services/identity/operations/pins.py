"""PINs: what proves one costs tens of milliseconds of CPU, so it is made beside the event loop, few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from uuid import UUID

from kernel.failures import Failure, Kind
from services.identity.domain.card import Pin, pin_of
from services.identity.domain.sealing import Seals

AT_ONCE_MAX: Final = 2
"""More would take the processor, and 16 MiB each, from codes, which everybody else shows."""
WAITING_MAX: Final = 64

Make: TypeAlias = Callable[[UUID, str, bytes], Awaitable[Pin]]
"""What is kept of a PIN, out of the card's id, the PIN and a salt."""


class Pins:
    """Makes what is kept of PINs; one for each replica."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0

    async def made(self, card_id: UUID, pin: str, *, salt: bytes) -> Pin:
        """What is kept of this PIN; refusals as ``turn``."""
        async with self.turn() as make:
            return await make(card_id, pin, salt)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Make]:
        """The turn to have a PIN looked at: what it gives makes what is kept of one. A try begins when it has come.

        UNAVAILABLE SERVICE_BUSY where too many wait already, PIN_PEPPER_MISSING.
        """
        if self._waiting >= WAITING_MAX:
            raise Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")
        self._seals.check_pins()
        self._waiting += 1
        try:
            async with self._turns:
                yield self._make
        finally:
            self._waiting -= 1

    async def _make(self, card_id: UUID, pin: str, salt: bytes) -> Pin:
        # OpenSSL leaves the interpreter alone while it works, so the event loop goes on meanwhile.
        return await asyncio.to_thread(pin_of, card_id, pin, salt=salt, pepper=self._seals.peppered)
