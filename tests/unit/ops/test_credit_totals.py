"""A file of credits is held against its total: what may be booked, and each reason why nothing may."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.accounts.totals import amount_of, check_total
from ops.batchfile.lines import UnusableFileError, read_header, survey

KNOWN = ("row_id", "psn_no", "area", "part", "amount_fen", "amount")
HEADER = "row_id,psn_no,area,part,amount_fen\n"
ROWS = "r1,650100000000001,650100,CURRENT,100\nr2,650100000000002,650100,PAST,23\n"


def problem_of(folder: Path, text: str, *, beside: str | None = None, encoding: str = "utf-8") -> str:
    """Why a file with this content may not be booked; empty if it may."""
    path = folder / "credits.csv"
    path.write_text(text, encoding=encoding)
    if beside is not None:
        (folder / "credits.csv.total.csv").write_text(beside, encoding=encoding)
    found = survey(path)
    try:
        check_total(path, found, read_header(path, found.encoding, needed=KNOWN[:4], known=KNOWN))
    except UnusableFileError as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        (HEADER + ROWS + "TOTAL,2,,,123\n", None),
        (HEADER + ROWS + "合计,2,,,123\n", None),
        (HEADER + ROWS, "count,amount_fen\n2,123\n"),
        (HEADER + ROWS, "amount,count\n1.23,2\n"),
        (HEADER + ROWS + "TOTAL,2,,,123\n", "count,amount\n2,1.23\n"),
        ("row_id,psn_no,area,part,amount\nr1,1,650100,当年,1\nr2,1,650100,历年,0.23\n合计,2,,,1.23\n", None),
        (HEADER + ROWS + "r1,650100000000001,650500,CURRENT,1\nTOTAL,3,,,124\n", None),
        (HEADER + "TOTAL,0,,,0\n", None),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_rows_that_come_to_their_total_may_be_booked(
    tmp_path: Path, text: str, beside: str | None, encoding: str
) -> None:
    """In the last line or beside the file, in fen or yuan; the same row id in another area is another row."""
    assert problem_of(tmp_path, text, beside=beside, encoding=encoding) == ""


@pytest.mark.parametrize(
    ("text", "beside", "told"),
    [
        (HEADER + ROWS, None, "the file has no total"),
        (HEADER + ROWS + "TOTAL,3,,,123\n", None, "the total says 3 rows of 1.23 yuan, the lines are 2 rows of 1.23"),
        (HEADER + ROWS + "TOTAL,2,,,124\n", None, "the total says 2 rows of 1.24 yuan"),
        (HEADER + ROWS + "TOTAL,2,,,123\n", "count,amount\n2,1.24\n", "the total says 2 rows of 1.24 yuan"),
        (HEADER + ROWS + "TOTAL,2,,,123\nr3,1,650100,PAST,1\n", None, "line 5 stands behind the total"),
        (HEADER + ROWS + "TOTAL,two,,,123\n", None, "the total in line 4 cannot be read"),
        (HEADER + ROWS, "count,amount\n2,1.23\n2,1.23\n", "has a header, count and one amount, and one line"),
        (HEADER + ROWS, "count\n2\n", "has a header, count and one amount, and one line"),
        (HEADER + ROWS + "r3,1,650100,PAST,-1\nTOTAL,3,,,122\n", None, "no amount can be read in line 4"),
        (HEADER + ROWS + "r3,1,650100,PAST,1.5\nTOTAL,3,,,124\n", None, "no amount can be read in line 4"),
        (HEADER + ROWS + "r3,1,650100,PAST\nTOTAL,2,,,123\n", None, "no amount can be read in line 4"),
        (HEADER + ROWS + 'r3,"1,650100,PAST,1\nTOTAL,2,,,123\n', None, "no amount can be read in line 4"),
        (HEADER + ROWS + "TOTAL,2,,,123", None, "line 4 has no end: the file may have been cut off"),
        (HEADER + ROWS[:-3], None, "line 3 has no end: the file may have been cut off"),
        (HEADER + ROWS + "r1,1,650100,PAST,1\nTOTAL,3,,,124\n", None, "2 lines share a row_id and area, the first in"),
        ("row_id,psn_no,area,part\nr1,1,650100,PAST\n", None, "the header names one of amount_fen and amount"),
        ("row_id,psn_no,area,part,amount,amount_fen\nr,1,6,PAST,1,100\n", None, "the header names one of"),
    ],
)
def test_nothing_is_booked_of_any_other_file(tmp_path: Path, text: str, beside: str | None, told: str) -> None:
    """No total, a wrong one, two that differ; an amount that cannot be read; a row twice; a file that was cut off."""
    assert told in problem_of(tmp_path, text, beside=beside)


@given(st.integers(0, 10**16 - 1))
def test_yuan_and_fen_are_the_same_money(fen: int) -> None:
    """Every amount of N16,2 is read alike in either column, with trailing zeros or without."""
    yuan = f"{fen // 100}.{fen % 100:02}"
    assert amount_of({"amount_fen": str(fen)}) == amount_of({"amount": yuan}) == fen
    assert amount_of({"amount": yuan.rstrip("0").rstrip(".")}) == fen


@pytest.mark.parametrize("text", ["", "-1", "+1", "1,000", "1.", ".5", "1.234", "1e3", "１", "NaN", "9" * 17])
def test_what_is_no_amount_is_read_as_none(text: str) -> None:
    """Signs, separators, exponents, other digits, a third decimal: never guessed at."""
    assert amount_of({"amount": text}) is None
    assert amount_of({"amount_fen": text}) is None
