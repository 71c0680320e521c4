"""Requests made from the descriptors, for tests that no request breaks a service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gongji_terminal.failures import failure_of

CALL_S: Final = 60.0
"""So long the machine may stand still; whatever takes longer hangs."""
LIVE_S: Final = 5.0
AT_ONCE: Final = 100
NO_MESSAGES: Final = (b"\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x08" + b"\xff" * 11)
"""Cut off, longer than they are, text that is no UTF-8, a number without an end."""
EXAMPLES_MAX: Final = 40
SECRET_LENGTH_MIN: Final = 4
"""A shorter text may stand in an answer by chance."""
NEVER: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED})


async def broken_by(
    channel: grpc.aio.Channel,
    path: str,
    answer_type: Descriptor,
    good: Message,
    plausible: Sequence[str],
    *,
    streams: tuple[bool, bool] = (False, False),
    live: bool = False,
) -> list[tuple[Message | bytes, str]]:
    """The requests among many that a service answers by anything but an answer or a named refusal, in the call's time.

    Some are made up whole, some are the ``good`` one with a field replaced; ``plausible`` are values that pass the
    rules of one field or another, so that requests get past the door. ``streams``: whether the requests are streamed
    (each is sent alone, behind the good one and twice, and none at all), and whether the answers are; a ``live`` stream
    of answers has no end of its own. A refusal that repeats what is personal or secret in the request is broken too.
    Bytes that are no message are refused like a message that is wrong.
    """
    kinds = {
        (False, False): channel.unary_unary,
        (True, False): channel.stream_unary,
        (False, True): channel.unary_stream,
    }
    call: Any = kinds[streams](
        path,
        request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
        response_deserializer=GetMessageClass(answer_type).FromString,
    )
    made: list[Message | bytes] = [*examples(message_of(descriptor_of(good), plausible))]
    if descriptor_of(good).fields:
        made += examples(changed(good, plausible))
    sent: list[list[Message | bytes]] = [[message] for message in (*made, *NO_MESSAGES)]
    if streams[0]:
        sent += [[], *([good, message] for message in made), *([message, message] for message in made)]
    # A live stream is let go at the end of the call's time, all of them together.
    lots = (
        [sent[place : place + AT_ONCE] for place in range(0, len(sent), AT_ONCE)] if live else [[one] for one in sent]
    )
    broken: list[tuple[Message | bytes, str]] = []
    for lot in lots:
        told = await asyncio.gather(*(_problem(call, messages, streams=streams, live=live) for messages in lot))
        ended = zip(lot, told, strict=True)
        broken += [(messages[-1] if messages else b"", problem) for messages, problem in ended if problem]
    return broken


async def _problem(
    call: Any,  # noqa: ANN401  Generic in the stubs alone.
    messages: Sequence[Message | bytes],
    *,
    streams: tuple[bool, bool],
    live: bool,
) -> str:
    """What is wrong with how this call ended; empty if nothing is."""
    try:
        if streams[1]:
            async for _ in call(messages[0], timeout=LIVE_S if live else CALL_S):
                pass
        else:
            await call(messages if streams[0] else messages[0], timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        if live and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ""
        if error.code() in NEVER or not failure_of(error).reason:
            return f"{error.code().name} {error.details()}"
        told = f"{error.details()} {error.trailing_metadata()!r}"
        secrets = {
            secret for message in messages if isinstance(message, Message) for secret in kept_to_oneself(message)
        }
        return next((f"repeats {secret!r}" for secret in secrets if secret in told), "")
    return ""


def kept_to_oneself(message: Message) -> set[str]:
    """What stands in fields that the contract marks as personal or secret, and nowhere else in the message."""
    secret: set[str] = set()
    public: set[str] = set()
    _sort(message, secret, public)
    return {value for value in secret - public if len(value) >= SECRET_LENGTH_MIN}


def _sort(message: Message, secret: set[str], public: set[str]) -> None:
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                _sort(one, secret, public)
            else:
                (secret if field.GetOptions().debug_redact else public).add(str(one))


def message_of(descriptor: Descriptor, plausible: Sequence[str]) -> st.SearchStrategy[Message]:
    """Any message of this type, plausible and wild values side by side, fields missing or there."""
    cls = GetMessageClass(descriptor)
    fields = {field.name: _field(field, plausible) for field in descriptor.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: cls(**values))


def _field(field: FieldDescriptor, plausible: Sequence[str]) -> st.SearchStrategy[Any]:
    one = _value(field, plausible)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _value(field: FieldDescriptor, plausible: Sequence[str]) -> st.SearchStrategy[Any]:  # noqa: PLR0911  One line each.
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            assert field.message_type is not None
            return message_of(field.message_type, plausible)
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            known = [value.number for value in field.enum_type.values]
            return st.sampled_from(known) | st.integers(-(2**31), 2**31 - 1)
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=40) | st.just(b"d" * 32)
        case FieldDescriptor.CPPTYPE_STRING:
            return st.sampled_from(plausible) | st.text(st.characters(codec="utf-8"), max_size=40)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_UINT32:
            return st.integers(0, 600) | st.integers(0, 2**32 - 1)
        case FieldDescriptor.CPPTYPE_UINT64:
            return st.integers(0, 2) | st.integers(0, 2**64 - 1)
        case FieldDescriptor.CPPTYPE_INT32:
            return st.integers(-1, 600) | st.integers(-(2**31), 2**31 - 1)
        case FieldDescriptor.CPPTYPE_INT64:
            return st.sampled_from([0, 1, 100, -1, 10**16]) | st.integers(-(2**63), 2**63 - 1)
        case _:
            raise AssertionError(f"{field.full_name} is of a type that this test does not know")


def changed(base: Message, plausible: Sequence[str]) -> st.SearchStrategy[Message]:
    """The message with one of its fields, however deep, replaced by anything: all others let it past the door."""

    def change(drawn: tuple[tuple[str, ...], Message]) -> Message:
        (*path, name), rubbish = drawn
        copy = type(base)()
        copy.CopyFrom(base)
        target, source = copy, rubbish
        for step in path:
            target, source = getattr(target, step), getattr(source, step)
        target.ClearField(name)
        other = type(target)()
        other.CopyFrom(source)
        for field, _ in source.ListFields():
            if field.name != name:
                other.ClearField(field.name)
        target.MergeFrom(other)
        return copy

    descriptor = descriptor_of(base)
    return st.tuples(st.sampled_from(_paths(descriptor)), message_of(descriptor, plausible)).map(change)


def descriptor_of(message: Message) -> Descriptor:
    """Its type."""
    return cast("Descriptor", message.DESCRIPTOR)  # The stubs name the same class twice.


def _paths(descriptor: Descriptor) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for field in descriptor.fields:
        found.append((field.name,))
        if field.message_type is not None and not field.is_repeated:
            found += [(field.name, *rest) for rest in _paths(field.message_type)]
    return found


def examples(strategy: st.SearchStrategy[Message]) -> list[Message]:
    """So many different messages, the same in every run."""
    found: list[Message] = []

    @settings(
        max_examples=EXAMPLES_MAX,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(message: Message) -> None:
        found.append(message)

    collect()
    return found
