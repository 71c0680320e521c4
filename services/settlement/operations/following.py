"""What a wallet left behind when it changed its area follows it, by transfers of the same saga to the same person.

So does what is in the wallet of a number that identity found to be a double of another (``merging``).

Also what comes back there later: a transfer that is returned, a bill that is refunded, a gift that was on its way. So
the areas it has left are looked at now and then, soon at first, and ever more rarely while nothing is found.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from chassis import telemetry
from chassis.faults import fault_point
from kernel.failures import Failure, Kind
from services.settlement.domain.payment import carrying_key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.operations import transfers
from services.settlement.operations.engine import Engine
from services.settlement.store import wallets as store
from services.settlement.store.wallets import Move

_log = telemetry.logger("following")

LOOK_PAUSE: Final = timedelta(seconds=2)
LOOK_PAUSE_MAX: Final = timedelta(hours=1)
CARRY_WITHIN: Final = timedelta(minutes=5)
"""How long a transfer to oneself may wait for its own answer; whoever died in between is followed before that."""
_UNDECIDED: Final = frozenset({Kind.UNAVAILABLE, Kind.DEADLINE})


async def sweep_moves(engine: Engine, *, now: datetime, limit: int) -> int:
    """Looks at areas that wallets have left, those whose time has come; how many there were."""
    if engine.standing.is_restoring:
        return 0
    fault_point("settlement.wallet_look.before_commit")
    async with engine.database.driver_connection() as connection:
        moves = await store.take_due(connection, limit=limit, pause=LOOK_PAUSE, pause_max=LOOK_PAUSE_MAX)
    if moves:
        fault_point("settlement.wallet_look.after_commit")
    await asyncio.gather(*(_followed(engine, move, now) for move in moves))
    return len(moves)


async def _followed(engine: Engine, move: Move, now: datetime) -> None:
    try:
        if move.carried_fen is None:
            found = await _begun(engine, move)
            if found is None:
                return
            move = found
        await _carried(engine, move, now)
    except Failure as failure:
        _log.info("a wallet's money waits to follow it", area=move.from_area, reason=failure.reason)


async def _begun(engine: Engine, move: Move) -> Move | None:
    """The carrying of all that is free there, noted before it begins; None where there is nothing to carry."""
    if move.area == move.from_area and move.to_psn_no == move.psn_no:
        return None
    [balance], _ = await engine.ledgers.balances(move.from_area, [(move.psn_no, Role.WALLET)])
    free_fen = balance.free_past_fen + balance.free_current_fen
    if not free_fen:
        return None
    async with engine.database.driver_connection() as connection:
        is_ours = await store.begin_carry(connection, move, carried_fen=free_fen)
    fault_point("settlement.wallet_carry.after_commit")
    if not is_ours:
        return None
    return replace(move, carried_fen=free_fen, to_area=move.area, carries=move.carries + 1)


async def _carried(engine: Engine, move: Move, now: datetime) -> None:
    """Transfers it, and accepts it; the same key each time, so whoever goes on after a crash carries it once."""
    if move.to_area is None or move.carried_fen is None:
        raise AssertionError("nothing is carried")
    legs = (
        PlanLeg(1, Role.WALLET, move.psn_no, move.from_area, move.carried_fen, 0, None, 0, ()),
        PlanLeg(2, Role.RECEIVER, move.to_psn_no, move.to_area, move.carried_fen, 0, None, 0, ()),
    )
    key = carrying_key(move.from_area, move.move_id, move.carries)
    try:
        begun = await transfers.begin(engine, key=key, giver=move.psn_no, legs=legs, accept_by=now + CARRY_WITHIN)
        await transfers.accept(engine, payment_id=begun.payment_id, receiver=move.to_psn_no)
        arrived = True
    except Failure as failure:
        if failure.kind in _UNDECIDED:
            raise
        # It was spent meanwhile, say, or an area is silent. Nothing is held: what is there then is carried next time.
        arrived = False
        _log.info("a wallet's money was not carried", area=move.from_area, reason=failure.reason)
    async with engine.database.driver_connection() as connection:
        await store.end_carry(connection, move, arrived=arrived)
    fault_point("settlement.wallet_carried.after_commit")
