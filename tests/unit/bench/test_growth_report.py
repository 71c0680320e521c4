"""What the text of `make bench-growth` says of a recovery."""

from __future__ import annotations

from typing import Any

from bench.growth_report import markdown


def _recovery(*, undecided: int) -> dict[str, Any]:
    case = {"at_kill": {"TRYING": undecided}, "ready_s": 1.0, "seconds": 2.0, "states": {"CANCELLED": undecided}}
    return {
        "recovery": {
            "date": "2026-01-01", "machine": {"processors": 2}, "took_s": 60.0, "payments": 1_000,
            "begun_per_s": 400, "vote_deadline_s": 37, "verify": {"violations": 0, "rows_compared": 1},
            "cases": {
                "undecided": {**case, "under_way": undecided},
                "unacknowledged": {**case, "under_way": 1_000},
            },
        }
    }  # fmt: skip


def test_a_recovery_of_fewer_than_were_meant_says_how_many() -> None:
    """And one of all of them does not speak of it."""
    assert "Of the undecided only 900 of 1,000" in markdown(_recovery(undecided=900))
    assert "only" not in markdown(_recovery(undecided=1_000))


def test_the_text_says_how_its_cases_were_made() -> None:
    """That the votes' deadline was longer than usual, and that a statement has made the unacknowledged."""
    text = markdown(_recovery(undecided=1_000))
    assert "37 s here, longer than usual" in text
    assert "nothing dies under way" in text
    assert "one UPDATE" in text
