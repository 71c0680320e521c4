"""The bill: the national amounts, the pooled part, and what stays with the person, told in five kinds (domain §6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from kernel.failures import Failure, Kind
from kernel.money import Fen, checked_amount, share_half_up
from kernel.policy import COST_KINDS, CostKind, ExternalBenefit, LargeFund, OpenBenefit
from kernel.values import value

_FEN: Final = Decimal(1)
KindAmounts: TypeAlias = Mapping[CostKind, Fen]
"""Fen by kind; every kind is named, in the order of consumption."""

REDUCTION_ORDER: Final = (
    CostKind.COPAY,
    CostKind.DEDUCTIBLE,
    CostKind.PRESELFPAY,
    CostKind.OVERLIMIT,
    CostKind.FULL_OWN,
)
"""In which order the other funds and the hospital's own share reduce the personal burden."""


@value
class Bill:
    """The national amounts of one visit as the institution sends them, in fen, names letter for letter.

    ``act_pay_dedc`` and ``hifp_pay`` count only where the policy says ``benefit: external``; a benefit table computes
    them anew, and so ``hifob_pay`` or ``hifmi_pay`` where it says what pays above the ceiling.
    """

    medfee_sumamt: Fen  # 医疗费总额
    fulamt_ownpay_amt: Fen  # 全自费金额
    overlmt_selfpay: Fen  # 超限价自费费用
    preselfpay_amt: Fen  # 先行自付金额
    inscp_scp_amt: Fen  # 符合政策范围金额
    act_pay_dedc: Fen = 0  # 实际支付起付线
    hifp_pay: Fen = 0  # 基本医疗保险统筹基金支出
    cvlserv_pay: Fen = 0  # 公务员医疗补助资金支出
    hifes_pay: Fen = 0  # 企业补充医疗保险基金支出
    hifmi_pay: Fen = 0  # 居民大病保险资金支出
    hifob_pay: Fen = 0  # 职工大额医疗费用补助基金支出
    maf_pay: Fen = 0  # 医疗救助基金支出
    oth_pay: Fen = 0  # 其他支出
    hosp_part_amt: Fen = 0  # 医院负担金额

    @property
    def other_funds_pay(self) -> Fen:
        """What the funds beside the pooled one pay."""
        return self.cvlserv_pay + self.hifes_pay + self.hifmi_pay + self.hifob_pay + self.maf_pay + self.oth_pay


@value
class Burden:
    """What the funds and the hospital pay, and what is left to the person: Σ ``by_kind`` = ``psn_part_amt``."""

    act_pay_dedc: Fen
    hifp_pay: Fen
    fund_pay_sumamt: Fen
    hosp_part_amt: Fen
    psn_part_amt: Fen
    by_kind: KindAmounts
    hifmi_pay: Fen
    """As the bill has it, unless the table computes it; so ``hifob_pay``."""
    hifob_pay: Fen


def _refused(reason: str, field: str, **facts_fen: Fen) -> Failure:
    return Failure(Kind.INVALID, reason, field=field, **facts_fen)


def check_bill(bill: Bill) -> None:
    """Each amount is within N16,2 and not negative, and the four parts add up to ``medfee_sumamt``.

    AMOUNT_OUT_OF_RANGE or BILL_DOES_NOT_ADD_UP otherwise, with the ``field`` at fault.
    """
    for amount in fields(bill):
        checked_amount(getattr(bill, amount.name), field=amount.name)
    parts_fen = bill.fulamt_ownpay_amt + bill.overlmt_selfpay + bill.preselfpay_amt + bill.inscp_scp_amt
    if parts_fen != bill.medfee_sumamt:
        raise _refused("BILL_DOES_NOT_ADD_UP", "medfee_sumamt", stated_fen=bill.medfee_sumamt, parts_fen=parts_fen)


def pooled_part(bill: Bill, benefit: OpenBenefit | ExternalBenefit) -> tuple[Fen, Fen]:
    """``(act_pay_dedc, hifp_pay)`` of a checked bill.

    From the request as it is, or by what is open of the year: the deductible first, then the fund's ratio of the rest,
    rounded half up once, then cut to the ceiling. POOLED_PART_EXCEEDS_SCOPE where a request's two are
    more than ``inscp_scp_amt``.
    """
    match benefit:
        case ExternalBenefit():
            if bill.act_pay_dedc + bill.hifp_pay > bill.inscp_scp_amt:
                raise _refused(
                    "POOLED_PART_EXCEEDS_SCOPE",
                    "hifp_pay",
                    act_pay_dedc_fen=bill.act_pay_dedc,
                    hifp_pay_fen=bill.hifp_pay,
                    inscp_scp_amt_fen=bill.inscp_scp_amt,
                )
            return bill.act_pay_dedc, bill.hifp_pay
        case OpenBenefit():
            deductible_fen = min(benefit.deductible_fen, bill.inscp_scp_amt)
            fund_fen = share_half_up(bill.inscp_scp_amt - deductible_fen, benefit.ratio)
            if benefit.ceiling_left_fen is not None:
                fund_fen = min(fund_fen, benefit.ceiling_left_fen)
            return deductible_fen, fund_fen
        case _:
            assert_never(benefit)


def above_ceiling(bill: Bill, benefit: OpenBenefit, *, act_pay_dedc: Fen, hifp_pay: Fen) -> Fen:
    """What pays above the pooled fund's ceiling (大额, 大病): nothing while that fund is not cut.

    The costs up to the ceiling are those of which the fund's ratio is what it still paid, rounded half up; of the rest
    the tier's ratio, rounded half up, then cut to what is left of its own year.
    """
    large, base_fen = benefit.large, bill.inscp_scp_amt - act_pay_dedc
    if large is None or hifp_pay >= share_half_up(base_fen, benefit.ratio):
        return 0
    below_fen = min(int((hifp_pay / benefit.ratio).quantize(_FEN, rounding=ROUND_HALF_UP)), base_fen)
    paid_fen = share_half_up(base_fen - below_fen, large.ratio)
    if large.ceiling_left_fen is not None:
        paid_fen = min(paid_fen, large.ceiling_left_fen)
    return min(paid_fen, base_fen - hifp_pay)


def _computed(bill: Bill, benefit: OpenBenefit | ExternalBenefit, *, act_pay_dedc: Fen, hifp_pay: Fen) -> Bill:
    """The bill with the field of the tier above the ceiling computed anew, where the benefit has one."""
    if not isinstance(benefit, OpenBenefit) or benefit.large is None:
        return bill
    paid_fen = above_ceiling(bill, benefit, act_pay_dedc=act_pay_dedc, hifp_pay=hifp_pay)
    match benefit.large.fund:
        case LargeFund.EMPLOYEES:
            return replace(bill, hifob_pay=paid_fen)
        case LargeFund.RESIDENTS:
            return replace(bill, hifmi_pay=paid_fen)
        case _:
            assert_never(benefit.large.fund)


def burden_of(bill: Bill, benefit: OpenBenefit | ExternalBenefit) -> Burden:
    """What the person is left with, by kind.

    Refusals in this order: those of ``check_bill`` and ``pooled_part``; FUNDS_EXCEED_BILL where the funds together pay
    more than the bill; HOSPITAL_PART_EXCEEDS_BURDEN where ``hosp_part_amt`` is more than the funds left open.
    """
    check_bill(bill)
    act_pay_dedc, hifp_pay = pooled_part(bill, benefit)
    bill = _computed(bill, benefit, act_pay_dedc=act_pay_dedc, hifp_pay=hifp_pay)
    fund_pay_sumamt = hifp_pay + bill.other_funds_pay
    open_fen = bill.medfee_sumamt - fund_pay_sumamt
    if open_fen < 0:
        raise _refused(
            "FUNDS_EXCEED_BILL",
            "fund_pay_sumamt",
            fund_pay_sumamt_fen=fund_pay_sumamt,
            medfee_sumamt_fen=bill.medfee_sumamt,
        )
    if bill.hosp_part_amt > open_fen:
        raise _refused(
            "HOSPITAL_PART_EXCEEDS_BURDEN", "hosp_part_amt", hosp_part_amt_fen=bill.hosp_part_amt, open_fen=open_fen
        )
    by_kind = {
        CostKind.DEDUCTIBLE: act_pay_dedc,
        CostKind.COPAY: bill.inscp_scp_amt - act_pay_dedc - hifp_pay,
        CostKind.PRESELFPAY: bill.preselfpay_amt,
        CostKind.OVERLIMIT: bill.overlmt_selfpay,
        CostKind.FULL_OWN: bill.fulamt_ownpay_amt,
    }
    reduction_fen = bill.other_funds_pay + bill.hosp_part_amt
    for kind in REDUCTION_ORDER:
        taken_fen = min(reduction_fen, by_kind[kind])
        by_kind[kind] -= taken_fen
        reduction_fen -= taken_fen
    return Burden(
        act_pay_dedc=act_pay_dedc,
        hifp_pay=hifp_pay,
        fund_pay_sumamt=fund_pay_sumamt,
        hosp_part_amt=bill.hosp_part_amt,
        psn_part_amt=open_fen - bill.hosp_part_amt,
        by_kind=MappingProxyType({kind: by_kind[kind] for kind in COST_KINDS}),
        hifmi_pay=bill.hifmi_pay,
        hifob_pay=bill.hifob_pay,
    )
