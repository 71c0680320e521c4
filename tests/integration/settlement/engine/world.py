"""The engine between a real PostgreSQL, a real NATS and real ledgers, with a scripted edge before each ledger."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID, uuid4

from chassis.bus import Bus, BusRequest
from chassis.db import Database
from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.clock import SystemClock, business_year
from kernel.failures import Failure
from kernel.ids import AdmDvs, FixmedinsCode, PaymentId, PlanId, PsnNo
from kernel.money import Fen
from kernel.policy import Part, PolicyBook
from services.settlement.clients import LedgerClient
from services.settlement.domain.bill import Bill
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import Plan, PlanLeg, PlannedVisit, ResultAmounts
from services.settlement.domain.split import Role
from services.settlement.ledger.consumer import AreaConsumer
from services.settlement.operations import payments
from services.settlement.operations.burying import Burials
from services.settlement.operations.crediting import CreditRow, credit_unchecked
from services.settlement.operations.engine import Engine, EngineSettings, Replan
from services.settlement.operations.freshness import Freshness
from services.settlement.recovery import sweep_account_commands, sweep_account_endings, sweep_payments
from services.settlement.saga.payment import Payment, State
from services.settlement.store import payments as store
from services.settlement.store import plans
from services.settlement.store.payments import read_standing

HAMI: Final = AdmDvs("650500")
URUMQI: Final = AdmDvs("650100")
AREAS: Final = (HAMI, URUMQI)
HOSPITAL: Final = FixmedinsCode("H65010000001")
QUICK: Final = EngineSettings(
    vote_deadline_s=5.0,
    inquire_after_s=60.0,
    resend_pause_s=0.1,
    lease_s=0.5,
    lease_max_s=1.0,
    replan_wait_s=1.0,
    answer_wait_s=10.0,
)
NEVER_STALE: Final = Freshness(age_max_s=math.inf)
"""Here is no identity to be asked."""
POLICIES: Final = PolicyBook.of_documents({})
"""The nation's own values."""
COMMAND_TIMEOUT_S: Final = 0.4
DRAIN_S: Final = 60.0


_OPEN: Final = """
SELECT count(*) FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED') AND quarantine = ''"""


_WRONG_VERSIONS: Final = """
SELECT y.psn_no FROM patient_years y
WHERE NOT EXISTS (  -- A merge moves both numbers on as well.
    SELECT FROM persons d WHERE d.merged_into IS NOT NULL AND y.psn_no IN (d.psn_no, d.merged_into)
) AND NOT EXISTS (  -- So do approvals of claims.
    SELECT FROM claims c WHERE c.psn_no = y.psn_no
) AND y.version <> (
    SELECT count(*) FROM payments p WHERE (p.psn_no, p.year) = (y.psn_no, y.year)
    AND (p.kind = 'REFUND' OR (p.kind = 'SETTLE' AND p.state IN ('COMMITTED', 'DONE'))))"""
_AGREED: Final = {("DONE", "CONFIRMED"), ("CLOSED", "CANCELLED"), ("CLOSED", "REFUSED"), ("CLOSED", "BLOCKED")}
"""State of the payment and of its branch, once nothing moves."""


class Act(Enum):
    """What the edge does with one command."""

    LOSE = "LOSE"  # It never arrives.
    MUTE = "MUTE"  # It is carried out; the answer is lost.
    TWICE = "TWICE"  # It is carried out twice; the second answer counts.
    LATE = "LATE"  # It arrives after the sender has given it up.
    STASH = "STASH"  # It is kept back until ``release``; the sender hears nothing.


class Edge:
    """Stands before one real ledger; commands with a script of their kind meet it, in the order they come."""

    def __init__(self, area: AdmDvs, consumer: AreaConsumer) -> None:
        self.area = area
        self.consumer = consumer
        self.script: dict[str, deque[Act]] = defaultdict(deque)
        self.always: dict[str, Act] = {}
        self.seen: dict[str, int] = defaultdict(int)
        self.stashed: list[bytes] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    def will(self, kind: str, *acts: Act) -> None:
        """The next commands of a kind meet these acts, one each."""
        self.script[f"{kind}_command"].extend(acts)

    def is_silent(self, *kinds: str) -> None:
        """From now on no command of these kinds arrives."""
        for kind in kinds:
            self.always[f"{kind}_command"] = Act.LOSE

    def speaks_again(self) -> None:
        """From now on every command arrives."""
        self.always.clear()
        self.script.clear()

    async def release(self) -> None:
        """What was kept back arrives now."""
        for payload in self.stashed:
            await self.consumer.answer(BusRequest("", payload, {}))
        self.stashed.clear()

    async def answer(self, request: BusRequest) -> bytes | None:
        """The ledger's answer, as far as the script lets it through."""
        batch = pb.CommandBatch.FromString(request.payload)
        if not self.always and not any(self.script.values()):
            for command in batch.commands:
                self.seen[str(command.WhichOneof("kind"))] += 1
            return await self.consumer.answer(request)
        replies: list[pb.Reply] = []
        for index, command in enumerate(batch.commands):
            reply = await self._carried_out(command, batch.epoch)
            if reply is not None:
                reply.index = index
                replies.append(reply)
        return pb.ReplyBatch(replies=replies).SerializeToString() if replies else None

    async def _carried_out(self, command: pb.Command, epoch: int) -> pb.Reply | None:
        kind = str(command.WhichOneof("kind"))
        self.seen[kind] += 1
        act = self.script[kind].popleft() if self.script[kind] else self.always.get(kind)
        payload = pb.CommandBatch(commands=[command], epoch=epoch).SerializeToString()
        if act is Act.LOSE:
            return None
        if act is Act.STASH:
            self.stashed.append(payload)
            return None
        if act is Act.LATE:
            task = asyncio.create_task(self._later(payload))
            self.tasks.add(task)
            return None
        if act is Act.TWICE:
            await self.consumer.answer(BusRequest("", payload, {}))
        told = await self.consumer.answer(BusRequest("", payload, {}))
        if act is Act.MUTE or told is None:
            return None
        return pb.ReplyBatch.FromString(told).replies[0]

    async def _later(self, payload: bytes) -> None:
        await asyncio.sleep(COMMAND_TIMEOUT_S * 1.5)
        await self.consumer.answer(BusRequest("", payload, {}))


@dataclass
class Driver:
    """An engine with connections of its own, as a replica has them."""

    engine: Engine
    bus: Bus
    stack: AsyncExitStack
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def recover(self) -> None:
        """Lets its sweeps run."""
        for sweep in (sweep_payments, sweep_account_commands, sweep_account_endings):
            self.tasks.append(asyncio.create_task(sweep(self.engine, pause_s=0.05)))

    async def stop(self) -> None:
        """Stops it: what it had in flight is left as the rows have it."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        await self.stack.aclose()


@dataclass
class World:
    """One coordinator's database, two areas' ledgers, and whoever drives payments between them."""

    database_url: str
    database: Database
    ledgers: dict[AdmDvs, Database]
    edges: dict[AdmDvs, Edge]
    nats_url: str
    prefix: str
    bus: Bus
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    drivers: list[Driver] = field(default_factory=list)
    forged: set[UUID] = field(default_factory=set)  # Payments whose branches a test has changed by hand.
    replans: list[tuple[Payment, frozenset[AdmDvs]]] = field(default_factory=list)

    async def driver(
        self,
        *,
        recovers: bool = True,
        replan: Replan | None = None,
        **changes: Any,  # noqa: ANN401  Any setting.
    ) -> Driver:
        """One more coordinator; the settings are QUICK with these changes."""
        stack = AsyncExitStack()
        database = await stack.enter_async_context(Database(self.database_url, pool_size=6, by_key=True))
        bus = await stack.enter_async_context(Bus(self.nats_url, name=f"engine{uuid4().hex[:6]}", prefix=self.prefix))
        client = LedgerClient(bus, epoch=await epoch_of(database), command_timeout_s=COMMAND_TIMEOUT_S)
        engine = await stack.enter_async_context(
            Engine(
                database,
                client,
                replan=replan or self.replan,
                new_id=uuid4,
                clock=SystemClock(),
                settings=replace(QUICK, **changes),
            )
        )
        made = Driver(engine, bus, stack)
        self.drivers.append(made)
        if recovers:
            made.recover()
        return made

    async def replan(self, refused: Payment, document: Mapping[str, Any], silent: frozenset[AdmDvs]) -> PlanId:
        """A new plan without money from anybody."""
        self.replans.append((refused, silent))
        old = Plan.of_document(document)
        plan = replace(old, plan_id=PlanId(uuid4()), legs=())
        return (await plans.insert(self.database, plan)).plan.plan_id

    def patient(self) -> PsnNo:
        """Somebody whom nothing has happened to yet."""
        return PsnNo(f"65{next(self.numbers):08d}")

    async def give(self, engine: Engine, psn_no: PsnNo, *, own: Fen = 0, wallet: Fen = 0) -> None:
        """Money in the person's own account in Hami and wallet in Ürümqi."""
        if own:
            await self.credit(engine, psn_no, HAMI, Role.OWN, own)
        if wallet:
            await self.credit(engine, psn_no, URUMQI, Role.WALLET, wallet)

    async def credit(self, engine: Engine, psn_no: PsnNo, area: AdmDvs, role: Role, amount_fen: Fen) -> None:
        """Brings past-year money into an account; an engine that does not wait long is asked again."""
        row_id = uuid4().hex
        async with asyncio.timeout(DRAIN_S):
            while True:
                try:
                    await credit_unchecked(engine, CreditRow(area, row_id, psn_no, role, Part.PAST, amount_fen))
                except Failure as failure:
                    if failure.reason != "PAYMENT_IN_PROGRESS":
                        raise
                else:
                    return

    async def plan(self, psn_no: PsnNo, *, own: Fen = 0, wallet: Fen = 0, infno: str = "2206") -> Plan:
        """A stored plan: so much from the own account in Hami, so much from the wallet in Ürümqi."""
        year = business_year(datetime.now(UTC))
        shares = [(Role.OWN, HAMI, own), (Role.WALLET, URUMQI, wallet)]
        legs = tuple(
            PlanLeg(leg_no, role, psn_no, area, amount_fen, 0, None, 0, ())
            for leg_no, (role, area, amount_fen) in enumerate(shares, start=1)
            if amount_fen
        )
        total_fen = own + wallet
        bill = Bill(total_fen, 0, 0, 0, total_fen)
        amounts = dict.fromkeys(ResultAmounts.__dataclass_fields__, 0)
        amounts |= {"medfee_sumamt": total_fen, "inscp_scp_amt": total_fen, "psn_part_amt": total_fen}
        async with self.database.driver_connection() as connection:
            version = (await plans.patient_at(connection, psn_no=psn_no, year=year)).version
        plan = Plan(
            plan_id=PlanId(uuid4()),
            visit=PlannedVisit(HOSPITAL, infno, "M1", "11", psn_no, "某*", "310", HAMI, bill),
            year=year,
            patient_version=version,
            policy_version="test",
            own_balance_fen=None,
            amounts=ResultAmounts(**amounts),
            legs=legs,
            funders=(),
            skipped=(),
        )
        await plans.insert(self.database, plan)
        return plan

    def key(self, infno: str = "2207") -> Key:
        """A request key that nobody has used."""
        shanghai = datetime.now(UTC) + timedelta(hours=8)
        return Key(HOSPITAL, infno, f"{HOSPITAL}{shanghai:%Y%m%d%H%M%S}{next(self.numbers) % 10_000:04d}")

    async def settle(self, engine: Engine, plan: Plan, key: Key | None = None) -> payments.Settled | payments.Replanned:
        """Pays a plan, under a new key unless one is given."""
        return await payments.settle(
            engine,
            key=key or self.key(),
            plan_id=plan.plan_id,
            plan_digest=plan.digest,
            freshness=NEVER_STALE,
            now=datetime.now(UTC),
        )

    async def reverse(self, engine: Engine, key: Key) -> payments.Refunded | payments.Stopped:
        """Reverses what a key stands for."""
        return await payments.reverse(
            engine, original_key=key, policies=POLICIES, burials=Burials(), now=datetime.now(UTC)
        )

    async def revoke(self, engine: Engine, payment_id: PaymentId, key: Key | None = None) -> payments.Refunded:
        """Takes a settlement back, under a new key unless one is given."""
        asked = key or self.key("2208")
        return await payments.revoke(
            engine, key=asked, original_id=payment_id, policies=POLICIES, now=datetime.now(UTC)
        )

    async def row(self, key: Key) -> Payment | None:
        """What stands under a key."""
        async with self.database.driver_connection() as connection:
            return await store.by_key(connection, key)

    async def until(self, key: Key, *states: State) -> Payment:
        """The row under a key once it is in one of these states; fails when that takes too long."""
        async with asyncio.timeout(DRAIN_S):
            while True:
                row = await self.row(key)
                if row is not None and row.state in states:
                    return row
                await asyncio.sleep(0.02)

    async def drained(self) -> None:
        """Returns once nothing is open but what is in quarantine; fails when that takes too long."""
        async with asyncio.timeout(DRAIN_S), self.database.driver_connection() as connection:
            while await connection.fetchval(_OPEN):  # noqa: ASYNC110  The database is what tells.
                await asyncio.sleep(0.02)

    async def tidy(self) -> None:
        """Lets everything finish that a test has left open, and stops its coordinators."""
        for edge in self.edges.values():
            edge.speaks_again()
            edge.stashed.clear()
            await asyncio.gather(*edge.tasks, return_exceptions=True)
            edge.tasks.clear()
        if await self.count(_OPEN):
            await self.driver()
            await self.forget("UPDATE payments SET next_drive_at = now()")
            await self.forget("UPDATE payments SET deadline_at = now() WHERE state = 'TRYING'")
            await self.drained()
        for driver in self.drivers:
            await driver.stop()
        self.drivers.clear()
        self.replans.clear()
        assert not await self.violations()

    async def violations(self) -> list[str]:
        """What does not hold of invariant I3 and of the patients' versions, now that nothing moves."""
        found = []
        async with self.database.driver_connection() as connection:
            states = dict(
                await connection.fetch(
                    "SELECT payment_id, state FROM payments WHERE kind IN ('SETTLE', 'TRANSFER', 'CHARGE')"
                )
            )
            found += [f"version of {row['psn_no']}" for row in await connection.fetch(_WRONG_VERSIONS)]
        for area, ledger in self.ledgers.items():
            async with ledger.driver_connection() as connection:
                branches = await connection.fetch("SELECT payment_id, state FROM branches")
            for payment_id, branch in branches:
                if payment_id not in self.forged and (states.get(payment_id), branch) not in _AGREED:
                    found.append(f"{payment_id} is {states.get(payment_id)}, in {area} {branch}")
        return found

    async def count(self, statement: str, *arguments: object) -> int:
        """A number out of the coordinator's database."""
        async with self.database.driver_connection() as connection:
            return int(await connection.fetchval(statement, *arguments))

    async def settlements(self, psn_no: PsnNo) -> int:
        """How many settlements of a patient are stored."""
        return await self.count("SELECT count(*) FROM payments WHERE kind = 'SETTLE' AND psn_no = $1", psn_no)

    async def money(self, psn_no: PsnNo) -> tuple[Fen, Fen]:
        """What stands in the own account in Hami and in the wallet in Ürümqi; fails if any of it is held."""
        found = []
        for area, kind in ((HAMI, "PERSONAL"), (URUMQI, "WALLET")):
            async with self.ledgers[area].driver_connection() as connection:
                account = await connection.fetchrow(
                    "SELECT past_fen, held_past_fen FROM accounts WHERE psn_no = $1 AND kind = $2", psn_no, kind
                )
            assert account is None or account["held_past_fen"] == 0, f"money is held in {area}"
            found.append(0 if account is None else int(account["past_fen"]))
        return found[0], found[1]

    async def tell(self, area: AdmDvs, *commands: pb.Command, epoch: int = 1) -> list[pb.Reply]:
        """Says something to a ledger past its edge."""
        batch = pb.CommandBatch(commands=commands, epoch=epoch).SerializeToString()
        told = await self.edges[area].consumer.answer(BusRequest("", batch, {}))
        assert told is not None
        return list(pb.ReplyBatch.FromString(told).replies)

    async def forget(self, statement: str, *arguments: object) -> None:
        """Changes the coordinator's database by hand, as only a test may."""
        async with self.database.driver_connection() as connection:
            await connection.execute(statement, *arguments)


async def epoch_of(database: Database) -> int:
    """The coordinator's epoch, which every command carries."""
    async with database.driver_connection() as connection:
        return (await read_standing(connection)).epoch


async def reason_of(outcome: Any) -> str:  # noqa: ANN401  Any awaitable.
    """The reason by which something is refused; fails if it is not."""
    try:
        value = await outcome
    except Failure as failure:
        return failure.reason
    raise AssertionError(f"it was not refused but gave {value}")


def hold(payment_id: UUID, psn_no: PsnNo, amount_fen: Fen, *, role: Role = Role.OWN) -> pb.Command:
    """A TRY that no coordinator has sent."""
    leg = pb.Leg(
        leg_no=1,
        psn_no=psn_no,
        account_kind=pb.ACCOUNT_KIND_WALLET if role is Role.WALLET else pb.ACCOUNT_KIND_PERSONAL,
        role=pb.ROLE_WALLET if role is Role.WALLET else pb.ROLE_OWN,
        past_fen=amount_fen,
        year=business_year(datetime.now(UTC)),
    )
    return pb.Command(try_command=pb.TryCommand(payment_id=payment_id.bytes, legs=[leg], inquire_after_ms=60_000))


@asynccontextmanager
async def world(
    *, database_url: str, ledger_urls: Mapping[AdmDvs, str], nats_url: str, prefix: str
) -> AsyncIterator[World]:
    """Opens it all; the databases are migrated already."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(database_url, pool_size=4))
        bus = await stack.enter_async_context(Bus(nats_url, name="ledger", prefix=prefix))
        ledgers, edges = {}, {}
        for area, url in ledger_urls.items():
            ledgers[area] = await stack.enter_async_context(Database(url, pool_size=4, by_key=True))
            edges[area] = Edge(area, AreaConsumer(database=ledgers[area], area=area))
            await bus.serve(f"{prefix}.ledger.{area}.command", edges[area].answer, queue=f"ledger-{area}")
        made = World(database_url, database, ledgers, edges, nats_url, prefix, bus)
        yield made
