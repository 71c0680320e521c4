"""Kinship facts, and as much of the family around some people as the rules need to see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Relative
from services.identity.domain.kinship_rules import Decision
from services.identity.domain.registry import Finding
from services.identity.store.arrays import any_of
from services.identity.tables.kinship import KINSHIP_DECISIONS, KINSHIP_FACTS
from services.identity.tables.people import PERSONS

_LIVE: Final = (FactState.SUBMITTED.value, FactState.VERIFIED.value)
_FACT_COLUMNS: Final = "fact_id, kind, psn_no, other_psn_no, evidence, from_date, to_date, state, issued_on, expires_on"
_AROUND: Final = f"""
    WITH near AS (
        SELECT {_FACT_COLUMNS} FROM kinship_facts WHERE psn_no = ANY($1::text[]) AND state = 'VERIFIED'
        UNION
        SELECT {_FACT_COLUMNS} FROM kinship_facts WHERE other_psn_no = ANY($1::text[]) AND state = 'VERIFIED'
    ), married (psn_no) AS (
        SELECT psn_no FROM near WHERE kind = 'MARRIED_TO' UNION SELECT other_psn_no FROM near WHERE kind = 'MARRIED_TO'
    ), facts AS (
        SELECT {_FACT_COLUMNS} FROM near
        UNION
        SELECT {_FACT_COLUMNS} FROM kinship_facts
        WHERE psn_no = ANY(ARRAY(SELECT psn_no FROM married)) AND state = 'VERIFIED'
        UNION
        SELECT {_FACT_COLUMNS} FROM kinship_facts
        WHERE other_psn_no = ANY(ARRAY(SELECT psn_no FROM married)) AND state = 'VERIFIED'
    )
    SELECT {_FACT_COLUMNS}, NULL::date AS brdy, NULL::text AS gend, NULL::date AS death_date, NULL::text AS merged_into
    FROM facts
    UNION ALL
    SELECT NULL, NULL, psn_no, NULL, NULL, NULL, NULL, NULL, NULL, NULL, brdy, gend, death_date, merged_into
    FROM persons WHERE psn_no = ANY(
        $1::text[] || ARRAY(SELECT psn_no FROM facts) || ARRAY(SELECT other_psn_no FROM facts))
"""  # noqa: S608  Constants.
"""One statement, so that the answer shows one moment; by arrays, so that each table is read by its index alone."""


@dataclass(frozen=True, slots=True)
class KeptFact:
    """A fact with what is kept beside it; ``version`` counts the events told of it."""

    fact: Fact
    version: int
    finding: Finding | None


async def relatives(
    connection: AsyncConnection, psn_nos: Iterable[PsnNo], *, lock: bool = False
) -> dict[PsnNo, Relative]:
    """Those of the people who are known; with ``lock``, locked in the order of their numbers."""
    columns = (PERSONS.c.psn_no, PERSONS.c.brdy, PERSONS.c.gend, PERSONS.c.death_date, PERSONS.c.merged_into)
    statement = sa.select(*columns).where(PERSONS.c.psn_no == any_of(psn_nos)).order_by(PERSONS.c.psn_no)
    if lock:
        statement = statement.with_for_update(key_share=True)
    return {PsnNo(row.psn_no): _relative(row) for row in await connection.execute(statement)}


async def family_around(driver: Any, psn_nos: Iterable[PsnNo]) -> tuple[list[Fact], dict[PsnNo, Relative]]:  # noqa: ANN401  The driver publishes no types.
    """The verified facts that touch these people or a spouse of any time of theirs, and everyone they speak of."""
    rows = await driver.fetch(_AROUND, sorted(psn_nos))
    facts = [fact_of(row) for row in map(_Named, rows) if row.fact_id is not None]
    people = {PsnNo(row.psn_no): _relative(row) for row in map(_Named, rows) if row.fact_id is None}
    return facts, people


async def live_facts(connection: AsyncConnection, psn_nos: Iterable[PsnNo]) -> list[Fact]:
    """The submitted and verified facts that speak of any of these people."""
    wanted = list(psn_nos)
    # Two index scans; one OR over both columns would read the table.
    of_first = sa.select(KINSHIP_FACTS).where(KINSHIP_FACTS.c.psn_no == any_of(wanted), _live())
    of_other = sa.select(KINSHIP_FACTS).where(KINSHIP_FACTS.c.other_psn_no == any_of(wanted), _live())
    return [fact_of(row) for row in await connection.execute(of_first.union(of_other))]


async def facts_above(connection: AsyncConnection, psn_no: PsnNo) -> list[Fact]:
    """The live facts that lead from a person up to all ancestors."""
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
    return [fact_of(row) for row in rows]


async def load_fact(connection: AsyncConnection, fact_id: UUID, *, lock: bool = False) -> KeptFact | None:
    """A fact in any state."""
    statement = sa.select(KINSHIP_FACTS).where(KINSHIP_FACTS.c.fact_id == fact_id)
    if lock:
        statement = statement.with_for_update()
    row = (await connection.execute(statement)).one_or_none()
    return (
        None
        if row is None
        else KeptFact(fact_of(row), row.version, None if row.finding is None else Finding(row.finding))
    )


async def versions(connection: AsyncConnection, fact_ids: Iterable[UUID]) -> dict[UUID, int]:
    """How many events were told of each of these facts."""
    wanted = sa.cast(sa.literal(sorted(fact_ids), ARRAY(sa.Uuid)), ARRAY(sa.Uuid))
    rows = await connection.execute(
        sa.select(KINSHIP_FACTS.c.fact_id, KINSHIP_FACTS.c.version).where(KINSHIP_FACTS.c.fact_id == sa.any_(wanted))
    )
    return {row.fact_id: row.version for row in rows}


async def insert_fact(connection: AsyncConnection, fact: Fact, *, asked_by: str, now: datetime) -> None:
    """Keeps a submitted fact, and who submitted it."""
    await connection.execute(
        sa.insert(KINSHIP_FACTS).values(
            fact_id=fact.fact_id,
            kind=fact.kind.value,
            psn_no=fact.psn_no,
            other_psn_no=fact.other_psn_no,
            evidence=fact.evidence.value,
            from_date=fact.from_date,
            to_date=fact.to_date,
            issued_on=fact.issued_on,
            expires_on=fact.expires_on,
            state=fact.state.value,
            version=0,
            submitted_at=now,
            submitted_by=asked_by,
        )
    )


async def save_finding(connection: AsyncConnection, fact_id: UUID, finding: Finding) -> None:
    """Keeps what the registry said of a fact that waits."""
    await connection.execute(
        sa.update(KINSHIP_FACTS).where(KINSHIP_FACTS.c.fact_id == fact_id).values(finding=finding.value)
    )


async def save_fact(connection: AsyncConnection, fact: Fact, *, version: int) -> None:
    """Writes whom a fact speaks of and how many events were told of it; the caller holds the locks of its people."""
    await connection.execute(
        sa.update(KINSHIP_FACTS)
        .where(KINSHIP_FACTS.c.fact_id == fact.fact_id)
        .values(psn_no=fact.psn_no, other_psn_no=fact.other_psn_no, version=version)
    )


async def save_decision(
    connection: AsyncConnection, fact: Fact, decision: Decision, *, version: int, now: datetime
) -> None:
    """Writes a decision; the caller holds the locks of the fact's people."""
    await connection.execute(
        sa.update(KINSHIP_FACTS)
        .where(KINSHIP_FACTS.c.fact_id == fact.fact_id)
        .values(state=decision.state.value, cause=decision.cause, version=version, reviewed_at=now)
    )
    await connection.execute(
        sa.insert(KINSHIP_DECISIONS).values(
            fact_id=fact.fact_id,
            state=decision.state.value,
            decider=decision.decider.value,
            opter=decision.opter,
            cause=decision.cause,
            decided_at=now,
        )
    )


async def expired_facts(connection: AsyncConnection, *, today: date, limit: int) -> list[UUID]:
    """Live facts whose document proves nothing any more, the longest first."""
    rows = await connection.scalars(
        sa.select(KINSHIP_FACTS.c.fact_id)
        .where(_live(), KINSHIP_FACTS.c.expires_on <= today)
        .order_by(KINSHIP_FACTS.c.expires_on, KINSHIP_FACTS.c.fact_id)
        .limit(limit)
    )
    return list(rows)


def fact_of(row: Any) -> Fact:  # noqa: ANN401  As above.
    """A fact out of its row."""
    return Fact(
        fact_id=row.fact_id,
        kind=FactKind(row.kind),
        psn_no=PsnNo(row.psn_no),
        other_psn_no=PsnNo(row.other_psn_no),
        evidence=Evidence(row.evidence),
        from_date=row.from_date,
        to_date=row.to_date,
        state=FactState(row.state),
        issued_on=row.issued_on,
        expires_on=row.expires_on,
    )


class _Named:
    """A row of the driver, read as SQLAlchemy's are."""

    __slots__ = ("_row",)

    def __init__(self, row: Any) -> None:  # noqa: ANN401  As above.
        self._row = row

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  As above.
        return self._row[name]


def _live() -> sa.ColumnElement[bool]:
    # Written out as in the index's condition, or the planner would not use the index.
    return KINSHIP_FACTS.c.state.in_(tuple(sa.literal_column(f"'{state}'") for state in _LIVE))


def _relative(row: Any) -> Relative:  # noqa: ANN401  A row of SQLAlchemy or of the driver.
    return Relative(
        PsnNo(row.psn_no),
        row.brdy,
        Sex(row.gend),
        death_date=row.death_date,
        merged_into=None if row.merged_into is None else PsnNo(row.merged_into),
    )
