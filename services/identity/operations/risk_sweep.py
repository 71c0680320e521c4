"""What looks like misuse becomes a risk event: judged by the clock, kind by kind.

One replica at a time judges a kind: it holds the kind's row of ``risk_sweeps``. What happened counts for one event
only, so a sweep that comes again, an event that is delivered again and a restart tell nothing twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import CONNECT_TIMEOUT_S, POOL_WAIT_S, STATEMENT_TIMEOUT_S, Database
from kernel.randomness import Randomness
from services.identity.domain.risk import (
    SHOWINGS_SPAN,
    Evidence,
    Finding,
    RiskKind,
    Subject,
    Thresholds,
    by_day,
    far_showings,
    runs,
    shown_for_another,
)
from services.identity.operations.drawn import new_id
from services.identity.operations.telling import tell_once
from services.identity.store import risk as store
from services.identity.store import suspicion
from services.identity.wire import risk as wire

BATCH_SIZE: Final = 500
"""How many of settlement's words one transaction judges."""
SLICE: Final = timedelta(minutes=5)
"""How much of the past one transaction judges, so that after a long pause each statement stays short."""
OVERLAP: Final = timedelta(seconds=POOL_WAIT_S + CONNECT_TIMEOUT_S + 2 * STATEMENT_TIMEOUT_S)
"""What was shown at an instant is committed so much later at most: a decoding waits for a connection and has two
statements. So nothing is passed over."""
REFUSED_OVERLAP: Final = timedelta(minutes=1) + OVERLAP
"""As above, for what is counted under the beginning of its minute."""


async def sweep(*, database: Database, thresholds: Thresholds, now: datetime, randomness: Randomness) -> int:
    """How many risk events are new. Kinds that another replica judges at the moment are left to it."""
    raised = 0
    for kind, judge in _JUDGES:
        caught_up = False
        while not caught_up:
            async with database.transaction() as connection:
                read_to = await suspicion.take_sweep(connection, kind)
                if read_to is None:
                    break
                # A clock that was set back, or a database that was restored, must not leave a hole.
                begin = min(read_to, now)
                until = min(now, begin + SLICE)
                span = _Span(begin, until, now)
                findings, more = await judge(connection, thresholds, span)
                raised += await _raise_events(connection, findings, now=now, randomness=randomness)
                await suspicion.end_sweep(connection, kind, read_to=until)
                caught_up = until == now and not more
    return raised


@dataclass(frozen=True, slots=True)
class _Span:
    """What one transaction judges: from ``begin`` to ``until``."""

    begin: datetime
    until: datetime
    now: datetime


_Judged = tuple[list[Finding], bool]
"""What was found, and whether more waits that is not bounded by the span."""


async def _others_credentials(connection: AsyncConnection, _thresholds: Thresholds, span: _Span) -> _Judged:
    refusals = await suspicion.take_unjudged_refusals(connection, limit=BATCH_SIZE, now=span.now)
    found = filter(None, map(shown_for_another, refusals))
    everyone = await store.known_people(connection, {refusal.presented for refusal in refusals})
    return [finding for finding in found if finding.subject.psn_no in everyone], len(refusals) == BATCH_SIZE


async def _far_terminals(connection: AsyncConnection, thresholds: Thresholds, span: _Span) -> _Judged:
    since = span.begin - OVERLAP
    people = await suspicion.travellers(connection, since=since, until=span.until, span=SHOWINGS_SPAN)
    if not people:
        return [], False
    earliest = since - SHOWINGS_SPAN
    shown = await suspicion.showings(connection, people, since=earliest, until=span.until + SHOWINGS_SPAN)
    far = {
        Subject(psn_no=psn_no): far_showings(showings, travel_kmh=thresholds.travel_kmh)
        for psn_no, showings in shown.items()
    }
    fresh = await _untold(connection, RiskKind.FAR_TERMINALS, far, since=earliest)
    everyone = await store.known_people(connection, people)
    found = [
        finding
        for subject, evidence in fresh.items()
        if subject.psn_no in everyone
        for finding in by_day(RiskKind.FAR_TERMINALS, subject, evidence)
    ]
    return found, False


async def _small_buys(connection: AsyncConnection, thresholds: Thresholds, span: _Span) -> _Judged:
    taken = await suspicion.take_unjudged_buys(connection, limit=BATCH_SIZE, now=span.now)
    funders = await store.known_people(connection, {funder for funder, _ in taken})
    if not funders:
        return [], len(taken) == BATCH_SIZE
    since = min(settled_at for _, settled_at in taken) - thresholds.small_buys_window
    buys = await suspicion.buys_since(connection, funders, since)
    fresh = await _untold(connection, RiskKind.SMALL_PHARMACY_BUYS, buys, since=since)
    found = await _found_runs(
        connection,
        RiskKind.SMALL_PHARMACY_BUYS,
        fresh,
        occurrences_min=lambda _: thresholds.small_buys_min,
        window=thresholds.small_buys_window,
    )
    return found, len(taken) == BATCH_SIZE


async def _refused_codes(connection: AsyncConnection, thresholds: Thresholds, span: _Span) -> _Judged:
    kind, since = RiskKind.REFUSED_CODES, span.begin - REFUSED_OVERLAP
    subjects = await suspicion.refused_in(connection, since=since, until=span.until)
    if not subjects:
        return [], False
    since -= thresholds.refused_window
    refused = await suspicion.refusals_near(connection, subjects, since=since, until=span.until)
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
    found = await _found_runs(
        connection,
        kind,
        fresh,
        occurrences_min=lambda subject: (
            thresholds.refused_at_terminal_min if subject.psn_no is None else thresholds.refused_of_person_min
        ),
        window=thresholds.refused_window,
    )
    return found, False


_Judge: TypeAlias = Callable[[AsyncConnection, Thresholds, _Span], Awaitable[_Judged]]
_JUDGES: Final[Sequence[tuple[RiskKind, _Judge]]] = (
    # In this order: who travels is also told by refusals of settlement, and those count from when they were judged.
    (RiskKind.OTHERS_CREDENTIAL, _others_credentials),
    (RiskKind.FAR_TERMINALS, _far_terminals),
    (RiskKind.SMALL_PHARMACY_BUYS, _small_buys),
    (RiskKind.REFUSED_CODES, _refused_codes),
)


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


async def _raise_events(
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
            event = wire.risk_event_raised(finding, finding.subject.psn_no, risk_event_id, now=now)
            await tell_once(connection, [event], now=now, randomness=randomness)
    return raised
