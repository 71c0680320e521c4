"""Commands that are given what cannot be: one sentence that names it, exit code 2, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
NOBODY: Final = "postgresql://x@127.0.0.1:9/x"
LEDGERS: Final = "postgresql://x@127.0.0.1:9/{area}"
SETTLEMENT_AWAY: Final = "the settlement database could not be read"


def ran(*words: str, folder: Path) -> tuple[int, str]:
    """The command's exit code, and all that it said in one line; it may not have printed an answer."""
    done = subprocess.run(  # noqa: S603  Our own module.
        [sys.executable, "-c", "from ops.main import main; main()", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def databases(coordinator: str = NOBODY, ledgers: str = LEDGERS) -> list[str]:
    """The options of a system that runs elsewhere."""
    return ["--coordinator", coordinator, "--ledgers", ledgers, "--areas", "650100"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up", "--identity-port", "70000"], "--identity-port"),
        (["up", "--nats-port", "-1"], "--nats-port"),
        (["identity", "register", "people.csv", "--address", "127.0.0.1:70000"], "the port between 1 and 65535"),
        (["claims", "list", "650100", "--address", "127.0.0.1"], "must be HOST:PORT"),
        (["claims", "list", "650100", "--address", "127.0.0.1:9"], "SERVICE_UNAVAILABLE: "),
        (["verify", *databases("postgresql://x@127.0.0.1:99999/x")], "--coordinator has a port that is not between"),
        (["verify", *databases(ledgers="postgresql://x@127.0.0.1:99999/{area}")], "--ledgers has a port that is not"),
        (["verify", *databases()], SETTLEMENT_AWAY),
        (["settlement", "explain", "0190a0a0-0000-7000-8000-000000000001", *databases()], SETTLEMENT_AWAY),
        (["pledge-text", "register", "rubbish", "--version", "1", "--address", "127.0.0.1:9"], "is no text in UTF-8"),
        (
            ["pledge-text", "register", ".", "--version", "1", "--address", "127.0.0.1:9"],
            "cannot be read: Is a directory",
        ),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    """Whoever typed it learns what is wrong."""
    (tmp_path / "rubbish").write_bytes(b"\xff\xfe\x00")
    code, told = ran(*words, folder=tmp_path)
    assert code == 2
    assert said in told


def test_a_data_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """`gongji up` ends with 1, as for whatever keeps it from starting."""
    code, told = ran("up", "--data", "/proc/nowhere", folder=tmp_path)
    assert code == 1
    assert "/proc/nowhere cannot be made" in told
