"""Any request at all, made from the descriptors: an answer or a named refusal, never INTERNAL, never a hang."""

from __future__ import annotations

from typing import Final

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from gongji.identity.v1 import (
    attestations_pb2,
    cards_pb2,
    credentials_pb2,
    identity_pb2,
    institutions_pb2,
    kinship_pb2,
    rights_pb2,
    risk_pb2,
    sanctions_pb2,
)
from tests.anything import broken_by
from tests.integration.identity.conftest import LI, WANG, Identity
from tests.integration.identity.test_bad_input import sound_requests

METHODS: Final = [
    (service.full_name, method.name, method.output_type, (method.client_streaming, method.server_streaming))
    for file in (
        *(attestations_pb2, cards_pb2, credentials_pb2, identity_pb2, institutions_pb2),
        *(kinship_pb2, rights_pb2, risk_pb2, sanctions_pb2),
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
PLAUSIBLE: Final = (
    *(
        "650100",
        "650000",
        "H65010000017",
        "T1",
        "310",
        "390",
        "zhang01",
        "1",
        "2026-02-30",
        "9999-12-31",
        "01301",
        "11",
    ),
    *("0190a0a0-0000-7000-8000-000000000001", "a.b.c", "\x00", "王建国", WANG["certno"], WANG["psn_no"], LI["psn_no"]),
)


@pytest.mark.parametrize(
    ("service", "method", "answer_type", "streams"), METHODS, ids=[method for _, method, *_ in METHODS]
)
async def test_any_request_gets_an_answer_or_a_named_refusal(
    identity: Identity, service: str, method: str, answer_type: Descriptor, streams: tuple[bool, bool]
) -> None:
    """No field of any request, and no bytes, make identity break, and no refusal repeats what is personal."""
    await identity.register(**WANG)
    await identity.register(**LI)
    await identity.hospital()
    nothing: dict[str, Message] = {
        "StreamSnapshot": identity_pb2.StreamSnapshotRequest(),
        "ListSigningKeys": credentials_pb2.ListSigningKeysRequest(),
    }
    good = (sound_requests() | nothing)[method]
    async with grpc.aio.insecure_channel(identity.address) as channel:
        path = f"/{service}/{method}"
        assert await broken_by(channel, path, answer_type, good, PLAUSIBLE, streams=streams) == []
