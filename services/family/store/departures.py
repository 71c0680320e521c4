"""How members go, and which of those who are going the ledgers have let go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import GroupId, PsnNo
from services.family.domain.leaving import UNFINISHED, Cause, Departure
from services.family.tables import BINDINGS, DEPARTURES, GROUPS, MEMBERS

_UNFINISHED: Final = sorted(state.value for state in UNFINISHED)


async def add(connection: AsyncConnection, departure: Departure) -> None:
    """Somebody is going; the caller holds the group's lock."""
    await connection.execute(
        insert(DEPARTURES).values(
            departure_id=departure.departure_id,
            group_id=departure.group_id,
            psn_no=departure.psn_no,
            cause=departure.cause.value,
            by_psn_no=departure.by,
            began_at=departure.began_at,
            member_version=departure.member_version,
        )
    )


async def latest_of(connection: AsyncConnection, group_id: GroupId, psn_no: PsnNo) -> Departure | None:
    """How this person went from this group the last time, or is going now."""
    found = await connection.execute(
        select(DEPARTURES)
        .where(DEPARTURES.c.group_id == group_id, DEPARTURES.c.psn_no == psn_no)
        .order_by(DEPARTURES.c.member_version.desc())
        .limit(1)
    )
    row = found.one_or_none()
    return None if row is None else _departure(row)


async def of_person(connection: AsyncConnection, numbers: Sequence[PsnNo]) -> list[Departure]:
    """How the person with these numbers went from groups, and from which he is going."""
    rows = await connection.execute(
        select(DEPARTURES).where(DEPARTURES.c.psn_no.in_(numbers)).order_by(DEPARTURES.c.departure_id)
    )
    return [_departure(row) for row in rows]


async def dissolved_of(connection: AsyncConnection, group_id: GroupId) -> list[Departure]:
    """Those who went or go with the group, in the order of their numbers."""
    rows = await connection.execute(
        select(DEPARTURES)
        .where(DEPARTURES.c.group_id == group_id, DEPARTURES.c.cause == Cause.DISSOLVED.value)
        .order_by(DEPARTURES.c.psn_no)
    )
    return [_departure(row) for row in rows]


async def let_go(connection: AsyncConnection, group_id: GroupId) -> list[Departure]:
    """Those who are going from this group and have no binding in it any more that a ledger may keep open."""
    rows = await connection.execute(
        select(DEPARTURES)
        .where(DEPARTURES.c.group_id == group_id, DEPARTURES.c.done_at.is_(None), ~_held())
        .order_by(DEPARTURES.c.psn_no)
    )
    return [_departure(row) for row in rows]


async def groups_to_finish(connection: AsyncConnection, *, rows_max: int) -> Sequence[GroupId]:
    """Groups from which somebody can go now."""
    rows = await connection.execute(
        select(DEPARTURES.c.group_id).where(DEPARTURES.c.done_at.is_(None), ~_held()).distinct().limit(rows_max)
    )
    return [GroupId(row.group_id) for row in rows]


async def take_back(connection: AsyncConnection, group_id: GroupId, psn_no: PsnNo) -> None:
    """Who is going from this group stays; the caller holds the group's lock. What he has ended stays ended."""
    await connection.execute(
        delete(DEPARTURES).where(
            DEPARTURES.c.group_id == group_id, DEPARTURES.c.psn_no == psn_no, DEPARTURES.c.done_at.is_(None)
        )
    )


async def finish(connection: AsyncConnection, departure: Departure, *, now: datetime) -> None:
    """He is a member no more."""
    await connection.execute(
        update(DEPARTURES).where(DEPARTURES.c.departure_id == departure.departure_id).values(done_at=now)
    )
    await connection.execute(
        delete(MEMBERS).where(MEMBERS.c.group_id == departure.group_id, MEMBERS.c.psn_no == departure.psn_no)
    )


async def begin_dissolving(connection: AsyncConnection, group_id: GroupId, *, now: datetime) -> None:
    """Nothing new begins in the group."""
    await connection.execute(update(GROUPS).where(GROUPS.c.group_id == group_id).values(dissolving_at=now))


async def finish_dissolving(connection: AsyncConnection, group_id: GroupId, *, now: datetime) -> None:
    """The group is no more, if it was being dissolved and nobody is in it."""
    anybody = exists().where(MEMBERS.c.group_id == group_id)
    await connection.execute(
        update(GROUPS)
        .where(
            GROUPS.c.group_id == group_id,
            GROUPS.c.dissolving_at.is_not(None),
            GROUPS.c.dissolved_at.is_(None),
            ~anybody,
        )
        .values(dissolved_at=now)
    )


async def former_version(connection: AsyncConnection, group_id: GroupId, psn_no: PsnNo) -> int:
    """The version of the last event of this membership, where he was in this group before; 0 otherwise."""
    found = await connection.execute(
        select(func.max(DEPARTURES.c.member_version)).where(
            DEPARTURES.c.group_id == group_id, DEPARTURES.c.psn_no == psn_no
        )
    )
    return int(found.scalar_one() or 0)


async def page(connection: AsyncConnection, *, after: UUID | None, rows_max: int) -> list[Departure]:
    """Departures of those who have not come back, each person's last from a group, in the order of their ids."""
    later = DEPARTURES.alias("later")
    wanted = (
        select(DEPARTURES)
        .where(
            DEPARTURES.c.done_at.is_not(None),
            ~exists().where(MEMBERS.c.group_id == DEPARTURES.c.group_id, MEMBERS.c.psn_no == DEPARTURES.c.psn_no),
            ~exists().where(
                later.c.group_id == DEPARTURES.c.group_id,
                later.c.psn_no == DEPARTURES.c.psn_no,
                later.c.member_version > DEPARTURES.c.member_version,
            ),
        )
        .order_by(DEPARTURES.c.departure_id)
        .limit(rows_max)
    )
    if after is not None:
        wanted = wanted.where(DEPARTURES.c.departure_id > after)
    return [_departure(row) for row in await connection.execute(wanted)]


def _held() -> Any:  # noqa: ANN401  An SQL expression.
    return exists().where(
        BINDINGS.c.group_id == DEPARTURES.c.group_id,
        BINDINGS.c.state.in_(_UNFINISHED),
        or_(BINDINGS.c.funder_psn_no == DEPARTURES.c.psn_no, BINDINGS.c.beneficiary_psn_no == DEPARTURES.c.psn_no),
    )


def _departure(row: Any) -> Departure:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    return Departure(
        departure_id=row.departure_id,
        group_id=GroupId(row.group_id),
        psn_no=PsnNo(row.psn_no),
        cause=Cause(row.cause),
        by=PsnNo(row.by_psn_no),
        began_at=row.began_at,
        member_version=row.member_version,
        done_at=row.done_at,
    )
