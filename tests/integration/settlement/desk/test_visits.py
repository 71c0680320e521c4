"""A visit as the institution states it: its class, its lines, its people, its parts, over the real desk."""

from __future__ import annotations

import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care
from services.settlement.domain.payment import clr_type_of
from tests.integration.settlement.desk.town import HOSPITAL, PHARMACY, Town, bill, token

CLASSES = (
    (Care.OUTPATIENT, HOSPITAL, "11", "11"),
    (Care.INPATIENT, HOSPITAL, "21", "21"),
    (Care.PHARMACY, PHARMACY, "41", "41"),
)


@pytest.mark.parametrize(("care", "fixmedins_code", "med_type", "clr_type"), CLASSES)
async def test_a_settlement_its_revocation_and_its_reversal_are_of_one_clearing_class(
    town: Town, care: Care, fixmedins_code: str, med_type: str, clr_type: str
) -> None:
    """清算类别 stands on each row of the payment, as its transaction says, and nowhere else."""
    patient = await town.person(past=10_000)
    async with town.terminal(fixmedins_code=fixmedins_code) as (terminal, _):
        for undo in ("revoke", "reverse"):
            presented = bill(700)
            presented.med_type = med_type
            plan = await terminal.pre_settle(
                care=care,
                psn_no=patient,
                ec_token=token(patient, fixmedins_code=fixmedins_code),
                mdtrt_id="m1",
                bill=presented,
            )
            settled = await terminal.settle(plan, care=care)
            assert isinstance(settled, pb.Settlement)
            if undo == "revoke":
                await terminal.revoke(settled.setl_id, care=care)
            else:
                await terminal.reverse(infno=care.settle, msgid=settled.key.msgid)
    async with town.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT kind, infno, clr_type FROM payments WHERE psn_no = $1", patient)
    assert {row["clr_type"] for row in rows if row["kind"] in {"SETTLE", "REFUND"}} == {clr_type}
    assert [row["clr_type"] for row in rows if row["kind"] == "CREDIT"] == [None]
    assert [row["clr_type"] for row in rows] == [clr_type_of(row["infno"]) for row in rows]
    assert len(rows) == 5
