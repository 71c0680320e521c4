"""Fault points: harmless unless armed, deadly where they are, refused outside tests."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import ValidationError

from chassis import faults
from chassis.settings import ProcessSettings

PROGRAM: Final = """
import asyncio, sys
from chassis import faults
faults.arm(sys.argv[1])
for name in sys.argv[2:]:
    faults.fault_point(name)
    asyncio.run(faults.awaited_fault_point(name + ".awaited"))
print("lives")
"""
TOLD_LATER: Final = """
import os, signal, sys
from pathlib import Path
from chassis import faults
signal.signal(signal.SIGUSR1, lambda *_: faults.arm_from(Path(sys.argv[1])))
faults.fault_point("a.b")
os.kill(os.getpid(), signal.SIGUSR1)
faults.fault_point("c.d")
print("told" if not Path(sys.argv[1]).exists() else "not told", flush=True)
faults.fault_point("a.b")
print("lives")
"""


def run(spec: str, *points: str) -> tuple[int, str]:
    """How a process ends that is armed like this and passes these points."""
    command = [sys.executable, "-c", PROGRAM, spec, *points]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  Our own program.
    return ended.returncode, ended.stdout.strip()


def test_a_process_dies_at_the_armed_point_and_at_no_other() -> None:
    """As kill -9 does: nothing is flushed, nothing is said."""
    assert run("ledger.try.before_commit", "ledger.try.after_commit") == (0, "lives")
    assert run("ledger.try.before_commit", "ledger.try.before_commit") == (-signal.SIGKILL, "")


def test_a_passage_and_a_delay_can_be_asked_for() -> None:
    """The second passage kills; a point that can wait kills after its delay."""
    assert run("a.b#2", "a.b") == (0, "lives")
    assert run("a.b#2", "a.b", "a.b") == (-signal.SIGKILL, "")
    assert run("a.b.awaited+0.05", "a.b") == (-signal.SIGKILL, "")


def test_a_spec_that_cannot_be_read_arms_nothing() -> None:
    """A slip of the pen must not look like a test that passed."""
    with pytest.raises(ValueError, match="name"):
        faults.arm("Nonsense!")


def test_a_running_process_is_armed_by_a_file_and_takes_it_away(tmp_path: Path) -> None:
    """So a test knows from when on the point kills."""
    file = tmp_path / "fault"
    file.write_text("a.b\n", encoding="utf-8")
    ended = subprocess.run(  # noqa: S603  Our own program.
        [sys.executable, "-c", TOLD_LATER, str(file)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout.strip()) == (-signal.SIGKILL, "told")


@pytest.mark.parametrize("switch", [{"fault_point": "a.b"}, {"fault_file": Path("run/fault")}, {"clock_off_s": -600}])
@pytest.mark.parametrize("environment", ["production", "development"])
def test_no_process_outside_tests_can_be_armed(environment: str, switch: dict[str, Any]) -> None:
    """Production refuses every test switch at start."""
    with pytest.raises(ValidationError, match="only where GONGJI_ENVIRONMENT is test"):
        ProcessSettings(nats_url="nats://127.0.0.1:4222", environment=environment, **switch)  # type: ignore[arg-type]  # A parameter of the table.


def test_a_test_may_arm_a_point() -> None:
    """And the setting's form is checked."""
    settings = ProcessSettings(nats_url="nats://127.0.0.1:4222", environment="test", fault_point="a.b#3+0.5")
    assert settings.fault_point == "a.b#3+0.5"
    with pytest.raises(ValidationError, match="name"):
        ProcessSettings(nats_url="nats://127.0.0.1:4222", environment="test", fault_point="A B")
