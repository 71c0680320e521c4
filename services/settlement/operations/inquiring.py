"""INQUIRE: what a ledger is told that asks about its holds (protocol rules 2 and 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter

from chassis import telemetry
from kernel.ids import AdmDvs, PaymentId
from services.settlement.operations.engine import Engine
from services.settlement.saga.coordinator import Write
from services.settlement.saga.payment import Payment
from services.settlement.saga.requests import Decision, inquired
from services.settlement.store import payments as store

_log = telemetry.logger("inquiring")

_UNKNOWN_INQUIRIES: Final = Counter(
    "gongji_settlement_unknown_inquiries_total", "Holds that no payment stands for.", registry=telemetry.REGISTRY
)


async def inquire(
    engine: Engine, area: AdmDvs, payment_ids: Sequence[PaymentId]
) -> list[tuple[PaymentId, Decision, bool]]:
    """(payment, decision, unknown) for each, in the order asked; a payment whose time is over is decided first."""
    if engine.standing.is_restoring:
        return [(payment_id, Decision.WAIT, False) for payment_id in payment_ids]
    async with engine.database.driver_connection() as connection:
        found = await store.by_ids(connection, payment_ids)
    answers = [_decided(engine, payment_id, found.get(payment_id)) for payment_id in payment_ids]
    decisions = await asyncio.gather(*answers)
    unknown = [payment_id for payment_id in payment_ids if payment_id not in found]
    if unknown:
        _UNKNOWN_INQUIRIES.inc(len(unknown))
        _log.error("a ledger holds money for payments that are not known here", area=area, payments=len(unknown))
    return [
        (payment_id, decision, payment_id not in found)
        for payment_id, decision in zip(payment_ids, decisions, strict=True)
    ]


async def _decided(engine: Engine, payment_id: PaymentId, found: Payment | None) -> Decision:
    answer = inquired(found)
    while found is not None and isinstance(answer, Write):
        found = await engine.write(found, answer)
        answer = inquired(found)
    if isinstance(answer, Write):
        raise AssertionError(f"an unknown payment {payment_id} cannot be written")  # noqa: TRY004  A broken promise of ours.
    return answer
