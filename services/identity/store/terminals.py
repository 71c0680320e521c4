"""Terminals, and who worked at them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import FixmedinsCode
from services.identity.domain.institution import TerminalState
from services.identity.domain.terminal import SignEnd, SignIn, Terminal
from services.identity.store.institutions import place_columns, place_of
from services.identity.tables.institutions import SIGN_INS, TERMINALS


async def insert_terminal(connection: AsyncConnection, terminal: Terminal, *, opter: str, now: datetime) -> bool:
    """Whether the terminal is new."""
    statement = (
        insert(TERMINALS)
        .values(
            fixmedins_code=terminal.fixmedins_code,
            terminal_no=terminal.terminal_no,
            **_columns(terminal),
            opter=opter,
            cause="",
            changed_at=now,
        )
        .on_conflict_do_nothing()
        .returning(TERMINALS.c.terminal_no)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def load_terminal(
    connection: AsyncConnection, fixmedins_code: FixmedinsCode, terminal_no: str, *, lock: bool = False
) -> Terminal | None:
    """A terminal; with ``lock``, nobody else changes it until this transaction ends."""
    statement = sa.select(TERMINALS).where(_named(fixmedins_code, terminal_no))
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _terminal(row)


async def describe_terminal(
    connection: AsyncConnection, terminal: Terminal, *, opter: str, cause: str, now: datetime
) -> None:
    """Writes a terminal that an officer changed; the caller holds its lock."""
    await connection.execute(
        sa.update(TERMINALS)
        .where(_named(terminal.fixmedins_code, terminal.terminal_no))
        .values(**_columns(terminal), opter=opter, cause=cause, changed_at=now)
    )


async def save_sign_in(connection: AsyncConnection, terminal: Terminal) -> None:
    """Writes who is signed in at a terminal whose lock the caller holds."""
    await connection.execute(
        sa.update(TERMINALS)
        .where(_named(terminal.fixmedins_code, terminal.terminal_no))
        .values(**_sign_columns(terminal.sign_in), version=terminal.version)
    )


async def page_of_terminals(
    connection: AsyncConnection, fixmedins_code: FixmedinsCode, *, after: str | None, limit: int
) -> list[Terminal]:
    """Terminals of an institution by number."""
    statement = (
        sa.select(TERMINALS)
        .where(TERMINALS.c.fixmedins_code == fixmedins_code)
        .order_by(TERMINALS.c.terminal_no)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(TERMINALS.c.terminal_no > after)
    return [_terminal(row) for row in await connection.execute(statement)]


async def insert_sign_in(connection: AsyncConnection, terminal: Terminal, sign_in: SignIn) -> None:
    """Records that somebody began work at a terminal."""
    await connection.execute(
        sa.insert(SIGN_INS).values(
            sign_no=sign_in.sign_no,
            fixmedins_code=terminal.fixmedins_code,
            terminal_no=terminal.terminal_no,
            opter=sign_in.opter,
            signed_in_at=sign_in.signed_in_at,
            ends_at=sign_in.ends_at,
        )
    )


async def end_sign_in(connection: AsyncConnection, sign_no: str, *, by: SignEnd, now: datetime) -> None:
    """Records the end of a sign-in before its time; one that was over by itself stays so."""
    await connection.execute(
        sa.update(SIGN_INS)
        .where(SIGN_INS.c.sign_no == sign_no, SIGN_INS.c.ended_at.is_(None), SIGN_INS.c.ends_at > now)
        .values(ended_at=now, ended_by=by.value)
    )


async def terminal_of_sign_in(
    connection: AsyncConnection, fixmedins_code: FixmedinsCode, sign_no: str
) -> tuple[str, datetime] | None:
    """At which terminal of this institution somebody signed in under this number, and when that ended or will end."""
    row = (
        await connection.execute(
            sa.select(
                SIGN_INS.c.terminal_no, sa.func.coalesce(SIGN_INS.c.ended_at, SIGN_INS.c.ends_at).label("over_at")
            ).where(SIGN_INS.c.sign_no == sign_no, SIGN_INS.c.fixmedins_code == fixmedins_code)
        )
    ).one_or_none()
    return None if row is None else (row.terminal_no, row.over_at)


def _named(fixmedins_code: FixmedinsCode, terminal_no: str) -> sa.ColumnElement[bool]:
    return sa.and_(TERMINALS.c.fixmedins_code == fixmedins_code, TERMINALS.c.terminal_no == terminal_no)


def _terminal(row: sa.Row[tuple[object, ...]]) -> Terminal:
    sign_in = None
    if row.sign_no is not None:
        sign_in = SignIn(row.sign_no, row.sign_opter, row.signed_in_at, row.sign_ends_at)
    return Terminal(
        fixmedins_code=FixmedinsCode(row.fixmedins_code),
        terminal_no=row.terminal_no,
        terminal_name=row.terminal_name,
        place=place_of(row),
        state=TerminalState(row.state),
        sign_in=sign_in,
        version=row.version,
    )


def _columns(terminal: Terminal) -> dict[str, object]:
    return {
        "terminal_name": terminal.terminal_name,
        "state": terminal.state.value,
        **place_columns(terminal.place),
        **_sign_columns(terminal.sign_in),
        "version": terminal.version,
    }


def _sign_columns(sign_in: SignIn | None) -> dict[str, object]:
    return {
        "sign_no": None if sign_in is None else sign_in.sign_no,
        "sign_opter": None if sign_in is None else sign_in.opter,
        "signed_in_at": None if sign_in is None else sign_in.signed_in_at,
        "sign_ends_at": None if sign_in is None else sign_in.ends_at,
    }
