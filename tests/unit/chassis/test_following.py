"""Files that change under a running process: when they count, and what keeps them from counting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from chassis import telemetry
from chassis.following import FollowedFolder
from kernel.failures import Failure, Kind

POLL_S: Final = 0.02
WITHIN_S: Final = 10.0


def number_of(documents: Mapping[str, Any]) -> int:
    """The sum of every file's ``number``; INVALID where one is negative, a bug where one is none."""
    for source, document in documents.items():
        if document["number"] < 0:
            raise Failure(Kind.INVALID, "POLICY_VALUE_OUT_OF_RANGE", source=source, field="number")
    return sum(int(document["number"]) for document in documents.values())


def write(folder: Path, name: str, text: str) -> None:
    """A file of that name."""
    (folder / name).write_text(text, encoding="utf-8")


def refused() -> float | None:
    """What the metric says."""
    return telemetry.REGISTRY.get_sample_value("gongji_files_refused", {"files": "numbers"})


async def until(condition: Callable[[], bool]) -> None:
    """Returns once it holds."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            if condition():
                return
            await asyncio.sleep(POLL_S / 4)


@asynccontextmanager
async def following(folder: Path) -> AsyncIterator[list[int]]:
    """What is handed over while the folder is followed."""
    taken: list[int] = []
    followed = FollowedFolder(folder, number_of, what="numbers")
    task = asyncio.create_task(followed.follow(taken.append, poll_s=POLL_S))
    try:
        yield taken
        assert not task.done(), "following ended"
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file."""
    write(tmp_path, "a.yaml", "number: 1\n")
    return tmp_path


async def test_changed_added_and_removed_files_count(folder: Path) -> None:
    """Each once; what is written anew with the same content does not."""
    async with following(folder) as taken:
        write(folder, "a.yaml", "number: 2\n")
        await until(lambda: taken == [2])
        write(folder, "b.yaml", "number: 10\n")
        await until(lambda: taken == [2, 12])
        write(folder, "b.yaml", "number: 10\n")
        (folder / "a.yaml").unlink()
        await until(lambda: taken == [2, 12, 10])


async def test_what_was_changed_between_start_and_following_counts(folder: Path) -> None:
    """A process may take minutes to reach its database: files are compared with those it was started with."""
    followed = FollowedFolder(folder, number_of, what="numbers")
    write(folder, "a.yaml", "number: 7\n")
    taken: list[int] = []
    task = asyncio.create_task(followed.follow(taken.append, poll_s=POLL_S))
    await until(lambda: taken == [7])
    task.cancel()


@pytest.mark.parametrize(
    "bad", ["number: -1\n", "number: 1\nnumber: 2\n", "number: [\n", "- 1\n", "number: none\n", "nothing: 1\n", ""]
)
async def test_refused_files_leave_what_counted_before(folder: Path, bad: str) -> None:
    """Told by the metric until they are mended; then what they mean counts. A bug in the reading ends nothing."""
    async with following(folder) as taken:
        write(folder, "b.yaml", bad)
        await until(lambda: refused() == 1)
        assert taken == []
        write(folder, "b.yaml", "number: 4\n")
        await until(lambda: taken == [5])
        await until(lambda: refused() == 0)


async def test_a_change_that_is_refused_leaves_what_counted_before(folder: Path) -> None:
    """It is judged against what counts, not against what was refused last."""

    def only_more(before: int, after: int) -> None:
        if after < before:
            raise Failure(Kind.INVALID, "POLICY_LOST")

    taken: list[int] = []
    followed = FollowedFolder(folder, number_of, what="numbers", check_change=only_more)
    task = asyncio.create_task(followed.follow(taken.append, poll_s=POLL_S))
    write(folder, "a.yaml", "number: 8\n")
    await until(lambda: taken == [8])
    for less in (3, 5):
        write(folder, "a.yaml", f"number: {less}\n")
        await until(lambda: refused() == 1)
    write(folder, "a.yaml", "number: 9\n")
    await until(lambda: taken == [8, 9])
    task.cancel()


async def test_a_folder_that_goes_away_leaves_what_counted_before(folder: Path) -> None:
    """And what it held, when it is back, is nothing new."""
    async with following(folder) as taken:
        away = folder.with_name("away")
        await asyncio.to_thread(folder.rename, away)
        await until(lambda: refused() == 1)
        await asyncio.to_thread(away.rename, folder)
        await until(lambda: refused() == 0)
        assert taken == []


async def test_files_count_once_they_are_at_rest(folder: Path) -> None:
    """While they change from look to look, nothing of them does."""
    async with following(folder) as taken:
        for number in range(2, 40):
            write(folder, "a.yaml", f"number: {number}\n")
            await asyncio.sleep(POLL_S / 2)
        seen = len(taken)
        await until(lambda: taken[-1:] == [39])
    assert seen == 0


async def test_a_folder_of_links_is_exchanged_as_a_whole(tmp_path: Path) -> None:
    """As Kubernetes brings a ConfigMap: every file is a link through ..data, which is turned to another folder."""
    for name, number in (("..old", 1), ("..new", 100)):
        (tmp_path / name).mkdir()
        for file in ("a.yaml", "b.yaml"):
            write(tmp_path / name, file, f"number: {number}\n")
    (tmp_path / "..data").symlink_to("..old")
    for file in ("a.yaml", "b.yaml"):
        (tmp_path / file).symlink_to(Path("..data") / file)
    async with following(tmp_path) as taken:
        (tmp_path / "..turned").symlink_to("..new")
        (tmp_path / "..turned").replace(tmp_path / "..data")
        await until(lambda: taken == [200])


def test_what_is_refused_at_the_start_is_raised(tmp_path: Path) -> None:
    """With the file and the line; nothing is followed."""
    write(tmp_path, "a.yaml", "\nnumber: -1\n")
    with pytest.raises(Failure, match="POLICY_VALUE_OUT_OF_RANGE") as failed:
        FollowedFolder(tmp_path, number_of, what="numbers")
    assert failed.value.metadata["line"] == "2"


async def test_a_folder_that_cannot_be_looked_into_ends_nothing(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its mount is gone for a moment, say: what counted goes on counting, and files that come back count again."""
    shown = tmp_path_factory.mktemp("mounts") / "policies"
    shown.symlink_to(folder)
    async with following(shown) as taken:
        shown.unlink()
        shown.symlink_to("x" * 300)
        await until(lambda: refused() == 1)
        write(folder, "a.yaml", "number: 5\n")
        shown.unlink()
        shown.symlink_to(folder)
        await until(lambda: taken == [5])
        assert refused() == 0
