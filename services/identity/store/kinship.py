"""Kinship facts, and as much of the family around two people as the rules need to see."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Relative
from services.identity.tables.kinship import KINSHIP_FACTS
from services.identity.tables.people import PERSONS

_LIVE = (FactState.SUBMITTED.value, FactState.VERIFIED.value)


async def relatives(
    connection: AsyncConnection, psn_nos: Iterable[PsnNo], *, lock: bool = False
) -> dict[PsnNo, Relative]:
    """Those of the people who are known; with ``lock``, locked in the order of their numbers."""
    statement = (
        sa.select(PERSONS.c.psn_no, PERSONS.c.brdy, PERSONS.c.gend)
        .where(_among(PERSONS.c.psn_no, psn_nos))
        .order_by(PERSONS.c.psn_no)
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    rows = await connection.execute(statement)
    return {PsnNo(row.psn_no): Relative(PsnNo(row.psn_no), row.brdy, Sex(row.gend)) for row in rows}


async def live_facts(connection: AsyncConnection, psn_nos: Iterable[PsnNo]) -> list[Fact]:
    """The submitted and verified facts that speak of any of these people."""
    wanted = list(psn_nos)
    # Two index scans; one OR over both columns would read the table.
    of_first = sa.select(KINSHIP_FACTS).where(_among(KINSHIP_FACTS.c.psn_no, wanted), _live())
    of_other = sa.select(KINSHIP_FACTS).where(_among(KINSHIP_FACTS.c.other_psn_no, wanted), _live())
    return [_fact(row) for row in await connection.execute(of_first.union(of_other))]


async def facts_around(connection: AsyncConnection, a: PsnNo, b: PsnNo) -> list[Fact]:
    """The live facts that speak of either person, or of anyone married to either."""
    near = await live_facts(connection, (a, b))
    spouses = {
        psn_no for fact in near if fact.kind is FactKind.MARRIED_TO for psn_no in fact.pair if psn_no not in {a, b}
    }
    if not spouses:
        return near
    known = {fact.fact_id for fact in near}
    return near + [fact for fact in await live_facts(connection, spouses) if fact.fact_id not in known]


async def facts_above(connection: AsyncConnection, psn_no: PsnNo) -> list[Fact]:
    """The verified facts that lead from a person up to all ancestors."""
    parent_of = sa.and_(KINSHIP_FACTS.c.kind == FactKind.PARENT_OF.value, _live())
    above = (
        sa.select(KINSHIP_FACTS.c.fact_id, KINSHIP_FACTS.c.psn_no)
        .where(KINSHIP_FACTS.c.other_psn_no == psn_no, parent_of)
        .cte("above", recursive=True)
    )
    # UNION, not UNION ALL: an ancestor reached twice is followed once, and the search ends whatever the rows say.
    above = above.union(
        sa.select(KINSHIP_FACTS.c.fact_id, KINSHIP_FACTS.c.psn_no).where(
            KINSHIP_FACTS.c.other_psn_no == above.c.psn_no, parent_of
        )
    )
    rows = await connection.execute(
        sa.select(KINSHIP_FACTS).where(KINSHIP_FACTS.c.fact_id.in_(sa.select(above.c.fact_id)))
    )
    return [_fact(row) for row in rows]


async def load_fact(connection: AsyncConnection, fact_id: UUID, *, lock: bool = False) -> tuple[Fact, int] | None:
    """A fact in any state, with the version of its last event."""
    statement = sa.select(KINSHIP_FACTS).where(KINSHIP_FACTS.c.fact_id == fact_id)
    if lock:
        statement = statement.with_for_update()
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else (_fact(row), row.version)


async def insert_fact(connection: AsyncConnection, fact: Fact, *, now: datetime) -> None:
    """Keeps a submitted fact."""
    await connection.execute(
        sa.insert(KINSHIP_FACTS).values(
            fact_id=fact.fact_id,
            kind=fact.kind.value,
            psn_no=fact.psn_no,
            other_psn_no=fact.other_psn_no,
            evidence=fact.evidence.value,
            from_date=fact.from_date,
            to_date=fact.to_date,
            state=fact.state.value,
            version=0,
            submitted_at=now,
        )
    )


async def review_fact(
    connection: AsyncConnection, fact_id: UUID, state: FactState, *, cause: str, version: int, now: datetime
) -> None:
    """Writes an officer's decision; the caller holds the fact's lock."""
    await connection.execute(
        sa.update(KINSHIP_FACTS)
        .where(KINSHIP_FACTS.c.fact_id == fact_id)
        .values(state=state.value, cause=cause, version=version, reviewed_at=now)
    )


def _among(column: sa.Column[str], psn_nos: Iterable[PsnNo]) -> sa.ColumnElement[bool]:
    # An array, so that one prepared statement serves any number of people.
    return column == sa.any_(sa.cast(sa.literal(sorted(psn_nos), ARRAY(sa.Text)), ARRAY(sa.Text)))


def _live() -> sa.ColumnElement[bool]:
    # Written out as in the index's condition, or the planner would not use the index.
    return KINSHIP_FACTS.c.state.in_(tuple(sa.literal_column(f"'{state}'") for state in _LIVE))


def _fact(row: sa.Row[tuple[object, ...]]) -> Fact:
    return Fact(
        fact_id=row.fact_id,
        kind=FactKind(row.kind),
        psn_no=PsnNo(row.psn_no),
        other_psn_no=PsnNo(row.other_psn_no),
        evidence=Evidence(row.evidence),
        from_date=row.from_date,
        to_date=row.to_date,
        state=FactState(row.state),
    )
