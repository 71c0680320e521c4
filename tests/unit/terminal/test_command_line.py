"""The real process, given rubbish or an output that takes nothing: its exit code is true."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import grpc
import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji.settlement.v1.settlement_pb2_grpc import SettlementServiceServicer, add_SettlementServiceServicer_to_server
from gongji_terminal.alone import Busy, alone_with
from gongji_terminal.journal import Journal, ShownPlan
from gongji_terminal.nameless import nameless

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"

HOSPITAL: Final = "H65010000001"
PLAN: Final = "0190a1b2-0000-7000-8000-0000deadbeef"
MSGID: Final = f"{HOSPITAL}202611211000000100"
NOW: Final = datetime.now(UTC)


def settings(folder: Path, address: str = "127.0.0.1:9") -> Path:
    """A terminal's settings in this folder."""
    file = folder / "terminal.toml"
    file.write_text(
        f'fixmedins_code = "{HOSPITAL}"\nterminal_no = "T01"\nnumber = 1\nsettlement = "{address}"\n'
        f'identity = "{address}"\njournal = "journal.db"\nlanguage = "zh"\n'
        "[patience]\nattempt_s = 5\nrequest_s = 0.2\n",
        encoding="utf-8",
    )
    return file


def ran(
    file: Path, *words: str, environment: Mapping[str, str] | None = None, out: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    """The process to its end."""
    return subprocess.run(  # noqa: S603  Our own module.
        [sys.executable, "-m", "gongji_terminal", *words, "--config", str(file)],
        env={**os.environ, **(environment or {})},
        stdout=out,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


class Undecided(SettlementServiceServicer):
    """A desk that has every request under way, and decides none of them."""

    def __init__(self) -> None:
        self.state: pb.SettlementState.ValueType = pb.SETTLEMENT_STATE_IN_PROGRESS

    async def GetSettlement(self, _: pb.GetSettlementRequest, __: object) -> pb.GetSettlementResponse:  # noqa: N802  The contract's.
        """The same of every request."""
        return pb.GetSettlementResponse(settlement=pb.Settlement(setl_id=PLAN, state=self.state))

    async def ReverseTransaction(  # type: ignore[override]  # noqa: N802  It never answers.
        self, _: pb.ReverseTransactionRequest, context: Context
    ) -> None:
        """Silence."""
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


@pytest.fixture
async def undecided() -> AsyncIterator[tuple[Undecided, str]]:
    """Such a desk and where it listens."""
    server = grpc.aio.server()
    desk = Undecided()  # type: ignore[abstract]  # What `pay` asks of it, it has.
    add_SettlementServiceServicer_to_server(desk, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield desk, f"127.0.0.1:{port}"
    await server.stop(0)


async def asked_for(folder: Path) -> None:
    """The journal of a terminal that died while it paid PLAN."""
    async with Journal(folder / "journal.db") as journal:
        plan = pb.Plan(plan_id=PLAN, digest=b"d" * 32)
        await journal.keep_plan(ShownPlan(PLAN, HOSPITAL, "OUTPATIENT", "V1", nameless(plan), ""), now=NOW)
        await journal.write(
            fixmedins_code=HOSPITAL,
            terminal=1,
            infno="2207",
            now=NOW,
            make_msgid=lambda _: MSGID,
            make_request=lambda _: pb.SettleRequest(plan_id=PLAN).SerializeToString(),
            plan_id=PLAN,
        )


async def test_an_undecided_payment_is_not_called_paid(undecided: tuple[Undecided, str], tmp_path: Path) -> None:
    """`pay` of a plan whose earlier request is still under way says unanswered (4), not settled (0)."""
    await asked_for(tmp_path)
    done = await asyncio.to_thread(ran, settings(tmp_path, undecided[1]), "pay", PLAN[-12:], "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (4, "unanswered")


@pytest.mark.parametrize("full", ["/dev/full", "a closed pipe"])
async def test_an_answer_that_cannot_be_said_is_not_called_refused(
    undecided: tuple[Undecided, str], tmp_path: Path, full: str
) -> None:
    """`pay` that was done, with an output that takes nothing, ends with 4: neither 1 (nothing taken) nor 0."""
    await asked_for(tmp_path)
    undecided[0].state = pb.SETTLEMENT_STATE_SETTLED
    if full == "/dev/full":
        out = os.open(full, os.O_WRONLY)
    else:
        reading, out = os.pipe()
        os.close(reading)
    try:
        done = await asyncio.to_thread(ran, settings(tmp_path, undecided[1]), "pay", PLAN[-12:], "--json", out=out)
    finally:
        os.close(out)
    assert done.returncode == 4
    assert b"Traceback" not in done.stderr


async def test_a_console_without_chinese_hears_what_was_paid(undecided: tuple[Undecided, str], tmp_path: Path) -> None:
    """Where the output takes ASCII alone, `pay` that was done still ends with 0 and names the settlement."""
    await asked_for(tmp_path)
    undecided[0].state = pb.SETTLEMENT_STATE_SETTLED
    done = await asyncio.to_thread(
        ran, settings(tmp_path, undecided[1]), "pay", PLAN[-12:], environment={"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert PLAN.encode() in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--json"],
        ["--json", "sell"],
        ["pay", "--json"],
        ["journal", "--json", "--day", "never"],
        ["--json", "plan", "x"],
    ],
)
def test_a_wrong_command_line_is_json_too(tmp_path: Path, words: list[str]) -> None:
    """Whatever is wrong with the words, `--json` answers one JSON object with `wrong`, and 2."""
    done = ran(settings(tmp_path), *words)
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (2, "wrong")


@pytest.mark.parametrize("bill", ['{"med_type": "11", "lines": [1]}', '{"med_type": "11", "lines": [[]]}', "[]", "{"])
def test_a_rubbish_bill_is_wrong(tmp_path: Path, bill: str) -> None:
    """A file that is no bill ends with 2 before anything is sent."""
    (tmp_path / "bill.json").write_text(bill, encoding="utf-8")
    done = ran(settings(tmp_path), "plan", "--bill", str(tmp_path / "bill.json"), "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (2, "wrong")


def test_an_endless_bill_is_wrong(tmp_path: Path) -> None:
    """A file without an end is read as far as a bill may go, and refused with 2."""
    done = ran(settings(tmp_path), "plan", "--bill", "/dev/zero", "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (2, "wrong")


def test_a_journal_is_its_owners_alone(tmp_path: Path) -> None:
    """The journal holds personal numbers: nobody else on the machine may read it or what SQLite puts beside it."""
    assert ran(settings(tmp_path), "journal").returncode == 0
    assert stat.S_IMODE((tmp_path / "journal.db").stat().st_mode) == 0o600


def test_a_further_journal_that_is_none_is_wrong(tmp_path: Path) -> None:
    """`reconcile --journal` with a file of something else ends with 2 and its name; nothing is sent, and it is left."""
    other = tmp_path / "other.sqlite"
    other.write_text("this is no database, and long enough to be taken for one " * 100, encoding="utf-8")
    done = ran(settings(tmp_path), "reconcile", "--journal", str(other))
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"the journal {other} cannot be opened" in done.stderr.decode()
    assert other.read_text(encoding="utf-8").startswith("this is no database")


def stub(*words: str) -> subprocess.CompletedProcess[str]:
    """The stub's process to its end."""
    return subprocess.run(  # noqa: S603  Our own module.
        [sys.executable, "-m", "gongji_terminal", "stub", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("address", ["127.0.0.1:70000", "127.0.0.1", "127.0.0.1:http", ""])
def test_a_stub_at_no_address_is_wrong(address: str) -> None:
    """A port above 65535 would be another port."""
    done = stub("--address", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--address must be HOST:PORT, the port 65535 at most" in done.stderr


def test_a_stub_at_a_taken_port_says_so() -> None:
    """Exit code 2 and a sentence with the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = stub("--address", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"nobody can listen at {address}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_journal_behind_a_link_is_the_same_journal(tmp_path: Path) -> None:
    """Whoever reaches it by another name waits for the one who moves money with it."""
    journal, link = tmp_path / "journal.db", tmp_path / "link.db"
    journal.touch()
    link.symlink_to(journal)
    with alone_with(journal), pytest.raises(Busy), alone_with(link, wait_s=0.1):
        pass


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_lock_that_cannot_be_used_is_wrong(tmp_path: Path, *, as_folder: bool) -> None:
    """Nothing was sent, so it is 2 and names the file; the journal is not blamed."""
    lock = tmp_path / "journal.db.lock"
    if as_folder:
        lock.mkdir()
    else:
        lock.write_text("no database " * 100, encoding="utf-8")
    done = ran(settings(tmp_path), "resume")
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"{lock} cannot be used as a lock" in done.stderr.decode()


def test_a_word_that_is_no_setl_id_is_not_sent(tmp_path: Path) -> None:
    """`revoke` of it ends with 2, also where nobody could be asked."""
    done = ran(settings(tmp_path), "revoke", "nonsense")
    assert (done.returncode, done.stderr.decode()) == (2, "gongji-terminal: nonsense is no setl_id\n")


def test_a_full_disk_takes_no_wish(tmp_path: Path) -> None:
    """A reversal that cannot be written down is not called written; with room again it waits."""
    file = settings(tmp_path)
    words = ("reverse", "--later", "--infno", "2207", MSGID)
    assert ran(file, "journal").returncode == 0
    full = subprocess.run(  # noqa: S603  Our own module.
        [sys.executable, "-m", "gongji_terminal", *words, "--config", str(file)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert full.returncode in {2, 4}, full
    assert b"Traceback" not in full.stderr
    assert ran(file, *words).returncode == 0


@pytest.mark.parametrize(
    ("lines", "words", "sentence"),
    [
        ([], ["medfee=1"], "the bill has no field medfee; it may have med_type, medfee_sumamt, "),
        (
            [{"list_type": "101"}, {"price": "1"}],
            ["med_type=11"],
            "line 2 of the bill has no field price; it may ",
        ),
    ],
)
def test_a_field_that_no_bill_has_is_named_beside_those_that_there_are(
    tmp_path: Path, lines: list[dict[str, str]], words: list[str], sentence: str
) -> None:
    """By the contract's own names, in one line, with exit code 2: nothing was sent."""
    bill = tmp_path / "bill.json"
    bill.write_text(json.dumps({"lines": lines}), encoding="utf-8")
    done = ran(settings(tmp_path), "plan", "--mdtrt-id", "V1", "--bill", str(bill), *words, "--code", "-")
    said = done.stderr.decode()
    assert (done.returncode, sentence in said, said.count("\n")) == (2, True, 1), said
