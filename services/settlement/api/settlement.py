"""SettlementService: plan, pay, ask, revoke, reverse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chassis.rpc.failures import Answered
from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji.settlement.v1.settlement_pb2_grpc import SettlementServiceServicer, add_SettlementServiceServicer_to_server
from kernel.clock import Clock
from kernel.failures import Failure
from kernel.ids import FixmedinsCode, PaymentId, PlanId
from services.settlement.domain.plan import Plan
from services.settlement.operations import payments, planning
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import Found, Refunded, Replanned, Settled, Stopped
from services.settlement.saga.payment import PaymentKind
from services.settlement.wire import desk as wire

STANDING: Final = frozenset({"REVOKE_WINDOW_CLOSED", "REVOCATION_STANDS", "LATER_SETTLEMENT_STANDS"})
"""Refusals of a reversal that show what stands under the key (protocol, "Coordinator")."""


@dataclass(frozen=True, slots=True)
class SettlementApi(SettlementServiceServicer):
    """The desk. Who may call it is the transport's to say; here the request, its key and its credential count."""

    desk: planning.Desk
    engine: Engine
    clock: Clock
    new_id: Callable[[], UUID]

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_SettlementServiceServicer_to_server, self)

    async def PreSettle(self, request: pb.PreSettleRequest, _: Context) -> pb.PreSettleResponse:
        stored = await planning.pre_settle(
            self.desk, visit=wire.presented(request), plan_id=PlanId(self.new_id()), now=self.clock.now()
        )
        return pb.PreSettleResponse(plan=wire.plan_message(stored))

    async def Settle(self, request: pb.SettleRequest, _: Context) -> pb.SettleResponse:
        outcome = await payments.settle(
            self.engine,
            key=wire.request_key(request.key),
            plan_id=PlanId(UUID(request.plan_id)),
            plan_digest=request.plan_digest,
            freshness=self.desk.freshness,
            now=self.clock.now(),
        )
        match outcome:
            case Settled(payment, plan):
                return pb.SettleResponse(
                    settlement=wire.settled_message(payment, Plan.of_document(plan, legs=payment.legs))
                )
            case Replanned(payment, plan_id):
                return pb.SettleResponse(replan=await self._replan(payment.reason, plan_id))

    async def GetSettlement(self, request: pb.GetSettlementRequest, _: Context) -> pb.GetSettlementResponse:
        by_id = request.WhichOneof("by") == "setl_id"
        found = await payments.look_up(
            self.engine,
            fixmedins_code=request.fixmedins_code,
            payment_id=PaymentId(UUID(request.setl_id)) if by_id else None,
            key=None if by_id else wire.request_key(request.key),
        )
        answer = pb.GetSettlementResponse(settlement=_found_message(found))
        if answer.settlement.state == pb.SETTLEMENT_STATE_REFUSED:
            answer.refusal_reason = found.payment.reason
            if found.replan_plan_id is not None:
                answer.replan.CopyFrom(await self._replan(found.payment.reason, found.replan_plan_id))
        if found.refund is not None and found.plan is not None:
            answer.refund.CopyFrom(wire.refund_message(found.refund, Plan.of_document(found.plan)))
        return answer

    async def RevokeSettle(self, request: pb.RevokeSettleRequest, _: Context) -> pb.RevokeSettleResponse:
        refunded = await payments.revoke(
            self.engine,
            key=wire.request_key(request.key),
            original_id=PaymentId(UUID(request.setl_id)),
            policies=self.desk.policies,
            now=self.clock.now(),
        )
        return pb.RevokeSettleResponse(revocation=_refund_message(refunded))

    async def ReverseTransaction(
        self, request: pb.ReverseTransactionRequest, _: Context
    ) -> pb.ReverseTransactionResponse:
        # A key that nobody has seen is blocked for ever, so the institution must at least be one that exists.
        now = self.clock.now()
        await planning.check_institution(
            self.desk.database, fixmedins_code=FixmedinsCode(request.fixmedins_code), infno=str(request.oinfno), now=now
        )
        key = wire.original_key(request)
        try:
            outcome = await payments.reverse(
                self.engine, original_key=key, policies=self.desk.policies, burials=self.desk.burials, now=now
            )
        except Failure as refusal:
            if refusal.reason not in STANDING:
                raise
            found = await payments.look_up(self.engine, fixmedins_code=key.fixmedins_code, key=key)
            raise Answered(refusal, wire.standing_message(_found_message(found))) from None
        match outcome:
            case Stopped():
                return pb.ReverseTransactionResponse(state=pb.SETTLEMENT_STATE_REVERSED)
            case Refunded():
                return pb.ReverseTransactionResponse(
                    state=pb.SETTLEMENT_STATE_REVERSED, refund=_refund_message(outcome)
                )

    async def _replan(self, reason: str, plan_id: PlanId) -> pb.Replan:
        return wire.replan_message(reason, await planning.stored_plan(self.desk.database, plan_id=plan_id))


def _refund_message(refunded: Refunded) -> pb.Settlement:
    return wire.refund_message(refunded.refund, Plan.of_document(refunded.plan))


def _found_message(found: Found) -> pb.Settlement:
    if found.plan is None:
        return wire.bare_message(found.payment)
    plan = Plan.of_document(found.plan)
    if found.payment.kind is PaymentKind.REFUND:
        return wire.refund_message(found.payment, plan)
    return wire.settled_message(found.payment, plan, refund=found.refund)
