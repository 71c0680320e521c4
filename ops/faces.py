"""Faces for demonstrations and tests: the sandbox verifier vouches for whoever asks, where a system lets it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Final

from gongji.identity.v1 import attestations_pb2, attestations_pb2_grpc
from kernel.failures import Failure
from ops.sandbox_verifier import NAME, SandboxKey

OPTER: Final = "gongji"
NOT_REGISTERED: Final = frozenset({"VERIFIER_UNKNOWN", "ATTESTATION_FORGED"})
"""How identity refuses a verifier, or a key of one, that it has not heard of."""


@cache
def key() -> SandboxKey:
    """The key of this process; each system that it speaks to is told of it when it first counts."""
    return SandboxKey.new()


async def shown(
    attestations: attestations_pb2_grpc.AttestationServiceAsyncStub,
    psn_no: str,
    purpose: attestations_pb2.AttestationPurpose.ValueType,
) -> str:
    """This person shows his face now; the attestation's id. SANDBOX_VERIFIER_REFUSED where no sandbox counts."""
    try:
        return await _verified(attestations, psn_no, purpose)
    except Failure as failure:
        if failure.reason not in NOT_REGISTERED:
            raise
    await attestations.RegisterVerifier(
        attestations_pb2.RegisterVerifierRequest(
            verifier_no=key().verifier_no,
            kid=key().kid,
            public_key=key().public_key,
            name=NAME,
            is_sandbox=True,
            opter=OPTER,
        )
    )
    return await _verified(attestations, psn_no, purpose)


async def _verified(
    attestations: attestations_pb2_grpc.AttestationServiceAsyncStub,
    psn_no: str,
    purpose: attestations_pb2.AttestationPurpose.ValueType,
) -> str:
    claimed = attestations_pb2.AttestationPurpose.Name(purpose).removeprefix("ATTESTATION_PURPOSE_")
    answer = await attestations.VerifyAttestation(
        attestations_pb2.VerifyAttestationRequest(
            attestation=key().attestation(psn_no, claimed, now=datetime.now(UTC)), psn_no=psn_no, purpose=purpose
        )
    )
    return str(answer.attestation_id)
