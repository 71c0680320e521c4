"""Files that their owner alone may read: each appears whole or not at all, whoever else writes it at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_OWNER_ONLY: Final = 0o600


def write_private(path: Path, text: str) -> None:
    """Writes the file, in place of an older one; OSError if the folder cannot be written to."""
    with _unfinished(path, text) as unfinished:
        unfinished.replace(path)


def write_private_once(path: Path, text: str) -> None:
    """Writes the file; FileExistsError, and nothing changed, if there is one already; OSError as above."""
    with _unfinished(path, text) as unfinished:
        path.hardlink_to(unfinished)


@contextmanager
def _unfinished(path: Path, text: str) -> Iterator[Path]:
    """The text on disk beside its place; gone afterwards, unless it was moved."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)  # Of a process that had our number and was killed.
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)
