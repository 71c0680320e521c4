"""Tables of text, line by line, in constant memory: UTF-8 or GB18030, one row on one line, no line able to break it."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Final

from kernel.failures import Failure, Kind

LINE_BYTES_MAX: Final = 1000
"""Longer than any row can be, shorter than what a missing quote or line's end makes of many rows."""
_BOM: Final = "\ufeff"
_GB18030: Final = "gb18030"
_GB18030_ENCODED_SINCE: Final = str.maketrans(
    {
        0xE816: 0x20087, 0xE817: 0x20089, 0xE818: 0x200CC, 0xE81E: 0x9FB4, 0xE826: 0x9FB5, 0xE82B: 0x9FB6,
        0xE82C: 0x9FB7, 0xE831: 0x215D7, 0xE832: 0x9FB8, 0xE83B: 0x2298F, 0xE843: 0x9FB9, 0xE854: 0x9FBA,
        0xE855: 0x241FE, 0xE864: 0x9FBB,
    }
)  # fmt: skip
"""Ideographs that the first edition of GB 18030, which Python reads, had as private characters for want of a code point
of their own; the editions of 2005 and 2022 have them."""
_ENDS: Final = b"\r\n"
_PART_BYTES: Final = 1 << 16


class UnusableFileError(Exception):
    """Nothing of the file can be taken; the message says why, and names nobody."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first look at the whole file tells; ``digest`` is the SHA-256 of its content."""

    digest: str
    size_bytes: int
    lines: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its cells by column, or why it is refused. ``number`` counts from 1, the header among them."""

    number: int
    end: int
    """Where the next line begins, in bytes from the beginning of the file."""
    cells: dict[str, str] | None
    refusal: Failure | None = None


@dataclass(frozen=True, slots=True)
class _Raw:
    head: bytes
    """The line with its end; of one that is too long, its beginning."""
    length: int
    whole: bool


@contextmanager
def taken_alone(path: Path) -> Iterator[None]:
    """While a file is taken: by one run at a time, and as it was at the beginning.

    UnusableFileError if it cannot be read twice, if another run takes it on this machine, or, at the end, if it was
    changed meanwhile: then what was read is neither the one nor the other, and the next run begins anew.
    """
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnusableFileError(f"{path} is being taken by another run; wait for its end") from None
        except OSError:
            pass  # A file system without locks: whoever runs it twice there reports lines twice, and no more.
        before = _stamp(os.fstat(file.fileno()))
        yield
    after = None
    with suppress(OSError):
        after = _stamp(path.stat())
    if after != before:
        raise UnusableFileError(f"{path} was changed while it was read; run the command again for what it holds now")


def _opened(path: Path) -> BufferedReader:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnusableFileError(f"{path} is no ordinary file; it is read twice, so save it as one first")
        return path.open("rb")
    except OSError as error:
        raise UnusableFileError(f"{path} cannot be read: {error.strerror}") from None


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def survey(path: Path) -> Survey:
    """Reads the file once; UnusableFileError if it cannot be read or is empty.

    It is taken for GB18030 if more lines are no UTF-8 than are; the few lines of a file that are neither are refused
    one by one when they are read.
    """
    digest = hashlib.sha256()
    votes = {True: 0, False: 0}
    lines = size = 0
    try:
        with path.open("rb") as file:
            for line in _raw_lines(file, digest.update):
                lines, size = lines + 1, size + line.length
                if not line.head.isascii() and line.length <= LINE_BYTES_MAX:
                    votes[_decoded(line.head, "utf-8") is not None] += 1
    except OSError as error:
        raise UnusableFileError(f"{path} cannot be read: {error.strerror}") from None
    if not size:
        raise UnusableFileError(f"{path} is empty")
    return Survey(digest.hexdigest(), size, lines, "utf-8" if votes[True] >= votes[False] else _GB18030)


def read_header(path: Path, encoding: str, *, needed: Collection[str], known: Collection[str]) -> Sequence[str]:
    """The columns in the order in which they stand; UnusableFileError says which is missing, unknown or named twice."""
    header = _header(path)
    mark = _BOM.encode(encoding)
    try:
        columns = _cells(replace(header, head=header.head.removeprefix(mark)), encoding) if header.whole else []
    except Failure:
        columns = []
    if not columns:
        raise UnusableFileError(f"the first line is no header in {encoding.upper()}; it names the columns")
    missing = [column for column in needed if column not in columns]
    unknown = [str(place) for place, column in enumerate(columns, start=1) if column not in known]
    double = sorted({column for column in columns if column in known and columns.count(column) > 1})
    for what, found in (("lacks", missing), ("has unknown columns at", unknown), ("names twice", double)):
        if found:
            raise UnusableFileError(f"the header {what} {', '.join(found)}; it may have {', '.join(known)}")
    return columns


def read_lines(
    path: Path, encoding: str, columns: Sequence[str], *, after: tuple[int, int] | None = None
) -> Iterator[Line]:
    """Every line behind the header, or behind ``after`` (number and end of a line); empty lines are left out."""
    with path.open("rb") as file:
        if after is None:
            number, end = 1, _header(path).length
            file.seek(end)
        else:
            number, end = after
            file.seek(end)
        for raw in _raw_lines(file):
            number, end = number + 1, end + raw.length
            if raw.head.strip(_ENDS):
                yield _line(raw, number, end, encoding, columns)


def _header(path: Path) -> _Raw:
    with path.open("rb") as file:
        return next(_raw_lines(file), _Raw(b"", 0, whole=False))


def _line(raw: _Raw, number: int, end: int, encoding: str, columns: Sequence[str]) -> Line:
    try:
        return Line(number, end, _row(raw, encoding, columns))
    except Failure as refusal:
        return Line(number, end, None, refusal)


def _row(raw: _Raw, encoding: str, columns: Sequence[str]) -> dict[str, str]:
    """The cells by column; INVALID LINE_UNFINISHED (no end: the file may have been cut off), or as ``_cells``."""
    if not raw.whole:
        raise Failure(Kind.INVALID, "LINE_UNFINISHED")
    cells = _cells(raw, encoding)
    if len(cells) != len(columns):
        raise Failure(Kind.INVALID, "LINE_MALFORMED")
    return dict(zip(columns, cells, strict=True))


def _cells(raw: _Raw, encoding: str) -> list[str]:
    """The cells of one line; INVALID LINE_TOO_LONG, LINE_UNREADABLE, LINE_MALFORMED."""
    if raw.length > LINE_BYTES_MAX:
        raise Failure(Kind.INVALID, "LINE_TOO_LONG")
    text = None if b"\0" in raw.head else _decoded(raw.head, encoding)
    if text is None:
        raise Failure(Kind.INVALID, "LINE_UNREADABLE")
    try:
        return next(csv.reader([text.rstrip("\r\n")], strict=True))
    except (csv.Error, StopIteration):
        raise Failure(Kind.INVALID, "LINE_MALFORMED") from None


def _decoded(raw: bytes, encoding: str) -> str | None:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return None
    return text.translate(_GB18030_ENCODED_SINCE) if encoding == _GB18030 else text


def _raw_lines(file: BufferedReader, seen: Callable[[bytes], object] | None = None) -> Iterator[_Raw]:
    """Each line; of one that is too long no more than its beginning is ever held. ``seen`` gets all bytes."""
    while head := file.readline(LINE_BYTES_MAX + 1):
        part, length = head, 0
        while part:
            length += len(part)
            if seen is not None:
                seen(part)
            if part.endswith(b"\n"):
                break
            part = file.readline(_PART_BYTES)
        yield _Raw(head, length, whole=part.endswith(b"\n"))
