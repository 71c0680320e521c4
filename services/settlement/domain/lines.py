"""The lines of a bill: medicines, services and items, each by its class, and their sums, which are the bill's.

What is told of a line is judged line by line, so that the institution knows which of them is wrong (domain §5, §6).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Any, Final

from kernel.failures import Failure, Kind
from kernel.money import Fen
from kernel.values import value
from services.settlement.domain.bill import Bill
from services.settlement.domain.med_types import OF_PHARMACIES

LINES_MAX: Final = 500
"""How many lines a bill may have; the contract bounds the field alike."""
OUT_OF_CATALOGUE: Final = "03"
"""收费项目等级 丙: not in the insurance's catalogue, so all of it is the person's own (全自费)."""

DRUGS: Final = frozenset({"101", "102", "104"})
"""目录类别 西药中成药, 中药饮片, 民族药."""
HOSPITAL_MADE: Final = "103"
"""自制剂: made and given out by a hospital."""
SERVICES: Final = "201"
"""医疗服务项目."""
CONSUMABLES: Final = "301"
"""医用耗材."""
DEVICES: Final = "302"
"""医疗器械. Ours, as the next: the national catalogues have no number for it."""
NEVER: Final = frozenset({"901", "902", "903", "904"})
"""Ours: 公共卫生, 体育健身, 养生保健, 生活日用. Named so that they can be refused by name: no account pays them."""
AT_PHARMACIES: Final = DRUGS | {CONSUMABLES, DEVICES}
ANYWHERE: Final = AT_PHARMACIES | {HOSPITAL_MADE, SERVICES}


class LinesRequired(Enum):
    """Whose bills are refused without their lines."""

    NONE = "none"
    PHARMACIES = "pharmacies"
    ALL = "all"


@value
class Line:
    """One line (费用明细), names letter for letter; amounts in fen, ``pric`` in fen with decimals."""

    list_type: str  # 目录类别
    med_list_codg: str  # 医疗目录编码
    chrgitm_lv: str  # 收费项目等级: 01 甲, 02 乙, 03 丙
    cnt: Decimal  # 数量
    pric: Decimal  # 单价
    det_item_fee_sumamt: Fen  # 明细项目费用总额
    fulamt_ownpay_amt: Fen  # 全自费金额
    overlmt_amt: Fen  # 超限价金额
    preselfpay_amt: Fen  # 先行自付金额
    inscp_scp_amt: Fen  # 符合政策范围金额

    @property
    def priced_fen(self) -> Fen:
        """``cnt`` times ``pric``, rounded half up once."""
        return int((self.cnt * self.pric).quantize(Decimal(1), rounding=ROUND_HALF_UP))

    @property
    def parts_fen(self) -> Fen:
        """The four classes together."""
        return self.fulamt_ownpay_amt + self.overlmt_amt + self.preselfpay_amt + self.inscp_scp_amt

    def document(self) -> dict[str, Any]:
        """The line in JSON's terms; ``of_document`` reads it back."""
        fields = {name: getattr(self, name) for name in self.__slots__}  # type: ignore[attr-defined]  # A value has them.
        return {**fields, "cnt": str(self.cnt), "pric": str(self.pric)}


_SUMS: Final = (
    ("medfee_sumamt", "det_item_fee_sumamt"),
    ("fulamt_ownpay_amt", "fulamt_ownpay_amt"),
    ("overlmt_selfpay", "overlmt_amt"),
    ("preselfpay_amt", "preselfpay_amt"),
    ("inscp_scp_amt", "inscp_scp_amt"),
)
"""Which amount of the bill is the sum of which of its lines."""


def line_of(document: Mapping[str, Any]) -> Line:
    """The line of a stored document."""
    return Line(**{**document, "cnt": Decimal(document["cnt"]), "pric": Decimal(document["pric"])})


def digest_of_lines(lines: Sequence[Line]) -> str:
    """SHA-256 over the lines' canonical form, in hex: a plan carries it, so the consent covers them."""
    canonical = json.dumps([line.document() for line in lines], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_lines(lines: Sequence[Line], *, bill: Bill, infno: str, required: LinesRequired) -> None:
    """The lines may be paid here, and they are the bill.

    Refusals in this order, those of a line with its ``line_no`` from 1: LINES_MISSING (``required``), LINES_TOO_MANY;
    of each line LIST_TYPE_UNKNOWN, GOODS_NEVER_PAID, LINE_NOT_FOR_PHARMACY, LINE_AMOUNT_DIFFERS,
    LINE_DOES_NOT_ADD_UP, LINE_OUT_OF_CATALOGUE; LINES_DIFFER_FROM_BILL with the amount at fault.
    """
    at_pharmacy = infno in OF_PHARMACIES
    if not lines:
        if required is LinesRequired.ALL or (required is LinesRequired.PHARMACIES and at_pharmacy):
            raise Failure(Kind.INVALID, "LINES_MISSING", field="lines")
        return
    if len(lines) > LINES_MAX:
        raise Failure(Kind.INVALID, "LINES_TOO_MANY", field="lines", lines_max=LINES_MAX)
    for line_no, line in enumerate(lines, start=1):
        _check_class(line, line_no, at_pharmacy=at_pharmacy)
        _check_amounts(line, line_no)
    for of_bill, of_lines in _SUMS:
        stated_fen, lines_fen = getattr(bill, of_bill), sum(getattr(line, of_lines) for line in lines)
        if stated_fen != lines_fen:
            raise Failure(
                Kind.INVALID, "LINES_DIFFER_FROM_BILL", field=of_bill, stated_fen=stated_fen, lines_fen=lines_fen
            )


def _check_class(line: Line, line_no: int, *, at_pharmacy: bool) -> None:
    if line.list_type in NEVER:
        raise _of_line("GOODS_NEVER_PAID", line_no, list_type=line.list_type)
    if line.list_type not in ANYWHERE:
        raise _of_line("LIST_TYPE_UNKNOWN", line_no, list_type=line.list_type)
    if at_pharmacy and line.list_type not in AT_PHARMACIES:
        raise _of_line("LINE_NOT_FOR_PHARMACY", line_no, list_type=line.list_type)


def _check_amounts(line: Line, line_no: int) -> None:
    stated_fen = line.det_item_fee_sumamt
    if line.priced_fen != stated_fen:
        raise _of_line("LINE_AMOUNT_DIFFERS", line_no, stated_fen=stated_fen, priced_fen=line.priced_fen)
    if line.parts_fen != stated_fen:
        raise _of_line("LINE_DOES_NOT_ADD_UP", line_no, stated_fen=stated_fen, parts_fen=line.parts_fen)
    if line.chrgitm_lv == OUT_OF_CATALOGUE and line.fulamt_ownpay_amt != stated_fen:
        raise _of_line("LINE_OUT_OF_CATALOGUE", line_no, fulamt_ownpay_amt_fen=line.fulamt_ownpay_amt)


def _of_line(reason: str, line_no: int, **facts: str | int) -> Failure:
    return Failure(Kind.INVALID, reason, field="lines", line_no=line_no, **facts)
