"""What tests of risk events do: settlement's words as they come over NATS, credentials shown, and the clock's sweep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from chassis.bus import Stream
from gongji.identity.v1 import events_pb2 as identity_events
from gongji.identity.v1 import person_pb2, risk_pb2
from gongji.settlement.v1 import events_pb2, settlement_pb2
from kernel.randomness import SYSTEM_RANDOMNESS
from services.identity import consumer
from services.identity.domain.risk import Thresholds
from services.identity.recovery import RiskSweep
from tests.integration.identity.conftest import HOSPITAL, WANG, Identity
from tests.patience import insisted, say

PHARMACY = "P65010000001"
FAR_HOSPITAL = "H65310000001"
URUMQI = person_pb2.Place(longitude_udeg=87_617_000, latitude_udeg=43_793_000)
KASHGAR = person_pb2.Place(longitude_udeg=75_989_000, latitude_udeg=39_470_000)
URUMQI_KASHGAR_M = 1_078_012
THRESHOLDS = Thresholds(
    travel_kmh=500,
    small_buy_max_fen=10_000,
    small_buys_min=6,
    small_buys_window=timedelta(hours=24),
    refused_at_terminal_min=20,
    refused_of_person_min=6,
    refused_window=timedelta(minutes=10),
)
PAUSE_S = 0.05
_HEARD_S = 15


@dataclass
class Watch:
    """A replica of the room that hears settlement, and its sweep."""

    identity: Identity
    risks: RiskSweep

    async def sweep(self) -> int:
        """How many risk events are new."""
        return await self.risks.sweep()

    async def listed(self, **fields: Any) -> list[risk_pb2.RiskEvent]:  # noqa: ANN401  Any field there is.
        """The risk events, the oldest first."""
        request = risk_pb2.ListRiskEventsRequest(**fields)
        return list((await self.identity.risk.ListRiskEvents(request)).risk_events)

    async def evidence(self, risk_event_id: str) -> list[risk_pb2.RiskEvidence]:
        """What an officer is shown."""
        answer = await self.identity.risk.GetRiskEvent(risk_pb2.GetRiskEventRequest(risk_event_id=risk_event_id))
        assert answer.risk_event.evidence_count == len(answer.evidence)
        return list(answer.evidence)

    async def decide(self, risk_event_id: str, state: str = "DISMISSED", *, cause: str = "出差") -> risk_pb2.RiskEvent:
        """An officer's judgement."""
        request = risk_pb2.DecideRiskEventRequest(
            risk_event_id=risk_event_id,
            state=risk_pb2.RiskState.Value(f"RISK_STATE_{state}"),
            cause=cause,
            opter="zhang01",
        )
        return (await self.identity.risk.DecideRiskEvent(request)).risk_event

    async def raised(self) -> list[identity_events.RiskEventRaised]:
        """What was told to other rooms, once the outbox is empty."""
        async with asyncio.timeout(_HEARD_S):
            while await self.count("outbox", "published_at IS NULL"):  # noqa: ASYNC110  No event tells of rows.
                await asyncio.sleep(0.05)
        stream = Stream(self.identity.bus.prefix, "identity")
        state = await insisted(lambda: self.identity.bus.ensure_stream(stream))
        jetstream = self.identity.bus.client.jetstream()
        found = []
        for seq in range(max(state.first_seq, 1), state.last_seq + 1):
            event = identity_events.IdentityEvent.FromString((await jetstream.get_msg(stream.name, seq)).data or b"")
            if event.WhichOneof("fact") == "risk_event_raised":
                found.append(event.risk_event_raised)
        return found

    async def count(self, table: str, condition: str = "true") -> int:
        """How many rows of a table."""
        async with self.identity.database.driver_connection() as connection:
            return int(await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {condition}"))  # noqa: S608  Ours.

    async def tell(self, *events: events_pb2.SettlementEvent) -> None:
        """Says it as settlement's outbox does, and waits until all of it was heard."""
        for event in events:
            await say(self.identity.bus, event)
        ids = {event.event_id for event in events}
        known = f"event_id IN ({', '.join(map(repr, ids))})"
        async with asyncio.timeout(_HEARD_S):
            while await self.count("inbox", known) < len(ids):  # noqa: ASYNC110  As above.
                await asyncio.sleep(0.05)

    async def pharmacy(self) -> None:
        """Registers the pharmacy."""
        await self.identity.hospital(fixmedins_code=PHARMACY, fixmedins_name="共济大药房", place=URUMQI)

    async def desks(self) -> None:
        """A desk at work in Urumqi and one in Kashgar."""
        await self.identity.hospital(place=URUMQI)
        await self.identity.hospital(fixmedins_code=FAR_HOSPITAL, fixmedins_name="喀什医院", place=KASHGAR)
        await self.identity.signed_in()
        await self.identity.signed_in(fixmedins_code=FAR_HOSPITAL)

    async def refused(
        self, count: int, *, fixmedins_code: str = HOSPITAL, psn_no: str = "", reason: str = "CODE_EXPIRED"
    ) -> None:
        """So many codes are refused in this minute."""
        now = self.identity.clock.now()
        async with self.identity.database.driver_connection() as connection:
            await connection.execute(
                "INSERT INTO refused_decodings AS r (fixmedins_code, terminal_no, reason, psn_no, minute, refusals,"
                " first_at, last_at) VALUES ($1, 'T1', $2, $3, date_trunc('minute', $4::timestamptz), $5, $4, $4)"
                " ON CONFLICT (minute, fixmedins_code, terminal_no, reason, psn_no) DO UPDATE"
                " SET refusals = r.refusals + EXCLUDED.refusals, last_at = EXCLUDED.last_at",
                fixmedins_code,
                reason,
                psn_no,
                now,
                count,
            )


@asynccontextmanager
async def watching(identity: Identity, thresholds: Thresholds = THRESHOLDS) -> AsyncIterator[Watch]:
    """The room with its ear and its clock; the sweep is the test's to call."""
    async with AsyncExitStack() as stack:
        heard = consumer.settlements(identity.database, identity.bus, small_buy_max_fen=thresholds.small_buy_max_fen)
        task = asyncio.create_task(heard.run())
        stack.push_async_callback(_ended, task)
        yield Watch(
            identity,
            RiskSweep(
                database=identity.database,
                thresholds=thresholds,
                pause_s=PAUSE_S,
                clock=identity.clock,
                randomness=SYSTEM_RANDOMNESS,
            ),
        )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def bill_settled(
    at: datetime,
    *,
    funder: str = WANG["psn_no"],
    patient: str = "650100000000003",
    fen: int = 3_000,
    fixmedins_code: str = PHARMACY,
    role: settlement_pb2.SourceRole.ValueType = settlement_pb2.SOURCE_ROLE_FUNDER,
    setl_id: UUID | None = None,
) -> events_pb2.SettlementEvent:
    """A bill of which the funder's account gave so much."""
    setl_id = setl_id or uuid4()
    event = _event(f"payment:{setl_id}", at)
    event.bill_settled.CopyFrom(
        events_pb2.BillSettled(
            setl_id=str(setl_id),
            patient_psn_no=patient,
            fixmedins_code=fixmedins_code,
            psn_part_amt=fen,
            changes=[events_pb2.AccountChange(psn_no=funder, role=role, area="650100", past_fen=-fen)],
        )
    )
    return event


def bill_refunded(original: events_pb2.SettlementEvent, at: datetime) -> events_pb2.SettlementEvent:
    """The money of a bill goes back."""
    event = _event(f"payment:{uuid4()}", at)
    event.bill_refunded.CopyFrom(
        events_pb2.BillRefunded(
            setl_id=event.aggregate_id.removeprefix("payment:"),
            original_setl_id=original.bill_settled.setl_id,
            patient_psn_no=original.bill_settled.patient_psn_no,
            fixmedins_code=original.bill_settled.fixmedins_code,
        )
    )
    return event


def credential_refused(
    at: datetime,
    *,
    presented: str = WANG["psn_no"],
    patient: str = "650100000000003",
    reason: str = "FUNDER_CREDENTIAL_USED",
    fixmedins_code: str = PHARMACY,
) -> events_pb2.SettlementEvent:
    """A credential does not count for a bill."""
    event = _event("", at)
    event.aggregate_id = f"refusal:{event.event_id}"
    event.credential_refused.CopyFrom(
        events_pb2.CredentialRefused(
            patient_psn_no=patient,
            presented_psn_no=presented,
            fixmedins_code=fixmedins_code,
            terminal_no="T1",
            reason=reason,
        )
    )
    return event


def _event(aggregate: str, at: datetime) -> events_pb2.SettlementEvent:
    event = events_pb2.SettlementEvent(event_id=str(uuid4()), aggregate_id=aggregate, version=1)
    event.occurred_time.FromDatetime(at)
    return event
