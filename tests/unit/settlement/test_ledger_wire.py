"""What a ledger is told of a payment follows from its row alone (protocol rule 8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.settlement.saga.coordinator import Order
from services.settlement.saga.payment import State
from services.settlement.wire.ledger import command_of
from tests.unit.saga.dialogue import settlement


@pytest.mark.parametrize(
    ("began", "month"),
    [
        (datetime(2026, 11, 30, 15, 59, 59, tzinfo=UTC), 2026_11),
        (datetime(2026, 11, 30, 16, 0, tzinfo=UTC), 2026_12),
        (datetime(2026, 12, 31, 16, 0, tzinfo=UTC), 2027_01),
        (None, 0),
    ],
)
def test_a_payment_counts_in_the_month_in_which_it_began(began: datetime | None, month: int) -> None:
    """By the civil day in Shanghai; said again later, and by whoever drives it, the TRY is the same to the byte."""
    payment = replace(settlement(State.TRYING), created_at=began)
    area = payment.areas[0]
    command = command_of(payment, area, Order.TRY, inquire_after_ms=1_000)
    assert command.try_command.month == month
    later = replace(payment, overdue=True)
    assert command_of(later, area, Order.TRY, inquire_after_ms=1_000).SerializeToString() == command.SerializeToString()
