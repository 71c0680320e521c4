"""What a terminal built today sends and reads must mean the same to every later server, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf import descriptor_pool, json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gongji.identity.v1 import events_pb2 as identity_events
from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import events_pb2 as settlement_events
from gongji.settlement.v1 import settlement_pb2
from gongji_terminal.stub import methods
from tools.golden_messages import write
from tools.release_contract import last_released

RELEASED: Final = last_released() / "golden.json"
GOLDEN: Final = Path(__file__).parent / "golden"
MESSAGES: Final[dict[str, type[Message]]] = {
    "pre_settle_request": settlement_pb2.PreSettleRequest,
    "pre_settle_response": settlement_pb2.PreSettleResponse,
    "settle_request": settlement_pb2.SettleRequest,
    "settle_response_settlement": settlement_pb2.SettleResponse,
    "settle_response_replan": settlement_pb2.SettleResponse,
    "revoke_settle_request": settlement_pb2.RevokeSettleRequest,
    "reverse_transaction_request": settlement_pb2.ReverseTransactionRequest,
    "ledger_command_batch": ledger_pb2.CommandBatch,
    "ledger_reply_batch": ledger_pb2.ReplyBatch,
    "inquire_request": ledger_pb2.InquireRequest,
    "identity_event": identity_events.IdentityEvent,
    "settlement_event": settlement_events.SettlementEvent,
}
UNKNOWN_FIELD: Final = bytes.fromhex("8afa0106667574757265")
"""Field 4001, a string a later release may add."""


def golden(name: str) -> dict[str, Any]:
    """``{"json": …, "wire": hex}`` of one message as it was first released."""
    content: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("name", MESSAGES)
def test_the_bytes_of_a_released_message_do_not_change(name: str) -> None:
    """Serialising the golden content gives exactly the golden bytes."""
    content = golden(name)
    message = json_format.ParseDict(content["json"], MESSAGES[name]())
    assert message.SerializeToString(deterministic=True).hex() == content["wire"]


@pytest.mark.parametrize("name", MESSAGES)
def test_released_bytes_mean_the_same(name: str) -> None:
    """Parsing the golden bytes gives exactly the golden content."""
    content = golden(name)
    message = MESSAGES[name]()
    message.ParseFromString(bytes.fromhex(str(content["wire"])))
    assert json_format.MessageToDict(message, preserving_proto_field_name=True) == content["json"]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_field_of_a_later_release_is_tolerated(name: str) -> None:
    """Bytes with a field this release does not know parse to the same content."""
    content = golden(name)
    message = MESSAGES[name]()
    message.ParseFromString(bytes.fromhex(str(content["wire"])) + UNKNOWN_FIELD)
    assert json_format.MessageToDict(message, preserving_proto_field_name=True) == content["json"]


def released() -> Iterator[tuple[str, Message, dict[str, Any], bytes]]:
    """Every message of the last release: its name, an empty one as it is now, its content and its bytes."""
    methods()  # Brings the whole contract into the pool.
    for name, entry in json.loads(RELEASED.read_text(encoding="utf-8")).items():
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name.partition("#")[0])
        yield name, GetMessageClass(descriptor)(), entry["json"], bytes.fromhex(entry["wire"])


def content_of(message: Message) -> dict[str, Any]:
    """As the golden file writes it."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def test_every_released_message_is_read_as_it_was_meant() -> None:
    """The bytes of a message of every type, each field filled, have the same content now."""
    wrong = []
    for name, message, content, wire in released():
        message.ParseFromString(wire)
        if content_of(message) != content:
            wrong.append(name)
    assert wrong == []


def test_every_released_message_is_written_as_it_was() -> None:
    """The same content of a message of every type gives the same bytes now."""
    wrong = []
    for name, message, content, wire in released():
        if json_format.ParseDict(content, message).SerializeToString(deterministic=True) != wire:
            wrong.append(name)
    assert wrong == []


def test_every_message_tolerates_and_keeps_what_a_later_release_adds() -> None:
    """A field that nobody here knows changes nothing of the content, and is handed on as it came."""
    wrong = []
    for name, message, content, wire in released():
        message.ParseFromString(wire + UNKNOWN_FIELD)
        if content_of(message) != content or UNKNOWN_FIELD not in message.SerializeToString():
            wrong.append(name)
    assert wrong == []


def test_the_golden_messages_are_those_of_the_released_image(tmp_path: Path) -> None:
    """None was put right by hand afterwards."""
    write(RELEASED.with_name("image.binpb"), tmp_path / "golden.json")
    assert (tmp_path / "golden.json").read_text(encoding="utf-8") == RELEASED.read_text(encoding="utf-8")
