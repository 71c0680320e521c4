"""An institution's statement as a file: read whole or not at all, and no line is told to anybody."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import pytest

from gongji.settlement.v1 import reconciliation_pb2 as pb
from ops.batchfile.lines import UnusableFileError
from ops.reconcile.statement import AMOUNTS, BATCH_ROWS, COLUMNS, read_statement, yuan

GOOD: Final = {
    **dict.fromkeys(COLUMNS, ""),
    **dict.fromkeys(AMOUNTS, "1.00"),
    "refd_setl_flag": "0",
    "insutype": "310",
    "clr_type": "11",
    "setl_id": "0190a0a0-0000-7000-8000-000000000001",
}


def written(path: Path, *rows: dict[str, str], encoding: str = "utf-8") -> Path:
    """A file of these lines."""
    with path.open("w", encoding=encoding, newline="") as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        out.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("text", "fen"), [("0", 0), ("12.5", 1_250), ("-12.34", -1_234), ("99999999999999.99", 10**16 - 1)]
)
def test_yuan_are_read_to_the_fen(tmp_path: Path, text: str, fen: int) -> None:
    """With no, one or two decimals, negative where money went back."""
    ((row,),) = read_statement(written(tmp_path / "day.csv", {**GOOD, "psn_cash_pay": text})).batches()
    assert row.amounts == pb.StatementAmounts(**{**dict.fromkeys(AMOUNTS, 100), "psn_cash_pay": fen})


@pytest.mark.parametrize(("fen", "text"), [(0, "0.00"), (-5, "-0.05"), (123_456, "1234.56")])
def test_yuan_are_written_without_commas(fen: int, text: str) -> None:
    """So that whatever reads the file reads the number."""
    assert yuan(fen) == text


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("medfee_sumamt", "12.345"),
        ("medfee_sumamt", "1e3"),
        ("medfee_sumamt", "999999999999999.00"),
        ("refd_setl_flag", "yes"),
        ("setl_id", "42"),
        ("setl_id", ""),
        ("insutype", "employee"),
        ("infno", "9001"),
    ],
)
def test_one_bad_line_refuses_the_whole_file(tmp_path: Path, name: str, cell: str) -> None:
    """A statement without one of its lines would be another statement: the line is named, its content is not."""
    with pytest.raises(UnusableFileError, match=r"line 3 cannot be sent") as refused:
        read_statement(written(tmp_path / "day.csv", GOOD, {**GOOD, name: cell}))
    assert not cell or cell not in str(refused.value)


def test_a_file_cut_off_in_a_line_is_refused(tmp_path: Path) -> None:
    """Its last line has no end, so what it lacks nobody knows."""
    path = written(tmp_path / "day.csv", GOOD, GOOD)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UnusableFileError, match="LINE_UNFINISHED"):
        read_statement(path)


def test_rows_come_in_parts_that_a_message_holds(tmp_path: Path) -> None:
    """Each part, serialised, is below the 64 KiB that a service reads; all of them are the file."""
    long_row = {**GOOD, "infno": "2207", "msgid": "H65010000001" + "2" * 18}
    statement = read_statement(written(tmp_path / "day.csv", *[long_row] * (BATCH_ROWS + 1)))
    parts = list(statement.batches())
    assert [len(part) for part in parts] == [BATCH_ROWS, 1]
    assert statement.rows_cnt == BATCH_ROWS + 1
    least = "-" + "9" * 14 + ".99"
    widest = read_statement(
        written(tmp_path / "wide.csv", *[{**long_row, **dict.fromkeys(AMOUNTS, least)}] * BATCH_ROWS)
    )
    (part,) = widest.batches()
    assert pb.ReconcileDetailRequest(rows=pb.StatementRows(rows=part)).ByteSize() < 64 << 10
