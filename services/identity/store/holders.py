"""People as credentials need to know them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.holder import Holder
from services.identity.store.arrays import any_of
from services.identity.tables.people import PERSONS

_FIND: Final = "SELECT brdy, death_date, merged_into FROM persons WHERE psn_no = $1"


async def find_holder(connection: Any, psn_no: PsnNo) -> Holder | None:  # noqa: ANN401  Untyped driver.
    """As ``load_holder``, on a raw connection: every code that is issued asks."""
    row = await connection.fetchrow(_FIND, psn_no)
    return None if row is None else Holder(psn_no, row["brdy"], row["death_date"], row["merged_into"])


async def load_holder(connection: AsyncConnection, psn_no: PsnNo, *, lock: bool = False) -> Holder | None:
    """A person; with ``lock``, nobody else changes him until this transaction ends."""
    return (await load_holders(connection, [psn_no], lock=lock)).get(psn_no)


async def load_holders(
    connection: AsyncConnection, psn_nos: Iterable[PsnNo], *, lock: bool = False
) -> dict[PsnNo, Holder]:
    """Those of the people who are on record; with ``lock``, locked in the order of their numbers."""
    statement = (
        sa.select(PERSONS.c.psn_no, PERSONS.c.brdy, PERSONS.c.death_date, PERSONS.c.merged_into)
        .where(PERSONS.c.psn_no == any_of(psn_nos))
        .order_by(PERSONS.c.psn_no)
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    return {
        PsnNo(row.psn_no): Holder(
            PsnNo(row.psn_no), row.brdy, row.death_date, None if row.merged_into is None else PsnNo(row.merged_into)
        )
        for row in await connection.execute(statement)
    }
