"""The command `gongji verify`: its rounds, its exit codes, the file of anchors."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
from typer.testing import CliRunner

from ops.main import app
from ops.places import Places
from tests.integration.verify.sound import AREA, FUNDER


def said(places: Places, *arguments: str) -> tuple[int, str]:
    """The exit code of ``gongji verify`` and what it printed."""
    urls = ("--coordinator", places.coordinator_url, "--ledgers", places.ledger_urls[AREA].replace(AREA, "{area}"))
    result = CliRunner().invoke(app, ["verify", *urls, "--areas", AREA, *arguments])
    return result.exit_code, result.output


def test_a_watch_tells_each_round_in_a_line_and_looks_at_everything_now_and_then(places: Places) -> None:
    """The first and every second round are whole; with --json each is one document."""
    code, lines = said(places, "--watch", "--rounds", "3", "--every", "0.1", "--whole-every", "2", "--json")
    told = [json.loads(line) for line in lines.splitlines()]
    assert (code, [(one["round"], one["whole"], one["violations"]) for one in told]) == (
        0,
        [(1, True, 0), (2, False, 0), (3, True, 0)],
    )
    assert told[0]["heads"][AREA]["last_entry_no"] == 11
    code, lines = said(places, "--watch", "--rounds", "2", "--every", "0.1")
    assert (code, [line.rpartition(": ")[2] for line in lines.splitlines()]) == (0, ["every invariant holds"] * 2)


def test_a_watch_ends_at_ctrl_c_with_what_it_has_seen(places: Places) -> None:
    """Exit code 0 after sound rounds, and nothing but their lines is printed."""
    urls = ("--coordinator", places.coordinator_url, "--ledgers", places.ledger_urls[AREA].replace(AREA, "{area}"))
    # A shell without a terminal has what it runs in the background ignore ctrl-C, and that is inherited.
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from ops.main import main; main()"
    command = [sys.executable, "-c", start, "verify", *urls, "--areas", AREA, "--watch"]
    with subprocess.Popen(  # noqa: S603  Our own command.
        [*command, "--every", "0.2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        lines += process.stdout.readlines()
        assert process.wait() == 0, lines
    assert [line for line in lines if "every invariant holds" not in line] == []


def test_what_is_wrong_is_told_in_every_round_until_it_is_mended(places: Places) -> None:
    """A round that looks at changes only would have passed over it; the exit code remembers it."""
    wrong, right = (
        f"UPDATE accounts SET past_fen = past_fen {sign} 1 WHERE psn_no = '{FUNDER}'"  # noqa: S608  Constants.
        for sign in ("+", "-")
    )
    asyncio.run(_execute(places.ledger_urls[AREA], wrong))
    try:
        code, lines = said(places, "--watch", "--rounds", "2", "--every", "0.1")
    finally:
        asyncio.run(_execute(places.ledger_urls[AREA], right))
    told = f"  ✗ I2 ledger {AREA}: account {FUNDER} PERSONAL: balance 301+0, but its entries sum to 300+"
    assert (code, lines.count("1 VIOLATIONS"), lines.count(told)) == (1, 2, 2)


def test_an_anchor_is_written_compared_and_left_alone_when_something_is_wrong(places: Places, tmp_path: Path) -> None:
    """The file keeps the head; a head that was never in the chain is a violation, and stays in the file."""
    file = tmp_path / "heads.json"
    assert said(places, "--anchor", str(file))[0] == 0
    assert said(places, "--anchor", str(file))[0] == 0
    kept = json.loads(file.read_text())
    kept["heads"][AREA]["digest"] = "00" * 32
    file.write_text(json.dumps(kept))
    code, told = said(places, "--anchor", str(file), "--json")
    assert (code, json.loads(told)["invariants"]["CHAIN"]["violations"]) == (1, 1)
    assert json.loads(file.read_text()) == kept


def test_a_database_that_cannot_be_read_is_exit_code_2(places: Places) -> None:
    """Once as a problem, and in a watch as a round that could not be made."""
    away = Places(places.coordinator_url.replace("_settlement", "_nowhere"), places.ledger_urls)
    assert said(away)[0] == 2
    code, lines = said(away, "--watch", "--rounds", "1")
    assert (code, "round 1  could not be made: InvalidCatalogNameError" in lines) == (2, True)


def test_a_ledger_that_is_away_stops_the_audit_of_its_own_area_only(places: Places) -> None:
    """The other one is judged and every round is whole; the exit code says that not everything was read."""
    code, lines = said(places, "--areas", f"{AREA},650500", "--watch", "--rounds", "2", "--every", "0.1", "--json")
    told = [json.loads(line) for line in lines.splitlines()]
    assert (code, [(one["whole"], one["violations"], list(one["unreadable"])) for one in told]) == (
        2,
        [(True, 0, ["650500"])] * 2,
    )
    assert told[0]["invariants"]["I2"]["checked"] > 0
    assert "what could be read holds" in said(places, "--areas", f"{AREA},650500")[1]


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
