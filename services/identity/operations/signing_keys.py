"""The keys that sign: made when needed, told to everyone, loaded into a ring."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

from chassis.db import Database
from kernel.clock import Clock
from kernel.randomness import Randomness
from services.identity.domain.credential import SigningKey
from services.identity.domain.sealing import NONCE_BYTES, Seals, WrongKeyError
from services.identity.domain.signing import KEY_LEAD, SEED_BYTES, HeldKey, KeyRing, key_id_of, needs_new_key, new_key
from services.identity.operations.drawn import new_bytes
from services.identity.operations.telling import tell
from services.identity.store import keys
from services.identity.wire.credentials import signing_key_activated

_KID_BITS: Final = 64
UNKNOWN_KEY_PAUSE_S: Final = 1.0
"""How often at most a key that nobody knows makes us look again, so that forgeries cost no statements."""


class SigningKeys:
    """The keys this replica signs and verifies with."""

    def __init__(
        self,
        *,
        database: Database,
        seals: Seals,
        lifetime: timedelta,
        token_lifetime: timedelta,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._database = database
        self._seals = seals
        self._lifetime = lifetime
        # A key signs until its successor does, KEY_LEAD after that one was made; what it signed last then lives on.
        self._overlap = 2 * (token_lifetime + KEY_LEAD)
        self._clock = clock
        self._randomness = randomness
        self._looked_at = float("-inf")
        self.ring = KeyRing(())

    async def refresh(self) -> None:
        """Makes a key if one is needed and takes over what other replicas made."""
        self._looked_at = asyncio.get_running_loop().time()
        self.ring = await current_ring(
            database=self._database,
            seals=self._seals,
            lifetime=self._lifetime,
            overlap=self._overlap,
            now=self._clock.now(),
            randomness=self._randomness,
        )

    async def ring_for(self, token: str) -> KeyRing:
        """The ring, looked up anew if it lacks the key of this token: another replica may have made it just now.

        CODE_MALFORMED (UNAUTHENTICATED) if the token names no key.
        """
        if not self.ring.holds_key_of(token):
            kid = key_id_of(token)
            if kid not in self.ring.kids and asyncio.get_running_loop().time() - self._looked_at >= UNKNOWN_KEY_PAUSE_S:
                await self.refresh()
        return self.ring

    def standing(self, *, now: datetime) -> list[SigningKey]:
        """The public halves of the keys whose signatures count now or will."""
        return [key for key in self.ring.public_keys if now < key.not_after]


async def check_secrets(*, database: Database, seals: Seals) -> None:
    """WrongKeyError if this database was written with other secrets: each certificate would find a second person."""
    async with database.transaction() as connection:
        differing = await keys.differing_secrets(connection, seals.fingerprints())
        if differing:
            raise WrongKeyError(f"this database was written with other secrets: {', '.join(differing)}")


async def current_ring(
    *,
    database: Database,
    seals: Seals,
    lifetime: timedelta,
    overlap: timedelta,
    now: datetime,
    randomness: Randomness,
) -> KeyRing:
    """All keys whose time is not over, after a new one was made and told if one was needed.

    Of replicas that find at once that one is needed, one makes it and the others wait and take it.
    """
    ring = await _held(database, seals, now)
    if not needs_new_key([key.public for key in ring], now=now, overlap=overlap):
        return KeyRing(ring)
    async with database.transaction() as connection:
        await keys.lock_keys(connection)
        held = [key for key, _ in await keys.load_keys(connection, now=now)]
        if needs_new_key(held, now=now, overlap=overlap):
            kid = f"{now:%Y%m%d}-{randomness.getrandbits(_KID_BITS):016x}"
            seed = new_bytes(randomness, SEED_BYTES)
            key = new_key(kid, seed=seed, held=held, now=now, lifetime=lifetime)
            sealed = seals.seal(seed, place=_place(kid), nonce=new_bytes(randomness, NONCE_BYTES))
            await keys.insert_key(connection, key.public, sealed, now=now)
            await tell(connection, [signing_key_activated(key.public)], now=now, randomness=randomness)
    return KeyRing(await _held(database, seals, now))


async def _held(database: Database, seals: Seals, now: datetime) -> list[HeldKey]:
    async with database.transaction() as connection:
        rows = await keys.load_keys(connection, now=now)
    return [HeldKey(public, seals.open(seed, place=_place(public.kid))) for public, seed in rows]


def _place(kid: str) -> str:
    return f"signing_keys/{kid}"
