"""Where the tests' PostgreSQL and NATS come from: named by the environment, else the wheels, else Docker.

1. ``GONGJI_TEST_POSTGRES_URL`` (a user that may create databases) and ``GONGJI_TEST_NATS_URL`` (JetStream on);
2. the embedded servers, when their wheels are installed;
3. containers, where a Docker engine answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nats
from nats.js.errors import APIError

from ops.embedded.databases import Databases, NamedServer
from ops.embedded.folders import LOCK_FILE, FolderLock
from ops.embedded.nats import EmbeddedNats
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.processes import CannotStart, identity_of, processes_inside
from ops.embedded.world import World

POSTGRES_VARIABLE: Final = "GONGJI_TEST_POSTGRES_URL"
NATS_VARIABLE: Final = "GONGJI_TEST_NATS_URL"
SESSION_VARIABLE: Final = "GONGJITEST_SESSION"
FOLDER_VARIABLE: Final = "GONGJITEST_FOLDER"
POSTGRES_IMAGE: Final = "postgres:18"
NATS_IMAGE: Final = "nats:2"
_FOLDER_PREFIX: Final = "gongji-test-"
_MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108  A folder of ours is made in it, as in any temporary one.
_MEMORY_FREE_MIN: Final = 12 << 30
"""Bytes. A whole run has taken 3 GiB at most; the rest is for what runs beside it."""
_MORTAL: Final = {"fsync": "off", "full_page_writes": "off"}
"""The shared PostgreSQL goes with its run and need not outlive a power cut, which is all that fsync is for: what is
killed is processes, and the kernel keeps what they wrote. A busy disk must not decide whether a test passes. Where the
folder is in memory it costs nothing either way. A server that a test starts for itself has the product's settings."""
_LOCKS: Final[list[FolderLock]] = []


@dataclass(frozen=True, slots=True)
class NatsServer:
    """A NATS server with JetStream that tests share, each under a prefix of its own."""

    url: str

    async def remove_streams(self, prefix: str) -> None:
        """Deletes every stream whose name begins with the prefix."""
        client = await nats.connect(self.url)
        try:
            jetstream = client.jetstream()
            with suppress(APIError):
                for stream in await jetstream.streams_info():
                    if (name := stream.config.name) is not None and name.startswith(prefix):
                        await jetstream.delete_stream(name)
        finally:
            await client.close()


def new_session() -> None:
    """Marks this run, so that processes it leaves behind are found, and gives it one folder for all its servers."""
    if SESSION_VARIABLE in os.environ:
        return  # A worker of pytest-xdist: the session is the controller's.
    _remove_folders_of_killed_runs()
    os.environ[SESSION_VARIABLE] = uuid.uuid4().hex
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=_places()[0]))
    folder.chmod(0o711)  # Our own; as root, PostgreSQL's account passes through it to its data.
    os.environ[FOLDER_VARIABLE] = str(folder)
    _LOCKS.append(FolderLock(folder))
    _LOCKS[-1].take()


def _remove_folders_of_killed_runs() -> None:
    """A run that was killed could not remove its folder; the kernel has freed its lock, which tells."""
    for lock_file in (found for place in _places() for found in place.glob(f"{_FOLDER_PREFIX}*/{LOCK_FILE}")):
        if lock_file.parent.stat().st_uid == os.geteuid():
            lock = FolderLock(lock_file.parent)
            with suppress(CannotStart):
                lock.take()
                shutil.rmtree(lock_file.parent, ignore_errors=True)
                lock.free()


def _places() -> list[Path]:
    """Where a run's folder may be, the best first: in memory where there is enough of it, and TMPDIR says nothing.

    On a disk that others write to, one fsync may take longer than a room waits for a server: a test then fails though
    nothing is wrong. What is killed is processes, whose files memory keeps as a disk does.
    """
    usual = Path(tempfile.gettempdir())
    if "TMPDIR" in os.environ or not os.access(_MEMORY_FOLDER, os.W_OK):
        return [usual]
    roomy = min(shutil.disk_usage(_MEMORY_FOLDER).free, _memory_available()) >= _MEMORY_FREE_MIN
    return [_MEMORY_FOLDER, usual] if roomy else [usual, _MEMORY_FOLDER]


def _memory_available() -> int:
    """Bytes that may be taken before anything is swapped, as Linux reckons; 0 elsewhere."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def session_folder() -> Path:
    """The folder of this run, removed at its end. Short enough for sockets; in reach of PostgreSQL's account."""
    return Path(os.environ[FOLDER_VARIABLE])


def new_folder(name: str) -> Path:
    """A path in the session's folder that nothing uses yet."""
    return session_folder() / f"{name}-{uuid.uuid4().hex[:8]}"


def processes_left() -> list[str]:
    """What this run started and did not end: by the session's mark in its environment, or by its working folder."""
    mark = f"{SESSION_VARIABLE}={os.environ[SESSION_VARIABLE]}".encode()
    found = set(processes_inside(session_folder()))
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    found -= {os.getpid()}
    return [f"{pid}: {_command(pid)}" for pid in sorted(found) if identity_of(pid) is not None]


def end_left_processes() -> list[str]:
    """Kills what this run left over, and tells what that was."""
    left = processes_left()
    for line in left:
        with suppress(ProcessLookupError):
            os.kill(int(line.partition(":")[0]), signal.SIGKILL)
    return left


def remove_session_folder() -> None:
    """The last act of a run."""
    shutil.rmtree(session_folder(), ignore_errors=True)
    for lock in _LOCKS:
        lock.free()


async def take_down(world: World, databases: Databases) -> None:
    """Ends a world and all it has left. Its processes are killed: nobody looks at it any more or waits for a drain."""
    for one in world.running():
        await world.kill_process(one.name)
    await world.stop()
    if isinstance(databases, NamedServer):  # An embedded one goes at the end of the run, with all it holds.
        await world.drop_databases()
    shutil.rmtree(world.folder, ignore_errors=True)


@asynccontextmanager
async def postgres_server() -> AsyncIterator[Databases]:
    """The PostgreSQL server of this run, from the first rung of the ladder that stands."""
    if named := os.environ.get(POSTGRES_VARIABLE):
        yield NamedServer(named)
    elif EmbeddedPostgres.installed():
        server = EmbeddedPostgres(new_folder("pg"), settings=_MORTAL)
        await server.start()
        try:
            yield server
        finally:
            await server.destroy()
    else:
        _require_docker("PostgreSQL", POSTGRES_VARIABLE)
        from testcontainers.postgres import PostgresContainer  # noqa: PLC0415  Only the last rung needs it.

        with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
            yield NamedServer(container.get_connection_url())


@asynccontextmanager
async def nats_server() -> AsyncIterator[NatsServer]:
    """The NATS server of this run, from the first rung of the ladder that stands."""
    if named := os.environ.get(NATS_VARIABLE):
        yield NatsServer(named)
    elif EmbeddedNats.installed():
        server = EmbeddedNats(new_folder("nats"))
        await server.start()
        try:
            yield NatsServer(server.url)
        finally:
            await server.destroy()
    else:
        _require_docker("NATS", NATS_VARIABLE)
        from testcontainers.nats import NatsContainer  # noqa: PLC0415  Only the last rung needs it.

        with NatsContainer(NATS_IMAGE, jetstream=True) as container:
            yield NatsServer(container.nats_uri())


def _require_docker(what: str, variable: str) -> None:
    import docker  # type: ignore[import-untyped]  # noqa: PLC0415  Only the last rung needs it; it has no types.
    from docker.errors import DockerException  # type: ignore[import-untyped]  # noqa: PLC0415  As above.

    try:
        docker.from_env().ping()
    except DockerException as error:
        message = (
            f"no {what} for the tests: {variable} is not set, the embedded server's wheel is not installed "
            f"(pip install gongji[embedded]), and no Docker engine answers ({error})"
        )
        raise RuntimeError(message) from error


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "?"
