"""A file of people is registered: batches of its lines, several on their way at once, noted in the file's order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chassis.rpc.client import channel
from gongji.identity.v1 import identity_pb2 as pb
from gongji.identity.v1 import person_pb2
from gongji.identity.v1.identity_pb2_grpc import IdentityServiceAsyncStub, IdentityServiceStub
from kernel.callers import Caller
from kernel.failures import Failure, Kind
from ops.identity.lines import Line, read_header, read_lines, survey
from ops.identity.progress import Done, Progress, Refused

if TYPE_CHECKING:
    from ops.identity.view import View

COLUMNS: Final = ("psn_cert_type", "certno", "psn_name", "brdy", "gend", "psn_no", "insutype", "insuplc_admdvs")
NEEDED: Final = ("psn_cert_type", "certno", "psn_name")
BATCH_ROWS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 48 << 10
"""Well below the 64 KiB that a service takes as one message unless it is set otherwise."""
IN_FLIGHT: Final = 4
CALL_TIMEOUT_S: Final = 30.0
RETRY_PAUSE_MIN_S: Final = 0.2
RETRY_PAUSE_MAX_S: Final = 5.0
GIVE_UP_S: Final = 300.0
_RETRIED: Final = frozenset({Kind.UNAVAILABLE, Kind.DEADLINE, Kind.CONFLICT})
"""After each of these the same rows may be sent again: rows that were taken are met as known people then."""
_KINDS: Final = {
    name.removeprefix("CERTIFICATE_TYPE_"): value for name, value in person_pb2.CertificateType.items() if value
}


@dataclass(slots=True)
class _Batch:
    """Some lines in a row: those to be sent, and those that are refused here."""

    rows: list[tuple[int, pb.PersonRow]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    size_bytes: int = 0
    line: int = 0
    end: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= BATCH_ROWS_MAX or self.size_bytes >= BATCH_BYTES_MAX


async def register_file(path: Path, *, address: str, caller: Caller, in_flight: int, view: View) -> Done:
    """Registers every line; how many were new, known, refused, those of an earlier run that was cut off among them.

    UnusableFileError before the first line is sent; Failure if the service cannot be reached for GIVE_UP_S or refuses
    as a whole: then, and after a kill, the next run goes on where this one stood.
    """
    found = survey(path)
    columns = read_header(path, found.encoding, needed=NEEDED, known=COLUMNS)
    progress = Progress.of(path, found)
    view.begins(found, progress)
    lines = read_lines(path, found.encoding, columns, after=progress.done.after)
    window: deque[tuple[_Batch, asyncio.Task[list[pb.PersonRowAnswer]]]] = deque()
    async with channel(address, call_timeout_s=CALL_TIMEOUT_S, caller=caller) as opened:
        stub: IdentityServiceAsyncStub = IdentityServiceStub(opened)
        try:
            for batch in _batches(lines):
                window.append((batch, asyncio.create_task(_answers(stub, batch, view))))
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


async def _finish(
    window: deque[tuple[_Batch, asyncio.Task[list[pb.PersonRowAnswer]]]], progress: Progress, view: View
) -> None:
    """Notes the oldest batch once it is answered."""
    batch, task = window[0]
    answers = await task
    window.popleft()
    refused = [
        Refused(number, answer.reason, answer.field)
        for (number, _), answer in zip(batch.rows, answers, strict=True)
        if answer.reason
    ]
    taken = [answer for answer in answers if not answer.reason]
    existed = sum(answer.existed for answer in taken)
    progress.add(
        line=batch.line,
        end=batch.end,
        new=len(taken) - existed,
        existed=existed,
        refused=sorted((*batch.refused, *refused), key=lambda each: each.line),
    )
    view.at(progress.done)


async def _answers(stub: IdentityServiceAsyncStub, batch: _Batch, view: View) -> list[pb.PersonRowAnswer]:
    """An answer for each row, asked for again while the service is away or busy."""
    if not batch.rows:
        return []
    request = pb.RegisterPeopleRequest(rows=[row for _, row in batch.rows])
    loop = asyncio.get_running_loop()
    began, pause_s = loop.time(), RETRY_PAUSE_MIN_S
    while True:
        try:
            return list((await stub.RegisterPeople(request, timeout=CALL_TIMEOUT_S)).answers)
        except Failure as failure:
            if failure.kind not in _RETRIED or loop.time() - began > GIVE_UP_S:
                raise
            view.waits(failure.reason)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, RETRY_PAUSE_MAX_S)


def _batches(lines: Iterator[Line]) -> Iterator[_Batch]:
    batch = _Batch()
    for line in lines:
        try:
            row = _row(line)
        except Failure as refusal:
            batch.refused.append(Refused(line.number, refusal.reason, refusal.metadata.get("field", "")))
        else:
            batch.rows.append((line.number, row))
            batch.size_bytes += row.ByteSize()
        batch.line, batch.end = line.number, line.end
        if batch.is_full or len(batch.refused) >= BATCH_ROWS_MAX:
            yield batch
            batch = _Batch()
    if batch.line:
        yield batch


def _row(line: Line) -> pb.PersonRow:
    if line.refusal is not None:
        raise line.refusal
    cells = dict(line.cells or {})
    kind = _KINDS.get(cells.pop("psn_cert_type"))
    if kind is None:
        raise Failure(Kind.INVALID, "CERTIFICATE_KIND_UNKNOWN", field="psn_cert_type")
    return pb.PersonRow(psn_cert_type=kind, **cells)
