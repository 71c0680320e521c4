"""Unseen keys that an institution may block: so many a minute, each institution by itself."""

from __future__ import annotations

import pytest

from kernel.failures import Failure, Kind
from services.settlement.operations.burying import PERIOD_S, Burials

ONE, OTHER = "H65010000001", "H65010000002"


def test_an_institution_is_put_off_above_its_number_until_the_minute_is_over() -> None:
    """The other institution is not concerned; the refusal says how long to wait."""
    now_s = 100.0
    burials = Burials(2, monotonic=lambda: now_s)
    for _ in range(2):
        burials.admit(ONE)
    now_s += 20
    with pytest.raises(Failure) as refused:
        burials.admit(ONE)
    assert (refused.value.kind, refused.value.reason) == (Kind.EXHAUSTED, "TOO_MANY_REVERSALS")
    assert refused.value.metadata == {"per_minute": "2", "retry_after_s": "41"}
    burials.admit(OTHER)
    now_s = 100.0 + PERIOD_S
    burials.admit(ONE)
