"""Texts of the pledge, and who signed which."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.family.domain.pledges import PLEDGES_SHOWN, Channel, Pledge, PledgeText
from services.family.store.people import numbers_of
from services.family.tables import PLEDGE_TEXTS, PLEDGES


async def insert_text(connection: AsyncConnection, text: PledgeText, *, opter: str) -> bool:
    """Whether the text is new; not if there is one under its version and language."""
    made = await connection.execute(
        insert(PLEDGE_TEXTS)
        .values(
            text_version=text.text_version,
            language=text.language,
            sha256=text.sha256,
            content=text.content,
            opter=opter,
            registered_at=text.registered_at,
        )
        .on_conflict_do_nothing()
        .returning(PLEDGE_TEXTS.c.text_version)
    )
    return made.first() is not None


async def load_text(connection: AsyncConnection, text_version: str, language: str) -> PledgeText | None:
    """The text under this version, or the one registered last where none is named, in this language."""
    wanted = (
        select(PLEDGE_TEXTS)
        .where(PLEDGE_TEXTS.c.language == language)
        .order_by(PLEDGE_TEXTS.c.registered_at.desc(), PLEDGE_TEXTS.c.text_version.desc())
        .limit(1)
    )
    if text_version:
        wanted = wanted.where(PLEDGE_TEXTS.c.text_version == text_version)
    row = (await connection.execute(wanted)).one_or_none()
    return None if row is None else PledgeText(row.text_version, row.language, row.content, row.registered_at)


async def put(connection: AsyncConnection, pledge: Pledge) -> Pledge:
    """The pledge as it is kept: this one, or the same person's first signature under the same text."""
    same = (
        (PLEDGES.c.psn_no == pledge.psn_no)
        & (PLEDGES.c.text_version == pledge.text_version)
        & (PLEDGES.c.text_sha256 == pledge.text_sha256)
    )
    await connection.execute(
        insert(PLEDGES)
        .values(
            pledge_id=pledge.pledge_id,
            psn_no=pledge.psn_no,
            text_version=pledge.text_version,
            text_sha256=pledge.text_sha256,
            signed_at=pledge.signed_at,
            language=pledge.language,
            channel=pledge.channel.value,
        )
        .on_conflict_do_nothing()
    )
    return _pledge((await connection.execute(select(PLEDGES).where(same))).one())


async def of_person(connection: AsyncConnection, psn_no: PsnNo) -> list[Pledge]:
    """What this person has signed, the latest ``PLEDGES_SHOWN``, in the order of time."""
    numbers = await numbers_of(connection, psn_no)
    rows = await connection.execute(
        select(PLEDGES).where(PLEDGES.c.psn_no.in_(numbers)).order_by(PLEDGES.c.signed_at.desc()).limit(PLEDGES_SHOWN)
    )
    return [_pledge(row) for row in rows][::-1]


async def count_of(connection: AsyncConnection, psn_no: PsnNo) -> int:
    """How many texts this person has signed, under whichever number of his."""
    numbers = await numbers_of(connection, psn_no)
    counted = await connection.execute(select(func.count()).select_from(PLEDGES).where(PLEDGES.c.psn_no.in_(numbers)))
    return int(counted.scalar_one())


def _pledge(row: Any) -> Pledge:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    return Pledge(
        pledge_id=row.pledge_id,
        psn_no=PsnNo(row.psn_no),
        text_version=row.text_version,
        text_sha256=row.text_sha256,
        signed_at=row.signed_at,
        language=row.language,
        channel=Channel(row.channel),
    )
