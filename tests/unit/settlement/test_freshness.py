"""How recently identity was heard, and when that is too long ago."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from services.settlement.app import Settings
from services.settlement.operations.freshness import Freshness

GOOD = {"database_url": "postgresql://nobody@/none", "nats_url": "nats://127.0.0.1:1", "policies_folder": "/policies"}


class Seconds:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.passed = 1_000.0

    def __call__(self) -> float:
        """Seconds since some beginning."""
        return self.passed


def test_who_was_never_heard_is_stale() -> None:
    """A process that starts knows nothing of how recent its tables are."""
    assert Freshness(age_max_s=30, now=Seconds()).is_stale


def test_it_grows_stale_after_its_time_and_fresh_when_heard_again() -> None:
    """The last second still counts; an older success that becomes known later changes nothing."""
    clock = Seconds()
    freshness = Freshness(age_max_s=30, now=clock)
    freshness.heard()
    stale = []
    for passed in (30, 0.5):
        clock.passed += passed
        stale.append(freshness.is_stale)
    freshness.heard(age_s=10)
    stale.append(freshness.is_stale)
    freshness.heard(age_s=40)
    stale.append(freshness.is_stale)
    assert stale == [False, True, False, False]
    assert freshness.age_s == 10


def test_a_room_with_nobody_to_ask_is_never_stale() -> None:
    """An infinite time has no end, though nobody was ever heard."""
    assert not Freshness(age_max_s=math.inf, now=Seconds()).is_stale


def test_a_sanction_counts_within_five_seconds_and_mutual_aid_pauses_after_thirty() -> None:
    """What the settings are when nobody says otherwise (domain §8)."""
    settings = Settings.model_validate({**GOOD, "environment": "test"})
    assert settings.identity_sweep_s <= 4
    assert settings.identity_age_max_s == 30


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({}, "identity_address"),
        ({"identity_address": "identity:7001", "identity_sweep_s": 30}, "identity_age_max_s"),
    ],
)
def test_settings_that_would_miss_sanctions_stop_the_start(told: dict[str, object], field: str) -> None:
    """Production without identity's address, or one that is asked more rarely than its age may be."""
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({**GOOD, **told, "environment": "production"})
    assert [problem["loc"] for problem in refused.value.errors()] == [(field,)]
