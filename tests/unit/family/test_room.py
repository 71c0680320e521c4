"""By which day's policies family judges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from kernel.policy import PolicyBook, PolicyShelf
from kernel.randomness import SYSTEM_RANDOMNESS
from services.family.api.room import Room

BOOK: Final = PolicyBook.of_documents(
    {
        "old.yaml": {"area": "650000", "policy": {"max_members": 5}},
        "new.yaml": {"area": "650000", "effective_from": "2027-01-01", "policy": {"max_members": 3}},
    }
)


@dataclass(frozen=True)
class StoppedClock:
    """A clock that a test sets."""

    instant: datetime

    def now(self) -> datetime:
        """Always the same."""
        return self.instant


def room_at(instant: datetime, shelf: PolicyShelf) -> Room:
    """A room at that instant, with nothing but policies."""
    absent: Any = None
    return Room(
        database=absent,
        identity=absent,
        ledgers=absent,
        policies=shelf,
        people=absent,
        clock=StoppedClock(instant),
        randomness=SYSTEM_RANDOMNESS,
        invitation_days=7,
    )


@pytest.mark.parametrize(
    ("instant", "members_max"),
    [
        (datetime(2026, 12, 31, 15, 59, 59, 999_999, tzinfo=UTC), 5),
        (datetime(2026, 12, 31, 16, tzinfo=UTC), 3),
        (datetime(2027, 1, 1, tzinfo=UTC), 3),
    ],
    ids=["a microsecond before midnight in Shanghai", "at midnight in Shanghai", "at midnight in London"],
)
def test_a_version_takes_effect_at_midnight_in_shanghai(instant: datetime, members_max: int) -> None:
    """To the microsecond, whatever the machine's zone; nobody restarts anything."""
    assert room_at(instant, PolicyShelf(BOOK)).policies_now().for_area("650500").max_members == members_max


def test_another_book_counts_from_the_next_question_on() -> None:
    """What was asked for before stays what it was: whoever is judging goes on by it."""
    shelf = PolicyShelf(BOOK)
    room = room_at(datetime(2026, 12, 1, tzinfo=UTC), shelf)
    before = room.policies_now()
    shelf.exchange(PolicyBook.of_documents({"a.yaml": {"area": "650000", "policy": {"max_members": 9}}}))
    found = [policies.for_area("650500").max_members for policies in (before, room.policies_now())]
    assert found == [5, 9]
