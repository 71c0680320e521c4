"""Kinds of bill, and the national transactions (交易编号) that go with each."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, NotRequired, TypedDict

from gongji.settlement.v1 import settlement_pb2 as pb

INPATIENT_MED_TYPES: Final = frozenset({"21", "22", "23", "24", "52"})
"""住院 and what is settled like it; everything else at a hospital is outpatient."""


class Care(Enum):
    """What kind of bill it is, and the national transactions that go with it."""

    PHARMACY = ("2101", "2102", "2103")
    OUTPATIENT = ("2206", "2207", "2208")
    INPATIENT = ("2303", "2304", "2305")

    @property
    def pre_settle(self) -> pb.Infno.ValueType:
        """预结算."""
        return infno_of(self.value[0])

    @property
    def settle(self) -> str:
        """结算."""
        return self.value[1]

    @property
    def revoke(self) -> str:
        """结算撤销."""
        return self.value[2]


class Presented(TypedDict):
    """A bill as it is presented to be planned."""

    care: Care
    psn_no: str
    ec_token: str
    mdtrt_id: str
    bill: pb.Bill
    lines: NotRequired[Sequence[pb.BillLine]]
    """费用明细: what the bill is the sum of."""
    interim: NotRequired[bool]
    """中途结算: one of several settlements of an inpatient's visit."""
    agent_ec_token: NotRequired[str]
    """代买药: of the own credential of who fetches the medicine."""


def care_of(fixmedins_code: str, med_type: str) -> Care:
    """How a bill of this 医疗类别 is settled at this institution."""
    if fixmedins_code.startswith("P"):
        return Care.PHARMACY
    return Care.INPATIENT if med_type in INPATIENT_MED_TYPES else Care.OUTPATIENT


def care_settled_by(infno: str) -> Care:
    """Which kind of bill this 结算 or 结算撤销 belongs to; ValueError if it is neither."""
    for care in Care:
        if infno in {care.settle, care.revoke}:
            return care
    raise ValueError(f"{infno} is neither a settlement nor a revocation")


def infno_of(infno: str) -> pb.Infno.ValueType:
    """The number as the contract has it."""
    return pb.Infno.Value(f"INFNO_{infno}")
