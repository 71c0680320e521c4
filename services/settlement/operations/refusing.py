"""Tells of credentials that were presented for a bill they do not count for: somebody looks for misuse (domain §8)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from chassis import telemetry
from chassis.db import Database
from chassis.outbox import put_driver
from kernel.ids import PsnNo
from services.settlement.domain.visit import Presented
from services.settlement.wire.events import credential_refused

TOLD: Final = frozenset({"FUNDER_CREDENTIAL_USED", "CREDENTIAL_NOT_OF_PATIENT", "EC_TOKEN_OF_ANOTHER_TERMINAL"})
"""The refusals of a token that identity did sign: a rubbish one says nothing of anybody."""
TOLD_OF_A_TOKEN_MAX: Final = 20
"""More patients, places and reasons than that say nothing new of whose token it is; they would only fill a queue."""
REMEMBERED_MAX: Final = 10_000
_EVENT_IDS: Final = UUID("9d2f6c1e-5b7a-5e0f-8a34-2f1d0c9b8e76")


class Refusals:
    """Tells of each refused token once for each patient, as far as this process remembers, and not without end.

    Whoever hears of the same twice knows it by its id.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: OrderedDict[bytes, set[UUID]] = OrderedDict()
        """What was told of each token, the one that was presented last at the end."""

    async def tell(self, visit: Presented, *, presented: PsnNo, reason: str, now: datetime) -> None:
        """Puts the event into the outbox, for the reasons that are told. Nothing else is stored."""
        if reason not in TOLD:
            return
        # What is signed: the signature itself can be written in more than one way.
        token = hashlib.sha256(visit.ec_token.rpartition(".")[0].encode())
        event_id = _event_id(visit, token.hexdigest(), reason)
        told = self._told.setdefault(token.digest(), set())
        self._told.move_to_end(token.digest())
        if len(self._told) > REMEMBERED_MAX:
            self._told.popitem(last=False)
        if event_id in told or len(told) >= TOLD_OF_A_TOKEN_MAX:
            return
        event = credential_refused(
            event_id=event_id,
            patient=visit.psn_no,
            presented=presented,
            fixmedins_code=visit.fixmedins_code,
            terminal_no=visit.terminal_no,
            reason=reason,
            occurred_at=now,
            traceparent=telemetry.traceparent(),
        )
        async with self._database.driver_connection() as connection:
            await put_driver(connection, [event])
        told.add(event_id)


def _event_id(visit: Presented, token: str, reason: str) -> UUID:
    """The same for the same token, patient, place and reason, however often and wherever it is presented again."""
    return uuid5(_EVENT_IDS, f"{token}|{visit.psn_no}|{visit.fixmedins_code}|{visit.terminal_no}|{reason}")
