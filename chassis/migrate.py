"""One alembic history per service, run by the process itself: no env.py, no alembic.ini, no second tool.

A room keeps its revisions in ``services/<room>/migrations/``, one file each, named ``<revision>_<what>.py`` with
revisions that sort (``0001_first.py`` holds ``revision = "0001"``, ``down_revision = None``). The history is a line,
so the newest revision is the last file by name; a database that stands there already is recognised without loading
alembic at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, MetaData, text

from chassis.db import Database
from chassis.telemetry import logger

_log = logger("migrate")

VERSION_TABLE: Final = "alembic_version"
MIGRATION_LOCK_KEY: Final = 0x676F6E676A690001
"""The advisory lock under which one migrator works on a database at a time."""
ANOTHER_MIGRATOR_WAIT_S: Final = 120
TABLE_LOCK_WAIT_S: Final = 5
STATEMENT_TIMEOUT_S: Final = 600.0
_TOGETHER_MAX: Final = 8
_UNPROVEN: Final = """
    SELECT conrelid::regclass::text AS name, quote_ident(conname) AS constraint FROM pg_constraint
    WHERE NOT convalidated AND contype IN ('c', 'f') ORDER BY 1, 2
"""
_alembic_turn: Final = asyncio.Lock()
"""Alembic's ``op`` is one for the whole process: two migrations side by side would write into each other's database."""


@dataclass(frozen=True, slots=True)
class Migrations:
    """A folder of revisions and the databases that must stand at its head (the ledger has one for each area)."""

    folder: Path
    database_urls: Sequence[str]


def head_of(folder: Path) -> str:
    """The newest revision of a folder, by file name; ValueError if it holds none."""
    revisions = sorted(path.stem.partition("_")[0] for path in folder.glob("[0-9]*.py"))
    if not revisions:
        raise ValueError(f"{folder} holds no revision named <number>_<what>.py")
    return revisions[-1]


async def migrate_all(migrations: Migrations) -> None:
    """Brings every database to the head. Those that stand there already are looked at side by side."""
    gate = asyncio.Semaphore(_TOGETHER_MAX)

    async def one(url: str) -> None:
        async with gate:
            await migrate(url, migrations.folder)

    async with asyncio.TaskGroup() as group:
        for url in migrations.database_urls:
            group.create_task(one(url))


async def migrate(database_url: str, folder: Path) -> bool:
    """Brings one database to the folder's head in one transaction; whether there was anything to do.

    A constraint that a revision adds NOT VALID holds for new rows at once; it is held against those that are there
    afterwards, in a transaction of its own that keeps nobody from reading or writing, and again at the next start if
    that was cut off. So no revision looks through a big table while everybody waits for it.

    Waits for another migrator of the same database; gives up (an exception, nothing changed) when a table stays locked
    by running work for longer than TABLE_LOCK_WAIT_S. A database ahead of the folder (a newer release has been here)
    is left alone.
    """
    head = head_of(folder)
    database = Database(
        database_url, application="gongji-migrate", pool_size=1, statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    async with database:
        if await _version_of(database) >= head:
            await _validate(database)
            return False
        async with database.transaction() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = '{ANOTHER_MIGRATOR_WAIT_S}s'"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK_KEY})
            await connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_LOCK_WAIT_S}s'"))
            async with _alembic_turn:
                await connection.run_sync(_upgrade, folder, head)
        await _validate(database)
    _log.info("the database has been migrated", folder=folder.parent.name, revision=head)
    return True


async def _validate(database: Database) -> None:
    """Holds constraints that were added NOT VALID against the rows that were there before."""
    async with database.driver_connection() as connection:
        unproven = await connection.fetch(_UNPROVEN)
    for record in unproven:
        async with database.transaction() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = '{ANOTHER_MIGRATOR_WAIT_S}s'"))
            # Said again where another migrator was first, it costs nothing.
            await connection.execute(text(f"ALTER TABLE {record['name']} VALIDATE CONSTRAINT {record['constraint']}"))


async def drift(database_url: str, metadata: MetaData) -> list[str]:
    """How the database differs from the tables written in code, one line each; empty if they agree (for tests)."""

    def compare(connection: Connection) -> list[str]:
        from alembic.autogenerate import compare_metadata  # noqa: PLC0415  Only tests and migrations need alembic.
        from alembic.runtime.migration import MigrationContext  # noqa: PLC0415  As above.

        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(difference) for difference in compare_metadata(context, metadata)]

    async with Database(database_url, pool_size=1) as database, database.engine.connect() as connection:
        return await connection.run_sync(compare)


async def _version_of(database: Database) -> str:
    async with database.driver_connection() as connection:
        if await connection.fetchval("SELECT to_regclass($1)", VERSION_TABLE) is None:
            return ""
        return str(await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}") or "")  # noqa: S608  A constant.


def _upgrade(connection: Connection, folder: Path, head: str) -> None:
    # Loaded here because alembic takes longer to import than a start with nothing to migrate should last.
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    script = ScriptDirectory(str(folder), version_locations=[str(folder)])
    if script.get_current_head() != head:
        raise ValueError(f"{folder}: the last file by name says {head}, alembic finds {script.get_current_head()}")

    def steps(revision: Any, _context: object) -> Iterable[Any]:  # noqa: ANN401  Alembic's own types are private.
        return script._upgrade_revs(head, revision)  # noqa: SLF001  What alembic's own upgrade command calls.

    with EnvironmentContext(config, script, fn=steps, destination_rev=head) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE)
        environment.run_migrations()
