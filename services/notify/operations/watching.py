"""Live streams of messages. A watcher is a number and a bell: what it has not read yet waits in the database alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Final

from chassis import telemetry
from chassis.db import Database, is_transient
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.notify import store
from services.notify.store import StoredMessage

_log = telemetry.logger("watching")

PAGE_ROWS_MAX: Final = 50


@dataclass(eq=False, slots=True)
class _Watcher:
    psn_no: PsnNo
    seen_no: int
    bell: asyncio.Event = field(default_factory=asyncio.Event)


class Watchers:
    """Everyone who watches at this process.

    Messages written by this process ring at once; those of other replicas are found by one short poll for all
    watchers together. A slow watcher costs its bell and at most one page of messages, however much waits for it.
    """

    def __init__(self, database: Database, *, poll_s: float, watchers_max: int) -> None:
        self._database = database
        self._poll_s = poll_s
        self._watchers_max = watchers_max
        self._by_person: dict[PsnNo, set[_Watcher]] = {}
        self._count = 0
        self._closed = False

    @property
    def count(self) -> int:
        """How many watch."""
        return self._count

    def ring(self, psn_nos: Iterable[PsnNo]) -> None:
        """These people may have new messages."""
        for psn_no in psn_nos:
            for watcher in self._by_person.get(psn_no, ()):
                watcher.bell.set()

    async def watch(self, psn_no: PsnNo, *, after_message_no: int) -> AsyncGenerator[StoredMessage, None]:
        """A person's messages after a number, oldest first: those that are there, then those to come, until `close`.

        WATCHERS_TOO_MANY when the process has as many watchers as it takes.
        """
        if self._count >= self._watchers_max:
            raise Failure(Kind.UNAVAILABLE, "WATCHERS_TOO_MANY", watchers_max=self._watchers_max)
        watcher = _Watcher(psn_no, after_message_no)
        self._by_person.setdefault(psn_no, set()).add(watcher)
        self._count += 1
        try:
            while not self._closed:
                # Cleared before reading: what is written after this read rings again.
                watcher.bell.clear()
                page = await store.after(self._database, psn_no, message_no=watcher.seen_no, rows_max=PAGE_ROWS_MAX)
                for stored in page:
                    watcher.seen_no = stored.message_no
                    yield stored
                if len(page) < PAGE_ROWS_MAX and not self._closed:
                    await watcher.bell.wait()
        finally:
            self._count -= 1
            self._by_person[psn_no].discard(watcher)
            if not self._by_person[psn_no]:
                del self._by_person[psn_no]

    def close(self) -> None:
        """Ends every stream cleanly, as soon as its client has taken the message it is being given."""
        self._closed = True
        self.ring(list(self._by_person))

    async def run(self) -> None:
        """Finds what other replicas have written, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self._poll()
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("the database is away", problem=type(error).__name__)

    async def _poll(self) -> None:
        if not self._by_person:
            return
        last = await store.last_numbers(self._database, self._by_person)
        for psn_no, message_no in last.items():
            for watcher in self._by_person.get(psn_no, ()):
                if watcher.seen_no < message_no:
                    watcher.bell.set()
