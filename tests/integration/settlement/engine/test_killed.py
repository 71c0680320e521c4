"""Real processes killed with -9 at named points around their commits and sends: the money is right afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import grpc
import pytest

from chassis.bus import Bus
from chassis.db import Database
from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji.settlement.v1.settlement_pb2_grpc import SettlementServiceStub
from gongji_terminal.failures import failure_of
from kernel.clock import business_year
from kernel.ids import AdmDvs, PsnNo
from ops.embedded.databases import Databases
from ops.embedded.world import Service
from ops.embedded.world import World as Processes
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import Plan
from services.settlement.ledger.consumer import AreaConsumer
from services.settlement.saga.payment import VOTE_DEADLINE_PASSED, State
from tests.integration.settlement.engine.world import AREAS, HAMI, URUMQI, Edge, World
from tests.servers import NatsServer, new_folder

SERVICES: Final = (
    Service("settlement", "services.settlement.app", frozenset({"database", "policies"})),
    Service("ledger", "services.settlement.ledger.app", frozenset({"ledgers"})),
)
CALL_S: Final = 2.0
AGAIN_S: Final = 30.0


class Town(World):
    """The same world with settlement and ledgers as processes of their own."""

    processes: Processes

    async def call(self, method: str, request: object) -> object | None:
        """One RPC: its answer, the reason of a refusal, or None when nobody can say yet."""
        async with grpc.aio.insecure_channel(self.processes.address("settlement")) as channel:
            try:
                return await getattr(SettlementServiceStub(channel), method)(request, timeout=CALL_S)  # type: ignore[no-any-return]  # Any method.
            except grpc.aio.AioRpcError as error:
                if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    return None
                return failure_of(error).reason

    async def insist(self, method: str, request: object) -> object:
        """The same request until it is answered, as a terminal does."""
        async with asyncio.timeout(AGAIN_S):
            while (answer := await self.call(method, request)) is None:  # noqa: ASYNC110  As a terminal does.
                await asyncio.sleep(0.1)
            return answer

    async def credited(self, psn_no: PsnNo, *, own: int, wallet: int) -> None:
        """Money in the person's own account in Hami and wallet in Ürümqi, said to the ledgers directly."""
        year = business_year(datetime.now(UTC))
        for area, kind, amount_fen in (
            (HAMI, ledger_pb2.ACCOUNT_KIND_PERSONAL, own),
            (URUMQI, ledger_pb2.ACCOUNT_KIND_WALLET, wallet),
        ):
            leg = ledger_pb2.CreditLeg(leg_no=1, psn_no=psn_no, account_kind=kind, past_fen=amount_fen, year=year)
            personal = kind == ledger_pb2.ACCOUNT_KIND_PERSONAL
            credit = ledger_pb2.CreditCommand(
                credit_id=uuid4().bytes,
                purpose=ledger_pb2.CREDIT_PURPOSE_CARRIED_OVER if personal else ledger_pb2.CREDIT_PURPOSE_WALLET,
                legs=[leg],
            )
            batch = ledger_pb2.CommandBatch(commands=[ledger_pb2.Command(credit_command=credit)], epoch=1)
            await self.bus.request(f"{self.prefix}.ledger.{area}.command", batch.SerializeToString())

    async def arm(self, point: str) -> str:
        """Starts the process that the point belongs to anew, so that it dies there; the process's name."""
        name = "ledger" if point.startswith("ledger.") else "settlement"
        await self.processes.restart_process(name, environment={"GONGJI_FAULT_POINT": point})
        return name

    async def died(self, name: str) -> None:
        """Returns once the process is dead; fails if it lives on."""
        async with asyncio.timeout(AGAIN_S):
            while self.processes.pid(name) is not None:  # noqa: ASYNC110  No event tells of a process's end.
                await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
async def processes_town(postgres: Databases, nats: NatsServer) -> AsyncIterator[Town]:
    """Settlement and two ledgers as processes, told that they may be killed."""
    mark = uuid4().hex[:12]
    processes = Processes(
        new_folder("killed"),
        databases=postgres,
        nats_url=nats.url,
        database_prefix=f"test_{mark}",
        bus_prefix=f"t{mark}",
        areas=AREAS,
        environment={"GONGJI_ENVIRONMENT": "test", "GONGJI_VOTE_DEADLINE_S": "2"},
        services=SERVICES,
    )
    await processes.start()
    async with (
        Database(processes.database_url("settlement"), pool_size=2) as database,
        Bus(nats.url, name="test", prefix=f"t{mark}") as bus,
        Database(processes.ledger_database_url(HAMI), pool_size=2) as hami,
        Database(processes.ledger_database_url(URUMQI), pool_size=2) as urumqi,
    ):
        ledgers = {HAMI: hami, URUMQI: urumqi}
        edges: dict[AdmDvs, Edge] = {
            area: Edge(area, AreaConsumer(database=ledgers[area], area=area)) for area in AREAS
        }
        town = Town(processes.database_url("settlement"), database, ledgers, edges, nats.url, f"t{mark}", bus)
        town.processes = processes
        yield town
    await processes.stop()
    await processes.drop_databases()


@pytest.fixture
async def killing(processes_town: Town) -> AsyncIterator[Town]:
    """Both processes run; at the end of the test nothing is open and the invariants hold."""
    for name in ("settlement", "ledger"):
        await processes_town.processes.start_process(name)
    yield processes_town
    await processes_town.drained()
    assert not await processes_town.violations()


def request_of(plan: Plan, key: Key) -> pb.SettleRequest:
    """Settle as a terminal sends it."""
    return pb.SettleRequest(key=key_of(key), plan_id=str(plan.plan_id), plan_digest=plan.digest)


def key_of(key: Key) -> pb.RequestKey:
    """A key as a terminal sends it."""
    return pb.RequestKey(fixmedins_code=key.fixmedins_code, infno=pb.Infno.Value(f"INFNO_{key.infno}"), msgid=key.msgid)


@pytest.mark.parametrize(
    "point",
    [
        "settlement.begin.before_commit",
        "settlement.begin.after_commit",
        "settlement.try.after_reply",
        "settlement.decide.before_commit",
        "settlement.decide.after_commit",
        "settlement.confirm.before_send+1",
        "settlement.confirm.after_reply",
        "settlement.finish.before_commit",
        "settlement.finish.after_commit",
        "ledger.try.before_commit",
        "ledger.try.after_commit",
        "ledger.confirm.before_commit",
        "ledger.confirm.after_commit",
    ],
)
async def test_a_settlement_is_whole_or_nothing_whoever_is_killed(killing: Town, point: str) -> None:
    """The terminal sends the same request until it is answered; the answer, the row and the accounts agree."""
    town = killing
    person = town.patient()
    await town.credited(person, own=10_000, wallet=1_000)
    plan, key = await town.plan(person, own=1_000, wallet=500), town.key()
    name = await town.arm(point)
    first = await town.call("Settle", request_of(plan, key))
    await town.died(name)
    await town.processes.start_process(name)
    answer = await town.insist("Settle", request_of(plan, key))
    row = await town.until(key, State.DONE, State.CLOSED)
    paid = row.state is State.DONE
    assert isinstance(answer, pb.SettleResponse) if paid else answer == VOTE_DEADLINE_PASSED
    assert first is None or first == answer
    assert await town.money(person) == ((9_000, 500) if paid else (10_000, 1_000))
    if name == "settlement":
        assert paid == (point not in UNDECIDED_WHEN_IT_DIED)
        assert (first is not None) == (point in ANSWERED_BEFORE_IT_DIED)


UNDECIDED_WHEN_IT_DIED: Final = {
    "settlement.begin.after_commit",
    "settlement.try.after_reply",
    "settlement.decide.before_commit",
}
"""The row stands TRYING, nobody knows the votes: it is aborted at the deadline."""
ANSWERED_BEFORE_IT_DIED: Final = {
    "settlement.confirm.before_send+1",
    "settlement.confirm.after_reply",
    "settlement.finish.before_commit",
    "settlement.finish.after_commit",
}


@pytest.mark.parametrize(
    "point",
    [
        "settlement.abort.before_commit",
        "settlement.abort.after_commit",
        "settlement.cancel.before_send",
        "ledger.cancel.before_commit",
        "ledger.cancel.after_commit",
    ],
)
async def test_a_refusal_leaves_nothing_held_whoever_is_killed(killing: Town, point: str) -> None:
    """One area refuses and the other's hold is released in the end; the key has one answer."""
    town = killing
    person = town.patient()
    await town.credited(person, own=10_000, wallet=100)
    plan, key = await town.plan(person, own=1_000, wallet=101), town.key()
    name = await town.arm(point)
    await asyncio.gather(town.call("Settle", request_of(plan, key)), town.died(name))
    await town.processes.start_process(name)
    row = await town.until(key, State.CLOSED)
    assert row.reason in {"INSUFFICIENT_FUNDS", "VOTE_DEADLINE_PASSED"}
    assert await town.money(person) == (10_000, 100)


@pytest.mark.parametrize(
    "point",
    [
        "settlement.refund.before_commit",
        "settlement.refund.after_commit",
        "settlement.credit.before_send",
        "ledger.credit.before_commit",
        "ledger.credit.after_commit",
    ],
)
async def test_a_revocation_gives_back_once_whoever_is_killed(killing: Town, point: str) -> None:
    """The terminal sends the same revocation until it is answered; the money is back once."""
    town = killing
    person = town.patient()
    await town.credited(person, own=10_000, wallet=1_000)
    key, revoke_key = town.key(), town.key("2208")
    settled = await town.insist("Settle", request_of(await town.plan(person, own=1_000, wallet=500), key))
    assert isinstance(settled, pb.SettleResponse)
    await town.until(key, State.DONE)
    request = pb.RevokeSettleRequest(key=key_of(revoke_key), setl_id=settled.settlement.setl_id)
    name = await town.arm(point)
    await asyncio.gather(town.call("RevokeSettle", request), town.died(name))
    await town.processes.start_process(name)
    answer = await town.insist("RevokeSettle", request)
    assert isinstance(answer, pb.RevokeSettleResponse)
    assert answer.revocation.amounts.psn_part_amt == -1_500
    await town.until(revoke_key, State.DONE)
    assert await town.money(person) == (10_000, 1_000)
