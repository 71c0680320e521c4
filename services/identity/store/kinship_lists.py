"""Kinship facts as an officer sees them: with masked names, and with what was decided."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.kinship import FactState
from services.identity.domain.kinship_rules import Decider, Decision
from services.identity.domain.registry import Finding
from services.identity.domain.review import Party, ShownFact
from services.identity.store.kinship import fact_of
from services.identity.tables.kinship import KINSHIP_DECISIONS, KINSHIP_FACTS
from services.identity.tables.people import PERSONS

_PERSON: Final = PERSONS.alias("person")
_OTHER: Final = PERSONS.alias("other")
_COLUMNS: Final = (
    KINSHIP_FACTS,
    _PERSON.c.name_masked.label("person_name"),
    _PERSON.c.brdy.label("person_brdy"),
    _OTHER.c.name_masked.label("other_name"),
    _OTHER.c.brdy.label("other_brdy"),
)
_SHOWN: Final = KINSHIP_FACTS.join(_PERSON, _PERSON.c.psn_no == KINSHIP_FACTS.c.psn_no).join(
    _OTHER, _OTHER.c.psn_no == KINSHIP_FACTS.c.other_psn_no
)


async def one(connection: AsyncConnection, fact_id: UUID) -> ShownFact | None:
    """A fact with its decisions."""
    statement = sa.select(*_COLUMNS).select_from(_SHOWN).where(KINSHIP_FACTS.c.fact_id == fact_id)
    found = await _with_decisions(connection, await connection.execute(statement))
    return found[0] if found else None


async def waiting(connection: AsyncConnection, *, after: tuple[datetime, UUID] | None, limit: int) -> list[ShownFact]:
    """Submitted facts, the one that has waited longest first, without the decisions that none of them has yet."""
    key = (KINSHIP_FACTS.c.submitted_at, KINSHIP_FACTS.c.fact_id)
    statement = (
        sa.select(*_COLUMNS)
        .select_from(_SHOWN)
        # Written out as in the index's condition, or the planner would not use the index.
        .where(KINSHIP_FACTS.c.state == sa.literal_column(f"'{FactState.SUBMITTED.value}'"))
        .order_by(*key)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
    return [_shown(row, ()) for row in await connection.execute(statement)]


async def of_person(connection: AsyncConnection, psn_no: PsnNo, *, after: UUID | None, limit: int) -> list[ShownFact]:
    """Every fact that names a person, the oldest first, with the decisions."""
    halves = []
    for column in (KINSHIP_FACTS.c.psn_no, KINSHIP_FACTS.c.other_psn_no):
        # Each half is one index scan that ends at the limit; no fact is in both, for nobody is his own relative.
        half = sa.select(KINSHIP_FACTS.c.fact_id).where(column == psn_no)
        if after is not None:
            half = half.where(KINSHIP_FACTS.c.fact_id > after)
        halves.append(sa.select(half.order_by(KINSHIP_FACTS.c.fact_id).limit(limit).subquery()))
    ids = sa.union_all(*halves).subquery()
    statement = (
        sa.select(*_COLUMNS)
        .select_from(_SHOWN)
        .where(KINSHIP_FACTS.c.fact_id.in_(sa.select(ids.c.fact_id)))
        .order_by(KINSHIP_FACTS.c.fact_id)
        .limit(limit)
    )
    return await _with_decisions(connection, await connection.execute(statement))


async def _with_decisions(connection: AsyncConnection, rows: Iterable[Any]) -> list[ShownFact]:
    found = list(rows)
    wanted = sa.cast(sa.literal([row.fact_id for row in found], ARRAY(sa.Uuid)), ARRAY(sa.Uuid))
    decided: dict[UUID, list[tuple[Decision, datetime]]] = {}
    statement = sa.select(KINSHIP_DECISIONS).where(KINSHIP_DECISIONS.c.fact_id == sa.any_(wanted))
    for row in await connection.execute(statement.order_by(KINSHIP_DECISIONS.c.id)):
        decision = Decision(FactState(row.state), Decider(row.decider), row.opter, row.cause)
        decided.setdefault(row.fact_id, []).append((decision, row.decided_at))
    return [_shown(row, tuple(decided.get(row.fact_id, ()))) for row in found]


def _shown(row: Any, decisions: tuple[tuple[Decision, datetime], ...]) -> ShownFact:  # noqa: ANN401  SQLAlchemy's row.
    return ShownFact(
        fact=fact_of(row),
        person=Party(PsnNo(row.psn_no), row.person_name, row.person_brdy),
        other=Party(PsnNo(row.other_psn_no), row.other_name, row.other_brdy),
        submitted_at=row.submitted_at,
        submitted_by=row.submitted_by,
        finding=None if row.finding is None else Finding(row.finding),
        decisions=decisions,
    )
