"""A file is taken in: batches of its lines, several on their way at once, noted in the file's order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from kernel.failures import Failure, Kind
from ops.batchfile.lines import Line, Survey, read_header, read_lines, survey, taken_alone
from ops.batchfile.progress import Done, Progress, Refused

if TYPE_CHECKING:
    from ops.batchfile.view import View


class Sized(Protocol):
    """A row as it is sent: a message, or what becomes several."""

    def ByteSize(self) -> int:  # noqa: N802  As messages have it.
        """How much of a call it takes."""
        ...


Row = TypeVar("Row", bound=Sized)

BATCH_ROWS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 48 << 10
"""Well below the 64 KiB that a service takes as one message unless it is set otherwise."""
CALL_TIMEOUT_S: Final = 30.0
RETRY_PAUSE_MIN_S: Final = 0.2
RETRY_PAUSE_MAX_S: Final = 5.0
GIVE_UP_S: Final = 300.0
_RETRIED: Final = frozenset({Kind.UNAVAILABLE, Kind.DEADLINE, Kind.CONFLICT})
"""After each of these the same rows may be sent again: rows that were taken are met as known ones then."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the rows of one call: how many were new and known, and each refused one by its place."""

    new: int
    existed: int
    refused: Sequence[tuple[int, str, str]] = ()
    """Place in the call, from 0; reason; field."""
    under_way: int = 0
    """Of the new and known ones, those that are certain to be done but were not done yet."""


def _taken_as_it_is(_path: Path, _survey: Survey, _columns: Sequence[str]) -> None:
    """Each line is judged by itself."""


@dataclass(frozen=True, slots=True)
class Intake(Generic[Row]):
    """One kind of file: its columns, what a line becomes, and who is told the rows."""

    columns: Collection[str]
    needed: Collection[str]
    row: Callable[[Mapping[str, str]], Row | None]
    """The cells of a line by column, as they are sent; None if it is no row; a Failure refuses the line."""
    send: Callable[[Sequence[Row]], Awaitable[Answer]]
    check: Callable[[Path, Survey, Sequence[str]], None] = _taken_as_it_is
    """Looks at the whole file by its columns before anything is sent, also when a run goes on; UnusableFileError."""


@dataclass(slots=True)
class _Batch(Generic[Row]):
    """Some lines in a row: those to be sent, and those that are refused here."""

    rows: list[tuple[int, Row]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    size_bytes: int = 0
    line: int = 0
    end: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= BATCH_ROWS_MAX or self.size_bytes >= BATCH_BYTES_MAX


async def take_file(path: Path, intake: Intake[Row], *, in_flight: int, view: View) -> Done:
    """Takes every line; how many were new, known, refused, those of an earlier run that was cut off among them.

    UnusableFileError before the first line is sent; Failure if the service cannot be reached for GIVE_UP_S or refuses
    as a whole: then, and after a kill, the next run goes on where this one stood.
    """
    with taken_alone(path):
        return await _take_file(path, intake, in_flight=in_flight, view=view)


async def _take_file(path: Path, intake: Intake[Row], *, in_flight: int, view: View) -> Done:
    found = survey(path)
    columns = read_header(path, found.encoding, needed=intake.needed, known=intake.columns)
    intake.check(path, found, columns)
    progress = Progress.of(path, found)
    view.begins(found, progress)
    lines = read_lines(path, found.encoding, columns, after=progress.done.after)
    window: deque[tuple[_Batch[Row], asyncio.Task[Answer]]] = deque()
    try:
        for batch in _batches(lines, intake):
            window.append((batch, asyncio.create_task(_answer(intake, batch, view))))
            if len(window) >= in_flight:
                await _finish(window, progress, view)
        while window:
            await _finish(window, progress, view)
    finally:
        for _, task in window:
            task.cancel()
        await asyncio.gather(*(task for _, task in window), return_exceptions=True)
    progress.finish()
    return progress.done


async def _finish(window: deque[tuple[_Batch[Row], asyncio.Task[Answer]]], progress: Progress, view: View) -> None:
    """Notes the oldest batch once it is answered."""
    batch, task = window[0]
    answer = await task
    window.popleft()
    refused = [Refused(batch.rows[place][0], reason, column) for place, reason, column in answer.refused]
    progress.add(
        line=batch.line,
        end=batch.end,
        new=answer.new,
        existed=answer.existed,
        under_way=answer.under_way,
        refused=sorted((*batch.refused, *refused), key=lambda each: each.line),
    )
    view.at(progress.done)


async def _answer(intake: Intake[Row], batch: _Batch[Row], view: View) -> Answer:
    """What became of the rows, asked for again while the service is away or busy."""
    if not batch.rows:
        return Answer(0, 0)
    rows = [row for _, row in batch.rows]
    loop = asyncio.get_running_loop()
    began, pause_s = loop.time(), RETRY_PAUSE_MIN_S
    while True:
        try:
            return await intake.send(rows)
        except Failure as failure:
            if failure.kind not in _RETRIED or loop.time() - began > GIVE_UP_S:
                raise
            view.waits(failure.reason)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, RETRY_PAUSE_MAX_S)


def _batches(lines: Iterator[Line], intake: Intake[Row]) -> Iterator[_Batch[Row]]:
    batch: _Batch[Row] = _Batch()
    for line in lines:
        try:
            row = _row(line, intake)
        except Failure as refusal:
            batch.refused.append(Refused(line.number, refusal.reason, refusal.metadata.get("field", "")))
        else:
            if row is not None:
                batch.rows.append((line.number, row))
                batch.size_bytes += row.ByteSize()
        batch.line, batch.end = line.number, line.end
        if batch.is_full or len(batch.refused) >= BATCH_ROWS_MAX:
            yield batch
            batch = _Batch()
    if batch.line:
        yield batch


def _row(line: Line, intake: Intake[Row]) -> Row | None:
    if line.refusal is not None:
        raise line.refusal
    return intake.row(line.cells or {})
