"""Any request at all, made from the descriptors: an answer or a named refusal, never INTERNAL, never a hang."""

from __future__ import annotations

from typing import Final

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from gongji.notify.v1 import notify_pb2
from tests.anything import broken_by
from tests.integration.notify.conftest import Desk, credited

METHODS: Final = [
    (service.full_name, method.name, method.output_type, (method.client_streaming, method.server_streaming))
    for service in notify_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
LIVE: Final = frozenset({"WatchMessages"})
NOBODY: Final = "650100000000001"


@pytest.mark.parametrize(
    ("service", "method", "answer_type", "streams"), METHODS, ids=[method for _, method, *_ in METHODS]
)
async def test_any_request_gets_an_answer_or_a_named_refusal(
    desk: Desk, service: str, method: str, answer_type: Descriptor, streams: tuple[bool, bool]
) -> None:
    """No field of any request makes notify break; somebody with messages is asked for as well."""
    person = await desk.house.person()
    await desk.publish(credited(person))
    await desk.until_told(person, 1)
    good: dict[str, Message] = {
        "ListMessages": notify_pb2.ListMessagesRequest(psn_no=person, messages_max=10),
        "WatchMessages": notify_pb2.WatchMessagesRequest(psn_no=person),
    }
    async with grpc.aio.insecure_channel(desk.house.world.address("notify")) as channel:
        path = f"/{service}/{method}"
        plausible = (person, NOBODY)
        assert (
            await broken_by(channel, path, answer_type, good[method], plausible, streams=streams, live=method in LIVE)
            == []
        )
