"""PINs: what proves one costs tens of milliseconds of CPU, so it is made beside the event loop, few at a time."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

from kernel.failures import Failure, Kind
from services.identity.domain.card import Pin, pin_of
from services.identity.domain.sealing import Seals

AT_ONCE_MAX: Final = 2
"""More would take the processor, and 16 MiB each, from codes, which everybody else shows."""
WAITING_MAX: Final = 64


class Pins:
    """Makes what is kept of PINs; one for each replica."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals
        self._places = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0

    async def made(self, card_id: UUID, pin: str, *, salt: bytes) -> Pin:
        """What is kept of this PIN; UNAVAILABLE PIN_PEPPER_MISSING, SERVICE_BUSY where too many wait already."""
        if self._waiting >= WAITING_MAX:
            raise Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")
        self._waiting += 1
        try:
            async with self._places:
                # OpenSSL leaves the interpreter alone while it works, so the event loop goes on meanwhile.
                return await asyncio.to_thread(pin_of, card_id, pin, salt=salt, pepper=self._seals.peppered)
        finally:
            self._waiting -= 1
