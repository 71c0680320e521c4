"""Reading a table of text that anybody may have made with anything."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.batchfile.lines import LINE_BYTES_MAX, UnusableFileError, read_header, read_lines, survey, taken_alone
from services.identity.domain.name import parsed_name

KNOWN = ("certno", "psn_name", "gend")
HEADER = "certno,psn_name\n"


def written(tmp_path: Path, content: bytes) -> Path:
    """The file."""
    path = tmp_path / "people.csv"
    path.write_bytes(content)
    return path


def read(path: Path) -> list[tuple[int, dict[str, str] | str]]:
    """Each line's number, and its cells or the reason of its refusal."""
    encoding = survey(path).encoding
    columns = read_header(path, encoding, needed=("certno",), known=KNOWN)
    return [
        (line.number, line.refusal.reason if line.refusal is not None else line.cells or {})
        for line in read_lines(path, encoding, columns)
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_utf_8_and_gb18030_are_told_apart(tmp_path: Path, encoding: str, end: str) -> None:
    """The same table reads the same in every encoding, with either line's end; a rare character too."""
    text = f'certno,psn_name{end}1,王建国{end}2,"买买提·𠮷"{end}{end}3,Mary{end}'
    assert read(written(tmp_path, text.encode(encoding))) == [
        (2, {"certno": "1", "psn_name": "王建国"}),
        (3, {"certno": "2", "psn_name": "买买提·𠮷"}),
        (5, {"certno": "3", "psn_name": "Mary"}),
    ]


def test_one_broken_line_does_not_change_the_encoding(tmp_path: Path) -> None:
    """A file of UTF-8 with one line of another encoding stays UTF-8, and that line is refused."""
    content = (HEADER + "1,王建国\n2,李秀英\n").encode() + "3,赵敏\n".encode("gb18030")
    assert read(written(tmp_path, content))[1:] == [
        (3, {"certno": "2", "psn_name": "李秀英"}),
        (4, "LINE_UNREADABLE"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2,3\n", "LINE_MALFORMED"),
        (b"1\n", "LINE_MALFORMED"),
        (b'"1,2\n', "LINE_MALFORMED"),
        (b'"1"x,2\n', "LINE_MALFORMED"),
        (b"1\r2,3\n", "LINE_MALFORMED"),
        (b"1,a\0b\n", "LINE_UNREADABLE"),
        (b"1,\xff\xfe\n", "LINE_UNREADABLE"),
        (b"1," + b"x" * LINE_BYTES_MAX + b"\n", "LINE_TOO_LONG"),
        (b"1," + b"x" * 500_000 + b"\n", "LINE_TOO_LONG"),
    ],
)
def test_a_broken_line_is_refused_and_the_next_is_read(tmp_path: Path, line: bytes, reason: str) -> None:
    """Whatever is wrong with one line, its neighbours are what they are."""
    path = written(tmp_path, HEADER.encode() + b"a,b\n" + line + b"c,d\n")
    assert read(path) == [
        (2, {"certno": "a", "psn_name": "b"}),
        (3, reason),
        (4, {"certno": "c", "psn_name": "d"}),
    ]


def test_half_a_line_at_the_end_is_refused(tmp_path: Path) -> None:
    """A last line without an end may have been cut off, even where it could pass for whole."""
    for half in ("2,6501", "2,", "2", '"2', "2,王"):
        assert read(written(tmp_path, (HEADER + "1,x\n" + half).encode()))[1:] == [(3, "LINE_UNFINISHED")]


def test_reading_goes_on_behind_a_line(tmp_path: Path) -> None:
    """From the number and the end of any line on, the rest reads as it does from the beginning."""
    path = written(tmp_path, (HEADER + "1,王\n2,a\0\n\n3,李\n4,x\n").encode())
    lines = list(read_lines(path, "utf-8", ("certno", "psn_name")))
    for place, line in enumerate(lines):
        rest = list(read_lines(path, "utf-8", ("certno", "psn_name"), after=(line.number, line.end)))
        assert [(each.number, each.end, each.cells) for each in rest] == [
            (each.number, each.end, each.cells) for each in lines[place + 1 :]
        ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"psn_name\n1\n", "lacks certno"),
        (b"certno,phone\n1,2\n", "unknown columns at 2"),
        (b"certno,certno\n1,2\n", "names twice certno"),
        (b"certno\tpsn_name\n1\t2\n", "lacks certno"),
        (b"certno", "no header"),
        (b"\n1,2\n", "no header"),
        ("certno,psn_name\n1,王\n".encode("utf-16"), "no header"),
        (b"x" * 5000 + b"\n", "no header"),
        (b"650103198503124518,x\n", "lacks certno"),
    ],
)
def test_an_unusable_file_is_refused_at_once(tmp_path: Path, content: bytes, problem: str) -> None:
    """Nothing of it is read; the message says what is wrong and repeats nothing that may be personal."""
    path = written(tmp_path, content)
    with pytest.raises(UnusableFileError, match=problem) as refused:
        read(path)
    assert "650103198503124518" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A missing file and a folder are no crash."""
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(UnusableFileError, match="cannot be read"):
            survey(path)


def test_the_survey_tells_the_whole_content(tmp_path: Path) -> None:
    """Digest and size are those of every byte, lines too long included."""
    content = HEADER.encode() + b"y" * 300_000 + b"\n1,2\n"
    found = survey(written(tmp_path, content))
    assert (found.digest, found.size_bytes, found.lines) == (hashlib.sha256(content).hexdigest(), len(content), 3)


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    """A file of fifty million characters without a line's end is looked at and refused within a few hundred KiB."""
    path = tmp_path / "endless.csv"
    with path.open("wb") as file:
        file.write(HEADER.encode())
        for _ in range(50):
            file.write(b"1" * 1_000_000)
    tracemalloc.start()
    try:
        assert read(path) == [(2, "LINE_UNFINISHED")]
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_break_the_reader(tmp_path: Path, lines: list[bytes]) -> None:
    """Any bytes behind a header are lines that are taken or refused by name, and every byte is passed."""
    path = written(tmp_path, HEADER.encode() + b"\n".join(lines))
    encoding = survey(path).encoding
    found = list(read_lines(path, encoding, ("certno", "psn_name")))
    assert all((line.cells is None) == (line.refusal is not None) for line in found)
    if lines and lines[-1].strip(b"\r\n"):
        assert found[-1].end == path.stat().st_size


def test_one_run_at_a_time_takes_a_file(tmp_path: Path) -> None:
    """A second one is turned away while the first is under way, and let in afterwards."""
    path = written(tmp_path, HEADER.encode())
    with taken_alone(path), pytest.raises(UnusableFileError, match="another run"), taken_alone(path):
        pass
    with taken_alone(path):
        pass


def longer(path: Path) -> None:
    """Somebody adds a line."""
    with path.open("ab") as file:
        file.write(b"2,y\n")


def replaced(path: Path) -> None:
    """Another file of the same size and content takes its place."""
    other = path.with_name("other.csv")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def rewritten(path: Path) -> None:
    """The same file holds something else of the same size."""
    path.write_bytes(HEADER.encode() + b"1,y\n")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [longer, replaced, rewritten, Path.unlink])
def test_a_file_that_is_changed_meanwhile_is_told(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """What was read is then neither the old nor the new file; nothing says that it was taken whole."""
    path = written(tmp_path, HEADER.encode() + b"1,x\n")
    with pytest.raises(UnusableFileError, match="was changed"), taken_alone(path):
        change(path)


def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    """A pipe has no second reading: it is turned away at once, and not waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, tmp_path / "nowhere.csv"):
        with pytest.raises(UnusableFileError, match=r"no ordinary file|cannot be read"), taken_alone(path):
            pass


def test_a_mark_of_byte_order_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    """GB18030 has one as well, which some editors write."""
    content = "\ufeffcertno,psn_name\n1,王建国\n".encode("gb18030")
    assert read(written(tmp_path, content)) == [(2, {"certno": "1", "psn_name": "王建国"})]


@pytest.mark.parametrize(
    ("double_byte", "character"),
    [
        ("fe51", "\U00020087"), ("fe52", "\U00020089"), ("fe53", "\U000200cc"), ("fe59", "\u9fb4"), ("fe61", "\u9fb5"),
        ("fe66", "\u9fb6"), ("fe67", "\u9fb7"), ("fe6c", "\U000215d7"), ("fe6d", "\u9fb8"), ("fe76", "\U0002298f"),
        ("fe7e", "\u9fb9"), ("fe90", "\u9fba"), ("fe91", "\U000241fe"), ("fea0", "\u9fbb"),
    ],
)  # fmt: skip
def test_gb18030_is_read_as_its_present_edition_has_it(tmp_path: Path, double_byte: str, character: str) -> None:
    """Rare ideographs that had no code point of their own in the first edition are no private characters."""
    line = "1,王".encode("gb18030") + bytes.fromhex(double_byte) + b"\n"
    ((_, cells),) = read(written(tmp_path, HEADER.encode() + line))
    assert cells == {"certno": "1", "psn_name": "王" + character}
    assert parsed_name("王" + character) == "王" + character
