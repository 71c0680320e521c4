"""INQUIRE: a ledger asks what became of payments whose time is over (request-reply, one of us answers)."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from chassis.bus import Bus, BusRequest
from kernel.failures import Failure, Kind
from services.settlement.operations.engine import Engine
from services.settlement.operations.inquiring import inquire
from services.settlement.wire.ledger import inquired_ids, inquiry_answer

QUEUE: Final = "settlement-inquire"
INQUIRIES_MAX: Final = 512


async def serve(bus: Bus, engine: Engine) -> None:
    """Answers inquiries from now on, as long as the bus lives."""

    async def answer(request: BusRequest) -> bytes:
        try:
            area, payment_ids = inquired_ids(request.payload)
        except (DecodeError, ValueError):
            raise Failure(Kind.INVALID, "INQUIRY_MALFORMED") from None
        if not 0 < len(payment_ids) <= INQUIRIES_MAX:
            raise Failure(Kind.INVALID, "INQUIRY_MALFORMED")
        return inquiry_answer(await inquire(engine, area, payment_ids), epoch=engine.epoch)

    await bus.serve(f"{bus.prefix}.settlement.inquire", answer, queue=QUEUE)
