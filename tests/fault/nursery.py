"""Processes forked from one that has read all the code already: a start costs a tenth of what it costs from nothing.

The crash matrix starts a process some seven hundred times, and most of a start is Python reading modules. A process
from here runs the same ``main`` with the same environment, log and folder as one that ``World`` launches. Linux only.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any, Final, cast

from ops.embedded.processes import Child
from ops.embedded.world import World

PR_SET_CHILD_SUBREAPER: Final = 36
LINUX: Final = sys.platform.startswith("linux")


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


class Nursery:
    """Starts processes of a world; each is forked from one that knows the modules."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self._reading = asyncio.get_running_loop().run_in_executor(None, self._line)

    async def ready(self) -> None:
        """Returns once the modules are read."""
        await self._reading

    async def launch(self, world: World, name: str) -> None:
        """As ``World._launch``."""
        process = world._processes[name]
        world._ready_file(name).unlink(missing_ok=True)
        process.started_at = time.monotonic()
        asked = {
            "module": process.service.module,
            "log": str(process.log),
            "folder": str(world.folder),
            "environment": world._environment_of(process),
        }
        await self.ready()
        async with self._turn:
            pid = await asyncio.to_thread(self._forked, json.dumps(asked))
        process.child = Child(cast("Any", _Adopted(pid)), name=name, record=None)

    def _forked(self, asked: str) -> int:
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(asked + "\n")
        stdin.flush()
        return int(self._line())

    def _line(self) -> str:
        return cast("IO[str]", self._process.stdout).readline()


@asynccontextmanager
async def nursery(modules: Sequence[str]) -> AsyncIterator[Nursery | None]:
    """One for as long as the block lasts; None where there can be none."""
    if not LINUX or ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        yield None
        return
    process = subprocess.Popen(  # noqa: ASYNC220, S603  Our own module; it answers at once.
        [sys.executable, "-m", __name__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Nursery(process)
    finally:
        cast("IO[str]", process.stdin).close()
        cast("IO[str]", process.stdout).close()
        process.wait()


def _serve() -> None:
    """Reads the modules, then forks whenever it is asked, and tells the pid; ends with its input."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            born = os.fork()
            if born == 0:
                _live(json.loads(line))
            os.write(writing, str(born).encode())
            os._exit(0)
        os.waitpid(between, 0)  # Now the one in between is gone and its child is our parent's.
        os.close(writing)
        sys.stdout.write(os.read(reading, 32).decode() + "\n")
        sys.stdout.flush()
        os.close(reading)


def _live(asked: dict[str, Any]) -> None:
    """Becomes the process: a session, a folder, a log and an environment of its own; never returns."""
    os.setsid()
    os.chdir(asked["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = [asked["module"]]
    code = 1
    try:
        importlib.import_module(asked["module"]).main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  As the interpreter does with what nobody takes.
        sys.excepthook(*sys.exc_info())
    os._exit(code)


if __name__ == "__main__":
    _serve()
