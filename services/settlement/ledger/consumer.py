"""The ledger's face on NATS: one area's commands and reads, gathered into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self, TypeAlias

from chassis.batch import Batcher
from chassis.bus import Bus, BusRequest
from chassis.db import Database, is_transient
from chassis.telemetry import logger
from kernel.ids import AdmDvs
from services.settlement.ledger.domain.commands import Reply, Request
from services.settlement.ledger.operations import Quarantined, execute
from services.settlement.ledger.store.locking import AreaWriter
from services.settlement.ledger.store.reading import Balances, StatementPage, read_balances, read_statement
from services.settlement.ledger.wire.commands import BalancesQuery, Query, parse_batch
from services.settlement.ledger.wire.replies import (
    refusal_reply,
    render_balances,
    render_batch,
    render_reply,
    render_statement,
)

_log = logger("ledger")

MESSAGES_PER_BATCH_MAX: Final = 256
COMMANDS_TOGETHER_MAX: Final = 1024
"""Keeps a statement far below its timeout, however many commands wait."""
MESSAGES_WAITING_MAX: Final = 1024
LOCK_KEPT_S: Final = 0.001
"""Without work the area's lock is kept so long: the replies go out first, and what has just come needs no lock anew."""
CLOSE_MAX_S: Final = 5.0
READS_TOGETHER_MAX: Final = 64
READERS: Final = 2

Answers: TypeAlias = Sequence[Reply | None]
Found: TypeAlias = Balances | StatementPage


class AreaConsumer:
    """Serves one area: writes go through one writer, reads past it. Whatever comes, it answers or stays silent."""

    def __init__(self, *, database: Database, area: AdmDvs) -> None:
        self._database = database
        self._area = area
        self._writer = AreaWriter(database, area, kept_s=LOCK_KEPT_S)
        self.quarantined: Quarantined = set()
        """Commands in quarantine, so that one that passes after all is taken out."""
        self.write: Batcher[tuple[Request, ...], Answers] = Batcher(
            self._write_together, size_max=MESSAGES_PER_BATCH_MAX, waiting_max=MESSAGES_WAITING_MAX
        )
        self._read: Batcher[Query, Found] = Batcher(
            self._read_together, size_max=READS_TOGETHER_MAX, parallelism=READERS, waiting_max=MESSAGES_WAITING_MAX
        )

    async def serve(self, bus: Bus) -> None:
        """Answers on ``<prefix>.ledger.<area>.command``; several processes may serve one area."""
        await bus.serve(f"{bus.prefix}.ledger.{self._area}.command", self.answer, queue=f"ledger-{self._area}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Carries out what is under way and lets go of the area's lock; what takes too long ends with its database."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_MAX_S):
                await self.write.close()
                await self._writer.close()

    async def answer(self, message: BusRequest) -> bytes | None:
        """The replies to a batch once its commands are committed; none at all if there is nothing to say.

        Raises UNAVAILABLE SERVICE_BUSY, nothing done, when too many messages wait.
        """
        parsed = parse_batch(message.payload)
        replies = [refusal_reply(index, refusal) for index, refusal in parsed.refused]
        if parsed.writes:
            answers = await self.write(tuple(request for _, request in parsed.writes))
            replies += [
                render_reply(index, answer)
                for (index, _), answer in zip(parsed.writes, answers, strict=True)
                if answer is not None
            ]
        readings = await asyncio.gather(*(self._read(query) for _, query in parsed.reads), return_exceptions=True)
        for (index, query), found in zip(parsed.reads, readings, strict=True):
            if isinstance(found, BaseException):
                if not is_transient(found):
                    raise found
                _log.warning("the ledger is out of reach", area=self._area, problem=type(found).__name__)
            elif isinstance(query, BalancesQuery) and isinstance(found, Balances):
                replies.append(render_balances(index, query, found))
            elif isinstance(found, StatementPage):
                replies.append(render_statement(index, found))
        return render_batch(replies) if replies else None

    async def _write_together(self, messages: list[tuple[Request, ...]]) -> list[Answers]:
        """All waiting messages as one batch, in the order in which they came."""
        requests = [request for message in messages for request in message]
        replies: list[Reply | None] = []
        for start in range(0, len(requests), COMMANDS_TOGETHER_MAX):
            replies += await execute(
                writer=self._writer,
                requests=requests[start : start + COMMANDS_TOGETHER_MAX],
                quarantined=self.quarantined,
            )
        remaining = iter(replies)
        return [[next(remaining) for _ in message] for message in messages]

    async def _read_together(self, queries: list[Query]) -> list[Found]:
        """One look at all balances asked for; statements one after the other on the same connection."""
        asked = [query for query in queries if isinstance(query, BalancesQuery)]
        keys = {key for query in asked for key in query.keys}
        ids = {authorisation_id for query in asked for authorisation_id in query.authorisation_ids}
        months = {query.month for query in asked if query.month}
        async with self._database.driver_connection() as connection:
            balances = await read_balances(connection, keys, ids, months) if asked else Balances()
            return [
                balances if isinstance(query, BalancesQuery) else await read_statement(connection, query)
                for query in queries
            ]
