"""Migrations: one history, many databases, many migrators."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from chassis import inbox, outbox
from chassis.db import Database
from chassis.migrate import Migrations, drift, head_of, migrate, migrate_all
from tests.integration.chassis.conftest import MIGRATIONS

NewDatabase = Callable[[], Awaitable[str]]


def _folder(path: Path, **revisions: str) -> Path:
    path.mkdir(exist_ok=True)
    previous = None
    for name, statement in revisions.items():
        revision = name.removeprefix("r")
        (path / f"{revision}_step.py").write_text(
            f"from alembic import op\nrevision = {revision!r}\ndown_revision = {previous!r}\n"
            f"def upgrade():\n    op.execute({statement!r})\n"
        )
        previous = revision
    return path


async def test_a_database_is_brought_to_the_head_once(database: str) -> None:
    """The first run has work to do, the second has none, and the version table names the newest revision."""
    assert await migrate(database, MIGRATIONS) is True
    assert await migrate(database, MIGRATIONS) is False
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == head_of(MIGRATIONS)
    await connection.close()


async def test_the_tables_in_code_are_those_of_the_migration(db: Database, database: str) -> None:
    """outbox_table and inbox_tables describe what DDL_V1 makes; a column too many is told."""
    del db
    metadata = sa.MetaData()
    outbox.outbox_table(metadata)
    inbox.inbox_tables(metadata)
    person = sa.Table(
        "person",
        metadata,
        sa.Column("psn_no", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    assert await drift(database, metadata) == []
    person.append_column(sa.Column("certno", sa.Text))
    assert any("certno" in line for line in await drift(database, metadata))


async def test_many_migrators_of_one_database_take_turns(database: str) -> None:
    """Of five that start together one does the work, and none fails."""
    done = await asyncio.gather(*(migrate(database, MIGRATIONS) for _ in range(5)))
    assert done.count(True) >= 1
    assert await migrate(database, MIGRATIONS) is False


async def test_many_databases_are_migrated_by_one_command(new_database: NewDatabase) -> None:
    """Every database given stands at the head afterwards."""
    urls = [await new_database() for _ in range(3)]
    await migrate_all(Migrations(MIGRATIONS, urls))
    assert [await migrate(url, MIGRATIONS) for url in urls] == [False, False, False]


async def test_a_later_revision_is_applied_on_top(database: str, tmp_path: Path) -> None:
    """A database at 0001 gets 0002 alone; one ahead of the folder is left alone."""
    first = _folder(tmp_path / "first", r0001="CREATE TABLE a (i int)")
    second = _folder(tmp_path / "second", r0001="CREATE TABLE a (i int)", r0002="CREATE TABLE b (i int)")
    assert await migrate(database, first) is True
    assert await migrate(database, second) is True
    assert await migrate(database, first) is False


async def test_a_migration_that_fails_leaves_nothing(database: str, tmp_path: Path) -> None:
    """When the second revision fails, the first one's table is not there either."""
    folder = _folder(tmp_path / "broken", r0001="CREATE TABLE a (i int)", r0002="CREATE TABEL b (i int)")
    with pytest.raises(sa.exc.DBAPIError):
        await migrate(database, folder)
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT to_regclass('a')") is None
    await connection.close()


async def test_a_folder_whose_names_and_revisions_disagree_is_refused(database: str, tmp_path: Path) -> None:
    """The last file by name must hold the head of the history."""
    folder = _folder(tmp_path / "mixed", r0002="SELECT 1", r0001="SELECT 1")
    with pytest.raises(ValueError, match="the last file by name"):
        await migrate(database, folder)


async def test_what_was_not_held_against_old_rows_is_afterwards_while_others_write(
    database: str, tmp_path: Path
) -> None:
    """At the start after one that was cut off; a transaction that writes to the table does not keep it waiting."""
    folder = _folder(
        tmp_path / "unproven",
        r0001="CREATE TABLE big (n int)",
        r0002="ALTER TABLE big ADD CONSTRAINT big_n CHECK (n > 0) NOT VALID",
    )
    state = "SELECT convalidated FROM pg_constraint WHERE conname = 'big_n'"
    connection, writer = await asyncpg.connect(database), await asyncpg.connect(database)
    assert await migrate(database, folder) is True
    assert await connection.fetchval(state) is True
    await connection.execute("ALTER TABLE big DROP CONSTRAINT big_n, ADD CONSTRAINT big_n CHECK (n > 0) NOT VALID")
    async with writer.transaction():
        await writer.execute("INSERT INTO big VALUES (1)")
        async with asyncio.timeout(60):
            assert await migrate(database, folder) is False
    assert await connection.fetchval(state) is True
    await connection.close()
    await writer.close()
