"""Institutions, and what was decided about them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, FixmedinsCode
from services.identity.domain.institution import (
    Capability,
    Decision,
    Institution,
    InstitutionLevel,
    InstitutionState,
    Place,
)
from services.identity.store import sanctions
from services.identity.tables.institutions import INSTITUTION_DECISIONS, INSTITUTIONS

CODE_DIGITS: Final = 11
LETTERS: Final = ("H", "P")
_PROVINCE_END: Final = "0000"


async def insert_institution(connection: AsyncConnection, institution: Institution, *, now: datetime) -> bool:
    """Whether the institution is new."""
    statement = (
        insert(INSTITUTIONS)
        .values(fixmedins_code=institution.fixmedins_code, **_columns(institution), changed_at=now)
        .on_conflict_do_nothing()
        .returning(INSTITUTIONS.c.fixmedins_code)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def load_institution(
    connection: AsyncConnection, fixmedins_code: FixmedinsCode, *, lock: bool = False
) -> Institution | None:
    """An institution with its sanctions; with ``lock``, nobody else changes it until this transaction ends."""
    statement = sa.select(INSTITUTIONS).where(INSTITUTIONS.c.fixmedins_code == fixmedins_code)
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    return replace(_institution(row), sanctions=await sanctions.of_institution(connection, fixmedins_code))


async def save_institution(connection: AsyncConnection, institution: Institution, *, now: datetime) -> None:
    """Writes an institution whose lock the caller holds; its sanctions have a table of their own."""
    await connection.execute(
        sa.update(INSTITUTIONS)
        .where(INSTITUTIONS.c.fixmedins_code == institution.fixmedins_code)
        .values(**_columns(institution), changed_at=now)
    )


async def page_of_area(
    connection: AsyncConnection,
    area: AdmDvs,
    *,
    state: InstitutionState | None,
    after: FixmedinsCode | None,
    limit: int,
) -> list[Institution]:
    """Institutions of an area, or of a whole province where its code ends in 0000, by code; sanctions left out."""
    code = INSTITUTIONS.c.fixmedins_code
    begins = area[:2] if area.endswith(_PROVINCE_END) else area
    # Codes of one area lie side by side in the primary key, once for each letter.
    ranges = [code.between(_filled(letter + begins, "0"), _filled(letter + begins, "9")) for letter in LETTERS]
    statement = sa.select(INSTITUTIONS).where(sa.or_(*ranges)).order_by(code).limit(limit)
    if state is not None:
        statement = statement.where(INSTITUTIONS.c.state == state.value)
    if after is not None:
        statement = statement.where(code > after)
    return [_institution(row) for row in await connection.execute(statement)]


async def insert_decision(connection: AsyncConnection, fixmedins_code: FixmedinsCode, decision: Decision) -> None:
    """Records who changed an institution, and why."""
    await connection.execute(
        sa.insert(INSTITUTION_DECISIONS).values(
            fixmedins_code=fixmedins_code,
            state=decision.state.value,
            opter=decision.opter,
            cause=decision.cause,
            decided_at=decision.decided_at,
        )
    )


async def latest_decisions(connection: AsyncConnection, fixmedins_code: FixmedinsCode, *, limit: int) -> list[Decision]:
    """What was decided about an institution, the newest first."""
    rows = await connection.execute(
        sa.select(INSTITUTION_DECISIONS)
        .where(INSTITUTION_DECISIONS.c.fixmedins_code == fixmedins_code)
        .order_by(INSTITUTION_DECISIONS.c.id.desc())
        .limit(limit)
    )
    return [Decision(InstitutionState(row.state), row.opter, row.cause, row.decided_at) for row in rows]


async def state_at(connection: AsyncConnection, institution: Institution, instant: datetime) -> InstitutionState:
    """How an institution stood at an instant; before the first decision as by that one, for its agreement may be older.

    One of which no decision is kept stands as it does now.
    """
    decisions = INSTITUTION_DECISIONS.c
    of_it = sa.select(decisions.state).where(decisions.fixmedins_code == institution.fixmedins_code).limit(1)
    state = await connection.scalar(of_it.where(decisions.decided_at <= instant).order_by(decisions.id.desc()))
    if state is None:
        state = await connection.scalar(of_it.order_by(decisions.id))
    return institution.state if state is None else InstitutionState(state)


def place_columns(place: Place | None) -> dict[str, int | str | None]:
    """The columns of a place, all empty where there is none."""
    return {
        "longitude_udeg": None if place is None else place.longitude_udeg,
        "latitude_udeg": None if place is None else place.latitude_udeg,
        "place_admdvs": None if place is None else place.admdvs,
    }


def place_of(row: sa.Row[tuple[object, ...]]) -> Place | None:
    """The place of a row that has its columns."""
    if row.longitude_udeg is None:
        return None
    return Place(row.longitude_udeg, row.latitude_udeg, None if row.place_admdvs is None else AdmDvs(row.place_admdvs))


def _filled(begins: str, digit: str) -> str:
    return begins.ljust(1 + CODE_DIGITS, digit)


def _institution(row: sa.Row[tuple[object, ...]]) -> Institution:
    return Institution(
        fixmedins_code=FixmedinsCode(row.fixmedins_code),
        fixmedins_name=row.fixmedins_name,
        state=InstitutionState(row.state),
        wallet_capable=row.wallet_capable,
        level=None if row.level is None else InstitutionLevel(row.level),
        agreement_from=row.agreement_from,
        agreement_to=row.agreement_to,
        capabilities=frozenset(map(Capability, row.capabilities)),
        place=place_of(row),
        version=row.version,
    )


def _columns(institution: Institution) -> dict[str, object]:
    return {
        "fixmedins_name": institution.fixmedins_name,
        "state": institution.state.value,
        "wallet_capable": institution.wallet_capable,
        "level": None if institution.level is None else institution.level.value,
        "agreement_from": institution.agreement_from,
        "agreement_to": institution.agreement_to,
        "capabilities": sorted(each.value for each in institution.capabilities),
        **place_columns(institution.place),
        "version": institution.version,
    }
