"""Faces that were shown already: attestations put on record as a verifier's, for tests of what they are used for."""

from __future__ import annotations

from uuid import UUID, uuid4

from kernel.ids import PsnNo
from services.identity.domain.attestation import Attestation, Purpose
from services.identity.domain.verifier import Verifier
from services.identity.store import attestations as store
from tests.integration.identity.conftest import Identity

VERIFIER = Verifier("testers", "Testers", is_sandbox=False)


async def attested(identity: Identity, psn_no: str, purpose: Purpose = Purpose.EXPORT_DATA) -> str:
    """The id of a fresh attestation of this person for this purpose, as ``VerifyAttestation`` would have kept it."""
    now = identity.clock.now()
    attestation = Attestation(
        attestation_id=UUID(bytes=uuid4().bytes),
        verifier_no=VERIFIER.verifier_no,
        kid="t1",
        out_biz_no=uuid4().hex,
        psn_no=PsnNo(psn_no),
        purpose=purpose,
        attested_at=now,
    )
    async with identity.database.transaction() as connection:
        await store.insert_verifier(connection, VERIFIER, opter="zhang01", now=now)
        assert await store.insert_attestation(connection, attestation, now=now)
    return str(attestation.attestation_id)
