"""The end of an account, and its move to another area (protocol, "Closing, moving").

A move is an ordinary payment from the old account to the same person's new one, and then the closing of the old one.
What is asked for is stored first; every step is idempotent by an id that follows from the request's, so whoever takes
it up after a crash (``sweep_endings``) does each once. That what the account pays for others follows it is the family
service's part, when it hears that it was moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

from chassis import telemetry
from chassis.deadlines import timeout_s
from chassis.faults import fault_point
from chassis.outbox import put_driver
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from kernel.policy import Part
from services.settlement.clients import Balance
from services.settlement.domain.payment import Key, transfer_key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.operations import holders, transfers
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import ACCEPTANCE_DEADLINE_PASSED, VOTE_DEADLINE_PASSED, State
from services.settlement.saga.requests import ledger_failure
from services.settlement.store import endings as store
from services.settlement.store import payments
from services.settlement.store.endings import Ending, EndingState
from services.settlement.wire.events import account_closed, account_moved
from services.settlement.wire.ledger import close_command, frozen_or_refused, is_closing

_log = telemetry.logger("moving")

MOVED: Final = "MOVED"
"""The cause of a closing that follows a move."""
ACCEPT_WITHIN: Final = timedelta(hours=1)
"""So long the money of a move stays held for whoever goes on with it; later it is transferred anew."""
_CLOSINGS: Final = UUID("0f9a3c52-35c1-5d55-9d0e-8e1f6d6f4a11")
_UNDECIDED: Final = frozenset({Kind.UNAVAILABLE, Kind.DEADLINE})
_ANEW: Final = frozenset({VOTE_DEADLINE_PASSED, ACCEPTANCE_DEADLINE_PASSED, "INSUFFICIENT_FUNDS"})
"""Why a move's transfer fails that may succeed the next time: a ledger or everybody was away, a bill came between."""
_ENDED_BEFORE: Final = frozenset({"ACCOUNT_NOT_FOUND", "ACCOUNT_CLOSING"})
"""Another closing of the account was first."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What was moved, by part; whether the old account is closed, or is so with its last hold's end."""

    past_fen: Fen
    current_fen: Fen
    closed: bool


async def close(
    engine: Engine, *, request_id: UUID, area: AdmDvs, psn_no: PsnNo, role: Role, cause: str
) -> tuple[Balance, bool]:
    """Closes an account; the account as it stands, and whether it is closed: it is once nothing is held.

    Failures: the ledger's refusal (ACCOUNT_NOT_FOUND, ACCOUNT_CLOSING), the same for every repetition;
    CLOSING_CONTENT_DIFFERS; AREA_UNREACHABLE if the ledger has not answered within the call's time (stored, it will be
    done); COORDINATOR_RESTORING.
    """
    engine.check_serving()

    async def asked() -> Ending:
        return Ending(request_id, psn_no, role, area, None, cause, traceparent=telemetry.traceparent())

    ended = await _ended(engine, request_id, asked)
    if not ended.asks_the_same(await asked()):
        raise ledger_failure("CLOSING_CONTENT_DIFFERS")
    (balance,), _ = await engine.ledgers.balances(area, [(psn_no, role)])
    return balance, ended.state is EndingState.CLOSED


async def move(engine: Engine, *, request_id: UUID, psn_no: PsnNo, from_area: AdmDvs, to_area: AdmDvs) -> Ended:
    """Moves what is free on the personal account to the person's account in ``to_area``, and closes the old one.

    Failures, in this order: KEY_REUSED_WITH_OTHER_CONTENT; as ``holders.refusals`` of the new area; MOVE_UNDER_WAY
    (metadata: area) while an earlier request still ends the new account, or brings money to the old one;
    AREA_UNREACHABLE; ACCOUNT_NOT_FOUND (metadata: area) if the new account is not open yet; ACCOUNT_FROZEN (the old
    one). Nothing is stored up to here. Then, the same for every repetition: as ``transfers.begin`` (frozen
    meanwhile); as ``close`` if nothing was moved.
    AREA_UNREACHABLE and PAYMENT_IN_PROGRESS of one that is stored: it will be done.
    """
    engine.check_serving()

    async def asked() -> Ending:
        past_fen, current_fen = await _free_now(engine, request_id, psn_no, from_area, to_area)
        row = Ending(request_id, psn_no, Role.OWN, from_area, to_area, MOVED, past_fen, current_fen)
        return replace(row, traceparent=telemetry.traceparent())

    ended = await _ended(engine, request_id, asked)
    if not ended.asks_the_same(Ending(request_id, psn_no, Role.OWN, from_area, to_area, MOVED)):
        raise Failure(Kind.INVALID, "KEY_REUSED_WITH_OTHER_CONTENT", request_id=str(request_id))
    return Ended(ended.past_fen, ended.current_fen, ended.state is EndingState.CLOSED)


async def _ended(engine: Engine, request_id: UUID, asked: Callable[[], Awaitable[Ending]]) -> Ending:
    """The ending of this request, stored if it is new, once its account takes no new hold any more."""
    async with engine.database.driver_connection() as connection:
        ending = await store.load(connection, request_id)
    if ending is None:
        new = await asked()
        fault_point("settlement.ending.before_commit")
        async with engine.database.driver_connection() as connection:
            ending = await store.insert(connection, new, lease=engine.lease)
        fault_point("settlement.ending.after_commit")
        if not ending.asks_the_same(new):
            return ending
    end = asyncio.get_running_loop().time() + timeout_s(engine.settings.answer_wait_s)
    driven: Ending | None = ending if ending.is_over else await engine.own(drive(engine, ending))
    while driven is None or driven.state is EndingState.PENDING:
        if asyncio.get_running_loop().time() >= end:
            raise Failure(Kind.UNAVAILABLE, "AREA_UNREACHABLE", area=ending.area)
        await asyncio.sleep(0 if driven else engine.settings.resend_pause_s)
        driven = await engine.own(drive(engine, driven or ending))
    if driven.state is EndingState.REFUSED:
        raise ledger_failure(driven.refusal)
    return driven


async def drive(engine: Engine, ending: Ending) -> Ending | None:
    """Takes the next steps once and stores what comes of them, with its fact, once; None if the ledger kept silent.

    Failures: those of a transfer that is not decided yet.
    """
    if ending.state is EndingState.PENDING and ending.past_fen + ending.current_fen:
        refusal = await _transferred(engine, ending)
        if refusal in _ANEW:
            return await _tried_anew(engine, ending)
        if refusal:
            return await _advanced(engine, ending, EndingState.REFUSED, refusal)
    closing_id = ending.request_id if ending.to_area is None else uuid5(_CLOSINGS, str(ending.request_id))
    command = close_command(
        request_id=closing_id,
        psn_no=ending.psn_no,
        role=ending.role,
        cause=ending.cause,
        traceparent=ending.traceparent,
    )
    reply = await engine.ledgers.send(ending.area, command)
    told = None if reply is None else frozen_or_refused(ending.area, reply)
    if reply is None or told is None:
        return None
    if isinstance(told, Balance):
        return await _advanced(engine, ending, EndingState.CLOSING if is_closing(reply) else EndingState.CLOSED)
    if ending.past_fen + ending.current_fen and told in _ENDED_BEFORE:
        return await _advanced(engine, ending, EndingState.CLOSED)
    return await _advanced(engine, ending, EndingState.REFUSED, told)


async def _transferred(engine: Engine, ending: Ending) -> str:
    """The money of a move on the new account, by a payment with a key of its own; why not, if it was refused."""
    if ending.to_area is None:
        raise AssertionError("nothing is transferred at a closing")
    parts = (ending.past_fen, ending.current_fen)
    legs = (
        PlanLeg(1, Role.OWN, ending.psn_no, ending.area, *parts, None, 0, ()),
        PlanLeg(2, Role.MOVED_TO, ending.psn_no, ending.to_area, *parts, None, 0, ()),
    )
    async with engine.database.driver_connection() as connection:
        accept_by = await payments.now(connection) + ACCEPT_WITHIN
    key = _key(ending.area, ending.request_id, ending.tries)
    try:
        begun = await transfers.begin(engine, key=key, giver=ending.psn_no, legs=legs, accept_by=accept_by)
        await transfers.accept(engine, payment_id=begun.payment_id, receiver=ending.psn_no)
    except Failure as failure:
        if failure.kind in _UNDECIDED:
            raise
        return failure.reason
    return ""


async def _tried_anew(engine: Engine, ending: Ending) -> Ending | None:
    """The move with what is free by now, to be transferred under another key; None while the former try is still held.

    What that one holds on the old account would not be found free, and then go to suspense.
    """
    async with engine.database.driver_connection() as connection:
        former = await payments.by_key(connection, _key(ending.area, ending.request_id, ending.tries))
    if former is None or former.state is not State.CLOSED:
        return None
    (old,), _ = await engine.ledgers.balances(ending.area, [(ending.psn_no, Role.OWN)])
    fault_point("settlement.ending_anew.before_commit")
    async with engine.database.driver_connection() as connection:
        after = await store.try_anew(connection, ending, old.free_past_fen, old.free_current_fen)
    fault_point("settlement.ending_anew.after_commit")
    return after


def _key(area: AdmDvs, request_id: UUID, tries: int) -> Key:
    return transfer_key(area, f"move.{request_id}.{tries}" if tries else f"move.{request_id}")


async def _advanced(engine: Engine, ending: Ending, state: EndingState, refusal: str = "") -> Ending:
    """The ending in its next state, with what people are told of it; as another has stored it, if that was first."""
    if state is ending.state:
        return ending
    async with engine.database.driver_transaction() as connection:
        at = await store.advance(connection, ending, state, refusal=refusal)
        after = replace(ending, state=state, refusal=refusal)
        if at is None:
            after = await store.load(connection, ending.request_id) or after
        elif state is not EndingState.REFUSED:
            is_first = ending.state is EndingState.PENDING
            if ending.to_area is None:
                event = account_closed(after, version=1 if is_first else 2, occurred_at=at)
                await put_driver(connection, [event])
            elif is_first:
                await put_driver(connection, [account_moved(after, ending.to_area, occurred_at=at)])
        fault_point("settlement.ending_step.before_commit")
    fault_point("settlement.ending_step.after_commit")
    return after


async def sweep_endings(engine: Engine, *, limit: int) -> int:
    """Goes on with endings that are not over; how many there were. None while the coordinator restores."""
    if engine.standing.is_restoring:
        return 0
    fault_point("settlement.ending_sweep.before_commit")
    async with engine.database.driver_connection() as connection:
        endings = await store.take_due(
            connection,
            limit=limit,
            pause=engine.lease,
            pause_max=timedelta(seconds=engine.settings.lease_max_s),
        )
    if endings:
        fault_point("settlement.ending_sweep.after_commit")
    await asyncio.gather(*(_gone_on(engine, ending) for ending in endings))
    return len(endings)


async def _gone_on(engine: Engine, ending: Ending) -> None:
    try:
        await drive(engine, ending)
    except Failure as failure:
        _log.info("the end of an account waits", area=ending.area, reason=failure.reason)


async def _free_now(
    engine: Engine, request_id: UUID, psn_no: PsnNo, from_area: AdmDvs, to_area: AdmDvs
) -> tuple[Fen, Fen]:
    """Everything that is free on the old account, by part; what a former release has begun to move under this id."""
    async with engine.database.driver_connection() as connection:
        begun = await payments.by_key(connection, _key(from_area, request_id, 0))
        holding = holders.Holding(psn_no, Role.OWN, Part.CURRENT, to_area)
        (refusal,) = await holders.refusals(connection, [holding], now=await payments.now(connection))
        # No two that cross begin at one moment: one area alone insures him. An earlier one may take days.
        under_way = await store.area_under_way(connection, psn_no, from_area, to_area)
    if begun is not None:
        return begun.legs[0].past_fen, begun.legs[0].current_fen
    if refusal is not None:
        raise refusal
    if under_way is not None:
        raise Failure(Kind.UNAVAILABLE, "MOVE_UNDER_WAY", area=under_way)
    ((new,), _), ((old,), _) = await asyncio.gather(
        *(engine.ledgers.balances(area, [(psn_no, Role.OWN)]) for area in (to_area, from_area))
    )
    if not new.exists:
        raise Failure(Kind.NOT_FOUND, "ACCOUNT_NOT_FOUND", area=to_area)
    if old.frozen:
        # Also with nothing free on it: the freeze would be left behind with the account.
        raise ledger_failure("ACCOUNT_FROZEN")
    return old.free_past_fen, old.free_current_fen
