"""An institution's statement of a day as a file: its records line by line, in constant memory; differences as another.

Amounts are in yuan with at most two decimals, as the national interface has them; money that went back is negative.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from chassis.rpc.interceptors import checked_request
from gongji.settlement.v1 import reconciliation_pb2 as pb
from kernel.failures import Failure
from kernel.money import FEN_PER_YUAN, Fen
from ops.batchfile.lines import Line, Survey, UnusableFileError, read_header, read_lines, survey

AMOUNTS: Final = tuple(amount.name for amount in pb.StatementAmounts.DESCRIPTOR.fields)
NEEDED: Final = ("setl_id", "insutype", "clr_type", "refd_setl_flag", *AMOUNTS)
COLUMNS: Final = (*NEEDED, "infno", "msgid")
BATCH_ROWS: Final = 300
"""As many as the contract takes in one message; they are below the 64 KiB of one."""
_YUAN: Final = re.compile(r"(-?)([0-9]{1,14})(?:\.([0-9]{1,2}))?", re.ASCII)
_FLAGS: Final = {"0": False, "1": True}
_SIDES: Final = ("theirs", "ours")
DIFFERENCE_COLUMNS: Final = (
    *("difference_id", "kind", "state", "setl_id", "infno", "msgid", "fields", "ours_state", "ours_stmt_date"),
    *(f"{side}_{name}" for side in _SIDES for name in ("refd_setl_flag", "insutype", "clr_type", *AMOUNTS)),
    *("cause", "opter"),
)
_BOM: Final = "\ufeff"
"""So that a spreadsheet shows the Chinese texts as they are."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A file that was read once: every line of it can be sent."""

    path: Path
    survey: Survey
    columns: Sequence[str]
    rows_cnt: int

    def batches(self) -> Iterator[list[pb.StatementRow]]:
        """Its rows, so many at a time, read anew."""
        batch: list[pb.StatementRow] = []
        for line in read_lines(self.path, self.survey.encoding, self.columns):
            batch.append(_row(line))
            if len(batch) == BATCH_ROWS:
                yield batch
                batch = []
        if batch:
            yield batch


def read_statement(path: Path) -> Statement:
    """Looks through the whole file; UnusableFileError names the first line that cannot be sent, and nothing of it.

    A statement with a line left out would be another statement, so one bad line refuses them all.
    """
    found = survey(path)
    columns = read_header(path, found.encoding, needed=NEEDED, known=COLUMNS)
    count = 0
    for line in read_lines(path, found.encoding, columns):
        row = _row(line)
        try:
            checked_request(row)
        except Failure as refusal:
            raise _unusable(line, refusal.metadata.get("field", "")) from None
        count += 1
    return Statement(path, found, columns, count)


def write_differences(file: IO[str], differences: Iterable[pb.Difference]) -> None:
    """More lines of a difference file; ``write_header`` first."""
    csv.writer(file).writerows(_cells(each) for each in differences)


def write_header(file: IO[str]) -> None:
    """Its first line."""
    file.write(_BOM)
    csv.writer(file).writerow(DIFFERENCE_COLUMNS)


def yuan(amount_fen: Fen) -> str:
    """``-1250`` fen as ``-12.50``: for files, without the commas of ``yuan_text``."""
    sign = "-" if amount_fen < 0 else ""
    return f"{sign}{abs(amount_fen) // FEN_PER_YUAN}.{abs(amount_fen) % FEN_PER_YUAN:02d}"


def word(enum: int, names: Mapping[int, str]) -> str:
    """``DIFFERENCE_KIND_AMOUNT`` as ``AMOUNT``."""
    return names[enum].removeprefix("DIFFERENCE_KIND_").removeprefix("DIFFERENCE_STATE_").removeprefix("STMT_RSLT_")


KINDS: Final = {int(number): name for name, number in pb.DifferenceKind.items()}
STATES: Final = {int(number): name for name, number in pb.DifferenceState.items()}
RESULTS: Final = {int(number): name for name, number in pb.StmtRslt.items()}


def _row(line: Line) -> pb.StatementRow:
    if line.cells is None:
        raise _unusable(line, "")
    cells = {name: cell.strip() for name, cell in line.cells.items()}
    if cells["refd_setl_flag"] not in _FLAGS:
        raise _unusable(line, "refd_setl_flag")
    if not cells["setl_id"] and not (cells.get("infno") and cells.get("msgid")):
        raise _unusable(line, "setl_id")
    return pb.StatementRow(
        setl_id=cells["setl_id"],
        infno=cells.get("infno", ""),
        msgid=cells.get("msgid", ""),
        refd_setl_flag=_FLAGS[cells["refd_setl_flag"]],
        insutype=cells["insutype"],
        clr_type=cells["clr_type"],
        amounts=pb.StatementAmounts(**{name: _fen(line, name, cells[name]) for name in AMOUNTS}),
    )


def _fen(line: Line, name: str, text: str) -> Fen:
    found = _YUAN.fullmatch(text)
    if found is None:
        raise _unusable(line, name)
    amount_fen = int(found[2]) * FEN_PER_YUAN + int((found[3] or "0").ljust(2, "0"))
    return -amount_fen if found[1] else amount_fen


def _unusable(line: Line, column: str) -> UnusableFileError:
    why = line.refusal.reason if line.refusal is not None else f"{column or 'a field'} is not as it should be"
    return UnusableFileError(f"line {line.number:,} cannot be sent ({why}); nothing was compared")


def _cells(each: pb.Difference) -> list[str]:
    cells = [
        each.difference_id,
        word(each.kind, KINDS),
        word(each.state, STATES),
        each.setl_id,
        each.infno,
        each.msgid,
        " ".join(each.fields),
        each.ours_state,
        each.ours_stmt_date,
    ]
    for side in _SIDES:
        row: pb.StatementRow = getattr(each, side)
        if each.HasField(side):
            amounts = [yuan(getattr(row.amounts, name)) for name in AMOUNTS]
            cells += [str(int(row.refd_setl_flag)), row.insutype, row.clr_type, *amounts]
        else:
            cells += [""] * (3 + len(AMOUNTS))
    return [*cells, each.cause, each.opter]
