"""``gongji reconcile``: a day's file, the officers' list and their word, as an office runs them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from gongji.settlement.v1 import reconciliation_pb2 as pb
from ops.reconcile.statement import AMOUNTS, yuan
from tests.integration.settlement.desk.test_reconciliation import shop_of
from tests.integration.settlement.desk.town import Town

ROOT: Final = Path(__file__).resolve().parents[4]
RUN_S: Final = 60.0
HEADER: Final = ("setl_id", "infno", "msgid", "refd_setl_flag", "insutype", "clr_type", *AMOUNTS)


async def run(town: Town, *arguments: str) -> tuple[int | None, str, str]:
    """Runs the command to its end: exit code, what it printed, what it complained of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ops.main import main; main()", "reconcile", *arguments,
        "--address", f"127.0.0.1:{town.port}",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(RUN_S):
        out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


def written(path: Path, rows: Iterable[pb.StatementRow]) -> Path:
    """The rows as an institution's software exports them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        for row in rows:
            amounts = [yuan(getattr(row.amounts, name)) for name in AMOUNTS]
            flag = str(int(row.refd_setl_flag))
            out.writerow([row.setl_id, row.infno, row.msgid, flag, row.insutype, row.clr_type, *amounts])
    return path


async def test_a_day_goes_from_its_file_to_an_officers_word(town: Town, tmp_path: Path) -> None:
    """A file that lacks a revoked bill's records: listed, written out, explained; then the same file balances."""
    shop = await shop_of(town, 1_234, 2_000)
    await shop.reverses(shop.settlements[0])
    code, _, _ = await run(town, "day", shop.code, shop.day)
    assert code == 1
    file, out = written(tmp_path / "day.csv", shop.rows[:2]), tmp_path / "differences.csv"
    code, printed, _ = await run(town, "day", shop.code, shop.day, "--file", str(file), "--out", str(out))
    assert (code, "UNBALANCED: 1 ONLY_OURS OPEN" in printed) == (1, True)
    (line,) = csv.DictReader(io.StringIO(out.read_text(encoding="utf-8-sig")))
    assert (line["kind"], line["setl_id"], line["ours_medfee_sumamt"], line["theirs_medfee_sumamt"]) == (
        "ONLY_OURS",
        shop.rows[2].setl_id,
        "-12.34",
        "",
    )
    code, printed, _ = await run(town, "differences", "--institution", shop.code)
    assert (code, line["difference_id"] in printed) == (1, True)
    word = ("--state", "explained", "--cause", "the till was closed", "--opter", "z1")
    code, printed, _ = await run(town, "resolve", line["difference_id"], *word)
    assert (code, "z1: the till was closed" in printed) == (0, True)
    code, printed, _ = await run(town, "day", shop.code, shop.day, "--file", str(file), "--json")
    told: dict[str, Any] = json.loads(printed)
    assert (code, told["stmt_rslt"], told["existed"]) == (0, "STMT_RSLT_BALANCED", True)
    assert (await run(town, "differences", "--institution", shop.code))[0] == 0


async def test_what_cannot_be_asked_ends_with_2(town: Town) -> None:
    """An unknown institution, an unknown state, a difference that there is not."""
    assert (await run(town, "day", "H65019999999", "2026-11-21"))[0] == 2
    assert (await run(town, "differences", "--state", "lost"))[0] == 2
    unknown = ("resolve", "0190a0a0-0000-7000-8000-000000000001", "--state", "resolved", "--cause", "c", "--opter", "z")
    code, _, error = await run(town, *unknown)
    assert (code, "DIFFERENCE_UNKNOWN" in error) == (2, True)
