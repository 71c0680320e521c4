"""``gongji identity register-institutions``: institutions and their terminals from a file, as an office runs it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from gongji.identity.v1 import institutions_pb2 as pb
from gongji.identity.v1 import person_pb2
from tests.integration.identity.conftest import Identity
from tests.integration.identity.test_people_file import ROOT, RUN_S, report, summary

HEADER: Final = (
    "fixmedins_code,fixmedins_name,level,agreement_from_date,agreement_to_date,capabilities,wallet_capable,"
    "longitude,latitude,admdvs,terminal_no,terminal_name\n"
)
CLINIC: Final = "H65010000017,共济医院,TWO,2026-01-01,2026-12-31,INPATIENT CHRONIC,1,87.617733,43.792818,650103"
SHOP: Final = "P65010000025,共济药房,,,,,,,,"


async def run(path: Path, identity: Identity, *options: str) -> tuple[int | None, str, str]:
    """The command to its end: exit code, what it printed, what it complained of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ops.main import main; main()", "identity", "register-institutions", str(path),
        "--address", identity.address, "--operator", "zhang01", *options,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(RUN_S):
        out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


async def institution(identity: Identity, code: str) -> person_pb2.Institution:
    """As identity knows it."""
    answer = await identity.institutions.GetInstitution(pb.GetInstitutionRequest(fixmedins_code=code))
    return answer.institution


async def terminals(identity: Identity, code: str) -> dict[str, person_pb2.Terminal]:
    """By their numbers."""
    answer = await identity.institutions.ListTerminals(pb.ListTerminalsRequest(fixmedins_code=code))
    return {terminal.terminal_no: terminal for terminal in answer.terminals}


async def test_institutions_and_terminals_are_registered_once(identity: Identity, tmp_path: Path) -> None:
    """A row for each terminal; the same file again changes nothing, and no decision is undone by it."""
    path = tmp_path / "institutions.csv"
    path.write_text(HEADER + f"{CLINIC},T01,1号窗口\n{CLINIC},T02,\n{SHOP},,\n", encoding="gb18030")
    code, printed, complaint = await run(path, identity, "--json")
    assert (code, complaint) == (0, "")
    assert summary(printed) == {"lines": 4, "registered": 3, "existed": 0, "refused": 0, "report": None}
    clinic = await institution(identity, "H65010000017")
    assert (clinic.fixmedins_name, clinic.state, clinic.level, clinic.wallet_capable, clinic.agreement_to_date) == (
        "共济医院",
        person_pb2.INSTITUTION_STATE_DESIGNATED,
        person_pb2.INSTITUTION_LEVEL_TWO,
        True,
        "2026-12-31",
    )
    assert len(clinic.capabilities) == 2
    assert (clinic.place.longitude_udeg, clinic.place.latitude_udeg) == (87_617_733, 43_792_818)
    names = {number: terminal.terminal_name for number, terminal in (await terminals(identity, "H65010000017")).items()}
    assert names == {"T01": "1号窗口", "T02": "T02"}
    await identity.institutions.SuspendInstitution(
        pb.SuspendInstitutionRequest(fixmedins_code="P65010000025", opter="zhang01", cause="no licence")
    )
    await identity.institutions.RetireTerminal(
        pb.RetireTerminalRequest(fixmedins_code="H65010000017", terminal_no="T02", opter="zhang01", cause="broken")
    )
    again = tmp_path / "again.csv"
    again.write_bytes(path.read_bytes())
    code, printed, _ = await run(again, identity, "--json")
    assert (code, summary(printed)["existed"]) == (0, 3)
    assert await institution(identity, "H65010000017") == clinic
    assert (await institution(identity, "P65010000025")).state == person_pb2.INSTITUTION_STATE_SUSPENDED
    assert (await terminals(identity, "H65010000017"))["T02"].state == person_pb2.TERMINAL_STATE_RETIRED
    shown = await identity.institutions.GetInstitution(pb.GetInstitutionRequest(fixmedins_code="H65010000017"))
    assert [decision.opter for decision in shown.decisions] == ["zhang01"]


async def test_a_column_that_is_missing_leaves_what_is_known(identity: Identity, tmp_path: Path) -> None:
    """A list of names and terminals changes neither level nor place nor what the institution may settle."""
    full, names = tmp_path / "full.csv", tmp_path / "names.csv"
    full.write_text(HEADER + f"{CLINIC},T01,1号窗口\n", encoding="utf-8")
    assert (await run(full, identity))[0] == 0
    before = await institution(identity, "H65010000017")
    names.write_text("fixmedins_name,fixmedins_code\n共济总医院,H65010000017\n", encoding="utf-8")
    assert (await run(names, identity))[0] == 0
    after = await institution(identity, "H65010000017")
    before.fixmedins_name = "共济总医院"
    assert after == before


async def test_a_line_that_cannot_be_taken_stands_in_the_report(identity: Identity, tmp_path: Path) -> None:
    """By its number, reason and column; the others are registered."""
    path = tmp_path / "institutions.csv"
    lines = [
        "X65010000017,共济医院,,,,,,,,,T01,\n",
        "H65010000018,共济医院,FOUR,,,,,,,,,\n",
        "H65010000019,共济医院,,,,,,87,NaN,,,\n",
        "H65010000020,共济医院,,2026-12-31,2026-01-01,,,,,,,\n",
        "P65010000033,共济药房,,,,INPATIENT,,,,,,\n",
        "H65010000021,共济医院,,,,,,,,,,1号窗口\n",
        f"{SHOP},T 1,\n",
        f"{SHOP},T01,\n",
    ]
    path.write_text(HEADER + "".join(lines), encoding="utf-8")
    code, printed, _ = await run(path, identity, "--json")
    assert (code, summary(printed)["registered"]) == (1, 1)
    assert report(path) == [
        ["2", "REQUEST_INVALID", "fixmedins_code"],
        ["3", "LINE_MALFORMED", "level"],
        ["4", "LINE_MALFORMED", "latitude"],
        ["5", "AGREEMENT_PERIOD_REVERSED", "agreement_to_date"],
        ["6", "CAPABILITY_NOT_FOR_INSTITUTION", "capabilities"],
        ["7", "LINE_MALFORMED", "terminal_no"],
        ["8", "REQUEST_INVALID", "terminal_no"],
    ]
    assert list(await terminals(identity, "P65010000025")) == ["T01"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([f"{SHOP},T01,\n", f"{SHOP.replace('药房', '大药房')},T02,\n"], "lines 2 and 3 describe the same institution"),
        ([f"{SHOP},T01,a\n", f"{CLINIC},T01,\n", f"{SHOP},T01,b\n"], "lines 2 and 4 are the same institution's same"),
    ],
)
async def test_a_file_that_contradicts_itself_is_refused_whole(
    identity: Identity, tmp_path: Path, rows: list[str], said: str
) -> None:
    """Exit code 2, both lines named, and nothing registered."""
    path = tmp_path / "institutions.csv"
    path.write_text(HEADER + "".join(rows), encoding="utf-8")
    code, printed, complaint = await run(path, identity)
    assert (code, printed) == (2, "")
    assert said in " ".join(complaint.split())
    listed = await identity.institutions.ListInstitutions(pb.ListInstitutionsRequest(admdvs="650000"))
    assert [each.fixmedins_code for each in listed.institutions if each.fixmedins_code.startswith("P")] == []
