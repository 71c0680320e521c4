"""Folders of our own: the data folder with its lock, and the annex outside it for what cannot live inside.

No mode or owner of any other folder is ever changed. Where the data folder cannot serve (PostgreSQL's account cannot
enter it, or a socket's path would be too long), an annex is made in a place that can, and the data folder points to it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ops.embedded.processes import CannotStart, end_all, processes_inside

_INSTANCE_FILE: Final = "instance"
LOCK_FILE: Final = "lock"
_POINTER_FILE: Final = "annex"
_OWNER_FILE: Final = "owner.json"
_INSTANCE_BYTES: Final = 8
_NAME_LENGTH: Final = 12
_OTHERS_MAY_WRITE: Final = 0o022
_ENDING: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0))


class FolderLock:
    """Held by the one process that uses a folder; the kernel frees it when that process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def take(self) -> None:
        """Takes the lock; CannotStart names the process that holds it and what to do."""
        descriptor = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise CannotStart(
                f"{self._folder} is in use by another Gongji (process {holder}). "
                f"Stop that one first (ctrl-C in its terminal, or kill its process), or choose another data folder."
            ) from None
        os.ftruncate(descriptor, 0)
        now = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        os.pwrite(descriptor, f"{os.getpid()}, since {now}\n".encode(), 0)
        self._descriptor = descriptor

    def free(self) -> None:
        """Gives the lock back; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A folder that Gongji made, known by the random ``instance`` written into it."""

    path: Path
    instance: str

    @classmethod
    def at(cls, path: Path) -> DataFolder:
        """Opens the folder, or makes it; CannotStart if it is someone else's or full of other things."""
        path = path.resolve()
        try:
            if not path.exists():
                _made(path)
        except OSError as problem:
            raise CannotStart(f"{path} cannot be made: {problem.strerror}. Choose another data folder.") from None
        if not path.is_dir():
            raise CannotStart(f"{path} is not a folder. Choose another data folder.")
        if path.stat().st_uid != os.geteuid():
            raise CannotStart(
                f"{path} belongs to the user with number {path.stat().st_uid}, and this runs as {os.geteuid()}. "
                f"Run it as that user, or choose another data folder."
            )
        try:
            instance = (path / _INSTANCE_FILE).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            if any(path.iterdir()):
                raise CannotStart(
                    f"{path} is not empty and was not made by Gongji; nothing in it was touched. "
                    f"Choose an empty or a new folder."
                ) from None
            instance = secrets.token_hex(_INSTANCE_BYTES)
            (path / _INSTANCE_FILE).write_text(instance + "\n", encoding="ascii")
        return cls(path, instance)


@dataclass(frozen=True, slots=True)
class Annex:
    """A folder outside the data folder that belongs to it and goes with it."""

    path: Path

    @classmethod
    async def found(cls, folder: DataFolder) -> tuple[Annex | None, list[str]]:
        """The annex this data folder points to, if any, and what is to be said about stale ones.

        An annex that an earlier folder of the same path left behind is removed. CannotStart if that one is in use, or
        if the data folder is a copy of another, whose annex it names.
        """
        said = []
        for path in (base / _name_of(folder.path) for base in _bases()):
            owner = _owner_of(path)
            if owner is not None and owner["instance"] != folder.instance:
                await cls(path).removed()
                said.append(f"{path} was left by an earlier {folder.path}, which has been deleted; it is removed")
        try:
            path = Path((folder.path / _POINTER_FILE).read_text(encoding="utf-8").strip())
        except FileNotFoundError:
            return None, said
        owner = _owner_of(path)
        if owner is None or owner["instance"] != folder.instance:
            (folder.path / _POINTER_FILE).unlink()
            said.append(f"{path}, where the data of {folder.path} was kept, is gone; starting empty")
            return None, said
        if owner["folder"] != str(folder.path):
            original = Path(owner["folder"]) / _INSTANCE_FILE
            if original.exists() and original.read_text(encoding="ascii").strip() == folder.instance:
                raise CannotStart(
                    f"{folder.path} is a copy of {owner['folder']}, whose database lies in {path}. "
                    f"Use the original, or delete the copy."
                )
            _write_owner(path, folder)
        return cls(path), said

    @classmethod
    def made(cls, folder: DataFolder, *, base: Path) -> Annex:
        """Makes the annex under ``base`` and lets the data folder point to it."""
        path = base / _name_of(folder.path)
        if not path.exists():
            _made(path)
        _write_owner(path, folder)
        (folder.path / _POINTER_FILE).write_text(f"{path}\n", encoding="utf-8")
        return cls(path)

    async def removed(self) -> None:
        """Ends what still runs in it from an unclean end, and removes it; CannotStart if a live Gongji holds it."""
        lock = FolderLock(self.path)
        lock.take()
        await end_all(processes_inside(self.path), *_ENDING)
        shutil.rmtree(self.path)
        lock.free()
        with suppress(OSError):
            self.path.parent.rmdir()  # Only when it was the last one.


def abandoned_annexes() -> list[tuple[Path, str]]:
    """Annexes of ours whose data folder is gone, with the folder's old path.

    They are told of, not removed: the folder may lie on a disk that is not mounted just now.
    """
    found = []
    for base in _bases():
        with suppress(OSError):
            for path in base.iterdir():
                owner = _owner_of(path)
                if owner is not None and not (Path(owner["folder"]) / _INSTANCE_FILE).exists():
                    found.append((path, owner["folder"]))
    return found


def annex_bases() -> Iterator[Path]:
    """Where an annex may be made, the best place first; each exists and is ours alone to write to."""
    for base in _bases():
        if not base.exists() and base.parent.is_dir() and os.access(base.parent, os.W_OK | os.X_OK):
            _made(base)
        if base.is_dir():
            seen = base.lstat()
            if seen.st_uid == os.geteuid() and not seen.st_mode & _OTHERS_MAY_WRITE:
                yield base


def _bases() -> list[Path]:
    if os.geteuid() == 0:
        return [Path("/var/lib/gongji"), Path("/var/tmp/gongji"), Path("/tmp/gongji")]  # noqa: S108  Checked for owner.
    name = f"gongji-{os.geteuid()}"
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp", tempfile.gettempdir()]  # noqa: S108  As above.
    return [Path(place) / name for place in dict.fromkeys(places) if place]


def _made(path: Path) -> None:
    """A new folder: as root others may pass through it (PostgreSQL's account must), as a user it is closed."""
    path.mkdir(parents=True)
    path.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _name_of(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:_NAME_LENGTH]


def _owner_of(annex: Path) -> dict[str, str] | None:
    try:
        if annex.stat().st_uid != os.geteuid():
            return None
        written = json.loads((annex / _OWNER_FILE).read_text(encoding="utf-8"))
        return {"instance": str(written["instance"]), "folder": str(written["folder"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_owner(annex: Path, folder: DataFolder) -> None:
    written = {"instance": folder.instance, "folder": str(folder.path)}
    (annex / _OWNER_FILE).write_text(json.dumps(written), encoding="utf-8")
