"""Decoding at the desk, many at once: a few statements serve all that come in together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from chassis import telemetry
from chassis.batch import Batcher
from chassis.db import Database, is_left_undone, is_transient
from kernel.clock import Clock
from kernel.failures import Failure
from kernel.ids import PsnNo
from services.identity.domain import decoding as rules
from services.identity.domain.credential import code_already_used
from services.identity.domain.decoding import Desk, RefusedDecoding, Shown
from services.identity.domain.institution import check_decodes
from services.identity.domain.person import Person
from services.identity.store import decodings as store

_log = telemetry.logger("decoding")

DECODED: Final = "CREDENTIAL_DECODED"
"""The purpose in the audit when a terminal decodes what the patient shows."""
BATCH_SIZE_MAX: Final = 128
BATCHES_AT_ONCE: Final = 2
"""One is with the database while the next one is read."""
LOCK_TIMEOUT_S: Final = 1.0
"""So long others at the desks wait for one whose record somebody is changing."""
SPACING_S: Final = 0.02
"""Under load a batch begins so long after the one before, so that many share its statements; nobody at a desk notices.
A lone decoding waits for nobody."""


class Decoder:
    """The desk's way into the database; one for each replica.

    A batch is two statements, each a transaction of its own: one reads, one uses the codes with their look-ups.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._use: Batcher[Shown, Person] = Batcher(
            self._use_all, size_max=BATCH_SIZE_MAX, parallelism=BATCHES_AT_ONCE, spacing_s=lambda: SPACING_S
        )
        self._keep: Batcher[RefusedDecoding, None] = Batcher(self._keep_all, size_max=1000)

    async def use(self, shown: Shown) -> Person:
        """The person whose credential it is, for whoever comes first with it; the look-up is on record then.

        Refusals as ``admitted``, then CODE_ALREADY_USED. What is checked by signature, PIN or name was so before.
        """
        return await self._use(shown)

    async def check_desk(self, desk: Desk, *, now: datetime) -> None:
        """Whether anything is decoded at this desk now; refusals as ``check_decodes``.

        Asked before a PIN or a name is tried, so that nobody tries them out from anywhere else.
        """
        async with self._database.driver_connection() as connection:
            (found,) = await store.read(connection, [(desk, None)])
        check_decodes(found.standing, fixmedins_code=desk.fixmedins_code, now=now)

    async def keep_refused(self, failure: Failure, desk: Desk, *, psn_no: PsnNo | None, jti: UUID | None) -> None:
        """Keeps a refusal that may be misuse. It is answered whether or not it could be kept."""
        if failure.kind not in rules.RECORDED_KINDS:
            return
        try:
            await self._keep(RefusedDecoding(desk, failure.reason, psn_no, jti))
        except Exception as error:
            if not (is_transient(error) or isinstance(error, Failure)):
                raise
            _log.warning("a refusal could not be kept", problem=type(error).__name__)

    async def _use_all(self, asked: list[Shown]) -> Sequence[Person | BaseException]:
        """As ``_used``, whatever becomes of one of them or of the line to the database."""
        try:
            return await self._used(asked)
        except Exception as error:
            if is_transient(error) and not is_left_undone(error):
                return await self._used(asked, again=True)
            if len(asked) == 1:
                raise
        # One of them stands in the way of all: a person whose certificate is being changed, say. Each for itself then.
        answers = await asyncio.gather(*(self._used([shown]) for shown in asked), return_exceptions=True)
        return [answer if isinstance(answer, BaseException) else answer[0] for answer in answers]

    async def _used(self, asked: list[Shown], *, again: bool = False) -> list[Person | BaseException]:
        """Each with its person or its refusal; ``again`` if the same was sent before and its answer was lost."""
        now = self._clock.now()
        async with self._database.driver_connection() as connection:
            found = await store.read(connection, [(shown.desk, shown.psn_no) for shown in asked])
            answers: list[Person | BaseException] = []
            first: dict[object, Shown] = {}
            for shown, each in zip(asked, found, strict=True):
                try:
                    answers.append(rules.admitted(each, shown.desk, now=now))
                except Failure as failure:
                    answers.append(failure)
                else:
                    first.setdefault(shown.jti, shown)
            used = await store.use(connection, list(first.values()), purpose=DECODED, now=now) if first else set()
            if again:
                used |= await store.used_by(connection, asked)
        return [
            answer if isinstance(answer, BaseException) or shown.token_jti in used else code_already_used()
            for shown, answer in zip(asked, answers, strict=True)
        ]

    async def _keep_all(self, refused: list[RefusedDecoding]) -> Sequence[None]:
        async with self._database.driver_connection() as connection:
            await store.keep_refused(connection, refused, now=self._clock.now())
        return [None] * len(refused)
