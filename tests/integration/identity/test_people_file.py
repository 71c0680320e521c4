"""``gongji identity register``: a file of people, as an office runs it."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.batchfile.progress import report_of
from tests.integration.identity.conftest import LI, WANG, Identity
from tests.integration.identity.test_people import count
from tests.unit.identity.strategies import with_check_character

ROOT = Path(__file__).resolve().parents[3]
HEADER = "psn_cert_type,certno,psn_name,brdy,gend,psn_no,insutype,insuplc_admdvs\n"
RUN_S = 120.0


def people(how_many: int, *, first: int = 0) -> Iterator[str]:
    """Rows of residents, all different, all insured."""
    for number in range(first, first + how_many):
        day, place = divmod(number, 500)
        born = f"19{60 + day // 336:02}{day % 336 // 28 + 1:02}{day % 28 + 1:02}"
        certno = with_check_character(f"650103{born}{place * 2 + 1:03}")
        yield f"RESIDENT_ID,{certno},王建国,,,,310,650100\n"


async def register(path: Path, identity: Identity, *options: str) -> tuple[int | None, str, str]:
    """Runs the command to its end: exit code, what it printed, what it complained of."""
    process = await started(path, identity, *options)
    async with asyncio.timeout(RUN_S):
        out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


async def started(path: Path, identity: Identity, *options: str) -> asyncio.subprocess.Process:
    """The command, running."""
    code = "from ops.main import main; main()"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "identity", "register", str(path), "--address", identity.address, *options,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def report(path: Path) -> list[list[str]]:
    """The refused lines: number, reason, field."""
    with report_of(path).open(encoding="utf-8-sig", newline="") as file:
        return [row[:3] for row in csv.reader(file)][1:]


def noted_line(path: Path) -> int:
    """The last line that a run under way has noted as done."""
    note = path.with_name(path.name + ".progress")
    return int(json.loads(note.read_text())["line"]) if note.exists() else 0


def names(folder: Path) -> list[str]:
    """What lies in a folder, the room's own secrets apart."""
    return sorted(each.name for each in folder.iterdir() if each.is_file() and each.name != "identity.json")


def summary(printed: str) -> dict[str, Any]:
    """What --json printed, without the time it took."""
    document: dict[str, Any] = json.loads(printed)
    assert document.pop("seconds") >= 0
    return document


async def test_every_row_is_taken_or_reported(identity: Identity, tmp_path: Path) -> None:
    """Good rows are registered and enrolled; each bad one stands in the report by line, reason and field alone."""
    path = tmp_path / "people.csv"
    good = list(people(3))
    lines = [
        good[0],
        "RESIDENT_ID,650103198503124517,王建国,,,,310,650100\n",
        good[1],
        "PASSPORT,E12345678,王建国,,,,,\n",
        f"RESIDENT_ID,{LI['certno']},李秀英,,,,310,\n",
        f'RESIDENT_ID,{WANG["certno"]},"王建国,,,,310,650100\n',
        "RESIDENT_ID,1\0,王建国,,,,,\n",
        "BIRTH_CERTIFICATE,S650123456,王小宝,2026-06-01,2,,390,650500\n",
        "RESIDENT_ID," + "9" * 2000 + ",王建国,,,,,\n",
        good[2].rstrip("\n"),
    ]
    path.write_text(HEADER + "".join(lines), encoding="gb18030")
    code, printed, complaint = await register(path, identity, "--json")
    assert (code, complaint) == (1, "")
    assert summary(printed) == {
        "lines": 11, "registered": 3, "existed": 0, "refused": 7, "report": str(report_of(path)),
    }  # fmt: skip
    assert report(path) == [
        ["3", "CERTIFICATE_CHECKSUM_WRONG", "certno"],
        ["5", "CERTIFICATE_KIND_UNKNOWN", "psn_cert_type"],
        ["6", "ENROLMENT_INCOMPLETE", "insuplc_admdvs"],
        ["7", "LINE_MALFORMED", ""],
        ["8", "LINE_UNREADABLE", ""],
        ["10", "LINE_TOO_LONG", ""],
        ["11", "LINE_UNFINISHED", ""],
    ]
    assert not any(secret in report_of(path).read_text() for secret in ("王建国", "650103", "S650123456"))
    assert await count(identity, "persons") == 3
    assert await count(identity, "enrolments") == 3


async def test_the_same_file_again_changes_nothing(identity: Identity, tmp_path: Path) -> None:
    """A second run meets everybody, tells nothing new, and leaves no report when nothing was refused."""
    path = tmp_path / "people.csv"
    path.write_text(HEADER + "".join(people(1200)))
    first = await register(path, identity)
    events = await count(identity, "outbox")
    second = await register(path, identity)
    assert (first[0], second[0]) == (0, 0)
    assert "1,200 registered, 0 known before, 0 refused" in first[1]
    assert "0 registered, 1,200 known before, 0 refused" in second[1]
    assert await count(identity, "outbox") == events
    assert names(tmp_path) == ["people.csv"]


async def test_a_killed_run_goes_on_and_reports_each_line_once(identity: Identity, tmp_path: Path) -> None:
    """Killed with SIGKILL in the middle, the next run begins behind what is noted, and all stands once in the end."""
    path = tmp_path / "people.csv"
    bad = "RESIDENT_ID,650103198503124517,王建国,,,,,\n"
    rows = [line for number in range(60) for line in (*people(99, first=number * 99), bad)]
    path.write_text(HEADER + "".join(rows))
    running = await started(path, identity, "--in-flight", "2")
    async with asyncio.timeout(RUN_S):
        while not noted_line(path):  # noqa: ASYNC110  What another process writes sets no event.
            await asyncio.sleep(0.01)
    running.kill()
    await running.communicate()
    noted = noted_line(path)
    assert 0 < noted < len(rows) + 1
    code, printed, _ = await register(path, identity)
    assert code == 1
    assert f"going on behind line {noted:,}" in printed
    assert "60 refused" in printed
    assert [int(row[0]) for row in report(path)] == [1 + 100 * place for place in range(1, 61)]
    assert await count(identity, "persons") == 60 * 99
    assert noted_line(path) == 0


async def test_an_unusable_file_ends_with_2_and_sends_nothing(identity: Identity, tmp_path: Path) -> None:
    """A wrong header is refused at once, with what it may have; nothing is registered and nothing left behind."""
    path = tmp_path / "people.csv"
    path.write_text("certno,name\n650103198503124518,王建国\n")
    code, printed, complaint = await register(path, identity)
    assert (code, printed) == (2, "")
    assert "the header lacks psn_cert_type, psn_name" in complaint
    assert await count(identity, "persons") == 0
    assert names(tmp_path) == ["people.csv"]


async def test_columns_come_in_any_order_and_some_may_lack(identity: Identity, tmp_path: Path) -> None:
    """The needed three, turned round, are enough for residents."""
    path = tmp_path / "people.csv"
    path.write_text(f"psn_name,certno,psn_cert_type\n王建国,{WANG['certno']},RESIDENT_ID\n")
    assert (await register(path, identity))[0] == 0
    assert await count(identity, "persons") == 1


async def test_who_ran_the_file_is_in_the_audit(identity: Identity, tmp_path: Path) -> None:
    """Rows that meet somebody leave a look-up that names the operator."""
    await identity.register(**WANG)
    path = tmp_path / "people.csv"
    path.write_text(f"psn_name,certno,psn_cert_type\n王建国,{WANG['certno']},RESIDENT_ID\n")
    assert (await register(path, identity, "--operator", "zhang01"))[0] == 0
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT purpose, asked_by FROM lookups")
    assert [tuple(row) for row in rows] == [("REGISTRATION", "operator:zhang01")]


async def test_blanks_around_a_cell_are_no_part_of_it(identity: Identity, tmp_path: Path) -> None:
    """A tab before a number, by which offices keep spreadsheets from rounding it, harms nothing."""
    path = tmp_path / "people.csv"
    path.write_text(
        f"psn_cert_type,certno,psn_name,insutype,insuplc_admdvs\nRESIDENT_ID,\t{WANG['certno']},王建国 , 310,650100\n"
    )
    assert (await register(path, identity))[0] == 0
    assert await count(identity, "enrolments") == 1


async def test_a_header_alone_is_a_file_of_nobody(identity: Identity, tmp_path: Path) -> None:
    """Nothing is wrong with it, and nothing is left behind."""
    path = tmp_path / "people.csv"
    path.write_text(HEADER)
    code, printed, complaint = await register(path, identity, "--json")
    assert (code, complaint) == (0, "")
    assert summary(printed) == {"lines": 0, "registered": 0, "existed": 0, "refused": 0, "report": None}
    assert names(tmp_path) == ["people.csv"]


async def test_a_second_run_on_one_file_is_turned_away(identity: Identity, tmp_path: Path) -> None:
    """It ends with 2 and touches neither note nor report; the first one reports each line once."""
    path = tmp_path / "people.csv"
    bad = "RESIDENT_ID,650103198503124517,王建国,,,,,\n"
    path.write_text(HEADER + "".join(line for number in range(60) for line in (*people(99, first=number * 99), bad)))
    running = await started(path, identity, "--in-flight", "1")
    async with asyncio.timeout(RUN_S):
        while not noted_line(path):  # noqa: ASYNC110  What another process writes sets no event.
            await asyncio.sleep(0.01)
        running.send_signal(signal.SIGSTOP)
        code, _, complaint = await register(path, identity)
        running.send_signal(signal.SIGCONT)
        await running.communicate()
    assert code == 2
    assert "is being taken by another run" in complaint
    assert running.returncode == 1
    assert [int(row[0]) for row in report(path)] == [1 + 100 * place for place in range(1, 61)]
