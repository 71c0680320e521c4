"""Risk events: kept what they are made of, raised by the clock, judged by an officer.

One replica at a time judges a kind: it holds the kind's row of ``risk_sweeps``. What happened counts for one event
only, so a sweep that comes again, an event that is delivered again and a restart tell nothing twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, assert_never
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox, telemetry
from chassis.db import Database
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain.risk import (
    SHOWINGS_SPAN,
    BuyRefunded,
    Evidence,
    Finding,
    Heard,
    Judgement,
    PharmacyBuy,
    RiskEvent,
    RiskKind,
    RiskState,
    ShownForAnother,
    Subject,
    Thresholds,
    by_day,
    check_judgement,
    far_showings,
    known,
    runs,
    shown_for_another,
)
from services.identity.operations.drawn import new_id
from services.identity.store import lookups, suspicion
from services.identity.store import risk as store
from services.identity.wire import risk as wire

RISK_EVENT: Final = "RISK_EVENT"
"""The purpose in the audit when somebody was seen in a risk event."""
EVIDENCE_SHOWN_MAX: Final = 200
BATCH_SIZE: Final = 500
"""How many of settlement's words one transaction judges."""
SLICE: Final = timedelta(minutes=5)
"""How much of the past one transaction judges, so that after a long pause each statement stays short."""
OVERLAP: Final = timedelta(seconds=30)
"""What was shown at an instant may be committed later; no transaction takes so long, so nothing is passed over."""
REFUSED_OVERLAP: Final = timedelta(minutes=2)
"""As above, for what is counted by the minute."""
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
            case _:
                assert_never(each)


async def sweep(*, database: Database, thresholds: Thresholds, now: datetime, randomness: Randomness) -> int:
    """How many risk events are new. Kinds that another replica judges at the moment are left to it."""
    raised = 0
    for kind in _JUDGES:
        caught_up = False
        while not caught_up:
            async with database.transaction() as connection:
                read_to = await suspicion.take_sweep(connection, kind)
                if read_to is None:
                    break
                # A clock that was set back, or a database that was restored, must not leave a hole.
                begin = min(read_to, now)
                until = min(now, begin + SLICE)
                findings = await _JUDGES[kind](connection, thresholds, begin, until, now)
                raised += await _tell(connection, findings, now=now, randomness=randomness)
                await suspicion.end_sweep(connection, kind, read_to=until)
                caught_up = until == now
    return raised


async def forget(*, database: Database, now: datetime) -> None:
    """Deletes what settlement told so long ago that it cannot count any more."""
    async with database.transaction() as connection:
        await suspicion.forget(connection, before=now - KEPT)


async def list_events(
    *,
    database: Database,
    state: RiskState | None,
    kind: RiskKind | None,
    psn_no: PsnNo | None,
    after: UUID | None,
    limit: int,
    asked_by: str,
    now: datetime,
) -> tuple[list[RiskEvent], bool]:
    """So many risk events, the oldest first, and whether there are more; whoever is shown is on record as seen."""
    async with database.transaction() as connection:
        numbers = None if psn_no is None else await lookups.numbers_of(connection, psn_no)
        found = await store.list_events(
            connection, state=state, kind=kind, psn_nos=numbers, after=after, limit=limit + 1
        )
        await _audit(connection, found[:limit], (), asked_by=asked_by, now=now)
        return found[:limit], len(found) > limit


async def get_event(
    *, database: Database, risk_event_id: UUID, asked_by: str, now: datetime
) -> tuple[RiskEvent, list[Evidence]]:
    """A risk event and its latest evidence, the oldest first; RISK_EVENT_UNKNOWN (NOT_FOUND)."""
    async with database.transaction() as connection:
        event = known(await store.load_event(connection, risk_event_id))
        evidence = await store.latest_evidence(connection, risk_event_id, limit=EVIDENCE_SHOWN_MAX)
        patients = await store.known_people(connection, {each.patient for each in evidence if each.patient is not None})
        await _audit(connection, [event], patients, asked_by=asked_by, now=now)
        return event, evidence


async def decide_event(
    *, database: Database, risk_event_id: UUID, judgement: Judgement, asked_by: str, now: datetime
) -> RiskEvent:
    """The risk event as judged; the same judgement again changes nothing, and nothing follows for anybody.

    RISK_EVENT_UNKNOWN (NOT_FOUND), RISK_EVENT_DECIDED (PRECONDITION: otherwise).
    """
    async with database.transaction() as connection:
        event = known(await store.load_event(connection, risk_event_id, lock=True))
        await _audit(connection, [event], (), asked_by=asked_by, now=now)
        if check_judgement(event, judgement):
            await store.save_judgement(connection, risk_event_id, judgement)
            event = known(await store.load_event(connection, risk_event_id))
        return event


async def _others_credentials(
    connection: AsyncConnection, _thresholds: Thresholds, _begin: datetime, _until: datetime, now: datetime
) -> list[Finding]:
    refusals = await suspicion.take_unjudged_refusals(connection, limit=BATCH_SIZE, now=now)
    found = filter(None, map(shown_for_another, refusals))
    everyone = await store.known_people(connection, {refusal.presented for refusal in refusals})
    return [finding for finding in found if finding.subject.psn_no in everyone]


async def _far_terminals(
    connection: AsyncConnection, thresholds: Thresholds, begin: datetime, until: datetime, _now: datetime
) -> list[Finding]:
    since = begin - OVERLAP
    people = await suspicion.travellers(connection, since=since, until=until, span=SHOWINGS_SPAN)
    if not people:
        return []
    earliest = since - SHOWINGS_SPAN
    shown = await suspicion.showings(connection, people, since=earliest, until=until + SHOWINGS_SPAN)
    far = {
        Subject(psn_no=psn_no): far_showings(showings, travel_kmh=thresholds.travel_kmh)
        for psn_no, showings in shown.items()
    }
    fresh = await _untold(connection, RiskKind.FAR_TERMINALS, far, since=earliest)
    everyone = await store.known_people(connection, people)
    return [
        finding
        for subject, evidence in fresh.items()
        if subject.psn_no in everyone
        for finding in by_day(RiskKind.FAR_TERMINALS, subject, evidence)
    ]


async def _small_buys(
    connection: AsyncConnection, thresholds: Thresholds, _begin: datetime, _until: datetime, now: datetime
) -> list[Finding]:
    funders, first = await suspicion.take_unjudged_buyers(connection, limit=BATCH_SIZE, now=now)
    everyone = await store.known_people(connection, funders)
    if first is None or not everyone:
        return []
    since = first - thresholds.small_buys_window
    buys = await suspicion.buys_since(connection, everyone, since)
    fresh = await _untold(connection, RiskKind.SMALL_PHARMACY_BUYS, buys, since=since)
    return await _found_runs(
        connection,
        RiskKind.SMALL_PHARMACY_BUYS,
        fresh,
        occurrences_min=lambda _: thresholds.small_buys_min,
        window=thresholds.small_buys_window,
    )


async def _refused_codes(
    connection: AsyncConnection, thresholds: Thresholds, begin: datetime, until: datetime, _now: datetime
) -> list[Finding]:
    kind, since = RiskKind.REFUSED_CODES, begin - REFUSED_OVERLAP
    subjects = await suspicion.refused_in(connection, since=since, until=until)
    if not subjects:
        return []
    since -= thresholds.refused_window
    refused = await suspicion.refusals_near(connection, subjects, since=since, until=until)
    told = await store.told_evidence(connection, kind, _keys(refused), since=since)
    for subject, evidence in refused.items():
        for each in evidence:
            if each.occurrences > told.get((subject.key, each.key), each.occurrences):
                await store.grow_evidence(connection, kind, subject.key, each)
    everyone = await store.known_people(connection, {each.psn_no for each in refused if each.psn_no is not None})
    fresh = {
        subject: [each for each in evidence if (subject.key, each.key) not in told]
        for subject, evidence in refused.items()
        if subject.psn_no is None or subject.psn_no in everyone
    }
    return await _found_runs(
        connection,
        kind,
        fresh,
        occurrences_min=lambda subject: (
            thresholds.refused_at_terminal_min if subject.psn_no is None else thresholds.refused_of_person_min
        ),
        window=thresholds.refused_window,
    )


_Judge = Callable[[AsyncConnection, Thresholds, datetime, datetime, datetime], Awaitable[list[Finding]]]
_JUDGES: Final[Mapping[RiskKind, _Judge]] = {
    # The first notes when it judged what the second then looks at.
    RiskKind.OTHERS_CREDENTIAL: _others_credentials,
    RiskKind.FAR_TERMINALS: _far_terminals,
    RiskKind.SMALL_PHARMACY_BUYS: _small_buys,
    RiskKind.REFUSED_CODES: _refused_codes,
}


async def _untold(
    connection: AsyncConnection, kind: RiskKind, evidence: Mapping[Subject, Sequence[Evidence]], *, since: datetime
) -> dict[Subject, list[Evidence]]:
    told = await store.told_evidence(connection, kind, _keys(evidence), since=since)
    return {
        subject: [each for each in found if (subject.key, each.key) not in told] for subject, found in evidence.items()
    }


async def _found_runs(
    connection: AsyncConnection,
    kind: RiskKind,
    evidence: Mapping[Subject, Sequence[Evidence]],
    *,
    occurrences_min: Callable[[Subject], int],
    window: timedelta,
) -> list[Finding]:
    open_days = await store.open_days(connection, kind, _keys(evidence))
    return [
        Finding(kind, subject, day, told)
        for subject, found in evidence.items()
        for day, told in runs(
            found,
            occurrences_min=occurrences_min(subject),
            window=window,
            open_days=open_days.get(subject.key, set()),
        ).items()
    ]


def _keys(subjects: Mapping[Subject, object]) -> list[str]:
    return [subject.key for subject in subjects]


async def _tell(
    connection: AsyncConnection, findings: Sequence[Finding], *, now: datetime, randomness: Randomness
) -> int:
    """Raises or adds to an event for each finding; tells of each new one that is about a person, once."""
    raised = 0
    for finding in findings:
        risk_event_id, new = await store.raise_event(
            connection, finding, risk_event_id=new_id(now, randomness), now=now
        )
        raised += new
        if new and finding.subject.psn_no is not None:
            event = wire.risk_event_raised(
                finding, finding.subject.psn_no, risk_event_id, event_id=new_id(now, randomness), now=now
            )
            await outbox.put(connection, [event])
    return raised


async def _audit(
    connection: AsyncConnection,
    events: Iterable[RiskEvent],
    patients: Iterable[PsnNo],
    *,
    asked_by: str,
    now: datetime,
) -> None:
    numbers = [each.subject.psn_no for each in events if each.subject.psn_no is not None]
    await lookups.insert_lookups(
        connection,
        {*numbers, *patients},
        purpose=RISK_EVENT,
        asked_by=asked_by,
        trace_id=telemetry.trace_id(),
        now=now,
    )
