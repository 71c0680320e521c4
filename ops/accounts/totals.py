"""A file of money is held against its total before anything of it is booked; of each row a digest is kept, no more.

The total is the file's last line (``TOTAL`` or ``合计`` as its row_id, the number of rows as its psn_no, their sum as
its amount), or stands in ``FILE.total.csv`` with the columns count and amount or amount_fen; if in both, both must be
right.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from kernel.money import FEN_PER_YUAN, Fen, yuan_text
from ops.batchfile.lines import Line, Survey, UnusableFileError, read_header, read_lines, survey

TOTAL_NAMES: Final = ("TOTAL", "合计")
AMOUNT_COLUMNS: Final = ("amount_fen", "amount")
"""Whole fen, or yuan with at most two decimals."""
_FEN: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
_YUAN: Final = re.compile(r"([0-9]{1,14})(?:\.([0-9]{1,2}))?", re.ASCII)
_COUNT: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_DIGEST_BYTES: Final = 8
_BUCKETS: Final = 256
"""What is held against each other at once; a file of ten million rows keeps 80 MB of digests in all of them."""


@dataclass(frozen=True, slots=True)
class Total:
    """How many rows there are, and what they come to."""

    count: int
    amount_fen: Fen

    def __str__(self) -> str:
        return f"{self.count:,} rows of {yuan_text(self.amount_fen)} yuan"


def is_total(cells: Mapping[str, str]) -> bool:
    """Whether a line is the file's total and no row."""
    return cells["row_id"].strip() in TOTAL_NAMES


def amount_of(cells: Mapping[str, str]) -> Fen | None:
    """The amount of a line in fen, whichever way it is written; None if it is none."""
    if "amount_fen" in cells:
        text = cells["amount_fen"].strip()
        return int(text) if _FEN.fullmatch(text) else None
    found = _YUAN.fullmatch(cells["amount"].strip())
    return None if found is None else int(found[1]) * FEN_PER_YUAN + int((found[2] or "0").ljust(2, "0"))


def check_total(path: Path, found: Survey, columns: Sequence[str]) -> None:
    """Reads the whole file; UnusableFileError says why none of it may be booked.

    Not exactly one of the amount columns; a line without an amount that can be read; a row id that two rows of an area
    have; no total; lines behind it; a total that the rows do not come to.
    """
    if sum(column in AMOUNT_COLUMNS for column in columns) != 1:
        raise UnusableFileError(f"the header names one of {' and '.join(AMOUNT_COLUMNS)}")
    rows, own = _read(path, found, columns)
    stated = [total for total in (own, _beside(path)) if total is not None]
    if not stated:
        raise UnusableFileError(
            f"the file has no total: end it with a line {TOTAL_NAMES[0]}, or write one into {_sidecar(path).name}"
        )
    for total in stated:
        if total != rows:
            raise UnusableFileError(f"the total says {total}, the lines are {rows}; nothing was booked")


def _read(path: Path, found: Survey, columns: Sequence[str]) -> tuple[Total, Total | None]:
    """What the rows come to, and what the file's own last line says."""
    count, amount_fen, own = 0, 0, None
    seen = [array("Q") for _ in range(_BUCKETS)]
    for line in read_lines(path, found.encoding, columns):
        if own is not None:
            raise UnusableFileError(f"line {line.number:,} stands behind the total; nothing was booked")
        if line.cells is not None and is_total(line.cells):
            own = _total_of(line.cells["psn_no"], line.cells, f"line {line.number:,}")
            continue
        amount = None if line.cells is None else amount_of(line.cells)
        if amount is None:
            raise UnusableFileError(f"{_problem(line)}; nothing was booked")
        count, amount_fen = count + 1, amount_fen + amount
        digest = _digest(line)
        seen[digest % _BUCKETS].append(digest)
    double = {digest for bucket in seen if len(set(bucket)) < len(bucket) for digest in _double(bucket)}
    if double:
        lines = [line.number for line in _rows(path, found, columns) if _digest(line) in double]
        raise UnusableFileError(
            f"{len(lines):,} lines share a row_id and area, the first in line {lines[0]:,} and line {lines[1]:,}; "
            "nothing was booked"
        )
    return Total(count, amount_fen), own


def _problem(line: Line) -> str:
    """Why a line has no amount: an operator looks for other things where the file ends than in the middle of it."""
    if line.refusal is not None and line.refusal.reason == "LINE_UNFINISHED":
        return f"line {line.number:,} has no end: the file may have been cut off, or only lacks its last line break"
    return f"no amount can be read in line {line.number:,}"


def _rows(path: Path, found: Survey, columns: Sequence[str]) -> Iterator[Line]:
    return (line for line in read_lines(path, found.encoding, columns) if line.cells and not is_total(line.cells))


def _digest(line: Line) -> int:
    cells = line.cells or {}
    key = f"{cells['area'].strip()}/{cells['row_id'].strip()}"
    return int.from_bytes(blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest())


def _double(bucket: array[int]) -> Iterator[int]:
    once: set[int] = set()
    for digest in bucket:
        if digest in once:
            yield digest
        once.add(digest)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".total.csv")


def _beside(path: Path) -> Total | None:
    """What the file beside says; None if there is none."""
    place = _sidecar(path)
    if not place.exists():
        return None
    found = survey(place)
    columns = read_header(place, found.encoding, needed=("count",), known=("count", *AMOUNT_COLUMNS))
    lines = list(read_lines(place, found.encoding, columns))
    if len(lines) != 1 or lines[0].cells is None or sum(column in AMOUNT_COLUMNS for column in columns) != 1:
        raise UnusableFileError(f"{place.name} has a header, count and one amount, and one line; nothing was booked")
    return _total_of(lines[0].cells["count"], lines[0].cells, place.name)


def _total_of(count: str, cells: Mapping[str, str], where: str) -> Total:
    amount = amount_of(cells)
    if amount is None or not _COUNT.fullmatch(count.strip()):
        raise UnusableFileError(f"the total in {where} cannot be read; nothing was booked")
    return Total(int(count), amount)
