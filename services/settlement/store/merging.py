"""A double's wallet and the one that takes it over: SQL only, in the transaction that keeps identity's word."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, PsnNo
from services.settlement.domain.wallet import Wallet
from services.settlement.tables.wallets import WALLET_MOVES, WALLETS

_MOVE_YEARS_ON = sa.text("""
WITH numbers AS (
    SELECT n.psn_no, y.year FROM unnest(CAST(:doubles AS text[]), CAST(:keeps AS text[])) AS m (double, keep)
    JOIN patient_years y ON y.psn_no = ANY (ARRAY[m.double, m.keep])
    CROSS JOIN unnest(ARRAY[m.double, m.keep]) AS n (psn_no)
    UNION
    SELECT n.psn_no, CAST(extract(year FROM clock_timestamp() AT TIME ZONE 'Asia/Shanghai') AS smallint)
    FROM unnest(CAST(:doubles AS text[]) || CAST(:keeps AS text[])) AS n (psn_no)
)
INSERT INTO patient_years AS y (psn_no, year, version) SELECT psn_no, year, 1 FROM numbers ORDER BY psn_no, year
ON CONFLICT (psn_no, year) DO UPDATE SET version = y.version + 1""")
"""Also where there is no row yet: a plan that is being made just now says version 0."""


async def move_years_on(connection: AsyncConnection, merged: Mapping[PsnNo, PsnNo]) -> None:
    """What was planned under either number is stale: the year of both is one from now on."""
    await connection.execute(_MOVE_YEARS_ON, {"doubles": list(merged.keys()), "keeps": list(merged.values())})


async def lock_wallet(connection: AsyncConnection, psn_no: PsnNo) -> Wallet | None:
    """A person's wallet, which nobody else changes until the transaction ends."""
    row = (await connection.execute(sa.select(WALLETS).where(WALLETS.c.psn_no == psn_no).with_for_update())).first()
    return None if row is None else _wallet(row)


async def open_for(connection: AsyncConnection, double: Wallet, keep: PsnNo, *, wallet_id: UUID) -> bool:
    """Whether the number that counts has a wallet from now on, like the double's; False if it had one."""
    opened = await connection.execute(
        insert(WALLETS)
        .values(
            psn_no=keep,
            wallet_id=wallet_id,
            area=double.area,
            opener_psn_no=None if double.opener == keep else double.opener,
            opened_at=double.opened_at,
            version=1,
        )
        .on_conflict_do_nothing()
        .returning(WALLETS.c.psn_no)
    )
    return opened.first() is not None


async def follow(connection: AsyncConnection, double: PsnNo, area: AdmDvs, *, move_id: UUID) -> bool:
    """What is in the double's wallet is looked for at once, and from then on; whether it was not before."""
    noted = await connection.execute(
        insert(WALLET_MOVES)
        .values(move_id=move_id, psn_no=double, from_area=area)
        .on_conflict_do_nothing()
        .returning(WALLET_MOVES.c.move_id)
    )
    is_new = noted.first() is not None
    await connection.execute(
        sa.update(WALLET_MOVES).where(WALLET_MOVES.c.psn_no == double).values(looks=0, next_look_at=sa.func.now())
    )
    return is_new


async def next_version(connection: AsyncConnection, keep: PsnNo, *, is_new: bool) -> tuple[Wallet, datetime]:
    """The wallet that takes it over, in a version of its own to tell of it, and the time."""
    step = 0 if is_new else 1
    row = (
        await connection.execute(
            sa.update(WALLETS)
            .where(WALLETS.c.psn_no == keep)
            .values(version=WALLETS.c.version + step)
            .returning(WALLETS, sa.func.now().label("at"))
        )
    ).one()
    return _wallet(row), row.at


def _wallet(row: Any) -> Wallet:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    return Wallet(
        wallet_id=row.wallet_id,
        psn_no=PsnNo(row.psn_no),
        area=AdmDvs(row.area),
        opener=None if row.opener_psn_no is None else PsnNo(row.opener_psn_no),
        opened_at=row.opened_at,
        version=row.version,
    )
