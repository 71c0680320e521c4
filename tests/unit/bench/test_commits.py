"""The commits that `make bench-commits` compares are those of the history, in its order."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bench.commits import CHANGES, LEVELS, markdown

_PROJECT = Path(__file__).resolve().parents[3]


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  Fixed words, and commits that stand in the bench.
        ["git", "-C", str(_PROJECT), *arguments],  # noqa: S607  Whichever git there is.
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_each_commit_follows_upon_the_one_above_it() -> None:
    """Each is an ancestor of the next, and the last one of what is here."""
    revisions = [revision for revision, _ in CHANGES]
    if any(_git("cat-file", "-e", revision).returncode for revision in revisions):
        pytest.skip("this clone has no history")
    for earlier, later in zip(revisions, [*revisions[1:], "HEAD"], strict=True):
        assert _git("merge-base", "--is-ancestor", earlier, later).returncode == 0


@pytest.mark.parametrize(
    ("words", "revision"),
    [
        ("begin its payment in one statement", "e3f7f6a"),
        ("Decide in one statement", "e3f7f6a"),
        ("as one parameter", "55237b3"),
        ("Load all that a ledger's batch touches in one statement", "3120835"),
        ("with a small window", "a3f9531"),
        ("gRPC's new engine", "a3f9531"),
        ("lock from batch to batch", "44e532f"),
        ("for each payment under way", "d62b54f"),
    ],
)
def test_a_change_stands_in_the_row_whose_commits_made_it(words: str, revision: str) -> None:
    """The history's own words for it stand between that row and the one above."""
    revisions = [revision for revision, _ in CHANGES]
    above = revisions[revisions.index(revision) - 1]
    if _git("cat-file", "-e", above).returncode:
        pytest.skip("this clone has no history")
    assert re.search(words, _git("log", "--format=%s", f"{above}..{revision}").stdout)


def test_a_row_shows_its_commit_and_the_peer_has_none() -> None:
    """Each commit stands in the row of what it brought; the row below all is the peer's."""
    figures = {"median": 1.0, "min": 1.0, "max": 1.0}
    cell = {"per_s": figures, "p50_ms": figures, "cpu_ms.all": figures, "cut_short": {**figures, "max": 0.0}}
    levels = {str(level): cell for level in LEVELS}
    text = markdown(
        {
            "date": "2026-01-01", "machine": {"processors": 2}, "rounds": 6, "seconds": 2.0, "commits": ["abc1234"],
            "rows": [{"title": "first", "levels": levels}, {"title": "peer", "levels": levels}],
        }
    )  # fmt: skip
    assert "| `abc1234` first |" in text
    assert "| peer |" in text
