"""The terminals' process: ``python -m bench.load``, driven by one JSON object a line, answering each with one.

It is a process of its own, so that its work is not counted as the service's, though it takes its share of the machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import grpc
import uvloop
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from joserfc.jwk import OKPKey

from bench.pace import Report, closed, opened, serve
from bench.population import (
    BILL_FEN,
    FUNDERS,
    HOSPITAL,
    MDTRT_ID,
    TERMINAL_NO,
    Population,
    Signer,
    utc_now,
)
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji.settlement.v1 import visits_pb2
from gongji.settlement.v1.settlement_pb2_grpc import SettlementServiceStub
from gongji.settlement.v1.visits_pb2_grpc import VisitServiceStub
from gongji_terminal.msgid import next_msgid

TERMINALS: Final = 100
CALL_MAX_S: Final = 30.0
EACH_MAX_S: Final = 500.0
MED_TYPE: Final = "11"
PREPARED_TOGETHER: Final = 16
PLAN_TRIES_MAX: Final = 20
PAUSE_S: Final = 0.2
_AGAIN: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


@dataclass
class Terminals:
    """A hundred terminals of one hospital, in one process with one channel for each address."""

    addresses: list[str]
    signer: Signer
    population: Population
    families: deque[int]
    msgids: list[str | None] = field(default_factory=lambda: [None] * TERMINALS)
    plans: deque[pb.Plan] = field(default_factory=deque)
    tokens: dict[str, str] = field(default_factory=dict)
    turn: int = 0
    call_max_s: float = CALL_MAX_S
    """How long a Settle may take."""
    channels: list[grpc.aio.Channel] = field(default_factory=list)
    stubs: list[Any] = field(default_factory=list)
    visits: list[Any] = field(default_factory=list)
    health: list[Any] = field(default_factory=list)
    settled: deque[str] = field(default_factory=deque)
    """What ``visit_to_revoke`` has settled."""

    async def connect(self) -> Report:
        """Opens the channels, again if they are open."""
        for channel in self.channels:
            await channel.close(None)
        self.channels = [grpc.aio.insecure_channel(address) for address in self.addresses]
        self.stubs = [SettlementServiceStub(channel) for channel in self.channels]
        self.visits = [VisitServiceStub(channel) for channel in self.channels]
        self.health = [HealthStub(channel) for channel in self.channels]
        return {}

    def request_key(self, infno: pb.Infno.ValueType) -> pb.RequestKey:
        """A key nobody has used."""
        number = self.turn % TERMINALS
        msgid = next_msgid(HOSPITAL, number, now=utc_now(), last=self.msgids[number])
        self.msgids[number] = msgid
        return pb.RequestKey(fixmedins_code=HOSPITAL, infno=infno, msgid=msgid)

    def stub(self) -> Any:  # noqa: ANN401  The generated types know the stub of grpc without asyncio alone.
        """The replicas in turn."""
        self.turn += 1
        return self.stubs[self.turn % len(self.stubs)]

    def token(self, psn_no: str) -> str:
        """The patient's visit, signed once."""
        if (token := self.tokens.get(psn_no)) is None:
            token = self.tokens[psn_no] = self.signer.token(psn_no, utc_now() - timedelta(seconds=5))
        return token

    async def plan(self, family: int) -> pb.Plan:
        """PreSettle of the family's next bill."""
        psn_no = self.population.patient_no(family)
        request = pb.PreSettleRequest(
            fixmedins_code=HOSPITAL,
            infno=pb.INFNO_2206,
            terminal_no=TERMINAL_NO,
            psn_no=psn_no,
            ec_token=self.token(psn_no),
            mdtrt_id=MDTRT_ID,
            bill=pb.Bill(med_type=MED_TYPE, medfee_sumamt=BILL_FEN, inscp_scp_amt=BILL_FEN),
        )
        plan: pb.Plan = (await self.stub().PreSettle(request, timeout=CALL_MAX_S)).plan
        if len(plan.funders) != FUNDERS:
            raise _NotOverThree(f"no plan over three funders: {plan}")
        return plan

    async def patient_plan(self, family: int) -> pb.Plan:
        """As ``plan``; asked again while a busy machine answers too late or leaves an area out."""
        for _ in range(PLAN_TRIES_MAX - 1):
            try:
                return await self.plan(family)
            except _NotOverThree:
                pass
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AGAIN:
                    raise
            await asyncio.sleep(PAUSE_S)
        return await self.plan(family)

    async def pay(self, plan: pb.Plan) -> str:
        """Settle, and the id of what was settled; anything but three funders is an error of the bench."""
        key = self.request_key(pb.INFNO_2207)
        request = pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest)
        answer = await self.stub().Settle(request, timeout=self.call_max_s)
        if len(answer.settlement.funders) != FUNDERS:
            raise _NotOverThree(f"no settlement over three funders: {answer}")
        return str(answer.settlement.setl_id)

    async def prepare(self, count: int, together: int = PREPARED_TOGETHER) -> Report:
        """Plans for the next ``count`` families, ready to be paid; those left of before are forgotten."""
        self.plans.clear()
        left = count

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                self.plans.append(await self.patient_plan(self.next_family()))

        began_s = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(together)))
        return {"count": count, "seconds": time.perf_counter() - began_s}

    def next_family(self) -> int:
        """The families in turn."""
        family = self.families.popleft()
        self.families.append(family)
        return family

    async def settle(self) -> None:
        """The next plan, paid."""
        await self.pay(self.plans.popleft())

    async def visit(self) -> None:
        """PreSettle and Settle of the next patient."""
        await self.pay(await self.plan(self.next_family()))

    async def empty(self) -> None:
        """The health check of gRPC itself, which passes none of our layers."""
        await self.health[0].Check(HealthCheckRequest(), timeout=CALL_MAX_S)

    async def person(self) -> None:
        """1101 of the next patient, whose three relatives may all pay."""
        psn_no = self.population.patient_no(self.next_family())
        request = visits_pb2.GetPersonInfoRequest(
            fixmedins_code=HOSPITAL, terminal_no=TERMINAL_NO, ec_token=self.token(psn_no), mdtrt_id=MDTRT_ID
        )
        answer = await self.visits[0].GetPersonInfo(request, timeout=CALL_MAX_S)
        if [funder.reason for funder in answer.family] != [""] * FUNDERS:
            raise _NotOverThree(f"not three who may pay: {answer}")

    async def visit_to_revoke(self) -> None:
        """As ``visit``; what was settled waits to be revoked."""
        self.settled.append(await self.pay(await self.patient_plan(self.next_family())))

    async def revoke(self) -> None:
        """The settlement that has waited longest, taken back whole."""
        setl_id = self.settled.popleft()
        request = pb.RevokeSettleRequest(key=self.request_key(pb.INFNO_2208), setl_id=setl_id)
        answer = await self.stub().RevokeSettle(request, timeout=CALL_MAX_S)
        if answer.revocation.amounts.medfee_sumamt != -BILL_FEN:
            raise RuntimeError(f"not taken back whole: {answer}")

    async def run_each(self, *, kind: str, in_flight: int, count: int) -> Report:
        """So many of one kind, from the first beginning to the last end."""
        once = {"empty": self.empty, "person": self.person, "visit": self.visit_to_revoke, "revoke": self.revoke}[kind]
        return await closed(once, in_flight=in_flight, seconds=EACH_MAX_S, warm=0, count_max=count)

    async def run_closed(self, *, visits: bool, in_flight: int, seconds: float, warm: int, count_max: int) -> Report:
        """See ``pace.closed``; never more settlements than there are plans, or families whose turn it can be."""
        count_max = min(count_max, len(self.families) if visits else len(self.plans))
        once = self.visit if visits else self.settle
        return await closed(once, in_flight=in_flight, seconds=seconds, warm=warm, count_max=count_max)

    async def run_opened(self, *, visits: bool, rate: float, seconds: float) -> Report:
        """See ``pace.opened``; likewise."""
        ready = len(self.families) if visits else len(self.plans)
        return await opened(self.visit if visits else self.settle, rate=rate, seconds=seconds, count_max=ready)

    async def run_abandoned(self, *, count: int, per_s: int, call_max_s: float) -> Report:
        """So many plans paid together, whatever becomes of them: the coordinator is to die meanwhile.

        ``per_s`` begin in each second: of ten thousand in one instant more than half were cancelled below the server's
        code.
        """
        self.call_max_s = call_max_s

        async def settle(number: int) -> None:
            await asyncio.sleep(number / per_s)
            await self.settle()

        ended = await asyncio.gather(*map(settle, range(count)), return_exceptions=True)
        return {"answered": sum(not isinstance(one, BaseException) for one in ended)}


class _NotOverThree(Exception):  # noqa: N818  A finding, which patient_plan may ask away.
    """A plan or settlement that is not the one to be measured."""


async def main() -> None:
    """Terminals as told by the first line; then order after order."""
    told = json.loads(sys.stdin.readline())
    signer = Signer("bench", OKPKey.import_key(told["key"]))
    population = Population(tuple(told["areas"]), told["sharing"])
    terminals = Terminals(told["addresses"], signer, population, deque(range(*told["families"])))
    await terminals.connect()
    await serve(
        {
            "connect": terminals.connect,
            "prepare": terminals.prepare,
            "closed": terminals.run_closed,
            "opened": terminals.run_opened,
            "abandoned": terminals.run_abandoned,
            "each": terminals.run_each,
        }
    )
    for channel in terminals.channels:
        await channel.close(None)


if __name__ == "__main__":
    uvloop.run(main())
