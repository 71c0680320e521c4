"""Child processes that end when they should: started, watched, stopped, and recognised again after an unclean end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

LAUNCHER: Final = Path(__file__).with_name("launch.py")
LOG_SIZE_MAX_BYTES: Final = 16 * 1024 * 1024
_LINUX: Final = sys.platform.startswith("linux")
_POLL_S: Final = 0.01
_KILL_GRACE_S: Final = 10.0
_PROC: Final = Path("/proc")
_STAT_STATE: Final = 0
_STAT_START_TIME: Final = 19


class CannotStart(Exception):  # noqa: N818  It is an answer to a person: what is wrong and what to do about it.
    """Something outside keeps this from starting; the message says what, and what the person can do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's user under which a server runs."""

    name: str
    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good: a pid alone is used again, a pid with its start time (and boot) is not."""

    pid: int
    started: str


def identity_of(pid: int) -> Identity | None:
    """The live process with this pid; None if there is none or it is a zombie."""
    if _LINUX:
        try:
            stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        if fields[_STAT_STATE] in {"Z", "X"}:
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return Identity(pid, f"{boot}/{fields[_STAT_START_TIME]}")
    shown = subprocess.run(  # noqa: S603  A fixed command; the pid is a number.
        ["/bin/ps", "-o", "lstart=,stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    started, _, state = shown.rpartition(" ")
    return Identity(pid, started.strip()) if shown and not state.startswith("Z") else None


def processes_inside(folder: Path) -> list[int]:
    """The pids of live processes whose working folder is this one or lies in it (a deleted one counts)."""
    prefix = str(folder)
    return [
        pid
        for pid, place in _working_folders()
        if (place == prefix or place.startswith((prefix + "/", prefix + " (deleted)"))) and identity_of(pid)
    ]


def _working_folders() -> Iterator[tuple[int, str]]:
    if not _LINUX:
        return
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield int(entry.name), str((entry / "cwd").readlink())


class Child:
    """A process that this one started in a session of its own, so that ctrl-C in a terminal reaches only the parent.

    It must be started from the thread that lives longest (the event loop's): on Linux the child is told to end when
    the thread that started it ends.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, name: str, record: Path | None) -> None:
        self._process = process
        self._record = record
        self.name = name
        self.pid = process.pid

    @classmethod
    def start(
        cls,
        command: Sequence[str | Path],
        *,
        name: str,
        log: Path,
        folder: Path,
        death_signal: signal.Signals,
        record: Path | None = None,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> Child:
        """Starts the command in ``folder``, output appended to ``log``, its identity kept in ``record``."""
        _turn_over(log)
        with log.open("ab") as output:
            process = _started(
                command,
                folder=folder,
                output=output,
                death_signal=death_signal,
                account=account,
                environment=environment,
            )
        identity = identity_of(process.pid)
        if record is not None and identity is not None:
            written = {"name": name, "pid": identity.pid, "started": identity.started}
            record.write_text(json.dumps(written), encoding="utf-8")
        return cls(process, name=name, record=record)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; below zero is the signal that ended it."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens if the process has ended."""
        self._process.send_signal(number)

    async def wait(self, *, timeout_s: float) -> int | None:
        """Its exit code, or None if it still runs after that time."""
        end = time.monotonic() + timeout_s
        while self.exit_code is None and time.monotonic() < end:  # noqa: ASYNC110  No event tells of a pid's end.
            await asyncio.sleep(_POLL_S)
        if self.exit_code is not None and self._record is not None:
            self._record.unlink(missing_ok=True)
        return self.exit_code

    async def stop(self, *steps: tuple[signal.Signals, float]) -> int:
        """Sends each signal in turn and waits its seconds; SIGKILL comes last by itself. The exit code."""
        for number, grace_s in (*steps, (signal.SIGKILL, _KILL_GRACE_S)):
            if self.exit_code is None:
                self.send(number)
            if (code := await self.wait(timeout_s=grace_s)) is not None:
                return code
        raise CannotStart(f"process {self.pid} ({self.name}) does not end, not even by SIGKILL; the disk may hang")


async def completed(command: Sequence[str | Path], *, folder: Path, account: Account | None = None) -> tuple[int, str]:
    """Runs a command to its end: exit code and everything it said. Called off, it ends with all its children."""
    with tempfile.TemporaryFile() as output:
        process = _started(command, folder=folder, output=output, death_signal=signal.SIGKILL, account=account)
        try:
            while (code := process.poll()) is None:  # noqa: ASYNC110  As in `wait`.
                await asyncio.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        return code, output.read().decode(errors="replace")


async def end_recorded(record: Path, *steps: tuple[signal.Signals, float]) -> str | None:
    """Ends the process that ``record`` names if it still lives from an earlier start; a sentence if there was one."""
    name, recorded = _taken(record)
    if recorded is None or identity_of(recorded.pid) != recorded:
        return None
    await end_all([recorded.pid], *steps)
    return f"{name} (pid {recorded.pid}) was left over from an unclean end and has been stopped"


async def end_all(pids: Sequence[int], *steps: tuple[signal.Signals, float]) -> None:
    """Ends these processes, started by an earlier parent: each signal in turn, SIGKILL last."""
    alive = {identity for pid in pids if (identity := identity_of(pid))}
    for number, grace_s in (*steps, (signal.SIGKILL, _KILL_GRACE_S)):
        for identity in alive:
            with suppress(ProcessLookupError):
                os.kill(identity.pid, number)
        end = time.monotonic() + grace_s
        while alive and time.monotonic() < end:
            await asyncio.sleep(_POLL_S)
            alive = {identity for identity in alive if identity_of(identity.pid) == identity}
        if not alive:
            return
    stuck = ", ".join(str(identity.pid) for identity in sorted(alive, key=lambda one: one.pid))
    raise CannotStart(f"processes {stuck} of an earlier start do not end, not even by SIGKILL; the disk may hang")


async def together(*work: Coroutine[object, object, object]) -> None:
    """Does it all at once. When one part fails, the others are called off and have ended before its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


def last_lines(log: Path, *, count: int = 8) -> str:
    """The end of a log, for the message of what did not start."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-count:])


def _started(
    command: Sequence[str | Path],
    *,
    folder: Path,
    output: IO[bytes],
    death_signal: signal.Signals,
    account: Account | None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  Our own commands, as lists.
        _launching(command, death_signal=death_signal, account=account),
        cwd=folder,
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _taken(record: Path) -> tuple[str, Identity | None]:
    """What the record says, and the record is gone; an unreadable one says nothing."""
    try:
        written = json.loads(record.read_text(encoding="utf-8"))
        return str(written["name"]), Identity(int(written["pid"]), str(written["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return "", None
    finally:
        record.unlink(missing_ok=True)


def _launching(command: Sequence[str | Path], *, death_signal: signal.Signals, account: Account | None) -> list[str]:
    who = ("-", "-") if account is None else (str(account.user_id), str(account.group_id))
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal)), *who]
    return [*launcher, *(str(part) for part in command)]


def _turn_over(log: Path) -> None:
    """Keeps one older log, so that logs stay bounded over many starts."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_SIZE_MAX_BYTES:
            log.replace(log.with_suffix(log.suffix + ".1"))
