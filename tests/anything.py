"""Requests made from the descriptors, for tests that no request breaks a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gongji_terminal.failures import failure_of

CALL_S: Final = 5.0
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
) -> list[tuple[Message, str]]:
    """The requests among many that a service answers by anything but an answer or a named refusal, in the call's time.

    Some are made up whole, some are the ``good`` one with a field replaced; ``plausible`` are values that pass the
    rules of one field or another, so that requests get past the door. ``streams``: whether the requests are streamed
    (each is the only one then), and whether the answers are. A refusal that repeats what is personal or secret in the
    request is broken too.
    """
    kinds = {
        (False, False): channel.unary_unary,
        (True, False): channel.stream_unary,
        (False, True): channel.unary_stream,
    }
    call: Any = kinds[streams](
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(answer_type).FromString,
    )
    broken: list[tuple[Message, str]] = []
    for message in [*examples(message_of(descriptor_of(good), plausible)), *examples(changed(good, plausible))]:
        try:
            if streams == (False, True):
                async for _ in call(message, timeout=CALL_S):
                    pass
            elif streams == (True, False):
                await call([message], timeout=CALL_S)
            else:
                await call(message, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in NEVER or not failure_of(error).reason:
                broken.append((message, f"{error.code().name} {error.details()}"))
            told = f"{error.details()} {error.trailing_metadata()!r}"
            broken += [(message, f"repeats {secret!r}") for secret in kept_to_oneself(message) if secret in told]
    return broken


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
