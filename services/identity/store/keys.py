"""Signing keys, their private halves sealed, and the fingerprints of the secrets that sealed them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.identity.domain.credential import SigningKey
from services.identity.domain.sealing import Sealed
from services.identity.tables.credentials import KEY_CHECKS, SIGNING_KEYS

_LOCK_KEY: Final = 0x676F6E676A690002


async def lock_keys(connection: AsyncConnection) -> None:
    """One replica at a time decides about keys, until its transaction ends."""
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))


async def load_keys(connection: AsyncConnection, *, now: datetime) -> list[tuple[SigningKey, Sealed]]:
    """The keys whose time is not over, each with its sealed private half; none that was ended, whatever the clock."""
    rows = await connection.execute(
        sa.select(SIGNING_KEYS).where(SIGNING_KEYS.c.not_after > now, SIGNING_KEYS.c.ended_at.is_(None))
    )
    return [(_key(row), Sealed(row.key_id, row.seed_sealed)) for row in rows]


async def find_key(connection: AsyncConnection, kid: str) -> tuple[SigningKey, bool] | None:
    """The key of this name, and whether it was ended; the caller holds the lock of keys."""
    row = (await connection.execute(sa.select(SIGNING_KEYS).where(SIGNING_KEYS.c.kid == kid))).one_or_none()
    return None if row is None else (_key(row), row.ended_at is not None)


async def end_key(connection: AsyncConnection, key: SigningKey, *, opter: str, cause: str, now: datetime) -> None:
    """Keeps a key's new time, and who ended it and why; the caller holds the lock of keys."""
    await connection.execute(
        sa.update(SIGNING_KEYS)
        .where(SIGNING_KEYS.c.kid == key.kid)
        .values(not_before=key.not_before, not_after=key.not_after, ended_at=now, ended_by=opter, end_cause=cause)
    )


async def insert_key(connection: AsyncConnection, key: SigningKey, seed: Sealed, *, now: datetime) -> None:
    """Keeps a new key."""
    await connection.execute(
        sa.insert(SIGNING_KEYS).values(
            kid=key.kid,
            public_key=key.public_key,
            seed_sealed=seed.content,
            key_id=seed.key_id,
            not_before=key.not_before,
            not_after=key.not_after,
            created_at=now,
        )
    )


async def differing_secrets(connection: AsyncConnection, fingerprints: Mapping[str, bytes]) -> list[str]:
    """The names of secrets that are not those this database was written with; a name met first is kept."""
    for name, fingerprint in sorted(fingerprints.items()):
        statement = insert(KEY_CHECKS).values(name=name, fingerprint=fingerprint)
        await connection.execute(statement.on_conflict_do_nothing())
    rows = await connection.execute(sa.select(KEY_CHECKS))
    return sorted(row.name for row in rows if fingerprints.get(row.name) != row.fingerprint)


def _key(row: sa.Row[tuple[object, ...]]) -> SigningKey:
    return SigningKey(row.kid, row.public_key, row.not_before, row.not_after)
