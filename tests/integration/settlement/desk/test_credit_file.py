"""``gongji accounts credit``: a month's file of credits, as an office runs it."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ops.batchfile.progress import report_of
from tests.integration.settlement.desk.town import HAMI, URUMQI, Town

ROOT = Path(__file__).resolve().parents[4]
HEADER = "row_id,psn_no,area,part,amount_fen\n"
RUN_S = 120.0


async def credit(path: Path, town: Town, *options: str) -> tuple[int | None, str, str]:
    """Runs the command to its end: exit code, what it printed, what it complained of."""
    process = await started(path, town, *options)
    async with asyncio.timeout(RUN_S):
        out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


async def started(path: Path, town: Town, *options: str) -> asyncio.subprocess.Process:
    """The command, running."""
    code = "from ops.main import main; main()"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "accounts", "credit", str(path), "--address", f"127.0.0.1:{town.port}", *options,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def summary(printed: str) -> dict[str, Any]:
    """What --json printed, without the time it took."""
    document: dict[str, Any] = json.loads(printed)
    assert document.pop("seconds") >= 0
    return document


async def test_every_row_is_credited_or_reported_and_the_file_again_changes_nothing(town: Town, tmp_path: Path) -> None:
    """Each part gets its money; a person unknown, an area that insures him not and a bad number stand in the report."""
    one, other = await town.person(), await town.person()
    path = tmp_path / "credits.csv"
    rows = [
        f"2026-11/1,{one},{URUMQI},当年,100\n".replace("/", "."),
        f"2026-11.2,{other},{URUMQI},PAST,20\n",
        f"2026-11.3,650100999999999,{URUMQI},CURRENT,3\n",
        f"2026-11.4,{other},{HAMI},CURRENT,4\n",
        f"2026-11.5,no number,{URUMQI},CURRENT,5\n",
        f"2026-11.6,{one},{URUMQI},NEXT,6\n",
        f"2026-11.7,{one},{URUMQI},CURRENT,0\n",
    ]
    path.write_bytes((HEADER + "".join(rows) + "合计,7,,,138\n").encode("gb18030"))
    code, out, error = await credit(path, town, "--json")
    report = str(report_of(path))
    assert (code, error) == (1, "")
    assert summary(out) == {"lines": 9, "credited": 2, "existed": 0, "refused": 5, "report": report}
    assert (await town.balance(one, URUMQI), await town.balance(other, URUMQI)) == ((0, 100), (20, 0))
    with report_of(path).open(encoding="utf-8-sig", newline="") as file:
        told = [row[:3] for row in csv.reader(file)][1:]
    assert told == [
        ["4", "PERSON_UNKNOWN", "psn_no"],
        ["5", "NOT_INSURED_IN_AREA", ""],
        ["6", "REQUEST_INVALID", "psn_no"],
        ["7", "LINE_MALFORMED", "part"],
        ["8", "REQUEST_INVALID", "amount_fen"],
    ]
    code, out, _ = await credit(path, town, "--json")
    assert summary(out) == {"lines": 9, "credited": 0, "existed": 2, "refused": 5, "report": report}
    assert (await town.balance(one, URUMQI), await town.balance(other, URUMQI)) == ((0, 100), (20, 0))


async def test_a_file_whose_total_is_wrong_books_nothing(town: Town, tmp_path: Path) -> None:
    """Exit code 2, both totals named, and not a fen has moved; with the total mended it is booked."""
    person, before = await town.person(), await town.stored()
    path = tmp_path / "credits.csv"
    path.write_text(f"{HEADER}a.1,{person},{URUMQI},CURRENT,100\nTOTAL,1,,,1000\n")
    code, _, error = await credit(path, town)
    assert code == 2
    assert "the total says 1 rows of 10.00 yuan, the lines are 1 rows of 1.00 yuan; nothing was booked" in error
    assert await town.stored() == before
    path.write_text(f"{HEADER}a.1,{person},{URUMQI},CURRENT,100\nTOTAL,1,,,100\n")
    code, _, error = await credit(path, town)
    assert (code, error) == (0, "")
    assert await town.balance(person, URUMQI) == (0, 100)


async def test_a_run_that_was_killed_goes_on_and_every_row_is_booked_once(town: Town, tmp_path: Path) -> None:
    """Kill -9 in the middle, run again: the sum on the accounts is the file's sum, and nothing was begun anew."""
    people = [await town.person() for _ in range(10)]
    lines = 4_000
    path = tmp_path / "credits.csv"
    rows = "".join(f"k.{n},{people[n % 10]},{URUMQI},CURRENT,{n + 1}\n" for n in range(lines))
    total_fen = lines * (lines + 1) // 2
    path.write_text(f"{HEADER}{rows}TOTAL,{lines},,,{total_fen}\n")
    process = await started(path, town, "--in-flight", "1")
    note = path.with_name(path.name + ".progress")
    async with asyncio.timeout(RUN_S):
        while not (note.exists() and json.loads(note.read_text())["line"] > 1):  # noqa: ASYNC110  Another process's file.
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    noted = json.loads(note.read_text())["line"]
    assert noted < lines + 1
    code, out, error = await credit(path, town)
    assert (code, error) == (0, "")
    assert f"going on behind line {noted:,}" in out
    balances = [await town.balance(person, URUMQI) for person in people]
    assert sum(current for _, current in balances) == total_fen
    assert not note.exists()
