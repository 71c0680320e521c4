"""Peer: the same saga as a DBOS workflow: ``python -m bench.dbos_saga``.

A datasource for each ledger and one for the coordinator's database, so that every step's rows and its checkpoint are
one transaction; PostgreSQL as the system database; steps of both areas at once, as its documentation allows. Statements
check what they change, so READ COMMITTED is enough, which is the faster setting. Every pool can serve all in flight,
and so can the threads on which DBOS writes its system database. The datasources' connections plan by key, as Gongji's
do; the system database is left as DBOS sets it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, Final

import uvloop
from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSConfig
from sqlalchemy import text

from bench.peer import Told, drive
from bench.rows import CANCEL, CONFIRM, DECIDE, HOLD, LEGS, PLANNED_BY_KEY_OPTIONS, Payment

_INPUT: Final = {"s": "", "payment": "CAST(:payment AS uuid)"}
_LEGS: Final = LEGS.format(
    leg_nos="CAST(:leg_nos AS int2[])",
    psn_nos="CAST(:psn_nos AS text[])",
    authorisations="CAST(:authorisations AS uuid[])",
)
_HOLD, _CONFIRM, _CANCEL = (text(step.format(legs=_LEGS, **_INPUT)) for step in (HOLD, CONFIRM, CANCEL))
_DECIDE: Final = text(
    DECIDE.format(
        msgid="CAST(:msgid AS text)", psn_no="CAST(:psn_no AS text)", document="CAST(:document AS text)", **_INPUT
    )
)
Step = Callable[[dict[str, Any]], Awaitable[bool]]


def step_of(source: AsyncSQLAlchemyDatasource, name: str, statement: Any) -> Step:  # noqa: ANN401  A text clause.
    """One durable step in one area; whether all legs passed. A step that did not pass leaves nothing behind."""

    @source.transaction(name=name, isolation_level="READ COMMITTED")  # type: ignore[untyped-decorator]  # As DBOS is.
    async def step(legs: dict[str, Any]) -> bool:
        session = source.sql_session()
        passed = (await session.execute(statement, legs)).scalar_one()
        if passed != len(legs["leg_nos"]):
            await session.rollback()
            raise RuntimeError("refused")
        return True

    checked: Step = step
    return checked


class Saga:
    """The workflow over its datasources."""

    def __init__(self, sources: dict[str, AsyncSQLAlchemyDatasource]) -> None:
        ledgers = {name: source for name, source in sources.items() if name != "settlement"}
        hold = {area: step_of(source, f"hold_{area}", _HOLD) for area, source in ledgers.items()}
        confirm = {area: step_of(source, f"confirm_{area}", _CONFIRM) for area, source in ledgers.items()}
        cancel = {area: step_of(source, f"cancel_{area}", _CANCEL) for area, source in ledgers.items()}
        coordinator = sources["settlement"]

        @coordinator.transaction(name="decide", isolation_level="READ COMMITTED")  # type: ignore[untyped-decorator]  # Also.
        async def decide(decision: dict[str, Any]) -> None:
            await coordinator.sql_session().execute(_DECIDE, decision)

        @DBOS.workflow(name="settle")  # type: ignore[untyped-decorator]  # And so is this.
        async def settle(decision: dict[str, Any], legs: dict[str, dict[str, Any]]) -> str:
            held = await asyncio.gather(*(hold[area](legs[area]) for area in legs), return_exceptions=True)
            if any(isinstance(vote, BaseException) for vote in held):
                voted = [area for area, vote in zip(legs, held, strict=True) if vote is True]
                await asyncio.gather(*(cancel[area](legs[area]) for area in voted))
                return "REFUSED"
            await decide(decision)
            await asyncio.gather(*(confirm[area](legs[area]) for area in legs))
            return "SETTLED"

        self._settle = settle

    async def settle(self, payment: Payment) -> None:
        """One payment as a workflow; its input holds all that a recovery needs."""
        payment_id = str(payment.payment_id)
        legs = {
            area: {
                "payment": payment_id,
                "leg_nos": payment.leg_nos[area],
                "psn_nos": payment.psn_nos[area],
                "authorisations": [str(key) for key in payment.authorisations[area]],
            }
            for area in payment.leg_nos
        }
        decision = {
            "payment": payment_id, "msgid": payment.msgid, "psn_no": payment.psn_no, "document": payment.document,
        }  # fmt: skip
        if await self._settle(decision, legs) != "SETTLED":
            raise RuntimeError("a peer's payment was refused")


async def main() -> None:
    """Launches DBOS and serves."""
    told = Told.read()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(told.in_flight_max))
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": told.urls["system"].replace("postgresql://", "postgresql+psycopg://"),
        "sys_db_pool_size": told.in_flight_max,
        "application_version": version("dbos"),
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    DBOS(config=config)
    engine = {
        "pool_size": told.in_flight_max,
        "max_overflow": 0,
        "connect_args": {"options": PLANNED_BY_KEY_OPTIONS},
    }
    sources = {
        name: await AsyncSQLAlchemyDatasource.create(url.replace("postgresql://", "postgresql+psycopg://"), engine)
        for name, url in told.urls.items()
        if name != "system"
    }
    saga = Saga(sources)
    DBOS.launch()
    await drive(told, saga.settle)
    DBOS.destroy()


if __name__ == "__main__":
    uvloop.run(main())
