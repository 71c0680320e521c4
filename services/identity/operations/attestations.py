"""Verifiers registered and ended; attestations verified, and used once for what they were given for."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import attestation as rules
from services.identity.domain.attestation import Attestation, Purpose
from services.identity.domain.person import living, with_real_name, writable
from services.identity.domain.verifier import (
    Verifier,
    check_key,
    check_same_key,
    check_same_verifier,
    known_verifier,
)
from services.identity.operations.drawn import new_id
from services.identity.operations.telling import tell
from services.identity.store import attestations as store
from services.identity.store import people
from services.identity.wire.people import person_changed

BECAME_REAL_NAME: Final = "persons"
"""What a face is used for that shows by itself who somebody is: the table in which that stands."""


async def register_verifier(
    *,
    database: Database,
    verifier: Verifier,
    kid: str,
    public_key: bytes,
    sandbox_allowed: bool,
    opter: str,
    now: datetime,
) -> bool:
    """Whether anything is new: the verifier, or a further key of one that is known. The same again changes nothing.

    SANDBOX_VERIFIER_REFUSED (FORBIDDEN), then as ``check_key``, ``check_same_verifier`` and ``check_same_key``.
    """
    rules.check_sandbox(is_sandbox=verifier.is_sandbox, allowed=sandbox_allowed)
    check_key(public_key)
    async with database.transaction() as connection:
        new = await store.insert_verifier(connection, verifier, opter=opter, now=now)
        if not new:
            known = await store.load_verifier(connection, verifier.verifier_no, lock=True)
            check_same_verifier(known, verifier)
        if await store.insert_key(connection, verifier.verifier_no, kid, public_key, opter=opter, now=now):
            return True
        key = await store.load_key(connection, verifier.verifier_no, kid)
        check_same_key(None if key is None else key.public_key, public_key, ended=key is not None and key.ended)
        return new


async def end_verifier(
    *, database: Database, verifier_no: str, kid: str, opter: str, cause: str, now: datetime
) -> None:
    """Nothing that it signs counts from now on; with a ``kid``, nothing signed with that key alone. Again: no change.

    VERIFIER_UNKNOWN (NOT_FOUND, with the field). What it vouched for and was not used yet counts no more either: it is
    ended because it was found wanting. What was used stays as it was.
    """
    async with database.transaction() as connection:
        known_verifier(await store.load_verifier(connection, verifier_no, lock=True))
        if kid and await store.load_key(connection, verifier_no, kid) is None:
            raise Failure(Kind.NOT_FOUND, "VERIFIER_UNKNOWN", field="kid")
        await store.end_verifier(connection, verifier_no, kid, opter=opter, cause=cause, now=now)


async def list_verifiers(*, database: Database, after: str, size: int) -> tuple[list[tuple[Verifier, list[str]]], bool]:
    """So many verifiers behind this number, each with its keys that were not ended, and whether more follow."""
    async with database.transaction() as connection:
        found = await store.verifiers_after(connection, after, limit=size + 1)
        page = [
            (verifier, [kid for kid, ended in await store.keys_of(connection, verifier.verifier_no) if not ended])
            for verifier in found[:size]
        ]
    return page, len(found) > size


async def verify(
    *,
    database: Database,
    token: str,
    psn_no: PsnNo,
    purpose: Purpose,
    sandbox_allowed: bool,
    now: datetime,
    randomness: Randomness,
) -> Attestation:
    """The attestation, kept to be used once; REAL_NAME counts by itself, at once.

    Refusals in this order: ATTESTATION_MALFORMED; as ``check_trusted``, as ``stated_in``; PERSON_UNKNOWN,
    PERSON_MERGED, PERSON_DECEASED; ATTESTATION_ALREADY_PRESENTED (UNAUTHENTICATED: its outBizNo was, however long ago).
    """
    claimed = rules.named_in(token)
    async with database.transaction() as connection:
        verifier = await store.load_verifier(connection, claimed.verifier_no)
        key = None if verifier is None else await store.load_key(connection, claimed.verifier_no, claimed.kid)
        trusted = rules.check_trusted(key, known=verifier is not None, sandbox_allowed=sandbox_allowed)
        stated = rules.stated_in(token, trusted, psn_no=psn_no, purpose=purpose, now=now)
        person = living(writable(await people.load_person(connection, psn_no, lock=purpose is Purpose.REAL_NAME)))
        attestation = Attestation(
            attestation_id=new_id(now, randomness),
            verifier_no=stated.verifier_no,
            kid=trusted.kid,
            out_biz_no=stated.out_biz_no,
            psn_no=psn_no,
            purpose=purpose,
            attested_at=stated.attested_at,
        )
        if not await store.insert_attestation(connection, attestation, now=now):
            raise Failure(Kind.UNAUTHENTICATED, "ATTESTATION_ALREADY_PRESENTED", field="attestation")
        if purpose is Purpose.REAL_NAME:
            await store.use_attestation(connection, attestation.attestation_id, used_for=BECAME_REAL_NAME, now=now)
            await store.set_real_name(connection, psn_no, now=now)
            named = with_real_name(person, now=now)
            await people.save_person(connection, person, named, now=now)
            await tell(connection, [person_changed(named, now=now)], now=now, randomness=randomness)
        return attestation


async def use_attestation(
    *, database: Database, attestation_id: UUID, psn_no: PsnNo, purpose: Purpose, used_for: str, now: datetime
) -> Attestation:
    """As ``use``, in a transaction of its own: for what other rooms do."""
    async with database.transaction() as connection:
        return await use(
            connection, attestation_id=attestation_id, psn_no=psn_no, purpose=purpose, used_for=used_for, now=now
        )


async def use(
    connection: AsyncConnection,
    *,
    attestation_id: UUID,
    psn_no: PsnNo,
    purpose: Purpose,
    used_for: str,
    now: datetime,
) -> Attestation:
    """Uses an attestation of this person for this, once, in the caller's transaction; refusals as ``check_use``.

    ``used_for`` names what it was used for (``card:<card_id>``, ``export:<id>``), nothing personal. The same use again
    is no second one, so that a request whose answer was lost may be sent again: the attestation is given back as it
    stood before, and where it was used already the caller does nothing anew. Of two uses at once the second waits for
    the first and then loses.
    """
    attestation = await check(
        connection, attestation_id=attestation_id, psn_no=psn_no, purpose=purpose, used_for=used_for, now=now
    )
    if attestation.used_for is None:
        await store.use_attestation(connection, attestation_id, used_for=used_for, now=now)
    return attestation


async def check(
    connection: AsyncConnection,
    *,
    attestation_id: UUID,
    psn_no: PsnNo,
    purpose: Purpose,
    used_for: str,
    now: datetime,
) -> Attestation:
    """As ``use``, and leaves it unused: asked before anything is told that only its owner may learn."""
    return rules.check_use(
        await store.load_attestation(connection, attestation_id),
        psn_no=psn_no,
        purpose=purpose,
        used_for=used_for,
        now=now,
    )
