"""Processes forked from one that has read their code already: a start costs a tenth of what it costs from nothing.

The tests start many hundred processes, and most of a start is Python reading modules. A process from here runs the same
``main`` with the same environment, log and folder as one that ``World`` starts from nothing. Linux only.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from ops.embedded.processes import Child
from ops.embedded.world import SERVICES, Starting, from_nothing

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
LINUX: Final = sys.platform.startswith("linux")
ADOPTED_MAX_S: Final = 60.0


class _Adopted:
    """What ``Child`` needs of a process that was forked elsewhere and is now ours to wait for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        """As Popen does: nothing if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class _Nurse:
    """A process that has read one module and forks whenever it is asked."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  Our own module.
            [sys.executable, "-m", __name__, module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def forked(self, asked: Mapping[str, object]) -> int:
        """The pid of a new process."""
        stdin, stdout = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        stdin.write(json.dumps(asked) + "\n")
        stdin.flush()
        return int(stdout.readline())

    def close(self) -> None:
        """Ends it; what it has forked lives on."""
        cast("IO[str]", self._process.stdin).close()
        cast("IO[str]", self._process.stdout).close()
        self._process.wait()


class _Nursery:
    """A nurse for each module; all of them read at once."""

    def __init__(self) -> None:
        self._nurses = {module: _Nurse(module) for module in {service.module for service in SERVICES}}

    def __call__(
        self, module: str, *, name: str, log: Path, folder: Path, record: Path, environment: Mapping[str, str]
    ) -> Child:
        """As ``from_nothing``, but nothing is written into ``record``: whoever forks a process also ends it."""
        if module not in self._nurses:
            return from_nothing(module, name=name, log=log, folder=folder, record=record, environment=environment)
        record.unlink(missing_ok=True)
        pid = self._nurses[module].forked(
            {"log": str(log), "folder": str(folder), "environment": dict(environment), "parent": os.getpid()}
        )
        return Child(cast("Any", _Adopted(pid)), name=name, record=None)

    def close(self) -> None:
        """Ends all nurses."""
        for nurse in self._nurses.values():
            nurse.close()


@contextmanager
def nursery() -> Iterator[Starting]:
    """How worlds start their processes for as long as the block lasts; from nothing where there is no forking."""
    if not LINUX or ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        yield from_nothing
        return
    forks = _Nursery()
    try:
        yield forks
    finally:
        forks.close()


def _serve(module: str) -> None:
    """Reads the module, then forks whenever it is asked, and tells the pid; ends with its input."""
    importlib.import_module(module)
    for line in sys.stdin:
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            born = os.fork()
            if born == 0:
                _live(module, json.loads(line))
            os.write(writing, str(born).encode())
            os._exit(0)
        os.waitpid(between, 0)  # Now the one in between is gone and its child is our parent's.
        os.close(writing)
        sys.stdout.write(os.read(reading, 32).decode() + "\n")
        sys.stdout.flush()
        os.close(reading)


def _live(module: str, asked: dict[str, Any]) -> None:
    """Becomes the process: a session, a folder, a log and an environment of its own; never returns."""
    os.setsid()
    os.chdir(asked["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.closerange(3, 256)
    _die_with(asked["parent"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = [module]
    code = 1
    try:
        importlib.import_module(module).main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  As the interpreter does with what nobody takes.
        sys.excepthook(*sys.exc_info())
    os._exit(code)


def _die_with(parent: int) -> None:
    """The tests' end is this process's end, also when they are killed."""
    end = time.monotonic() + ADOPTED_MAX_S
    while os.getppid() != parent:
        if time.monotonic() > end:
            os._exit(1)
        time.sleep(0.001)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    _serve(sys.argv[1])
