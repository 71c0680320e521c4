"""Any request at all, made from the descriptors: an answer or a named refusal, never INTERNAL, never a hang."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import uuid4

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gongji.settlement.v1 import account_pb2, settlement_pb2
from gongji_terminal.failures import failure_of
from gongji_terminal.msgid import next_msgid
from tests.integration.settlement.desk.town import HAMI, HOSPITAL, PHARMACY, URUMQI, Town

CALL_S: Final = 5.0
EXAMPLES_MAX: Final = 40
NEVER: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED})
METHODS: Final = [
    (service.full_name, method.name, method.output_type)
    for file in (settlement_pb2, account_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
PLAUSIBLE: Final = (
    *(HOSPITAL, PHARMACY, URUMQI, HAMI, "650100000000001", "T01", "m1", "11", "310", "COURT_ORDER", "row-1"),
    *("0190a0a0-0000-7000-8000-000000000001", "a.b.c", f"{HOSPITAL}202611211000000101"),
)
"""Values that pass the rules of one field or another, so that requests get past the door."""

Call = Callable[..., Any]


def message_of(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Any message of this type, plausible and wild values side by side, fields missing or there."""
    cls = GetMessageClass(descriptor)
    fields = {field.name: _field(field) for field in descriptor.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: cls(**values))


def _field(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    one = _value(field)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _value(field: FieldDescriptor) -> st.SearchStrategy[Any]:  # noqa: PLR0911  One line for each type of field.
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            assert field.message_type is not None
            return message_of(field.message_type)
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            known = [value.number for value in field.enum_type.values]
            return st.sampled_from(known) | st.integers(-(2**31), 2**31 - 1)
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=40) | st.just(b"d" * 32)
        case FieldDescriptor.CPPTYPE_STRING:
            return st.sampled_from(PLAUSIBLE) | st.text(st.characters(codec="utf-8"), max_size=40)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_UINT32:
            return st.integers(0, 600) | st.integers(0, 2**32 - 1)
        case FieldDescriptor.CPPTYPE_INT64:
            return st.sampled_from([0, 1, 100, -1, 10**16]) | st.integers(-(2**63), 2**63 - 1)
        case _:
            raise AssertionError(f"{field.full_name} is of a type that this test does not know")


def changed(base: Message) -> st.SearchStrategy[Message]:
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

    descriptor = _descriptor(base)
    return st.tuples(st.sampled_from(_paths(descriptor)), message_of(descriptor)).map(change)


def _descriptor(message: Message) -> Descriptor:
    return cast("Descriptor", message.DESCRIPTOR)  # The stubs name the same class twice.


def _paths(descriptor: Descriptor) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for field in descriptor.fields:
        found.append((field.name,))
        if field.message_type is not None and not field.is_repeated:
            found += [(field.name, *rest) for rest in _paths(field.message_type)]
    return found


async def good_requests(town: Town) -> dict[str, Message]:
    """A request of each method that would be answered."""
    patient = await town.person(past=1_000)
    visit = town.presented(patient, 100)
    plan = (await town.desk.PreSettle(visit, timeout=CALL_S)).plan
    key = settlement_pb2.RequestKey(
        fixmedins_code=HOSPITAL,
        infno=settlement_pb2.INFNO_2207,
        msgid=next_msgid(HOSPITAL, 98, now=datetime.now(UTC)),
    )
    revocation_key = settlement_pb2.RequestKey(
        fixmedins_code=HOSPITAL, infno=settlement_pb2.INFNO_2208, msgid=key.msgid
    )
    settle = settlement_pb2.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest)
    account: dict[str, Any] = {"psn_no": patient, "account_kind": account_pb2.ACCOUNT_KIND_PERSONAL, "area": URUMQI}
    freeze = {"psn_no": patient, "area": URUMQI, "cause": "COURT_ORDER", "request_id": str(uuid4())}
    return {
        "PreSettle": visit,
        "Settle": settle,
        "GetSettlement": settlement_pb2.GetSettlementRequest(fixmedins_code=HOSPITAL, key=key),
        "RevokeSettle": settlement_pb2.RevokeSettleRequest(key=revocation_key, setl_id=str(uuid4())),
        "ReverseTransaction": settlement_pb2.ReverseTransactionRequest(
            fixmedins_code=HOSPITAL, oinfno=settlement_pb2.INFNO_2208, omsgid=key.msgid
        ),
        "CreditAccount": account_pb2.CreditAccountRequest(
            **account, part=account_pb2.ACCOUNT_PART_PAST, amount_fen=1, row_id=str(uuid4())
        ),
        "FreezeAccount": account_pb2.FreezeAccountRequest(**freeze),
        "UnfreezeAccount": account_pb2.UnfreezeAccountRequest(**freeze),
        "GetBalance": account_pb2.GetBalanceRequest(**account),
        "GetStatement": account_pb2.GetStatementRequest(**account),
    }


@pytest.mark.parametrize(("service", "method", "answer_type"), METHODS, ids=[method for _, method, _ in METHODS])
async def test_any_request_gets_an_answer_or_a_named_refusal(
    town: Town, service: str, method: str, answer_type: Descriptor
) -> None:
    """No field of any request makes the desk break: INTERNAL never, a reason always, in the time of the call."""
    call: Call = town.channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(answer_type).FromString,
    )
    good = (await good_requests(town))[method]
    broken: list[tuple[Message, str]] = []
    for message in [*_examples(message_of(_descriptor(good))), *_examples(changed(good))]:
        try:
            await call(message, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in NEVER or not failure_of(error).reason:
                broken.append((message, f"{error.code().name} {error.details()}"))
    assert broken == []


def _examples(strategy: st.SearchStrategy[Message]) -> list[Message]:
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
