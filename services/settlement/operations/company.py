"""What the desks ask of the database and store in it, many patients at once: who comes alone waits for nobody.

A batch is one statement, a transaction of its own. What one of its requests breaks is done again one by one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from chassis.batch import Batcher
from chassis.db import Database, is_transient
from services.settlement.domain.plan import StoredPlan
from services.settlement.store import plans
from services.settlement.store.around import Around, AskedAround, around
from services.settlement.store.plans import PlanMade

BATCH_SIZE_MAX: Final = 128
COMPANY_S: Final = 0.0015
"""For each that waits already, a batch waits so long for company (ADR 15)."""
COMPANY_MAX_S: Final = 0.02

Asked = TypeVar("Asked")
Told = TypeVar("Told")
_Statement: TypeAlias = Callable[[Any, Sequence[Asked]], Awaitable[list[Told]]]


class Company:
    """The way of one process's desks to the database: see the module."""

    def __init__(self, database: Database) -> None:
        self._around: Batcher[AskedAround, Around] = _batcher(database, around)
        self._store: Batcher[PlanMade, StoredPlan] = _batcher(database, plans.insert_many)

    async def around(self, asked: AskedAround) -> Around:
        """What the projections say around one patient, read after this was called."""
        return await self._around(asked)

    async def store(self, made: PlanMade) -> StoredPlan:
        """The plan, durable on return."""
        return await self._store(made)


def _batcher(database: Database, statement: _Statement[Asked, Told]) -> Batcher[Asked, Told]:
    async def together(asked: list[Asked]) -> Sequence[Told | BaseException]:
        try:
            async with database.driver_connection() as connection:
                return await statement(connection, asked)
        except Exception as error:
            if is_transient(error) or len(asked) == 1:
                raise
        return [await alone(one) for one in asked]

    async def alone(asked: Asked) -> Told | BaseException:
        try:
            async with database.driver_connection() as connection:
                return (await statement(connection, [asked]))[0]
        except Exception as error:  # noqa: BLE001  It belongs to the one who asked.
            return error

    batcher: Batcher[Asked, Told] = Batcher(
        together, size_max=BATCH_SIZE_MAX, spacing_s=lambda: min(COMPANY_S * batcher.waiting, COMPANY_MAX_S)
    )
    return batcher
