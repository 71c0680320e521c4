"""Verifiers and attestations, between messages and the domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gongji.identity.v1 import attestations_pb2 as pb
from services.identity.domain.attestation import Purpose
from services.identity.domain.verifier import Verifier
from services.identity.wire.values import parsed_text

_PURPOSES: Final = {pb.AttestationPurpose.Value(f"ATTESTATION_PURPOSE_{purpose.name}"): purpose for purpose in Purpose}


def purpose(value: pb.AttestationPurpose.ValueType) -> Purpose:
    """What the face was shown for."""
    return _PURPOSES[value]


def verifier(request: pb.RegisterVerifierRequest) -> Verifier:
    """The verifier as it shall be on record; TEXT_MALFORMED (INVALID) for its name."""
    return Verifier(request.verifier_no, parsed_text(request.name, field="name"), request.is_sandbox)


def verifier_message(known: Verifier, kids: Sequence[str]) -> pb.Verifier:
    """A verifier with the keys of it that were not ended by themselves."""
    return pb.Verifier(
        verifier_no=known.verifier_no, name=known.name, is_sandbox=known.is_sandbox, ended=known.ended, kids=kids
    )
