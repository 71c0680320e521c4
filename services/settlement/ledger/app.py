"""The ledger process: ``python -m services.settlement.ledger.app --areas 650100,650500``."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from chassis.bus import Bus
from chassis.clock import database_clock
from chassis.db import Database
from chassis.migrate import Migrations
from chassis.process import Process, run
from chassis.rpc.server import RpcServer
from chassis.settings import ProcessSettings, load, variable_of
from kernel.ids import AdmDvs
from services.settlement.ledger.consumer import AreaConsumer
from services.settlement.ledger.recovery import Inquirer, Pace, Sealer, Sealing
from services.settlement.ledger.store.locking import WRITER_SILENT_MAX_S
from services.settlement.ledger.store.sweeping import ensure_area

MIGRATIONS: Final = Path(__file__).parent / "migrations"
NAME: Final = "ledger"


def _checked_template(text: str) -> str:
    if "{area}" not in text:
        raise ValueError("must hold {area} where the area's six digits belong")
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    return text


class Settings(ProcessSettings):
    """What the ledger process is told."""

    ledger_areas: str = Field(
        pattern=r"^[1-9][0-9]{5}(,[1-9][0-9]{5})*$",
        description="The insurance areas whose ledgers this process keeps, parted by commas.",
        examples=["650100,650500"],
    )
    ledger_database_url_template: Annotated[str, AfterValidator(_checked_template)] = Field(
        description="Each area's own database; {area} stands for the area's six digits.",
        examples=["postgresql://ledger@127.0.0.1:5432/gongji_ledger_{area}"],
        repr=False,
    )
    ledger_sweep_s: float = Field(default=1.0, gt=0, le=60, description="How often due holds are looked for.")
    ledger_inquire_backoff_s: float = Field(
        default=2.0, gt=0, le=60, description="Pause after the first inquiry about a hold; it doubles each time."
    )
    ledger_inquire_backoff_max_s: float = Field(
        default=30.0, gt=0, le=60, description="The longest pause between two inquiries about one hold."
    )
    ledger_inquire_wait_s: float = Field(
        default=5.0, gt=0, le=60, description="How long the coordinator may take to answer an inquiry."
    )
    ledger_long_held_s: float = Field(
        default=60.0, gt=0, description="A hold this far beyond its deadline is reported as an error."
    )
    ledger_seal_after_s: float = Field(
        default=5.0, gt=0, le=3600, description="An entry is sealed into the chain of digests at latest after this."
    )
    ledger_seal_entries_max: int = Field(
        default=1000, ge=1, le=10_000, description="As many entries are sealed at once, and in one block."
    )

    @property
    def areas(self) -> list[AdmDvs]:
        """The areas, each once, in the order given."""
        return list(dict.fromkeys(AdmDvs(area) for area in self.ledger_areas.split(",")))

    def database_url(self, area: AdmDvs) -> str:
        """Where that area's ledger is kept."""
        return self.ledger_database_url_template.replace("{area}", area)

    @property
    def pace(self) -> Pace:
        """How often the ledger looks, asks, and calls someone."""
        return Pace(
            sweep_s=self.ledger_sweep_s,
            backoff_s=self.ledger_inquire_backoff_s,
            backoff_max_s=self.ledger_inquire_backoff_max_s,
            long_held_s=self.ledger_long_held_s,
            answer_wait_s=self.ledger_inquire_wait_s,
        )

    @property
    def sealing(self) -> Sealing:
        """When entries are sealed."""
        return Sealing(after_s=self.ledger_seal_after_s, entries_max=self.ledger_seal_entries_max)


@asynccontextmanager
async def _closed_at_the_end(database: Database) -> AsyncIterator[Database]:
    try:
        yield database
    finally:
        await database.close()


async def serve(process: Process, settings: Settings) -> None:
    """Keeps every area's ledger until the process is asked to stop.

    An area whose database is away is waited for; the others work meanwhile (protocol, "A silent area").
    """
    databases = {
        area: await process.enter(
            _closed_at_the_end(
                Database(
                    settings.database_url(area),
                    application=f"gongji-{process.name}-{area}",
                    pool_size=settings.database_pool_size,
                    idle_in_transaction_timeout_s=WRITER_SILENT_MAX_S,
                    by_key=True,
                )
            )
        )
        for area in settings.areas
    }
    consumers = {
        area: await process.enter(AreaConsumer(database=database, area=area)) for area, database in databases.items()
    }
    bus = await process.enter(
        Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix, nkey_file=settings.nats_nkey_file)
    )

    async def keep(area: AdmDvs, database: Database, consumer: AreaConsumer) -> None:
        await database.wait_until_reachable()
        async with database.driver_connection() as connection:
            await ensure_area(connection, area)
        clock = await database_clock(process, database)
        await consumer.serve(bus)
        inquirer = Inquirer(database=database, bus=bus, consumer=consumer, area=area, pace=settings.pace, clock=clock)
        process.supervise(f"inquire-{area}", inquirer.run())
        process.supervise(f"seal-{area}", Sealer(database=database, area=area, sealing=settings.sealing).run())

    await asyncio.gather(*(keep(area, databases[area], consumers[area]) for area in settings.areas))
    await process.ready(await process.listen(RpcServer(settings, process.health)))
    await process.stopped()


def main() -> None:
    """Reads the command line and the settings, and runs the process to its end."""
    parser = argparse.ArgumentParser(prog="python -m services.settlement.ledger.app", description=__doc__)
    parser.add_argument(
        "command", nargs="?", choices=["migrate"], help="bring the databases to the newest schema and end"
    )
    parser.add_argument("--areas", help=f"the areas to serve, parted by commas (else {variable_of('ledger_areas')})")
    arguments = parser.parse_args()
    if arguments.areas is not None:
        os.environ[variable_of("ledger_areas")] = arguments.areas
    settings = load(Settings)
    migrations = Migrations(MIGRATIONS, [settings.database_url(area) for area in settings.areas])
    run(NAME, settings, serve, migrations=migrations, migrate_only=arguments.command == "migrate")


if __name__ == "__main__":
    main()
