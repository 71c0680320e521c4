"""Terminals: registered, retired, signed in (9001) and out (9002)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.clock import SHANGHAI
from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode
from kernel.randomness import Randomness
from services.identity.domain import institution as institution_rules
from services.identity.domain import terminal as rules
from services.identity.domain.terminal import SignEnd, SignIn, Terminal
from services.identity.operations.telling import tell
from services.identity.store import institutions, terminals
from services.identity.wire.institutions import terminal_changed

_SIGN_NO_BITS: Final = 64


async def register_terminal(
    *, database: Database, terminal: Terminal, opter: str, now: datetime, randomness: Randomness
) -> Terminal:
    """The terminal as it is now; what is so already is not told again. INSTITUTION_UNKNOWN, INSTITUTION_ENDED."""
    async with database.transaction() as connection:
        institution = await institutions.load_institution(connection, terminal.fixmedins_code)
        institution_rules.check_not_ended(institution_rules.known(institution))
        if not await terminals.insert_terminal(connection, terminal, opter=opter, now=now):
            before = await _locked(connection, terminal.fixmedins_code, terminal.terminal_no)
            terminal = rules.changed(before, terminal)
            if terminal is before:
                return before
            await terminals.describe_terminal(connection, terminal, opter=opter, cause="", now=now)
        await tell(connection, [terminal_changed(terminal)], now=now, randomness=randomness)
        return terminal


async def retire_terminal(
    *,
    database: Database,
    fixmedins_code: FixmedinsCode,
    terminal_no: str,
    opter: str,
    cause: str,
    now: datetime,
    randomness: Randomness,
) -> Terminal:
    """The terminal out of service, its sign-in ended; TERMINAL_UNKNOWN. Again it changes nothing."""
    async with database.transaction() as connection:
        before = await _locked(connection, fixmedins_code, terminal_no)
        after = rules.retired(before)
        if after is not before:
            if before.sign_in is not None:
                await terminals.end_sign_in(connection, before.sign_in.sign_no, by=SignEnd.RETIRED, now=now)
            await terminals.describe_terminal(connection, after, opter=opter, cause=cause, now=now)
            await tell(connection, [terminal_changed(after)], now=now, randomness=randomness)
        return after


async def sign_in(
    *,
    database: Database,
    fixmedins_code: FixmedinsCode,
    terminal_no: str,
    opter: str,
    now: datetime,
    randomness: Randomness,
) -> SignIn:
    """9001: the cashier's sign-in at this terminal, the one that stands if it is his own and of this day.

    Another's is ended by it. INSTITUTION_UNKNOWN, INSTITUTION_ENDED, TERMINAL_UNKNOWN. At a suspended institution
    one may sign in: refunds go on there.
    """
    sign_no = f"{now.astimezone(SHANGHAI):%Y%m%d}{randomness.getrandbits(_SIGN_NO_BITS):016x}"
    async with database.transaction() as connection:
        institution = await institutions.load_institution(connection, fixmedins_code)
        institution_rules.check_not_ended(institution_rules.known(institution))
        before = await _locked(connection, fixmedins_code, terminal_no)
        after, sign_in = rules.signed_in(before, opter=opter, sign_no=sign_no, now=now)
        if after is not before:
            if before.sign_in is not None:
                await terminals.end_sign_in(connection, before.sign_in.sign_no, by=SignEnd.REPLACED, now=now)
            await terminals.save_sign_in(connection, after)
            await terminals.insert_sign_in(connection, after, sign_in)
            await tell(connection, [terminal_changed(after)], now=now, randomness=randomness)
        return sign_in


async def sign_out(
    *, database: Database, fixmedins_code: FixmedinsCode, sign_no: str, now: datetime, randomness: Randomness
) -> datetime:
    """9002: when the work under this number ended; SIGN_NO_UNKNOWN (NOT_FOUND). Again it changes nothing."""
    async with database.transaction() as connection:
        found = await terminals.terminal_of_sign_in(connection, fixmedins_code, sign_no)
        if found is None:
            raise Failure(Kind.NOT_FOUND, "SIGN_NO_UNKNOWN", field="sign_no")
        terminal_no, _ = found
        before = await _locked(connection, fixmedins_code, terminal_no)
        after = rules.signed_out(before, sign_no=sign_no)
        if after is not before:
            await terminals.end_sign_in(connection, sign_no, by=SignEnd.SIGNED_OUT, now=now)
            await terminals.save_sign_in(connection, after)
            await tell(connection, [terminal_changed(after)], now=now, randomness=randomness)
        # Read under the terminal's lock: whoever ended it meanwhile has committed.
        over = await terminals.terminal_of_sign_in(connection, fixmedins_code, sign_no)
        return now if over is None else over[1]


async def list_terminals(
    *, database: Database, fixmedins_code: FixmedinsCode, after: str | None, size: int
) -> tuple[Sequence[Terminal], bool]:
    """A page of an institution's terminals by number, and whether there are more; INSTITUTION_UNKNOWN."""
    async with database.transaction() as connection:
        institution_rules.known(await institutions.load_institution(connection, fixmedins_code))
        page = await terminals.page_of_terminals(connection, fixmedins_code, after=after, limit=size + 1)
    return page[:size], len(page) > size


async def _locked(connection: AsyncConnection, fixmedins_code: FixmedinsCode, terminal_no: str) -> Terminal:
    return rules.known(await terminals.load_terminal(connection, fixmedins_code, terminal_no, lock=True))
