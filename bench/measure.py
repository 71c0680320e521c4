"""What a run cost: CPU seconds by process, commits and bytes of WAL on the server, each divided by the settlements."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from bench.place import Servers

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
DURABLE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
QUIET_MAX_S: Final = 60.0
UNSEALED_MAX: Final = 1_000
_POLL_S: Final = 0.05
_OWN_COMMITS: Final = 1
"""Of the second reading itself."""


def cpu_s(pid: int) -> float:
    """CPU seconds of one process."""
    return sum(int(ticks) for ticks in _stat(pid)[11:13]) / TICKS_PER_S


def server_cpu_s(pid: int) -> float:
    """CPU seconds of a process and of all its children, also of those that have ended."""
    total = sum(int(ticks) for ticks in _stat(pid)[11:15]) / TICKS_PER_S
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        try:
            total += cpu_s(int(child))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def resident_bytes(pid: int) -> int:
    """Memory that a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


async def commits_and_wal(servers: Servers) -> tuple[int, int]:
    """Transactions committed on the server so far, and bytes of WAL written."""
    connection = await asyncpg.connect(servers.postgres.url("postgres"))
    try:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        row = await connection.fetchrow(
            "SELECT (SELECT sum(xact_commit) FROM pg_stat_database)::bigint AS commits,"
            " pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal"
        )
    finally:
        await connection.close()
    return int(row["commits"]), int(row["wal"])


async def assert_durable(servers: Servers) -> dict[str, str]:
    """What the server says of its durability; RuntimeError if anything of it is off."""
    connection = await asyncpg.connect(servers.postgres.url("postgres"))
    try:
        shown = {name: str(await connection.fetchval(f"SHOW {name}")) for name in DURABLE}
        version = str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()
    if shown != DURABLE:
        raise RuntimeError(f"the server is not durable: {shown}")
    return {**shown, "postgresql": version}


async def until_quiet(settlement_url: str) -> None:
    """Waits until every payment is finished and every event is published: what is left belongs to the run before."""
    connection = await asyncpg.connect(settlement_url)
    try:
        end_s = time.monotonic() + QUIET_MAX_S
        while await connection.fetchval(
            "SELECT EXISTS (SELECT FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED'))"
            " OR EXISTS (SELECT FROM outbox WHERE published_at IS NULL)"
        ):
            if time.monotonic() > end_s:
                raise RuntimeError(f"payments or events are still open after {QUIET_MAX_S:.0f} s")
            await asyncio.sleep(_POLL_S)
    finally:
        await connection.close()


async def until_entries_sealed(ledger_urls: Mapping[str, str]) -> None:
    """Waits until what was booked before is in sealed blocks: that work belongs to the past that was written."""
    for url in ledger_urls.values():
        connection = await asyncpg.connect(url)
        try:
            while await connection.fetchval(  # noqa: ASYNC110  Nothing tells of another process's seal.
                "SELECT (SELECT coalesce(max(entry_no), 0) FROM entries)"
                " - (SELECT coalesce(max(last_entry_no), 0) FROM entry_blocks) > $1",
                UNSEALED_MAX,
            ):
                await asyncio.sleep(_POLL_S)
        finally:
            await connection.close()


@dataclass
class Cost:
    """By process, in all; filled when the measured block ends."""

    cpu_s: dict[str, float] = field(default_factory=dict)
    commits: int = 0
    wal_bytes: int = 0

    def each(self, settlements: int) -> dict[str, float]:
        """Per settlement: milliseconds of CPU by process and together, commits, bytes."""
        cpu = {f"cpu_ms.{name}": 1000 * used / settlements for name, used in self.cpu_s.items()}
        return {
            **cpu,
            "cpu_ms.all": sum(cpu.values()),
            "commits": self.commits / settlements,
            "wal_bytes": self.wal_bytes / settlements,
        }


@asynccontextmanager
async def cost_of(servers: Servers, processes: Mapping[str, int], settlement_url: str | None) -> AsyncIterator[Cost]:
    """What the block costs these processes and the server, with what it leaves a settlement database to do."""
    assert servers.postgres.pid is not None  # noqa: S101  For the type checker: it runs.
    cost = Cost()
    before = {name: cpu_s(pid) for name, pid in processes.items()}
    before["postgres"] = server_cpu_s(servers.postgres.pid)
    commits, wal_bytes = await commits_and_wal(servers)
    yield cost
    if settlement_url is not None:
        await until_quiet(settlement_url)
    after = {name: cpu_s(pid) for name, pid in processes.items()}
    after["postgres"] = server_cpu_s(servers.postgres.pid)
    commits_after, wal_after = await commits_and_wal(servers)
    cost.cpu_s = {name: after[name] - before[name] for name in after}
    cost.commits = commits_after - commits - _OWN_COMMITS
    cost.wal_bytes = wal_after - wal_bytes
