"""Runs pytest on a machine that stalls: its servers, and if asked the tests themselves, stand still again and again.

``python -m tests.stalls [--for 8] [--every 20] [--tests] -- -q -n 2 tests/integration/ledger``. Everything after ``--``
is pytest's. A test that fails here and passes without hangs on luck: on a slow machine it fails some day as well. Tests
about a limit of time itself (a silent area, a vote's deadline) may fail here; each says in its file what it measures.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

SERVERS: Final = ("postgres", "nats-server")
"""Of all that the run starts these two: also the few that a test starts for itself."""
FIRST_S: Final = 10.0
"""The servers are started and the tests are at work by then."""
_POLL_S: Final = 0.1


def main(arguments: Sequence[str]) -> int:
    """Pytest's own exit code."""
    asked = _parsed(arguments)
    chance = random.Random(asked.seed)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # What is stopped must go on, whoever ends this.
    run = subprocess.Popen([sys.executable, "-m", "pytest", *asked.pytest])  # noqa: S603  Our own interpreter.
    try:
        stall_at = time.monotonic() + FIRST_S
        while run.poll() is None:
            if time.monotonic() >= stall_at:
                _stall(run.pid, asked.length_s, tests=asked.tests and chance.random() < 1 / 2)
                stall_at = time.monotonic() + chance.uniform(asked.every_s, 2 * asked.every_s)
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        run.send_signal(signal.SIGINT)
        run.wait()
    return run.returncode


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.stalls", description=__doc__)
    parser.add_argument("--for", dest="length_s", type=float, default=8.0, metavar="SECONDS", help="its length")
    parser.add_argument(
        "--every", dest="every_s", type=float, default=20.0, metavar="SECONDS", help="the pause: once to twice this"
    )
    parser.add_argument("--tests", action="store_true", help="every second stall is of the tests' processes instead")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other pauses")
    parser.add_argument("pytest", nargs="+", help="pytest's arguments, after --")
    return parser.parse_args(arguments)


def _stall(run: int, length_s: float, *, tests: bool) -> None:
    """Stops the run's servers, or all that is not one of them, and lets them go on after ``length_s``."""
    stopped = [pid for pid, name in _descendants(run) if (name in SERVERS) is not tests]
    if not stopped:
        return
    sys.stderr.write(f"\nstalled for {length_s:g} s: {'tests' if tests else 'servers'}, {len(stopped)} processes\n")
    try:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(length_s)
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _descendants(run: int) -> Iterator[tuple[int, str]]:
    """The process and all below it, with their programs' names."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            head, _, fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")
            pid, _, name = head.partition(" (")
            parents[int(pid)] = (int(fields.split()[1]), name)
    below = {run}
    while found := {pid for pid, (parent, _) in parents.items() if parent in below} - below:
        below |= found
    yield from ((pid, parents[pid][1]) for pid in sorted(below) if pid in parents)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
