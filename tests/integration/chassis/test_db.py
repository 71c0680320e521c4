"""The database: transactions, refused rows, transient errors, a server that hangs up."""

from __future__ import annotations

import asyncio
import traceback

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from chassis.db import DRIVER_ERRORS, Database, is_transient, violated_constraint
from ops.embedded.databases import Databases

INSERT = sa.text("INSERT INTO person (psn_no, version) VALUES (:psn_no, :version)")
COUNT = sa.text("SELECT count(*) FROM person")


async def _persons(db: Database) -> int:
    async with db.transaction() as connection:
        return int((await connection.execute(COUNT)).scalar_one())


async def test_a_transaction_is_all_or_nothing(db: Database) -> None:
    """What was written before an exception is not there afterwards, on either kind of connection."""

    async def by_core() -> None:
        async with db.transaction() as connection:
            await connection.execute(INSERT, {"psn_no": "1", "version": 1})
            raise LookupError

    async def by_driver() -> None:
        async with db.driver_transaction() as driver:
            await driver.execute("INSERT INTO person VALUES ('2', 1)")
            raise LookupError

    for broken in (by_core, by_driver):
        with pytest.raises(LookupError):
            await broken()
    async with db.driver_transaction() as driver:
        await driver.execute("INSERT INTO person VALUES ('3', 1)")
    assert await _persons(db) == 1


async def test_the_refusing_constraint_is_known_by_name(db: Database) -> None:
    """The constraint's name comes out of SQLAlchemy's error and out of the driver's; other errors have none."""
    with pytest.raises(IntegrityError) as checked:
        async with db.transaction() as connection:
            await connection.execute(INSERT, {"psn_no": "1", "version": 0})
    with pytest.raises(asyncpg.UniqueViolationError) as doubled:
        async with db.driver_transaction() as driver:
            await driver.execute("INSERT INTO person VALUES ('1', 1), ('1', 1)")
    with pytest.raises(DBAPIError) as misspelt:
        async with db.transaction() as connection:
            await connection.execute(sa.text("SELECT nothing"))
    assert violated_constraint(checked.value) == "person_version_positive"
    assert violated_constraint(doubled.value) == "person_pk"
    assert violated_constraint(misspelt.value) is None
    assert not is_transient(checked.value)
    assert not is_transient(misspelt.value)


async def test_an_error_tells_nothing_of_the_row_at_fault(db: Database) -> None:
    """A traceback with every cause names the constraint, and neither what was to be written nor what stands there."""
    row = {"psn_no": "650103198503124518", "version": 1}
    async with db.transaction() as connection:
        await connection.execute(INSERT, row)
    with pytest.raises(IntegrityError) as by_core:
        async with db.transaction() as connection:
            await connection.execute(INSERT, row)
    with pytest.raises(asyncpg.CheckViolationError) as by_driver:
        async with db.driver_transaction() as driver:
            await driver.execute("INSERT INTO person VALUES ($1, 0)", row["psn_no"])
    for error, constraint in ((by_core.value, "person_pk"), (by_driver.value, "person_version_positive")):
        told = "".join(traceback.format_exception(error))
        assert constraint in told
        assert "650103198503124518" not in told


async def test_an_error_tells_nothing_of_an_argument_that_cannot_be_sent(db: Database) -> None:
    """The driver quotes the whole argument, which may be a batch of rows; only its number is told."""
    row = {"psn_no": "650103198503124518", "version": 1 << 70}
    with pytest.raises(asyncpg.DataError) as by_driver:
        async with db.driver_transaction() as driver:
            await driver.execute("INSERT INTO person SELECT (unnest($1::person[])).*", [tuple(row.values())])
    with pytest.raises(DBAPIError) as by_core:
        async with db.transaction() as connection:
            await connection.execute(sa.text("SELECT CAST(:row AS person)"), {"row": tuple(row.values())})
    for error in (by_driver.value, by_core.value):
        told = "".join(traceback.format_exception(error))
        assert "invalid input for query argument $1" in told
        assert "650103198503124518" not in told


async def test_a_lock_held_too_long_is_transient(database: str, db: Database) -> None:
    """Waiting for a row ends after the lock timeout with an error worth another try."""
    async with db.transaction() as connection:
        await connection.execute(INSERT, {"psn_no": "1", "version": 1})
    async with Database(database, lock_timeout_s=0.1) as hasty, db.transaction() as holder:
        await holder.execute(sa.text("UPDATE person SET version = 2"))
        with pytest.raises(DBAPIError) as refused:
            async with hasty.transaction() as connection:
                await connection.execute(sa.text("UPDATE person SET version = 3"))
        assert is_transient(refused.value)


async def test_a_process_that_hangs_in_a_transaction_keeps_its_locks_for_so_long_and_no_longer(
    database: str, db: Database
) -> None:
    """The server ends it, others go on, and what it wrote is gone; to itself the error is worth another try."""

    async def hang(hanging: Database) -> None:
        async with hanging.driver_transaction() as connection:
            await connection.execute("INSERT INTO person VALUES ('1', 1)")
            async with db.transaction() as other:  # It waits for the row's key, held by the one that hangs.
                await other.execute(INSERT, {"psn_no": "1", "version": 7})
            await connection.execute("SELECT 1")

    async with Database(database, idle_in_transaction_timeout_s=0.2) as hanging:
        with pytest.raises(DRIVER_ERRORS) as ended:
            await hang(hanging)
    assert is_transient(ended.value)
    async with db.transaction() as connection:
        assert (await connection.execute(sa.text("SELECT version FROM person"))).scalar_one() == 7


async def test_a_statement_that_runs_too_long_is_ended_and_transient(database: str) -> None:
    """The server ends the statement, and the connection is good for the next one."""
    async with Database(database, pool_size=1, statement_timeout_s=0.1) as hasty:
        with pytest.raises(asyncpg.QueryCanceledError) as refused:
            async with hasty.driver_connection() as driver:
                await driver.execute("SELECT pg_sleep(5)")
        assert is_transient(refused.value)
        async with hasty.driver_connection() as driver:
            assert await driver.fetchval("SELECT 1") == 1


async def test_connections_that_the_server_closed_are_replaced_unseen(db: Database, postgres: Databases) -> None:
    """After the server has hung up on every connection, the next transaction works; one that was open is transient."""
    async with db.transaction() as connection:
        name = (await connection.execute(sa.text("SELECT current_database()"))).scalar_one()
    admin = await asyncpg.connect(postgres.url("postgres"))
    end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
    try:
        with pytest.raises(Exception, match=r".") as cut:  # noqa: PT012  The cut must come inside.
            async with db.driver_transaction() as driver:
                await admin.fetch(end_all, name)
                await asyncio.sleep(0.05)
                await driver.execute("SELECT 1")
        assert is_transient(cut.value)
        assert await _persons(db) == 0
        await admin.fetch(end_all, name)
        await asyncio.sleep(0.05)
        assert await _persons(db) == 0
    finally:
        await admin.close()


async def test_a_cancelled_statement_leaves_no_broken_connection_behind(database: str) -> None:
    """With a pool of one, a caller that is cancelled in a transaction does not spoil the next one's."""
    async with Database(database, pool_size=1) as single:

        async def slow() -> None:
            async with single.driver_transaction() as driver:
                await driver.execute("SELECT pg_sleep(30)")

        task = asyncio.create_task(slow())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with single.driver_transaction() as driver:
            assert await driver.fetchval("SELECT 1") == 1


async def test_the_connection_of_a_cancelled_statement_is_not_lent_again_and_the_statement_ends(
    database: str, postgres: Databases
) -> None:
    """Whoever comes next gets another connection, and at the server nothing of the cancelled one goes on."""
    admin = await asyncpg.connect(postgres.url("postgres"))
    remaining = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
    try:
        async with Database(database, pool_size=1) as single:
            pids: list[int] = []

            async def slow() -> None:
                async with single.driver_connection() as driver:
                    pids.append(driver.get_server_pid())
                    await driver.execute("SELECT pg_sleep(30)")

            task = asyncio.create_task(slow())
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with single.driver_connection() as driver:
                assert driver.get_server_pid() not in pids
            async with asyncio.timeout(60):
                while await admin.fetchval(remaining, *pids):  # noqa: ASYNC110  The server tells it nowhere else.
                    await asyncio.sleep(0.01)
    finally:
        await admin.close()


async def test_a_transaction_cancelled_twice_is_not_handed_on(database: str) -> None:
    """Cut off while it begins and again while it is rolled back, it leaves nothing that the next one would be in."""
    async with Database(database, pool_size=1) as single:

        async def slow() -> None:
            async with single.driver_transaction(begin="BEGIN; SELECT pg_sleep(30)"):
                pass

        task = asyncio.create_task(slow())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with single.driver_connection() as driver:
            assert await driver.fetchval("SELECT 1") == 1


async def test_closing_ends_also_what_is_lent(database: str, postgres: Databases) -> None:
    """Whoever still has a connection loses it: nothing of a closed database stays open at the server."""
    db = Database(database, application="gongji-lent")
    admin = await asyncpg.connect(postgres.url("postgres"))
    lent = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gongji-lent'"
    try:
        with pytest.raises(asyncpg.InterfaceError, match="closed"):  # noqa: PT012  The close must come inside.
            async with db.driver_connection() as connection:
                assert await admin.fetchval(lent) == 1
                await db.close()
                await connection.execute("SELECT 1")
        async with asyncio.timeout(60):
            while await admin.fetchval(lent):  # noqa: ASYNC110  The server tells it nowhere else.
                await asyncio.sleep(0.01)
    finally:
        await admin.close()


async def test_what_the_driver_keeps_is_there_for_everyone(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that raw connections have been through serves as many transactions at once as it has connections."""
    monkeypatch.setattr("chassis.db.POOL_WAIT_S", 0.5)
    async with Database(database, pool_size=4) as db:

        async def by_driver() -> None:
            async with db.driver_transaction() as driver:
                await driver.execute("SELECT pg_sleep(0.001)")

        async def by_core(others: asyncio.Barrier) -> None:
            async with db.transaction() as connection:
                await connection.execute(sa.text("SELECT 1"))
                await others.wait()

        for _ in range(3):
            await asyncio.gather(*(by_driver() for _ in range(12)))
            all_four = asyncio.Barrier(4)
            async with asyncio.timeout(60):
                await asyncio.gather(*(by_core(all_four) for _ in range(4)), *(by_driver() for _ in range(8)))


async def test_a_pool_that_is_empty_for_too_long_is_transient(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a free connection is bounded."""
    monkeypatch.setattr("chassis.db.POOL_WAIT_S", 0.1)
    async with Database(database, pool_size=1) as single, single.transaction() as holder:
        await holder.execute(sa.text("SELECT 1"))
        with pytest.raises(Exception, match="QueuePool limit") as refused:
            async with single.transaction():
                pass
        assert is_transient(refused.value)


async def test_a_server_that_is_not_there_is_waited_for_and_a_wrong_name_is_not(
    database: str, unused_port: int
) -> None:
    """Nobody listening is transient; a database that does not exist is an error at once."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Database(f"postgresql://x@127.0.0.1:{unused_port}/x").wait_until_reachable(), 1.5)
    with pytest.raises(Exception, match="does not exist"):
        async with Database(database.replace("test_", "absent_")):
            pass
