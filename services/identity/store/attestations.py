"""Verifiers, their keys, and the attestations they gave."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.attestation import Attestation, Purpose, VerifierKey
from services.identity.domain.verifier import Verifier
from services.identity.tables.attestations import ATTESTATIONS, VERIFIER_KEYS, VERIFIERS
from services.identity.tables.people import PERSONS

_ENDED: Final = sa.or_(VERIFIERS.c.ended_at.is_not(None), VERIFIER_KEYS.c.ended_at.is_not(None)).label("ended")


async def insert_verifier(connection: AsyncConnection, verifier: Verifier, *, opter: str, now: datetime) -> bool:
    """Whether the verifier is new."""
    statement = (
        insert(VERIFIERS)
        .values(
            verifier_no=verifier.verifier_no,
            name=verifier.name,
            is_sandbox=verifier.is_sandbox,
            registered_at=now,
            registered_by=opter,
        )
        .on_conflict_do_nothing()
        .returning(VERIFIERS.c.verifier_no)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def load_verifier(connection: AsyncConnection, verifier_no: str, *, lock: bool = False) -> Verifier | None:
    """A verifier; with ``lock``, nobody else changes it until this transaction ends."""
    statement = sa.select(VERIFIERS).where(VERIFIERS.c.verifier_no == verifier_no)
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _verifier(row)


async def verifiers_after(connection: AsyncConnection, verifier_no: str, *, limit: int) -> list[Verifier]:
    """So many verifiers in the order of their numbers, from behind this one."""
    rows = await connection.execute(
        sa.select(VERIFIERS).where(VERIFIERS.c.verifier_no > verifier_no).order_by(VERIFIERS.c.verifier_no).limit(limit)
    )
    return [_verifier(row) for row in rows]


async def insert_key(
    connection: AsyncConnection, verifier_no: str, kid: str, public_key: bytes, *, opter: str, now: datetime
) -> bool:
    """Whether the key is new; False as well if another stands under its name."""
    statement = (
        insert(VERIFIER_KEYS)
        .values(verifier_no=verifier_no, kid=kid, public_key=public_key, registered_at=now, registered_by=opter)
        .on_conflict_do_nothing()
        .returning(VERIFIER_KEYS.c.kid)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def load_key(connection: AsyncConnection, verifier_no: str, kid: str) -> VerifierKey | None:
    """A verifier's key, ended with it or by itself."""
    statement = (
        sa.select(VERIFIER_KEYS.c.public_key, VERIFIERS.c.is_sandbox, _ENDED)
        .join_from(VERIFIER_KEYS, VERIFIERS)
        .where(VERIFIER_KEYS.c.verifier_no == verifier_no, VERIFIER_KEYS.c.kid == kid)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else VerifierKey(verifier_no, kid, row.public_key, row.is_sandbox, row.ended)


async def keys_of(connection: AsyncConnection, verifier_no: str) -> list[tuple[str, bool]]:
    """The names of a verifier's keys, each with whether it was ended by itself."""
    rows = await connection.execute(
        sa.select(VERIFIER_KEYS.c.kid, VERIFIER_KEYS.c.ended_at)
        .where(VERIFIER_KEYS.c.verifier_no == verifier_no)
        .order_by(VERIFIER_KEYS.c.kid)
    )
    return [(row.kid, row.ended_at is not None) for row in rows]


async def end_verifier(
    connection: AsyncConnection, verifier_no: str, kid: str, *, opter: str, cause: str, now: datetime
) -> None:
    """Ends the verifier or, where ``kid`` is not empty, that key of it; what ended before keeps its first end."""
    end = {"ended_at": now, "ended_by": opter, "end_cause": cause}
    table = VERIFIER_KEYS if kid else VERIFIERS
    statement = sa.update(table).where(table.c.verifier_no == verifier_no, table.c.ended_at.is_(None)).values(end)
    if kid:
        statement = statement.where(VERIFIER_KEYS.c.kid == kid)
    await connection.execute(statement)


async def insert_attestation(connection: AsyncConnection, attestation: Attestation, *, now: datetime) -> bool:
    """Whether its verifier never said this before. Of two at once, the second waits for the first and then loses."""
    statement = (
        insert(ATTESTATIONS)
        .values(
            attestation_id=attestation.attestation_id,
            verifier_no=attestation.verifier_no,
            kid=attestation.kid,
            out_biz_no=attestation.out_biz_no,
            psn_no=attestation.psn_no,
            purpose=attestation.purpose.value,
            attested_at=attestation.attested_at,
            verified_at=now,
        )
        .on_conflict_do_nothing(constraint="attestations_out_biz_no")
        .returning(ATTESTATIONS.c.attestation_id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def load_attestation(connection: AsyncConnection, attestation_id: UUID) -> Attestation | None:
    """An attestation, locked until this transaction ends: it is loaded to be used."""
    statement = (
        sa.select(ATTESTATIONS, _ENDED)
        .join_from(ATTESTATIONS, VERIFIERS)
        .outerjoin(
            VERIFIER_KEYS,
            sa.and_(
                VERIFIER_KEYS.c.verifier_no == ATTESTATIONS.c.verifier_no, VERIFIER_KEYS.c.kid == ATTESTATIONS.c.kid
            ),
        )
        .where(ATTESTATIONS.c.attestation_id == attestation_id)
        .with_for_update(of=ATTESTATIONS)
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    return Attestation(
        attestation_id=attestation_id,
        verifier_no=row.verifier_no,
        kid=row.kid,
        out_biz_no=row.out_biz_no,
        psn_no=PsnNo(row.psn_no),
        purpose=Purpose(row.purpose),
        attested_at=row.attested_at,
        used_for=row.used_for,
        ended=row.ended,
    )


async def use_attestation(connection: AsyncConnection, attestation_id: UUID, *, used_for: str, now: datetime) -> None:
    """Writes the one use; the caller holds the attestation's lock."""
    await connection.execute(
        sa.update(ATTESTATIONS)
        .where(ATTESTATIONS.c.attestation_id == attestation_id)
        .values(used_for=used_for, used_at=now)
    )


async def set_real_name(connection: AsyncConnection, psn_no: PsnNo, *, now: datetime) -> None:
    """The person's face was verified now; the caller holds his lock and tells of it."""
    await connection.execute(sa.update(PERSONS).where(PERSONS.c.psn_no == psn_no).values(real_name_at=now))


def _verifier(row: sa.Row[tuple[object, ...]]) -> Verifier:
    return Verifier(row.verifier_no, row.name, row.is_sandbox, ended=row.ended_at is not None)
