"""What stands in a ledger's database, read back whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from chassis.db import Database
from kernel.ids import AdmDvs
from services.settlement.ledger.domain.commands import Command, Reply, Request
from services.settlement.ledger.domain.model import AccountKey, AccountKind, Book, Entry, EntryKind, Part
from services.settlement.ledger.domain.state import State
from services.settlement.ledger.operations import execute
from services.settlement.ledger.store.loading import Touched, load_touched
from services.settlement.ledger.store.locking import AreaWriter
from services.settlement.ledger.tables import METADATA

AREA: Final = AdmDvs("650100")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def give(ledger: Database, *commands: Command) -> list[Reply | None]:
    """Carries out the commands as one batch."""
    return await execute(writer=AreaWriter(ledger, AREA), requests=[Request(command) for command in commands])


async def everything(ledger: Database) -> tuple[State, list[Entry]]:
    """The whole ledger as the domain sees it, without its times, and every entry in order."""
    touched = Touched()
    async with ledger.driver_connection() as connection:
        touched.payments = await _ids(connection, "SELECT payment_id FROM branches")
        touched.credits = await _ids(connection, "SELECT credit_id FROM credits")
        touched.freezes = await _ids(connection, "SELECT command_id FROM freeze_commands")
        touched.closings = await _ids(connection, "SELECT command_id FROM closings")
        touched.stepped = await _ids(connection, "SELECT authorisation_id FROM authorisation_events")
        touched.authorisations = await _ids(connection, "SELECT authorisation_id FROM authorisations")
        keys = await connection.fetch("SELECT psn_no, kind FROM accounts")
        touched.accounts = {AccountKey(key["psn_no"], AccountKind(key["kind"])) for key in keys}
        state = (await load_touched(connection, AREA, touched)).state
        rows = await connection.fetch("SELECT * FROM entries ORDER BY entry_no")
    return timeless(state), [_entry(row) for row in rows]


async def _ids(connection: Any, sql: str) -> set[Any]:  # noqa: ANN401  The driver publishes no types.
    return {row[0] for row in await connection.fetch(sql)}


def _entry(row: Any) -> Entry:  # noqa: ANN401  As above.
    book = Book(row["book"])
    key = AccountKey(row["psn_no"], AccountKind(book.value)) if row["psn_no"] else None
    return Entry(
        source_id=row["source_id"],
        leg_no=row["leg_no"],
        kind=EntryKind(row["kind"]),
        book=book,
        amount_fen=row["amount_fen"],
        booked_at=EPOCH,
        account=key,
        part=Part(row["part"]) if row["part"] else None,
        balance_after_fen=row["balance_after_fen"],
    )


def timeless(state: State) -> State:
    """The state with every instant made the same, so that two runs can be compared."""
    bare = state.copy()
    for payment_id, branch in bare.branches.items():
        bare.branches[payment_id] = replace(
            branch,
            created_at=EPOCH,
            decided_at=EPOCH if branch.decided_at else None,
            inquire_at=EPOCH if branch.inquire_at else None,
        )
    bare.credits.update({key: replace(it, booked_at=EPOCH) for key, it in bare.credits.items()})
    bare.freezes.update({key: replace(it, booked_at=EPOCH) for key, it in bare.freezes.items()})
    for free in [key for key, causes in bare.standing_freezes.items() if not causes]:
        del bare.standing_freezes[free]  # Which is what a ledger says of it that was read anew.
    bare.closings.update(
        {
            key: replace(it, booked_at=EPOCH, finished_at=EPOCH if it.finished_at else None)
            for key, it in bare.closings.items()
        }
    )
    bare.authorisation_events.update(
        {key: replace(it, booked_at=EPOCH) for key, it in bare.authorisation_events.items()}
    )
    return bare


def timeless_entries(entries: Sequence[Entry]) -> list[Entry]:
    """The same for entries."""
    return [replace(entry, booked_at=EPOCH) for entry in entries]


async def wipe(ledger: Database) -> None:
    """An empty ledger again."""
    tables = ", ".join(name for name in METADATA.tables if name != "ledger_state")
    async with ledger.driver_connection() as connection:
        await connection.execute(f"TRUNCATE {tables}")
        await connection.execute("UPDATE ledger_state SET epoch = 0")
