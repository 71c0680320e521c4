"""What officers did at the counter, and which documents they saw."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.family.domain.counter import Counter, Deed, Document, DocumentKind, Done, Lookup, WantedDeeds
from services.family.tables import COUNTER_DEEDS, COUNTER_LOOKUPS


async def record(
    connection: AsyncConnection, counter: Counter | None, deed: Deed, subject: str, *, now: datetime
) -> None:
    """Keeps who did it and what he saw, in the deed's own transaction; nothing of what was done in an app."""
    if counter is None:
        return
    await connection.execute(
        insert(COUNTER_DEEDS).values(
            deed=deed.value,
            subject=subject,
            opter=counter.opter,
            second_opter=counter.second_opter,
            documents=[
                {"psn_no": seen.psn_no, "kind": seen.kind.value, "seen_at": seen.seen_at.isoformat()}
                for seen in counter.documents
            ],
            done_at=now,
        )
    )


async def page(
    connection: AsyncConnection, wanted: WantedDeeds, numbers: Sequence[PsnNo], *, before: int | None, rows_max: int
) -> list[Done]:
    """Those wanted, the latest first, from behind that deed on; ``numbers`` are those of the person asked for."""
    asked = select(COUNTER_DEEDS).where(*_conditions(wanted, numbers))
    if before is not None:
        asked = asked.where(COUNTER_DEEDS.c.deed_no < before)
    rows = await connection.execute(asked.order_by(COUNTER_DEEDS.c.deed_no.desc()).limit(rows_max))
    return [_done(row) for row in rows]


async def note_lookup(
    connection: AsyncConnection, psn_nos: Collection[PsnNo], *, asked_by: str, trace_id: str, now: datetime
) -> None:
    """Keeps who has read of whom, in the transaction in which it is shown."""
    if psn_nos:
        await connection.execute(
            insert(COUNTER_LOOKUPS).values(asked_by=asked_by, trace_id=trace_id, psn_nos=sorted(psn_nos), looked_at=now)
        )


async def lookups_of(
    connection: AsyncConnection, numbers: Sequence[PsnNo], *, before: int | None, rows_max: int
) -> list[Lookup]:
    """Who has read deeds that concern the person with these numbers, the latest first."""
    asked = select(COUNTER_LOOKUPS).where(COUNTER_LOOKUPS.c.psn_nos.overlap(list(numbers)))
    if before is not None:
        asked = asked.where(COUNTER_LOOKUPS.c.lookup_no < before)
    rows = await connection.execute(asked.order_by(COUNTER_LOOKUPS.c.lookup_no.desc()).limit(rows_max))
    return [Lookup(row.lookup_no, row.asked_by, row.looked_at) for row in rows]


def _conditions(wanted: WantedDeeds, numbers: Sequence[PsnNo]) -> list[ColumnElement[bool]]:
    columns = COUNTER_DEEDS.c
    found: list[ColumnElement[bool]] = []
    if wanted.psn_no is not None:
        found.append(or_(*(columns.documents.contains([{"psn_no": number}]) for number in numbers)))
    if wanted.opter:
        found.append(or_(columns.opter == wanted.opter, columns.second_opter == wanted.opter))
    if wanted.deed:
        found.append(columns.deed == wanted.deed)
    if wanted.subject:
        found.append(columns.subject == wanted.subject)
    if (from_at := wanted.period.from_at) is not None:
        found.append(columns.done_at >= from_at)
    if (until_at := wanted.period.until_at) is not None:
        found.append(columns.done_at < until_at)
    return found


def _done(row: Any) -> Done:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    documents = tuple(
        Document(PsnNo(seen["psn_no"]), DocumentKind(seen["kind"]), datetime.fromisoformat(seen["seen_at"]))
        for seen in row.documents
    )
    return Done(row.deed_no, row.deed, row.subject, Counter(row.opter, row.second_opter, documents), row.done_at)
