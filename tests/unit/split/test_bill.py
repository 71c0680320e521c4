"""The bill: what is refused, what the funds pay, and what is left in which kind."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import pytest

from kernel.failures import Failure, Kind
from kernel.money import AMOUNT_MAX_FEN
from kernel.policy import COST_KINDS, ExternalBenefit, OpenBenefit
from services.settlement.domain.bill import Bill, Burden, burden_of, pooled_part


def a_bill(**amounts: int) -> Bill:
    """A bill of five parts that adds up, changed as told."""
    stated = {
        "medfee_sumamt": 1000,
        "fulamt_ownpay_amt": 100,
        "overlmt_selfpay": 100,
        "preselfpay_amt": 100,
        "inscp_scp_amt": 700,
    }
    return Bill(**{**stated, **amounts})


def kinds_of(burden: Burden) -> list[int]:
    """DEDUCTIBLE, COPAY, PRESELFPAY, OVERLIMIT, FULL_OWN."""
    return [burden.by_kind[kind] for kind in COST_KINDS]


@pytest.mark.parametrize(
    ("bill", "reason", "field"),
    [
        (a_bill(medfee_sumamt=1001), "BILL_DOES_NOT_ADD_UP", "medfee_sumamt"),
        (a_bill(inscp_scp_amt=699), "BILL_DOES_NOT_ADD_UP", "medfee_sumamt"),
        (a_bill(fulamt_ownpay_amt=-1, inscp_scp_amt=801), "AMOUNT_OUT_OF_RANGE", "fulamt_ownpay_amt"),
        (a_bill(oth_pay=-1), "AMOUNT_OUT_OF_RANGE", "oth_pay"),
        (a_bill(medfee_sumamt=AMOUNT_MAX_FEN + 1), "AMOUNT_OUT_OF_RANGE", "medfee_sumamt"),
        (a_bill(hosp_part_amt=AMOUNT_MAX_FEN + 1), "AMOUNT_OUT_OF_RANGE", "hosp_part_amt"),
        (a_bill(hifp_pay=701), "POOLED_PART_EXCEEDS_SCOPE", "hifp_pay"),
        (a_bill(act_pay_dedc=701), "POOLED_PART_EXCEEDS_SCOPE", "hifp_pay"),
        (a_bill(act_pay_dedc=400, hifp_pay=301), "POOLED_PART_EXCEEDS_SCOPE", "hifp_pay"),
        (a_bill(hifp_pay=700, maf_pay=301), "FUNDS_EXCEED_BILL", "fund_pay_sumamt"),
        (a_bill(maf_pay=AMOUNT_MAX_FEN, oth_pay=AMOUNT_MAX_FEN), "FUNDS_EXCEED_BILL", "fund_pay_sumamt"),
        (a_bill(hifp_pay=700, hosp_part_amt=301), "HOSPITAL_PART_EXCEEDS_BURDEN", "hosp_part_amt"),
    ],
)
def test_a_bill_that_cannot_be_is_refused_by_name(bill: Bill, reason: str, field: str) -> None:
    """Each impossibility has its own reason and names the field."""
    with pytest.raises(Failure) as refused:
        burden_of(bill, ExternalBenefit())
    assert (refused.value.kind, refused.value.reason, refused.value.metadata["field"]) == (Kind.INVALID, reason, field)


@pytest.mark.parametrize("amount", [amount.name for amount in fields(Bill)])
@pytest.mark.parametrize("wrong", [-1, AMOUNT_MAX_FEN + 1, 1.0, True, "1", None])
def test_every_amount_is_a_whole_number_within_its_range(amount: str, wrong: object) -> None:
    """No field of the bill escapes the check, whatever the policy takes from it."""
    bill = a_bill(**{amount: wrong})  # type: ignore[arg-type]  # Wrong on purpose.
    with pytest.raises(Failure) as refused:
        burden_of(bill, OpenBenefit(0, Decimal(0), None))
    assert (refused.value.reason, refused.value.metadata["field"]) == ("AMOUNT_OUT_OF_RANGE", amount)


@pytest.mark.parametrize(
    ("deductible_fen", "ratio", "ceiling_fen", "expected"),
    [
        (0, "0", None, (0, 0)),
        (0, "1", None, (0, 700)),
        (200, "1", None, (200, 500)),
        (700, "1", None, (700, 0)),
        (10_000, "1", None, (700, 0)),
        (0, "0.5", 349, (0, 349)),
        (0, "0.5", 350, (0, 350)),
        (0, "0.5", 0, (0, 0)),
        (1, "0.5", None, (1, 350)),  # 349.5 is rounded up.
        (0, "0.70070", None, (0, 490)),  # 490.49 is rounded down.
    ],
)
def test_the_pooled_part_by_the_table(
    deductible_fen: int, ratio: str, ceiling_fen: int | None, expected: tuple[int, int]
) -> None:
    """The deductible first, at most the costs in scope; then the ratio, half up once; then the ceiling."""
    table = OpenBenefit(deductible_fen, Decimal(ratio), ceiling_fen)
    assert pooled_part(a_bill(act_pay_dedc=5, hifp_pay=5), table) == expected


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ({}, [100, 400, 100, 100, 100]),
        ({"maf_pay": 400}, [100, 0, 100, 100, 100]),
        ({"maf_pay": 300, "hosp_part_amt": 250}, [0, 0, 50, 100, 100]),
        ({"hosp_part_amt": 401}, [99, 0, 100, 100, 100]),
        ({"hosp_part_amt": 650}, [0, 0, 0, 50, 100]),
        ({"oth_pay": 150, "cvlserv_pay": 150, "hifes_pay": 150, "hifmi_pay": 150, "hifob_pay": 150}, [0, 0, 0, 0, 50]),
        ({"hosp_part_amt": 800}, [0, 0, 0, 0, 0]),
    ],
)
def test_other_funds_and_the_hospital_reduce_the_kinds_in_their_order(
    amounts: dict[str, int], expected: list[int]
) -> None:
    """COPAY first, then DEDUCTIBLE, PRESELFPAY, OVERLIMIT, FULL_OWN; what is left adds up to psn_part_amt."""
    burden = burden_of(a_bill(act_pay_dedc=100, hifp_pay=200, **amounts), ExternalBenefit())
    assert kinds_of(burden) == expected
    assert burden.psn_part_amt == sum(expected)
    assert burden.fund_pay_sumamt == 200 + sum(amounts.values()) - amounts.get("hosp_part_amt", 0)


def test_a_bill_of_nothing_leaves_nothing() -> None:
    """A bill of zero is a bill."""
    assert burden_of(Bill(0, 0, 0, 0, 0), ExternalBenefit()).psn_part_amt == 0
