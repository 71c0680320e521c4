"""The lines of a bill, each judged for itself, and their sums."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.failures import Failure
from services.settlement.domain.bill import Bill
from services.settlement.domain.lines import (
    LINES_MAX,
    Line,
    LinesRequired,
    check_lines,
    digest_of_lines,
    line_of,
)

HOSPITAL, PHARMACY = "2206", "2101"
PILLS = Line("101", "XA02BCA127A001010100483", "01", Decimal(2), Decimal("1250.5"), 2_501, 0, 0, 0, 2_501)
GAUZE = Line("301", "C0101", "03", Decimal("1.5"), Decimal(333), 500, 500, 0, 0, 0)
"""499.5 fen, rounded half up."""


def bill_of(*lines: Line) -> Bill:
    """The bill that these lines are."""
    return Bill(
        sum(line.det_item_fee_sumamt for line in lines),
        sum(line.fulamt_ownpay_amt for line in lines),
        sum(line.overlmt_amt for line in lines),
        sum(line.preselfpay_amt for line in lines),
        sum(line.inscp_scp_amt for line in lines),
    )


def refusal_of(*lines: Line, infno: str = HOSPITAL, bill: Bill | None = None) -> tuple[str, dict[str, str]]:
    """Why the lines are refused, and what is told of it."""
    with pytest.raises(Failure) as refused:
        check_lines(lines, bill=bill or bill_of(*lines), infno=infno, required=LinesRequired.NONE)
    return refused.value.reason, refused.value.metadata


@pytest.mark.parametrize("infno", [HOSPITAL, PHARMACY])
def test_lines_that_are_the_bill_pass(infno: str) -> None:
    """Fractions of a quantity and prices finer than a fen are rounded once, half up."""
    check_lines([PILLS, GAUZE], bill=bill_of(PILLS, GAUZE), infno=infno, required=LinesRequired.ALL)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"list_type": "901"}, "GOODS_NEVER_PAID"),
        ({"list_type": "904"}, "GOODS_NEVER_PAID"),
        ({"list_type": "999"}, "LIST_TYPE_UNKNOWN"),
        ({"cnt": Decimal(3)}, "LINE_AMOUNT_DIFFERS"),
        ({"det_item_fee_sumamt": 2_500}, "LINE_AMOUNT_DIFFERS"),
        ({"overlmt_amt": 1}, "LINE_DOES_NOT_ADD_UP"),
        ({"inscp_scp_amt": 2_500}, "LINE_DOES_NOT_ADD_UP"),
        ({"chrgitm_lv": "03"}, "LINE_OUT_OF_CATALOGUE"),
    ],
)
def test_a_wrong_line_is_named(change: dict[str, Any], reason: str) -> None:
    """The reason says what is wrong, line_no which line, counted from 1; a right line before it does not matter."""
    told, facts = refusal_of(GAUZE, replace(PILLS, **change))
    assert (told, facts["line_no"], facts["field"]) == (reason, "2", "lines")


@pytest.mark.parametrize(
    ("list_type", "sold"),
    [("101", True), ("102", True), ("104", True), ("301", True), ("302", True), ("103", False), ("201", False)],
)
def test_a_pharmacy_sells_medicines_devices_and_consumables_alone(list_type: str, *, sold: bool) -> None:
    """Services and what a hospital makes itself are a hospital's; a hospital may bill all of them."""
    line = replace(PILLS, list_type=list_type)
    check_lines([line], bill=bill_of(line), infno=HOSPITAL, required=LinesRequired.NONE)
    if sold:
        check_lines([line], bill=bill_of(line), infno=PHARMACY, required=LinesRequired.NONE)
    else:
        assert refusal_of(line, infno=PHARMACY)[0] == "LINE_NOT_FOR_PHARMACY"


@pytest.mark.parametrize(
    "field", ["medfee_sumamt", "fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "inscp_scp_amt"]
)
def test_each_amount_of_the_bill_is_the_sum_of_its_lines(field: str) -> None:
    """A fen more in one amount of the bill, be it made up for in another, is refused with that amount's name."""
    bill = bill_of(PILLS, GAUZE)
    reason, facts = refusal_of(PILLS, GAUZE, bill=replace(bill, **{field: getattr(bill, field) + 1}))
    assert (reason, facts["field"]) == ("LINES_DIFFER_FROM_BILL", field)
    assert int(facts["stated_fen"]) == int(facts["lines_fen"]) + 1


@pytest.mark.parametrize(
    ("required", "infno", "missing"),
    [
        (LinesRequired.NONE, PHARMACY, False),
        (LinesRequired.PHARMACIES, PHARMACY, True),
        (LinesRequired.PHARMACIES, HOSPITAL, False),
        (LinesRequired.ALL, HOSPITAL, True),
    ],
)
def test_lines_may_be_left_out_where_nobody_demands_them(required: LinesRequired, infno: str, *, missing: bool) -> None:
    """By default a bill without lines is taken; the setting demands them of pharmacies or of all."""
    told = ""
    try:
        check_lines([], bill=bill_of(PILLS), infno=infno, required=required)
    except Failure as refusal:
        told = refusal.reason
    assert told == ("LINES_MISSING" if missing else "")


def test_as_many_lines_as_the_contract_lets_through() -> None:
    """The domain's bound is the contract's, and one more line is refused here too."""
    rules = str(pb.PreSettleRequest.DESCRIPTOR.fields_by_name["lines"].GetOptions())
    assert f"max_items: {LINES_MAX}" in rules
    assert refusal_of(*[PILLS] * (LINES_MAX + 1))[0] == "LINES_TOO_MANY"


DECIMALS = st.decimals(min_value=0, max_value=10**11, places=4)


@given(cnt=DECIMALS, pric=DECIMALS)
def test_a_line_is_read_back_as_it_was_stored(cnt: Decimal, pric: Decimal) -> None:
    """Quantity and price keep every digit, and the digest tells lines apart by any of them."""
    line = replace(PILLS, cnt=cnt, pric=pric)
    assert line_of(line.document()) == line
    assert digest_of_lines([line]) == digest_of_lines([line_of(line.document())])
    assert digest_of_lines([line]) != digest_of_lines([replace(line, cnt=cnt + 1)])
