"""A file that is written from a stream: whole under its name, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

_OWNER_ONLY: Final = 0o600


class OtherContentError(Exception):
    """The file that came is not the one that was meant."""


async def write_whole(
    file: Path,
    parts: AsyncIterator[bytes],
    *,
    told: Callable[[int], None],
    expected: Callable[[], bytes | None],
) -> tuple[int, str]:
    """Writes what comes into a file that must not be there yet; how many lines after the first, and the SHA-256 in hex.

    ``told`` hears how many lines there are so far. ``expected`` is asked at the end for the digest that the service
    names, None to compare nothing. OtherContentError if it is another; FileExistsError.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)  # Of a process that had our number and was killed.
    digest, lines = hashlib.sha256(), -1  # The first one names the columns.
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "wb") as written:
            async for part in parts:
                written.write(part)
                digest.update(part)
                lines += part.count(b"\n")
                told(lines)
            written.flush()
            os.fsync(descriptor)
        named = expected()
        if named is not None and digest.digest() != named:
            raise OtherContentError(f"the lines that came have SHA-256 {digest.hexdigest()}, not {named.hex()}")
        os.link(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
    return lines, digest.hexdigest()
