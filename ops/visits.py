"""What happens at a counter: the patient shows a code, the terminal decodes it, shows the plan and pays it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from itertools import count
from typing import Final

from gongji.identity.v1 import identity_pb2
from gongji.settlement.v1 import settlement_pb2
from kernel.clock import SHANGHAI
from kernel.ids import FixmedinsCode, PsnNo
from ops.desks import Desks
from services.settlement.domain.bill import Bill

SETTLE_OF: Final = {
    settlement_pb2.INFNO_2101: settlement_pb2.INFNO_2102,
    settlement_pb2.INFNO_2206: settlement_pb2.INFNO_2207,
    settlement_pb2.INFNO_2303: settlement_pb2.INFNO_2304,
}
INPATIENT_MED_TYPES: Final = ("21", "22", "23", "24", "52")
"""住院 and what is settled like it; everything else at a hospital is outpatient."""
_RUNNING: Final = count(1)


class PlanRefusedError(Exception):
    """A source changed between plan and payment; the new plan that was offered is with it."""

    def __init__(self, replan: settlement_pb2.Replan) -> None:
        super().__init__(replan.reason)
        self.replan = replan


@dataclass(frozen=True, slots=True)
class Counter:
    """A terminal in an institution."""

    desks: Desks
    fixmedins_code: FixmedinsCode
    terminal_no: str = "T01"

    def msgid(self, now: datetime) -> str:
        """A request number nobody else in this institution makes in this second."""
        return f"{self.fixmedins_code}{now.astimezone(SHANGHAI):%Y%m%d%H%M%S}{next(_RUNNING) % 10_000:04d}"

    def pre_infno(self, med_type: str) -> settlement_pb2.Infno.ValueType:
        """Which transaction plans this visit: pharmacy, inpatient or outpatient."""
        if self.fixmedins_code.startswith("P"):
            return settlement_pb2.INFNO_2101
        return settlement_pb2.INFNO_2303 if med_type in INPATIENT_MED_TYPES else settlement_pb2.INFNO_2206

    async def decode(self, psn_no: PsnNo) -> str:
        """The person shows his own code, the terminal decodes it: the ecToken of this visit."""
        issued = await self.desks.identity.IssueCode(identity_pb2.IssueCodeRequest(psn_no=psn_no))
        decoded = await self.desks.identity.DecodeCredential(
            identity_pb2.DecodeCredentialRequest(
                code=issued.code, fixmedins_code=self.fixmedins_code, terminal_no=self.terminal_no
            )
        )
        return str(decoded.ec_token)

    async def plan(self, *, patient: PsnNo, med_type: str, bill: Bill, mdtrt_id: str) -> settlement_pb2.Plan:
        """What would be paid by whom; nothing moves."""
        answer = await self.desks.settlement.PreSettle(
            settlement_pb2.PreSettleRequest(
                fixmedins_code=self.fixmedins_code,
                infno=self.pre_infno(med_type),
                terminal_no=self.terminal_no,
                psn_no=patient,
                ec_token=await self.decode(patient),
                mdtrt_id=mdtrt_id,
                bill=settlement_pb2.Bill(
                    med_type=med_type, **{amount.name: getattr(bill, amount.name) for amount in fields(bill)}
                ),
            )
        )
        return answer.plan

    def settle_request(
        self, plan: settlement_pb2.Plan, *, med_type: str, now: datetime
    ) -> settlement_pb2.SettleRequest:
        """The request that pays this plan, with a key of its own."""
        return settlement_pb2.SettleRequest(
            key=settlement_pb2.RequestKey(
                fixmedins_code=self.fixmedins_code, infno=SETTLE_OF[self.pre_infno(med_type)], msgid=self.msgid(now)
            ),
            plan_id=plan.plan_id,
            plan_digest=plan.digest,
        )

    async def pay(self, plan: settlement_pb2.Plan, *, med_type: str, now: datetime) -> settlement_pb2.Settlement:
        """The settlement of exactly this plan; PlanRefusedError with the new plan if a source changed."""
        answer = await self.desks.settlement.Settle(self.settle_request(plan, med_type=med_type, now=now))
        if answer.WhichOneof("outcome") == "replan":
            raise PlanRefusedError(answer.replan)
        return answer.settlement
