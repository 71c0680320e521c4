"""The civil registry's file, loaded by `gongji identity kinship load-registry`."""

from __future__ import annotations

import asyncio
import csv
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from rich.console import Console

from kernel.callers import parsed_caller
from ops.batchfile import taking
from ops.batchfile.lines import UnusableFileError
from ops.batchfile.progress import Done, report_of
from ops.batchfile.view import View
from ops.identity.loading import load_registry_file
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity
from tests.integration.identity.test_kinship import VERIFIED, WEDDING, submit
from tests.unit.identity.strategies import with_check_character

HEADER = "kind,certno_a,certno_b,from_date,to_date"
PARENT = f"PARENT_OF,{WANG['certno']},{CHILD['certno']},,"
MARRIED = f"MARRIED_TO,{LI['certno']},{WANG['certno']},2010-05-20,"


async def load(identity: Identity, path: Path) -> Done:
    """What became of the file."""
    return await load_registry_file(
        path,
        address=identity.address,
        caller=parsed_caller("operator:zhang01"),
        in_flight=3,
        view=View(Console(), quiet=True),
    )


def written(folder: Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    """The file with its header."""
    path = folder / "registry.csv"
    path.write_bytes(("\n".join((HEADER, *lines)) + end).encode(encoding))
    return path


def refused(path: Path) -> list[tuple[str, str, str]]:
    """The lines of the report: number, reason, field."""
    with report_of(path).open(encoding="utf-8-sig", newline="") as file:
        return [(row["line"], row["reason"], row["field"]) for row in csv.DictReader(file)]


async def rows_kept(identity: Identity) -> int:
    """How many rows the registry has."""
    async with identity.database.transaction() as connection:
        return int(await connection.scalar(sa.text("SELECT count(*) FROM registry_rows")) or 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_what_a_file_says_verifies_what_is_submitted(identity: Identity, tmp_path: Path, encoding: str) -> None:
    """In any of the encodings that the field writes; the same file again says nothing new."""
    for person in (WANG, LI, CHILD):
        await identity.register(**person)
    path = written(tmp_path, PARENT, MARRIED, "户口,甲,乙,,", encoding=encoding)
    done = await load(identity, path)
    assert (done.new, done.existed, done.refused) == (2, 0, 1)
    assert refused(path) == [("4", "REGISTRY_KIND_UNKNOWN", "kind")]
    assert (await submit(identity, WANG, CHILD)).state == VERIFIED
    assert (await submit(identity, WANG, LI, **WEDDING)).state == VERIFIED
    again = await load(identity, path)
    assert (again.new, again.existed, again.refused) == (0, 2, 1)


async def test_broken_lines_are_refused_and_the_others_taken(identity: Identity, tmp_path: Path) -> None:
    """Half a line at the end, a NUL, a missing cell, an open quote, a cell and a line that are too long."""
    path = written(
        tmp_path,
        PARENT,
        "PARENT_OF,\x00,,,",
        "PARENT_OF,1,2",
        f'PARENT_OF,"{WANG["certno"]},{CHILD["certno"]},,',
        f"PARENT_OF,{'9' * 65},{CHILD['certno']},,",
        "x" * 5000,
        MARRIED,
        MARRIED[:-20],
        end="",
    )
    done = await load(identity, path)
    assert (done.new, done.refused) == (2, 6)
    assert refused(path) == [
        ("3", "LINE_UNREADABLE", ""),
        ("4", "LINE_MALFORMED", ""),
        ("5", "LINE_MALFORMED", ""),
        ("6", "LINE_MALFORMED", "certno_a"),
        ("7", "LINE_TOO_LONG", ""),
        ("9", "LINE_UNFINISHED", ""),
    ]
    report = report_of(path).read_text(encoding="utf-8-sig")
    assert WANG["certno"] not in report
    assert CHILD["certno"] not in report


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("kind,certno_a", "lacks certno_b"),
        ("kind,certno_a,certno_b,psn_name", "unknown columns at 4"),
        ("kind,certno_a,certno_b,kind", "names twice kind"),
        ("", "no header"),
    ],
)
async def test_a_wrong_header_ends_the_command_at_once(tmp_path: Path, header: str, said: str) -> None:
    """Exit code 2 before anything is sent; nobody needs to answer."""
    path = tmp_path / "registry.csv"
    path.write_text(f"{header}\n{PARENT}\n", encoding="utf-8")
    command = [sys.executable, "-c", "from ops.main import main; main()", "identity", "kinship", "load-registry"]
    process = await asyncio.create_subprocess_exec(
        *command, str(path), "--address", "127.0.0.1:1", stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert said in errors.decode()


async def test_a_file_that_cannot_be_read_is_refused(identity: Identity, tmp_path: Path) -> None:
    """A missing file and an empty one are each refused as unusable."""
    empty = tmp_path / "empty.csv"
    empty.touch()
    for path in (tmp_path / "missing.csv", empty):
        with pytest.raises(UnusableFileError):
            await load(identity, path)


async def test_a_run_that_was_cut_off_goes_on_where_it_stood(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of thousands of rows; the second run brings the rest, and each row is there once."""
    monkeypatch.setattr(taking, "BATCH_ROWS_MAX", 50)
    numbers = [with_check_character(f"6501031990010{day}{place:03}") for day in "12345" for place in range(1000)]
    rows = [f"PARENT_OF,{WANG['certno']},{number},," for number in numbers]
    path = written(tmp_path, *rows)
    running = asyncio.create_task(load(identity, path))
    while await rows_kept(identity) < 200:  # noqa: ASYNC110  Nobody tells of rows in another's database.
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert await rows_kept(identity) < len(rows)
    done = await load(identity, path)
    assert (done.new + done.existed, done.refused) == (len(rows), 0)
    assert await rows_kept(identity) == len(rows)
    assert not path.with_name("registry.csv.progress").exists()
