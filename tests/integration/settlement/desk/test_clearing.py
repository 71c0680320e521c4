"""What the desk really settles and takes back is what areas are said to owe each other."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care
from ops.verify.clearing import _PAYMENTS, _shares
from services.settlement.domain.clearing import Period
from services.settlement.store import clearing as store
from tests.integration.settlement.desk.town import CALL_S, HAMI, URUMQI, Town, bill


async def test_a_visit_away_from_home_is_owed_by_fund_account_and_funder(town: Town) -> None:
    """Hami's patient in Ürümqi: fund, own account and one funder are Hami's debts, the other funder is Ürümqi's own.

    The revocation turns every sign; what verify works out of the same rows is the same. (What is written is rolled
    back: a month of the town is never run.)
    """
    patient = await town.person(HAMI, past=1_000, current=500)
    near, far = await town.person(URUMQI, past=2_000), await town.person(HAMI, past=700, current=1_000)
    await town.bind(near, patient, URUMQI, order=1)
    await town.bind(far, patient, HAMI, order=2)
    request = town.presented(patient, 9_000, bill=bill(9_000, act_pay_dedc=1_000, hifp_pay=4_000))
    async with town.terminal() as (terminal, _):
        plan = (await town.desk.PreSettle(request, timeout=CALL_S)).plan
        settled = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        revoked = await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        assert isinstance(revoked, pb.Settlement)
    assert revoked.amounts.fund_pay_sumamt == -4_000
    await town.settled_down()
    ids = [UUID(settled.setl_id), UUID(revoked.setl_id)]
    async with town.database.driver_transaction() as connection:
        await store.write_lines(connection, Period.of(datetime.now(UTC)), is_first=True)
        lines = [line for line in await store.lines_of(connection, ids[0]) if line["payment_id"] in ids]
        rows = [
            row
            for row in await connection.fetch(_PAYMENTS, UUID(int=0), datetime.now(UTC), 1_000_000)
            if row["payment_id"] in ids
        ]
        await connection.execute("ROLLBACK; BEGIN")
    owed = [("FUND", 0, 4_000), ("OWN", 1, 1_500), ("FUNDER", 3, 1_500)]
    assert {(line["debtor_area"], line["creditor_area"], line["clr_type"]) for line in lines} == {(HAMI, URUMQI, "11")}
    for payment_id, sign in zip(ids, (1, -1), strict=True):
        found = {
            (line["part"], line["leg_no"], line["amount_fen"]) for line in lines if line["payment_id"] == payment_id
        }
        assert found == {(part, leg_no, sign * amount_fen) for part, leg_no, amount_fen in owed}
    shares = [share for row in rows for share in _shares(row)]
    assert {(share.payment_id, share.leg_no, share.amount_fen) for share in shares if share.is_between_areas} == {
        (line["payment_id"], line["leg_no"], line["amount_fen"]) for line in lines
    }
    assert [share.amount_fen for share in shares if not share.is_between_areas] == [2_000, -2_000]
