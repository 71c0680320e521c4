"""Acts of a day's end: an institution's rows are compared with ours, and an officer settles what differs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import ClassVar, Final

from chassis.rpc.client import channel
from gongji.settlement.v1 import reconciliation_pb2 as pb
from gongji.settlement.v1 import settlement_pb2
from gongji.settlement.v1.reconciliation_pb2_grpc import ReconciliationServiceStub
from gongji_terminal import Care
from gongji_terminal.msgid import next_msgid
from kernel.clock import business_date
from tests.e2e.town import OTHER_HOSPITAL, TESTER
from tests.fault.matrix.accounts import SingleAct
from tests.fault.matrix.scene import until

BILL_FEN: Final = 300
CALL_S: Final = 8.0
TERMINAL: Final = 95
"""Stands in the msgid of the row that only the institution has; no terminal of the town is so numbered."""
_OPEN: Final = """
SELECT kind, count(*) AS count FROM reconciliation_differences
WHERE fixmedins_code = $1 AND stmt_date = $2 AND state = 'OPEN' GROUP BY kind"""
_THEIRS: Final = """
SELECT difference_id FROM reconciliation_differences
WHERE fixmedins_code = $1 AND stmt_date = $2 AND kind = 'ONLY_THEIRS' AND state = 'OPEN'"""
_DECISIONS: Final = "SELECT count(*) FROM reconciliation_decisions WHERE difference_id = $1"


class Reconcile(SingleAct):
    """A hospital states one row that we do not know, and none of ours."""

    last: ClassVar[str | None] = None
    """The row before: two cells of one second must not state the same one, which an officer has explained by then."""
    day: date
    compared: pb.ReconcileDetailResponse

    async def prepare(self) -> None:
        """A bill there was paid and taken back: two records of ours, and every account as before."""
        town = self.scene.town
        settled = await town.paid(self.scene.families[0], BILL_FEN, at=OTHER_HOSPITAL)
        revoked = await town.counters[OTHER_HOSPITAL].terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        assert isinstance(revoked, settlement_pb2.Settlement), revoked
        await town.at_rest()
        self.day = business_date(revoked.setl_time.ToDatetime(tzinfo=UTC))
        self.msgid = next_msgid(OTHER_HOSPITAL, TERMINAL, now=datetime.now(UTC), last=Reconcile.last)
        Reconcile.last = self.msgid

    def _parts(self) -> Iterator[pb.ReconcileDetailRequest]:
        header = pb.ReconcileDetailHeader(fixmedins_code=OTHER_HOSPITAL, stmt_date=self.day.isoformat(), rows_cnt=1)
        yield pb.ReconcileDetailRequest(header=header)
        amounts = pb.StatementAmounts(medfee_sumamt=BILL_FEN, acct_pay=BILL_FEN)
        row = pb.StatementRow(infno="2207", msgid=self.msgid, insutype="310", clr_type="11", amounts=amounts)
        yield pb.ReconcileDetailRequest(rows=pb.StatementRows(rows=[row]))

    async def ask(self) -> bool:
        """The same rows each time."""
        async with channel(self.scene.town.world.address("settlement"), caller=TESTER) as line:
            desk = ReconciliationServiceStub(line)
            self.compared = await desk.ReconcileDetail(self._parts(), timeout=CALL_S)
        return True

    async def check(self) -> None:
        """Each record differs once, and the same rows again find the day compared already."""
        before = self.compared
        found = await self.scene.town.settlement.fetch(_OPEN, OTHER_HOSPITAL, self.day)
        assert {row["kind"]: row["count"] for row in found} == {"ONLY_THEIRS": 1, "ONLY_OURS": before.ours_cnt}
        assert before.stmt_rslt == pb.STMT_RSLT_UNBALANCED
        await until(self.ask, "the same rows are compared again")
        assert (self.compared.existed, list(self.compared.differences)) == (True, list(before.differences))


class Resolve(Reconcile):
    """An officer explains the row that we do not know."""

    async def prepare(self) -> None:
        """It is known to differ."""
        await super().prepare()
        await until(super().ask, "the rows are compared")
        self.difference_id = await self.scene.town.settlement.fetchval(_THEIRS, OTHER_HOSPITAL, self.day)

    async def ask(self) -> bool:
        """The same decision each time."""
        request = pb.ResolveDifferenceRequest(
            difference_id=str(self.difference_id),
            state=pb.DIFFERENCE_STATE_EXPLAINED,
            cause="the slip was torn up",
            opter="matrix",
        )
        async with channel(self.scene.town.world.address("settlement"), caller=TESTER) as line:
            answer = await ReconciliationServiceStub(line).ResolveDifference(request, timeout=CALL_S)
        return bool(answer.difference.state == pb.DIFFERENCE_STATE_EXPLAINED)

    async def check(self) -> None:
        """It was decided once."""
        assert await self.scene.town.settlement.fetchval(_DECISIONS, self.difference_id) == 1
