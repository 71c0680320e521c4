"""Risk events: kept what they are made of, shown to the officers and decided by one; ``risk_sweep`` raises them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, assert_never
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.ids import PsnNo
from services.identity.domain.objection import OBJECTION_WITHIN
from services.identity.domain.risk import (
    BuyRefunded,
    Evidence,
    FundedBill,
    Heard,
    Judgement,
    PharmacyBuy,
    RiskEvent,
    RiskKind,
    RiskState,
    ShownForAnother,
    check_judgement,
    known,
)
from services.identity.operations import lookups
from services.identity.store import objections, suspicion
from services.identity.store import risk as store
from services.identity.store.lookups import numbers_of

RISK_EVENT: Final = "RISK_EVENT"
"""The purpose in the audit when somebody was seen in a risk event."""
EVIDENCE_SHOWN_MAX: Final = 200
KEPT: Final = timedelta(days=40)
"""How long what settlement told is kept: longer than the longest window that a setting allows."""


async def keep(connection: AsyncConnection, heard: Sequence[Heard]) -> None:
    """Keeps what settlement told, until the clock has it judged; told again, it is kept once."""
    for each in heard:
        match each:
            case ShownForAnother():
                await suspicion.keep_shown_for_another(connection, each)
            case PharmacyBuy():
                await suspicion.keep_buy(connection, each)
            case BuyRefunded():
                await suspicion.keep_refund(connection, each)
            case FundedBill():
                await objections.keep_funded(connection, each)
            case _:
                assert_never(each)


async def forget(*, database: Database, now: datetime) -> None:
    """Deletes what settlement told so long ago that it cannot count any more."""
    async with database.transaction() as connection:
        await suspicion.forget(connection, before=now - KEPT)
        await objections.forget_funded(connection, before=now - OBJECTION_WITHIN)


async def list_events(
    *,
    database: Database,
    state: RiskState | None,
    kind: RiskKind | None,
    psn_no: PsnNo | None,
    after: UUID | None,
    size: int,
    asked_by: str,
    now: datetime,
) -> tuple[list[RiskEvent], bool]:
    """So many risk events, the oldest first, and whether there are more; whoever is shown is on record as seen."""
    async with database.transaction() as connection:
        numbers = None if psn_no is None else await numbers_of(connection, psn_no)
        found = await store.list_events(
            connection, state=state, kind=kind, psn_nos=numbers, after=after, limit=size + 1
        )
        whom = _named(found[:size]).union(numbers or [])
        await lookups.record(connection, whom, purpose=RISK_EVENT, asked_by=asked_by, now=now)
        return found[:size], len(found) > size


async def get_event(
    *, database: Database, risk_event_id: UUID, asked_by: str, now: datetime
) -> tuple[RiskEvent, list[Evidence]]:
    """A risk event and its latest evidence, the oldest first; RISK_EVENT_UNKNOWN (NOT_FOUND)."""
    async with database.transaction() as connection:
        event = known(await store.load_event(connection, risk_event_id))
        evidence = await store.latest_evidence(connection, risk_event_id, limit=EVIDENCE_SHOWN_MAX)
        patients = await store.known_people(connection, {each.patient for each in evidence if each.patient is not None})
        whom = _named([event]).union(patients)
        await lookups.record(connection, whom, purpose=RISK_EVENT, asked_by=asked_by, now=now)
        return event, evidence


async def decide_event(
    *, database: Database, risk_event_id: UUID, judgement: Judgement, asked_by: str, now: datetime
) -> RiskEvent:
    """The risk event as judged; the same judgement again changes nothing, and nothing follows for anybody.

    RISK_EVENT_UNKNOWN (NOT_FOUND), RISK_EVENT_DECIDED (PRECONDITION: otherwise).
    """
    async with lookups.on_record(database, purpose=RISK_EVENT, asked_by=asked_by, now=now) as (connection, met):
        event = known(await store.load_event(connection, risk_event_id, lock=True))
        met.update(_named([event]))
        if check_judgement(event, judgement):
            await store.save_judgement(connection, risk_event_id, judgement)
            event = known(await store.load_event(connection, risk_event_id))
        return event


def _named(events: Iterable[RiskEvent]) -> set[PsnNo]:
    return {each.subject.psn_no for each in events if each.subject.psn_no is not None}
