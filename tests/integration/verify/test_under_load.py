"""`gongji verify` over a system at full speed: nothing that merely moves is reported, and what is wrong is."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from gongji.ledger.v1 import ledger_pb2 as pb
from gongji_terminal.journal import EntryState, Journal, Told
from kernel.failures import Failure
from kernel.ids import AuthorisationId, PaymentId, PlanId, PsnNo, time_ordered_uuid
from ops.embedded.databases import Databases
from ops.places import Places
from ops.verify.report import INVARIANTS, Report
from ops.verify.run import Audit
from services.settlement.domain.clearing import Period
from services.settlement.domain.payment import transfer_key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.ledger.recovery import Sealer, Sealing
from services.settlement.ledger.store.locking import LOCK_CLASS
from services.settlement.operations import transfers
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import Settled
from services.settlement.saga.payment import State
from services.settlement.store import plans
from services.settlement.store.clearing import file_of
from tests.integration.settlement.engine.conftest import new_databases
from tests.integration.settlement.engine.world import HAMI, HOSPITAL, URUMQI, Act, World, world
from tests.servers import NatsServer, new_folder

WORKERS: Final = 8
ROUNDS_MIN: Final = 3
WHOLE_EVERY: Final = 2
STRANGER: Final = UUID(int=0xDEAD)
DOUBLE: Final = UUID(int=0xD0B1E)


@dataclass
class Family:
    """A patient with money in two areas, and a funder who lets the patient have his."""

    patient: PsnNo
    funder: PsnNo
    leave: AuthorisationId = field(default_factory=lambda: AuthorisationId(uuid4()))


@dataclass
class Load:
    """Families who pay, are refused, take back, reverse, are given money and send it on, as fast as they can."""

    town: World
    engines: list[Engine]
    done: Counter[str] = field(default_factory=Counter)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(7))

    async def family(self) -> Family:
        """A new one, with money."""
        one = Family(self.town.patient(), self.town.patient())
        await self.town.give(self.engines[0], one.patient, own=100_000, wallet=50_000)
        await self.town.credit(self.engines[0], one.funder, URUMQI, Role.OWN, 100_000)
        opening = pb.OpenAuthorisationCommand(
            authorisation_id=one.leave.bytes,
            funder_psn_no=one.funder,
            beneficiary_psn_no=one.patient,
            authorised_fen=80_000,
        )
        await self.town.tell(URUMQI, pb.Command(open_authorisation_command=opening))
        return one

    async def settle(self, one: Family, own: int, wallet: int, funded: int) -> Settled | None:
        """Pays from three accounts in two areas; None if that was refused."""
        plan = await self.town.plan(one.patient, own=own, wallet=wallet)
        share = PlanLeg(3, Role.FUNDER, one.funder, URUMQI, funded, 0, one.leave, 0, ())
        plan = replace(plan, plan_id=PlanId(uuid4()), legs=(*plan.legs, share))
        await plans.insert(self.town.database, plan)
        outcome = await self.town.settle(self.random.choice(self.engines), plan)
        return outcome if isinstance(outcome, Settled) else None

    async def work(self) -> None:
        """One family's life, until it is cancelled."""
        one = await self.family()
        while True:
            act = self.random.choice(
                [self.pay, self.pay, self.pay_and_take_back, self.overdraw, self.reverse, self.give]
            )
            try:
                await act(one)
            except Failure as failure:
                self.done[failure.reason] += 1
            else:
                self.done[act.__name__] += 1

    def start(self) -> None:
        """Sets everybody to work, and lets messages go astray."""
        self.tasks += [asyncio.create_task(self.work()) for _ in range(WORKERS)]
        self.tasks.append(asyncio.create_task(_disturb(self.town)))

    async def victim(self) -> tuple[Family, Settled]:
        """A family that will be left alone from now on; its bill is paid and booked."""
        one = await self.family()
        while (settled := await self.settle(one, 100, 50, 70)) is None:
            pass
        await self.town.until(settled.payment.key, State.DONE)
        return one, settled

    async def pay(self, one: Family) -> None:
        """A bill."""
        await self.settle(one, 100, 50, 70)

    async def pay_and_take_back(self, one: Family) -> None:
        """A bill, revoked while its CONFIRM may still be on its way."""
        settled = await self.settle(one, 40, 30, 20)
        if settled is not None:
            await self.town.revoke(self.random.choice(self.engines), settled.payment.payment_id)

    async def overdraw(self, one: Family) -> None:
        """A bill that one of the two ledgers refuses."""
        await self.settle(one, 10, 10_000_000, 10)

    async def reverse(self, one: Family) -> None:
        """A reversal that races its original."""
        key = self.town.key()
        plan = await self.town.plan(one.patient, own=60, wallet=60)
        settling = asyncio.create_task(self.town.settle(self.engines[0], plan, key))
        await asyncio.sleep(self.random.random() / 50)
        await self.town.reverse(self.engines[-1], key)
        with suppress(Failure):
            await settling

    async def give(self, one: Family) -> None:
        """Money that comes in, and some that is sent to the funder's wallet, who takes it or does not."""
        engine = self.random.choice(self.engines)
        await self.town.give(engine, one.patient, own=300, wallet=200)
        legs = (
            PlanLeg(1, Role.OWN, one.patient, HAMI, 30, 0, None, 0, ()),
            PlanLeg(2, Role.RECEIVER, one.funder, URUMQI, 30, 0, None, 0, ()),
        )
        sent = await transfers.begin(
            engine,
            key=transfer_key(legs[0].area, uuid4().hex),
            giver=one.patient,
            legs=legs,
            accept_by=datetime.now(UTC) + timedelta(hours=1),
        )
        answer: Callable[..., Awaitable[Any]] = self.random.choice([transfers.accept, transfers.decline])
        await answer(engine, payment_id=sent.payment_id, receiver=one.funder)


@pytest.fixture
async def load(postgres: Databases, nats: NatsServer) -> AsyncIterator[Load]:
    """Two coordinators and two ledgers that seal, with messages that get lost, come twice or late."""
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(new_databases(postgres))
        town = await stack.enter_async_context(
            world(
                database_url=urls["settlement"],
                ledger_urls={area: urls[area] for area in (HAMI, URUMQI)},
                nats_url=nats.url,
                prefix=f"t{uuid4().hex[:12]}",
            )
        )
        drivers = [await town.driver(), await town.driver()]
        for driver in drivers:
            stack.push_async_callback(driver.stop)
            driver.engine.new_id = lambda: PaymentId(time_ordered_uuid(datetime.now(UTC), random.SystemRandom()))
        sealing = Sealing(after_s=0.3, entries_max=200, pause_s=0.1)
        tasks = [
            asyncio.create_task(Sealer(database=ledger, area=area, sealing=sealing).run())
            for area, ledger in town.ledgers.items()
        ]
        made = Load(town, [driver.engine for driver in drivers])
        yield made
        tasks += made.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disturb(town: World) -> None:
    while True:
        await asyncio.sleep(0.05)
        edge = town.edges[random.choice([HAMI, URUMQI])]
        edge.will(random.choice(["try", "confirm", "cancel", "credit"]), random.choice([Act.MUTE, Act.TWICE, Act.LATE]))


async def plant(victims: Sequence[tuple[Family, Settled]], connections: dict[str, asyncpg.Connection]) -> None:
    """Breaks each invariant by hand, on victims of its own, while everything else goes on."""
    coordinator, hami, urumqi = connections["settlement"], connections[HAMI], connections[URUMQI]
    for connection in connections.values():
        await connection.execute("SET session_replication_role = replica")  # No trigger minds what comes now.
    families = [family for family, _ in victims]
    paid = [settled.payment for _, settled in victims]
    await hami.execute("UPDATE accounts SET held_past_fen = 1 WHERE psn_no = $1", families[0].patient)  # I1
    await hami.execute("UPDATE accounts SET past_fen = past_fen + 1 WHERE psn_no = $1", families[1].patient)  # I2
    await coordinator.execute(  # I3
        "UPDATE payments SET amount_fen = amount_fen + 1 WHERE payment_id = $1", paid[2].payment_id
    )
    await hami.execute(  # I4, I6
        """INSERT INTO branches (payment_id, state, digest, created_at, inquire_at, next_inquire_at)
           VALUES ($1, 'HELD', '', now(), now() - interval '2 minutes', now() + interval '1 hour')""",
        STRANGER,
    )
    async with hami.transaction():  # I5
        await hami.execute("SELECT pg_advisory_xact_lock($1, $2)", LOCK_CLASS, int(HAMI))
        await hami.execute("ALTER TABLE entries DROP CONSTRAINT entries_booked_once")
        await hami.execute("CREATE INDEX ON entries (source_id, leg_no)")
        await hami.executemany(
            """INSERT INTO entries (source_id, leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen,
                                    booked_at) VALUES ($1, 1, 'MONTHLY', 'PERSONAL', $2, 'PAST', $3, 0, now())""",
            [(DOUBLE, families[3].patient, amount_fen) for amount_fen in (5, -5)],
        )
    await hami.execute(  # I8
        "UPDATE branch_legs SET refunded_fen = 1 WHERE payment_id = $1 AND leg_no = 1", paid[4].payment_id
    )
    await urumqi.execute(  # I9
        "UPDATE authorisations SET used_fen = used_fen + 1 WHERE authorisation_id = $1", families[5].leave
    )
    await coordinator.execute(  # YEAR
        "INSERT INTO benefit_years VALUES ($1, 2026, '310', 'planted', 1, 0, 0)", families[5].patient
    )
    await coordinator.execute(  # STAY
        """INSERT INTO stay_settlements (payment_id, psn_no, fixmedins_code, mdtrt_id, interim)
           VALUES ($1, $2, $3, 'planted', true)""",
        paid[6].payment_id,
        families[6].patient,
        HOSPITAL,
    )
    await coordinator.execute(  # CLAIM
        """INSERT INTO payout_orders (order_id, area, opter, lines_count, total_fen, sha256)
           VALUES ($1, $2, 'zhang01', 1, 1, sha256(''))""",
        STRANGER,
        HAMI,
    )
    await coordinator.execute("ALTER TABLE payments ALTER msgid DROP NOT NULL")  # I10
    for _ in range(2):
        await coordinator.execute(
            """INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, request_hash, year, legs,
                                     amount_fen, reason, epoch, decided_at, finished_at)
               VALUES (gen_random_uuid(), 'TOMBSTONE', 'CLOSED', $1, '2207', '', 0, '[]', 0, 'X', 1, now(), now())""",
            HOSPITAL,
        )
    await plant_line(coordinator, paid[7].payment_id)  # CLEARED
    await coordinator.execute(  # I11
        """WITH made AS (
               INSERT INTO reconciliation_uploads (upload_id, fixmedins_code, stmt_date, state, rows_cnt, digest,
                                                   ours_cnt, keep_until, compared_at)
               VALUES ($1, 'H65019999999', '2025-01-01', 'COMPARED', 1, decode(repeat('00', 32), 'hex'), 0,
                       now() + interval '1 day', now())
           ), compared AS (INSERT INTO reconciliation_days VALUES ('H65019999999', '2025-01-01', $1, $1))
           INSERT INTO reconciliation_rows VALUES ($1, 1, $1, NULL, '', '', false, '310', '11', 1, 0, 0, 0, 1, 0)""",
        STRANGER,
    )
    await urumqi.execute(  # CHAIN
        "UPDATE entries SET booked_at = booked_at - interval '1 day' WHERE source_id = $1", paid[6].payment_id
    )


async def plant_line(coordinator: asyncpg.Connection, payment_id: PaymentId) -> None:
    """A month long past is run, and has a line of a payment that was made just now."""
    period = Period(2025, 1)
    await coordinator.execute(
        """INSERT INTO clearing_lines (period, line_no, debtor_area, creditor_area, part, clr_type, payment_id, leg_no,
                                       fixmedins_code, business_date, amount_fen)
           VALUES ($1, 1, $3, $4, 'OWN', '11', $2, 1, $5, '2025-01-01', 5)""",
        *(str(period), payment_id, HAMI, URUMQI, HOSPITAL),
    )
    await coordinator.execute(
        "INSERT INTO clearing_pairs VALUES ($1, $2, $3, 'OWN', '11', 1, 5, 0, 0)", str(period), HAMI, URUMQI
    )
    content = [part async for part in file_of(coordinator, period)]
    await coordinator.execute(
        """INSERT INTO clearing_runs (period, starts_at, ends_at, run_by, payments_count, local_fen, lines_count,
                                      lines_sha256, carried_in_count, carried_on_count, carry_reason)
           VALUES ($1, $2, $3, 'operator:test', 1, 0, 1, $4, 0, 0, '')""",
        *(str(period), period.starts_at, period.ends_at, sha256(b"".join(content)).digest()),
    )


async def journal_of(settled: Settled) -> Path:
    """A terminal that was told of a refusal, though its bill is paid (I7)."""
    file = new_folder("journal")
    key = settled.payment.key
    async with Journal(file) as journal:
        entry = await journal.write(
            fixmedins_code=key.fixmedins_code,
            terminal=1,
            infno=key.infno,
            now=datetime.now(UTC),
            make_msgid=lambda _: key.msgid,
            make_request=lambda _: b"",
        )
        await journal.note_told(entry, Told(EntryState.REFUSED), now=datetime.now(UTC))
    return file


def unexplained(report: Report, names: set[str]) -> list[str]:
    """Findings that name no victim."""
    return [finding for finding in report.findings if not any(name in finding for name in names)]


@pytest.mark.parametrize("sound_s", [3.0, pytest.param(60.0, marks=pytest.mark.long)])
async def test_verify_reports_what_was_planted_and_nothing_that_moves(
    load: Load, capsys: pytest.CaptureFixture[str], sound_s: float
) -> None:
    """Round after round without a violation at full speed; then each invariant is broken, and found by its victim."""
    town = load.town
    ledger_urls: dict[str, str] = {area: ledger._url for area, ledger in town.ledgers.items()}
    victims = await asyncio.gather(*(load.victim() for _ in range(8)))
    load.start()
    audit = Audit(Places(town.database_url, ledger_urls))
    reports: list[Report] = []
    began = time.monotonic()
    while time.monotonic() < began + sound_s or len(reports) < ROUNDS_MIN:
        reports.append(await audit.round(whole=len(reports) % WHOLE_EVERY == 0))
    took_s = time.monotonic() - began
    assert [finding for report in reports for finding in report.findings] == []
    under_way = [sum(n for what, n in report.waiting.items() if what.startswith("payments")) for report in reports]
    assert max(under_way) > 0
    paid = sum(load.done.values())
    async with AsyncExitStack() as stack:
        connections: dict[str, asyncpg.Connection] = {}
        for name, url in {"settlement": town.database_url, **ledger_urls}.items():
            connections[name] = await asyncpg.connect(url)
            stack.push_async_callback(connections[name].close)
        await plant(victims, connections)
    audit.journals = (await journal_of(victims[7][1]),)
    spoilt = await audit.round(whole=True)
    names = {str(settled.payment.payment_id) for _, settled in victims} | {str(STRANGER), str(DOUBLE)}
    names |= {str(name) for family, _ in victims for name in (family.patient, family.leave)}
    names |= {"H65019999999", f"{HOSPITAL}/2207/None", victims[7][1].payment.key.msgid}
    assert {name for name, check in spoilt.checks.items() if check.violations} == set(INVARIANTS)
    assert unexplained(spoilt, names) == []
    assert sum(load.done.values()) > paid, "the load stood still while verify looked for what was planted"
    with capsys.disabled():
        print(  # noqa: T201  The figures are asked for.
            f"\n  verify under load: {len(reports)} rounds in {took_s:.1f} s over {sum(r.compared for r in reports):,}"
            f" rows, {max(under_way)} payments under way at most, no false violation; load: {dict(load.done)}"
        )
