"""Closings and moves of accounts: gone on with by recovery, wherever they broke off, each step once and told once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from gongji.ledger.v1 import ledger_pb2 as pb
from gongji.settlement.v1 import events_pb2
from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from services.settlement.clients import Balance
from services.settlement.domain.payment import transfer_key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.operations import moving, transfers
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import State
from services.settlement.store import endings
from services.settlement.store.endings import Ending, EndingState
from tests.integration.settlement.engine.world import DRAIN_S, HAMI, URUMQI, Act, World, hold, reason_of

LANZHOU = AdmDvs("620100")
OWN_FEN = 5_000
NO_LEASE = timedelta(0)


@dataclass
class Leaving:
    """Somebody's account in Hami with money on it, and one in Ürümqi with a fen."""

    town: World
    psn_no: PsnNo
    request_id: UUID = field(default_factory=uuid4)

    @property
    def move(self) -> Ending:
        """What is stored of the request to move it."""
        return Ending(self.request_id, self.psn_no, Role.OWN, HAMI, URUMQI, moving.MOVED, OWN_FEN, 0)

    async def stored(self, ending: Ending) -> Ending:
        """As a coordinator has stored it that died at once."""
        async with self.town.database.driver_connection() as connection:
            return await endings.insert(connection, ending, lease=NO_LEASE)

    async def close(self, engine: Engine, *, request_id: UUID | None = None) -> tuple[Balance, bool]:
        """Closes it, because its owner has died."""
        return await moving.close(
            engine,
            request_id=request_id or self.request_id,
            area=HAMI,
            psn_no=self.psn_no,
            role=Role.OWN,
            cause="DIED",
        )

    async def until(self, state: EndingState) -> Ending:
        """What is stored once it is in this state."""
        async with asyncio.timeout(DRAIN_S), self.town.database.driver_connection() as connection:
            while True:
                found = await endings.load(connection, self.request_id)
                if found is not None and found.state is state:
                    return found
                await asyncio.sleep(0.02)

    async def is_insured_in(self, area: AdmDvs) -> None:
        """As an employee, as identity tells it."""
        await self.town.forget(
            "INSERT INTO persons (psn_no, version, name_masked, brdy) VALUES ($1, 1, '', '1980-05-01')", self.psn_no
        )
        await self.town.forget(
            "INSERT INTO enrolments (psn_no, insutype, insuplc_admdvs, psn_insu_stas) VALUES ($1, '310', $2, '1')",
            self.psn_no,
            area,
        )

    async def money(self) -> dict[AdmDvs, tuple[str, Fen, Fen]]:
        """State, balance and what is held of it, by area."""
        found = {}
        for area, ledger in self.town.ledgers.items():
            async with ledger.driver_connection() as connection:
                row = await connection.fetchrow(
                    "SELECT state, past_fen, held_past_fen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'",
                    self.psn_no,
                )
            found[area] = tuple(row)
        return found

    async def told(self) -> list[tuple[str, int, bool]]:
        """What was said of it: which fact, its version, whether it told of an account that is closed."""
        async with self.town.database.driver_connection() as connection:
            rows = await connection.fetch(
                "SELECT payload FROM outbox WHERE aggregate = $1 ORDER BY version", f"ending:{self.request_id}"
            )
        events = [events_pb2.SettlementEvent.FromString(row["payload"]) for row in rows]
        return [(str(event.WhichOneof("fact")), event.version, event.account_closed.closed) for event in events]


@pytest.fixture
async def leaving(town: World, engine: Engine) -> Leaving:
    """5,000 fen in Hami."""
    made = Leaving(town, town.patient())
    await town.give(engine, made.psn_no, own=OWN_FEN)
    await town.credit(engine, made.psn_no, URUMQI, Role.OWN, 1)
    return made


async def test_a_move_that_nobody_asks_for_again_is_done_by_recovery(leaving: Leaving, town: World) -> None:
    """Its coordinator died right after storing it: moved to the fen, closed, and told once."""
    await leaving.stored(leaving.move)
    await town.driver()
    await leaving.until(EndingState.CLOSED)
    await town.drained()
    assert await leaving.money() == {HAMI: ("CLOSED", 0, 0), URUMQI: ("OPEN", OWN_FEN + 1, 0)}
    assert await leaving.told() == [("account_moved", 1, False)]


@pytest.mark.parametrize("act", [Act.LOSE, Act.MUTE, Act.TWICE, Act.LATE])
@pytest.mark.parametrize(
    ("area", "kind"),
    [(HAMI, "try"), (URUMQI, "try"), (HAMI, "confirm"), (URUMQI, "confirm"), (HAMI, "close_account")],
)
async def test_a_move_is_done_once_whatever_becomes_of_its_commands(
    leaving: Leaving, town: World, area: AdmDvs, kind: str, act: Act
) -> None:
    """Lost, carried out without an answer, carried out twice, or late."""
    town.edges[area].will(kind, act, act)
    await leaving.stored(leaving.move)
    await town.driver()
    await leaving.until(EndingState.CLOSED)
    await town.drained()
    assert await leaving.money() == {HAMI: ("CLOSED", 0, 0), URUMQI: ("OPEN", OWN_FEN + 1, 0)}
    assert await leaving.told() == [("account_moved", 1, False)]


async def test_two_coordinators_move_it_once(leaving: Leaving, town: World) -> None:
    """Both take it up at the same moment, again and again."""
    await leaving.stored(leaving.move)
    drivers = [await town.driver(recovers=False) for _ in range(3)]
    for _ in range(3):
        await asyncio.gather(*(moving.drive(driver.engine, leaving.move) for driver in drivers))
    await leaving.until(EndingState.CLOSED)
    await town.driver()
    await town.drained()
    assert await leaving.money() == {HAMI: ("CLOSED", 0, 0), URUMQI: ("OPEN", OWN_FEN + 1, 0)}
    assert await leaving.told() == [("account_moved", 1, False)]


async def test_money_that_nobody_accepted_in_time_is_transferred_anew(
    leaving: Leaving, town: World, engine: Engine
) -> None:
    """Everybody was away for longer than its hold lasts: under another key it goes again."""
    legs = (
        PlanLeg(1, Role.OWN, leaving.psn_no, HAMI, OWN_FEN, 0, None, 0, ()),
        PlanLeg(2, Role.MOVED_TO, leaving.psn_no, URUMQI, OWN_FEN, 0, None, 0, ()),
    )
    key = transfer_key(HAMI, f"move.{leaving.request_id}")
    begun = await transfers.begin(
        engine, key=key, giver=leaving.psn_no, legs=legs, accept_by=datetime.now(UTC) + timedelta(milliseconds=1)
    )
    await town.forget(
        "UPDATE payments SET deadline_at = now(), next_drive_at = now() WHERE payment_id = $1", begun.payment_id
    )
    await town.until(key, State.CLOSED)
    await leaving.stored(leaving.move)
    assert (await leaving.until(EndingState.CLOSED)).tries == 1
    await town.drained()
    assert await leaving.money() == {HAMI: ("CLOSED", 0, 0), URUMQI: ("OPEN", OWN_FEN + 1, 0)}


async def test_a_move_takes_what_is_left_by_a_bill_that_came_between(leaving: Leaving, town: World) -> None:
    """Its first transfer is refused for want of money; the next one takes what is there, and a ledger may be away."""
    await leaving.stored(replace(leaving.move, past_fen=OWN_FEN + 700))
    town.edges[URUMQI].is_silent("try")
    driver = await town.driver(vote_deadline_s=0.5)
    async with asyncio.timeout(DRAIN_S):
        while (await leaving.stored(leaving.move)).tries < 2:  # noqa: ASYNC110  The database is what tells.
            await asyncio.sleep(0.05)
    town.edges[URUMQI].speaks_again()
    ended = await leaving.until(EndingState.CLOSED)
    moved = await moving.move(
        driver.engine, request_id=leaving.request_id, psn_no=leaving.psn_no, from_area=HAMI, to_area=URUMQI
    )
    assert (ended.past_fen, moved.past_fen) == (OWN_FEN, OWN_FEN)
    await town.drained()
    assert await leaving.money() == {HAMI: ("CLOSED", 0, 0), URUMQI: ("OPEN", OWN_FEN + 1, 0)}


@pytest.mark.parametrize("money_comes_first", [True, False])
async def test_a_move_during_a_revocation_loses_nothing(
    leaving: Leaving, town: World, *, money_comes_first: bool
) -> None:
    """What is given back goes along if it comes before the move; after it, it waits in suspense with a task, once."""
    driver, paid_fen = await town.driver(), 2_000
    settled = await town.settle(driver.engine, await town.plan(leaving.psn_no, own=paid_fen))
    await town.drained()
    town.edges[HAMI].is_silent("credit")
    await town.revoke(driver.engine, settled.payment.payment_id)
    if money_comes_first:
        town.edges[HAMI].speaks_again()
        await town.drained()
    await leaving.stored(replace(leaving.move, past_fen=OWN_FEN - (0 if money_comes_first else paid_fen)))
    await leaving.until(EndingState.CLOSED)
    town.edges[HAMI].speaks_again()
    await town.drained()
    waits_fen = 0 if money_comes_first else paid_fen
    assert await leaving.money() == {HAMI: ("CLOSED", 0, 0), URUMQI: ("OPEN", OWN_FEN + 1 - waits_fen, 0)}
    async with town.ledgers[HAMI].driver_connection() as connection:
        tasks = await connection.fetch(
            "SELECT amount_fen FROM suspense_tasks WHERE psn_no = $1 AND done_at IS NULL", leaving.psn_no
        )
    assert [row["amount_fen"] for row in tasks] == ([waits_fen] if waits_fen else [])


async def test_a_move_whose_account_is_frozen_is_refused_for_good(leaving: Leaving, town: World) -> None:
    """Nothing is told, nothing held, and the same request is the same refusal."""
    freeze = pb.FreezeCommand(command_id=uuid4().bytes, psn_no=leaving.psn_no, cause="COURT_ORDER")
    await town.tell(HAMI, pb.Command(freeze_command=freeze))
    await leaving.stored(leaving.move)
    driver = await town.driver()
    refused = await leaving.until(EndingState.REFUSED)
    asked = moving.move(
        driver.engine, request_id=leaving.request_id, psn_no=leaving.psn_no, from_area=HAMI, to_area=URUMQI
    )
    assert (refused.refusal, await reason_of(asked)) == ("ACCOUNT_FROZEN", "ACCOUNT_FROZEN")
    await town.drained()
    assert await leaving.money() == {HAMI: ("OPEN", OWN_FEN, 0), URUMQI: ("OPEN", 1, 0)}
    assert await leaving.told() == []


async def test_who_comes_back_has_his_account_again(leaving: Leaving, town: World) -> None:
    """A credit opens it, a move brings the rest back, and it pays; until he goes again."""
    driver = await town.driver()
    await leaving.stored(leaving.move)
    await leaving.until(EndingState.CLOSED)
    await town.credit(driver.engine, leaving.psn_no, HAMI, Role.OWN, 2)
    assert (await leaving.money())[HAMI] == ("OPEN", 2, 0)
    back = replace(leaving.move, request_id=uuid4(), area=URUMQI, to_area=HAMI, past_fen=OWN_FEN + 1)
    leaving.request_id = back.request_id
    await leaving.stored(back)
    await leaving.until(EndingState.CLOSED)
    await town.drained()
    assert await leaving.money() == {HAMI: ("OPEN", OWN_FEN + 3, 0), URUMQI: ("CLOSED", 0, 0)}


async def test_the_account_of_somebody_who_has_died_is_not_opened_again(leaving: Leaving, town: World) -> None:
    """What comes later waits in suspense for an officer."""
    driver = await town.driver()
    await leaving.close(driver.engine)
    await town.credit(driver.engine, leaving.psn_no, HAMI, Role.OWN, 2)
    assert (await leaving.money())[HAMI] == ("CLOSED", 0, 0)
    async with town.ledgers[HAMI].driver_connection() as connection:
        waiting = await connection.fetch(
            "SELECT amount_fen FROM suspense_tasks WHERE psn_no = $1 ORDER BY created_at", leaving.psn_no
        )
    assert [row["amount_fen"] for row in waiting] == [OWN_FEN, 2]


async def test_a_closing_that_waits_for_a_payment_is_told_when_it_begins_and_when_it_ends(
    leaving: Leaving, town: World
) -> None:
    """CLOSING while something is held; recovery finds that it is closed, and the owner hears of both."""
    payment_id = uuid4()
    town.forged.add(payment_id)
    await town.tell(HAMI, hold(payment_id, leaving.psn_no, 40))
    driver = await town.driver()
    balance, closed = await leaving.close(driver.engine)
    assert (balance.past_fen, balance.held_past_fen, closed) == (OWN_FEN, 40, False)
    confirm = pb.ConfirmCommand(payment_id=payment_id.bytes)
    await town.tell(HAMI, pb.Command(confirm_command=confirm))
    await leaving.until(EndingState.CLOSED)
    assert await leaving.told() == [("account_closed", 1, False), ("account_closed", 2, True)]
    balance, closed = await leaving.close(driver.engine)
    assert (balance.exists, closed) == (False, True)


async def test_a_closing_that_its_ledger_has_not_heard_is_done_later(leaving: Leaving, town: World) -> None:
    """The caller is told that the area is silent, and need not ask again."""
    driver = await town.driver(answer_wait_s=0.5)
    town.edges[HAMI].is_silent("close_account")
    assert await reason_of(leaving.close(driver.engine)) == "AREA_UNREACHABLE"
    town.edges[HAMI].speaks_again()
    await leaving.until(EndingState.CLOSED)
    assert await leaving.told() == [("account_closed", 1, True)]


async def test_a_second_closing_is_refused_and_told_to_nobody(leaving: Leaving, town: World) -> None:
    """Another request's closing was first; of a move nothing had been transferred by then."""
    driver = await town.driver()
    await leaving.close(driver.engine, request_id=uuid4())
    again = [await reason_of(leaving.close(driver.engine)) for _ in range(2)]
    assert again == ["ACCOUNT_NOT_FOUND", "ACCOUNT_NOT_FOUND"]
    assert await leaving.told() == []


async def test_nobody_moves_back_into_an_account_whose_own_move_is_not_over(leaving: Leaving, town: World) -> None:
    """The money has gone but its ledger has not heard of the closing: what came back would end in suspense with it."""
    await leaving.is_insured_in(HAMI)
    town.edges[HAMI].is_silent("close_account")
    await leaving.stored(leaving.move)
    driver = await town.driver()
    async with asyncio.timeout(DRAIN_S):
        while (await leaving.money())[URUMQI] != ("OPEN", OWN_FEN + 1, 0):  # noqa: ASYNC110  The database is what tells.
            await asyncio.sleep(0.02)

    async def moved_back(request_id: UUID) -> object:
        areas = {"from_area": URUMQI, "to_area": HAMI}
        return await moving.move(driver.engine, request_id=request_id, psn_no=leaving.psn_no, **areas)

    back = uuid4()
    assert await reason_of(moved_back(back)) == "MOVE_UNDER_WAY"
    town.edges[HAMI].speaks_again()
    await leaving.until(EndingState.CLOSED)
    await town.drained()
    assert await leaving.money() == {HAMI: ("CLOSED", 0, 0), URUMQI: ("OPEN", OWN_FEN + 1, 0)}
    await town.credit(driver.engine, leaving.psn_no, HAMI, Role.OWN, 2)
    await moved_back(back)
    await town.drained()
    assert await leaving.money() == {HAMI: ("OPEN", OWN_FEN + 3, 0), URUMQI: ("CLOSED", 0, 0)}


async def test_an_account_is_not_moved_on_before_its_money_has_come(leaving: Leaving, town: World) -> None:
    """Closed meanwhile, it would leave to suspense what is on its way; Hami is silent about that."""
    await leaving.is_insured_in(LANZHOU)
    town.edges[HAMI].is_silent("try")
    driver = await town.driver(recovers=False)
    await leaving.stored(leaving.move)
    areas = {"from_area": URUMQI, "to_area": LANZHOU}
    on = moving.move(driver.engine, request_id=uuid4(), psn_no=leaving.psn_no, **areas)
    assert await reason_of(on) == "MOVE_UNDER_WAY"
