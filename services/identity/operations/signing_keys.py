"""The keys that sign: made when needed, told to everyone, loaded into a ring."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import telemetry
from chassis.db import Database
from kernel.clock import Clock
from kernel.failures import Failure, Kind
from kernel.randomness import Randomness
from services.identity.domain.credential import SigningKey
from services.identity.domain.sealing import NONCE_BYTES, Seals, WrongKeyError
from services.identity.domain.signing import (
    KEY_LEAD,
    SEED_BYTES,
    HeldKey,
    KeyRing,
    ended_key,
    key_id_of,
    lacks_signer,
    needs_new_key,
    new_key,
)
from services.identity.operations.drawn import new_bytes
from services.identity.operations.telling import tell
from services.identity.store import keys
from services.identity.wire.credentials import signing_key_activated, signing_key_ended

_log = telemetry.logger("signing_keys")

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
        self._lasting = token_lifetime + KEY_LEAD
        self._overlap = 2 * self._lasting
        self._clock = clock
        self._randomness = randomness
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self.ring = KeyRing(())

    async def refresh(self) -> None:
        """Makes a key if one is needed and takes over what other replicas made."""
        self._looked_at = asyncio.get_running_loop().time()
        async with self._looking:  # One after the other: what was read before a key ended replaces nothing later.
            self.ring = await current_ring(
                database=self._database,
                seals=self._seals,
                lifetime=self._lifetime,
                overlap=self._overlap,
                now=self._clock.now(),
                randomness=self._randomness,
            )

    async def end(self, kid: str, *, opter: str, cause: str) -> SigningKey:
        """The key, which leaked: from now on nothing that it signed counts, and another signs. Again: no change.

        On return it is ended and told, and this replica works without it; each other one as soon as it looks.
        SIGNING_KEY_UNKNOWN (NOT_FOUND).
        """
        key = await end_key(
            kid,
            database=self._database,
            seals=self._seals,
            lifetime=self._lifetime,
            lasting=self._lasting,
            opter=opter,
            cause=cause,
            clock=self._clock,
            randomness=self._randomness,
        )
        await self.refresh()
        return key

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
            made = await _make_key(connection, seals, held=held, lifetime=lifetime, now=now, randomness=randomness)
            await tell(connection, [signing_key_activated(made)], now=now, randomness=randomness)
    return KeyRing(await _held(database, seals, now))


async def end_key(
    kid: str,
    *,
    database: Database,
    seals: Seals,
    lifetime: timedelta,
    lasting: timedelta,
    opter: str,
    cause: str,
    clock: Clock,
    randomness: Randomness,
) -> SigningKey:
    """As ``SigningKeys.end``: the key with its end and, where no other can sign, a successor that does; both told.

    That successor has no lead: until the other rooms know it they refuse its tokens, which is a moment, and without it
    nobody could sign for ten minutes. A key whose time was over before stays as it is.
    """
    async with database.transaction() as connection:
        await keys.lock_keys(connection)
        now = clock.now()
        found = await keys.find_key(connection, kid)
        if found is None:
            raise Failure(Kind.NOT_FOUND, "SIGNING_KEY_UNKNOWN", field="kid")
        key, was_ended = found
        ended = ended_key(key, now=now)
        if was_ended or ended is key:
            return key
        await keys.end_key(connection, ended, opter=opter, cause=cause, now=now)
        drafts = [signing_key_ended(ended)]
        if lacks_signer([held for held, _ in await keys.load_keys(connection, now=now)], now=now, lasting=lasting):
            made = await _make_key(connection, seals, held=(), lifetime=lifetime, now=now, randomness=randomness)
            drafts.append(signing_key_activated(made))
        await tell(connection, drafts, now=now, randomness=randomness)
    _log.warning("a signing key was ended", kid=kid)
    return ended


async def _make_key(
    connection: AsyncConnection,
    seals: Seals,
    *,
    held: Iterable[SigningKey],
    lifetime: timedelta,
    now: datetime,
    randomness: Randomness,
) -> SigningKey:
    """A key kept beside those held, to be told; the caller holds the lock of keys."""
    kid = f"{now:%Y%m%d}-{randomness.getrandbits(_KID_BITS):016x}"
    seed = new_bytes(randomness, SEED_BYTES)
    key = new_key(kid, seed=seed, held=held, now=now, lifetime=lifetime)
    sealed = seals.seal(seed, place=_place(kid), nonce=new_bytes(randomness, NONCE_BYTES))
    await keys.insert_key(connection, key.public, sealed, now=now)
    return key.public


async def _held(database: Database, seals: Seals, now: datetime) -> list[HeldKey]:
    async with database.transaction() as connection:
        rows = await keys.load_keys(connection, now=now)
    return [HeldKey(public, seals.open(seed, place=_place(public.kid))) for public, seed in rows]


def _place(kid: str) -> str:
    return f"signing_keys/{kid}"
