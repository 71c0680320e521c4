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
REMEMBERED_MAX: Final = 10_000
_EVENT_IDS: Final = UUID("9d2f6c1e-5b7a-5e0f-8a34-2f1d0c9b8e76")


class Refusals:
    """Tells of each refused token once, as far as this process remembers; whoever hears of it twice knows it by id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: OrderedDict[UUID, None] = OrderedDict()

    async def tell(self, visit: Presented, *, presented: PsnNo, reason: str, now: datetime) -> None:
        """Puts the event into the outbox, for the reasons that are told. Nothing else is stored."""
        if reason not in TOLD:
            return
        event_id = _event_id(visit, reason)
        if event_id in self._told:
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
        self._told[event_id] = None
        if len(self._told) > REMEMBERED_MAX:
            self._told.popitem(last=False)


def _event_id(visit: Presented, reason: str) -> UUID:
    """The same for the same token, patient, place and reason, however often and wherever it is presented again."""
    token = hashlib.sha256(visit.ec_token.encode()).hexdigest()
    return uuid5(_EVENT_IDS, f"{token}|{visit.psn_no}|{visit.fixmedins_code}|{visit.terminal_no}|{reason}")
