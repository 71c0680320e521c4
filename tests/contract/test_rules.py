"""The rules written in the protos: nothing a stranger sends is without a bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import protovalidate
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from buf.validate import validate_pb2
from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import reconciliation_pb2, settlement_pb2
from gongji_terminal.stub import methods
from kernel.money import AMOUNT_MAX_FEN

METHODS: Final = methods().values()
"""Of every service of every room."""
NATIONAL_AMOUNTS: Final = ("_amt", "_pay", "_sumamt", "_selfpay", "_dedc", "_fen")
STATEMENT_AMOUNTS: Final = reconciliation_pb2.StatementAmounts.DESCRIPTOR
"""Both sides' books at a day's end: money that went back stands there with its sign turned."""
VALIDATOR: Final = protovalidate.Validator()


def asked(message: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Every field of a request and of the messages of ours inside it."""
    for field in message.fields:
        yield field
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("gongji.") and inner.full_name not in seen:
            seen.add(inner.full_name)
            yield from asked(inner, seen)


def request_fields() -> list[FieldDescriptor]:
    """Every field that a caller of any RPC, or a sender of ledger commands, may fill."""
    seen: set[str] = set()
    requests = [method.input_type for method in METHODS]
    requests += [ledger_pb2.CommandBatch.DESCRIPTOR, ledger_pb2.InquireRequest.DESCRIPTOR]
    return [field for request in requests for field in asked(request, seen)]


def full_name(field: FieldDescriptor) -> str:
    """``gongji.settlement.v1.Bill.medfee_sumamt``: how a test of a field is called."""
    return str(field.full_name)


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The validation rules of a field; empty if it has none."""
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
    return rules


@pytest.mark.parametrize("field", [field for field in request_fields() if field.is_repeated], ids=full_name)
def test_every_list_is_bounded(field: FieldDescriptor) -> None:
    """A repeated field of a request says how many items it may have at most."""
    assert rules_of(field).repeated.HasField("max_items")


@pytest.mark.parametrize(
    "field", [f for f in request_fields() if f.type == FieldDescriptor.TYPE_STRING and not f.is_repeated], ids=full_name
)
def test_every_text_is_bounded(field: FieldDescriptor) -> None:
    """A text of a request has a greatest length, a pattern that gives one, a list of values or a known form."""
    rules = rules_of(field).string
    pattern = rules.pattern if rules.HasField("pattern") else ""
    bounded = rules.HasField("max_len") or rules.uuid or bool(getattr(rules, "in"))
    assert bounded or (pattern.startswith("^") and pattern.endswith("$") and "*" not in pattern and "+" not in pattern)


@pytest.mark.parametrize(
    "field",
    [f for f in request_fields() if f.type == FieldDescriptor.TYPE_INT64 and f.name.endswith(NATIONAL_AMOUNTS)],
    ids=full_name,
)
def test_every_amount_keeps_to_n16_2(field: FieldDescriptor) -> None:
    """An amount of a request is at least 0, or one that a revocation negates; at most sixteen digits."""
    rules = rules_of(field).int64
    lowest = rules.gte if rules.HasField("gte") else rules.gt
    assert rules.HasField("gte") or rules.HasField("gt")
    assert lowest == (-AMOUNT_MAX_FEN if field.containing_type is STATEMENT_AMOUNTS else 0)
    assert 0 < rules.lte <= AMOUNT_MAX_FEN


@pytest.mark.parametrize("amount", [-1, AMOUNT_MAX_FEN + 1])
def test_an_amount_out_of_range_is_a_violation(amount: int) -> None:
    """A bill with a negative amount or one beyond N16,2 breaks the rule of that field."""
    bill = settlement_pb2.Bill(med_type="11", medfee_sumamt=amount)
    paths = [violation.proto.field for violation in VALIDATOR.collect_violations(bill)]
    assert [path.elements[0].field_name for path in paths if path is not None] == ["medfee_sumamt"]
