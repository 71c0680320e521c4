"""Whose PIN is looked at, and when a try begins."""

from __future__ import annotations

import pytest

from kernel.failures import Failure
from services.identity.domain.sealing import Seals, Secrets
from services.identity.operations.pins import Pins


async def test_without_a_pepper_no_try_begins() -> None:
    """It is refused before the turn comes in which a try is counted."""
    pins = Pins(Seals(Secrets("k1", {"k1": bytes(32)}, bytes(32))))
    with pytest.raises(Failure, match="PIN_PEPPER_MISSING"):
        async with pins.turn():
            pytest.fail("a try has begun")
