"""The clock's side of settlement: sweeps over what nobody has finished (protocol rule 8).

Every loss is repaired from here alone: TRYING past its deadline is aborted by compare-and-set, COMMITTED is confirmed
or credited again, ABORTED is cancelled again, freezes without an answer are sent again, and whatever ends of accounts
are not over is gone on with. Leases and SKIP LOCKED keep several coordinators out of each other's way; nothing rests on
them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import grpc

from chassis import telemetry
from chassis.db import Database, is_transient
from chassis.rpc.failures import PeerError
from kernel.clock import Clock
from kernel.failures import Failure
from services.settlement.consumer.events import IDENTITY, begin_anew, hear_identity
from services.settlement.operations import projecting
from services.settlement.operations.accounts import sweep_freezes
from services.settlement.operations.engine import Engine
from services.settlement.operations.following import sweep_moves
from services.settlement.operations.freshness import Freshness
from services.settlement.operations.moving import sweep_endings
from services.settlement.operations.reconciling import Books, forget
from services.settlement.store.payments import read_standing

_log = telemetry.logger("recovery")

SWEEP_S: Final = 0.5
SWEEP_SIZE_MAX: Final = 500
ROOM_PAUSE_S: Final = 0.02
FREEZES_MAX: Final = 50
MOVES_MAX: Final = 50
ENDINGS_MAX: Final = 50
TROUBLE_PAUSE_S: Final = 1.0
PURGE_PAUSE_S: Final = 60.0
FIRST_ANSWER_MAX_S: Final = 5.0
"""How long a process that starts waits for identity: as long as a sanction may take to count without NATS."""
_AWAY: Final = (Failure, PeerError, TimeoutError, EOFError)
"""How identity may fail to answer: refused, broken, silent, cut short."""


async def sweep_payments(engine: Engine, *, pause_s: float = SWEEP_S) -> None:
    """Sweeps payments until cancelled, a page at a time and no faster than they are driven to their ends."""

    async def once() -> int:
        while engine.recovery_room < SWEEP_SIZE_MAX:  # noqa: ASYNC110  An event for the end of each would cost more.
            await asyncio.sleep(ROOM_PAUSE_S)
        return await engine.sweep(limit=SWEEP_SIZE_MAX)

    await _sweep(once, SWEEP_SIZE_MAX, pause_s, "payments")


async def sweep_account_commands(engine: Engine, *, pause_s: float = SWEEP_S) -> None:
    """Sweeps freezes until cancelled."""
    await _sweep(lambda: sweep_freezes(engine, limit=FREEZES_MAX), FREEZES_MAX, pause_s, "freezes")


async def sweep_account_endings(engine: Engine, *, pause_s: float = SWEEP_S) -> None:
    """Sweeps closings and moves of accounts until cancelled."""
    await _sweep(lambda: sweep_endings(engine, limit=ENDINGS_MAX), ENDINGS_MAX, pause_s, "endings of accounts")


async def sweep_wallet_moves(engine: Engine, clock: Clock, *, pause_s: float = SWEEP_S) -> None:
    """Lets what wallets left behind follow them, until cancelled."""
    await _sweep(lambda: sweep_moves(engine, now=clock.now(), limit=MOVES_MAX), MOVES_MAX, pause_s, "wallets' moves")


async def purge_statements(books: Books, *, pause_s: float = PURGE_PAUSE_S) -> None:
    """Deletes what institutions sent for their day's end once nobody needs it, until cancelled."""
    await _sweep(lambda: forget(books), 1, pause_s, "statements that are kept no longer")


async def watch_standing(engine: Engine, *, pause_s: float = SWEEP_S) -> None:
    """Takes note, until cancelled, of a restore that begins or ends, so that no process needs to be started anew.

    Between two looks the database itself refuses what may not be decided.
    """
    while True:
        await asyncio.sleep(pause_s)
        try:
            async with engine.database.driver_connection() as connection:
                engine.stand(await read_standing(connection))
        except Exception as error:
            if not is_transient(error):
                raise
            _log.warning("the coordinator's standing waits for the database", problem=type(error).__name__)
            await asyncio.sleep(TROUBLE_PAUSE_S)


async def follow_identity(
    database: Database, identity: grpc.aio.Channel, freshness: Freshness, *, pause_s: float
) -> None:
    """Asks identity what has changed until cancelled, so that its news do not depend on NATS (domain §8).

    Each success is noted in ``freshness``; while there is none, it grows old, and mutual aid pauses. What another
    process of this room heard counts as well, and where it goes on from is read each time: the tables are the same.
    """
    loop = asyncio.get_running_loop()
    was_stale = freshness.is_stale
    while True:
        began = loop.time()
        await _try_to_hear(database, identity, freshness)
        freshness.measure()
        if freshness.is_stale != was_stale:
            was_stale = freshness.is_stale
            _log.warning("mutual aid is paused" if was_stale else "mutual aid goes on", age_s=round(freshness.age_s, 1))
        await asyncio.sleep(max(pause_s - (loop.time() - began), 0))


async def hear_before_serving(database: Database, identity: grpc.aio.Channel, freshness: Freshness) -> None:
    """Asks identity once, so that what it decided while nobody here listened counts from the first bill on.

    Without an answer in time the process serves all the same: how long ago identity was heard decides.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(FIRST_ANSWER_MAX_S):
            await _try_to_hear(database, identity, freshness)


async def _try_to_hear(database: Database, identity: grpc.aio.Channel, freshness: Freshness) -> None:
    try:
        await _hear(database, identity, freshness)
    except _AWAY as error:
        reason = error.reason if isinstance(error, Failure) else type(error).__name__
        _log.warning("identity does not answer", problem=reason, age_s=round(freshness.age_s, 1))
    except Exception as error:
        if not is_transient(error):
            raise
        _log.warning("identity's news wait for the database", problem=type(error).__name__)


async def _hear(database: Database, identity: grpc.aio.Channel, freshness: Freshness) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    known = await projecting.last_heard(database, source=IDENTITY)
    if known is None:
        # Never heard of; or an operator says by this that identity was restored (the runbook has it).
        await begin_anew(database)
    cursor, age_s = known or (0, math.inf)
    freshness.heard(age_s=age_s + loop.time() - began)
    began = loop.time()
    await hear_identity(database, identity, after=cursor)
    freshness.heard(age_s=loop.time() - began)


async def _sweep(once: Callable[[], Awaitable[int]], size_max: int, pause_s: float, what: str) -> None:
    while True:
        try:
            taken = await once()
        except Exception as error:
            if not is_transient(error):
                raise
            _log.warning("a sweep waits for the database", what=what, problem=type(error).__name__)
            await asyncio.sleep(TROUBLE_PAUSE_S)
            continue
        if taken:
            _log.info("taken up by recovery", what=what, count=taken)
        if taken < size_max:
            await asyncio.sleep(pause_s)
