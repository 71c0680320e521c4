"""YAML files: what is read, what is refused, and on which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.files import FILE_BYTES_MAX, parsed_yaml, read_yaml, read_yaml_folder
from kernel.failures import Failure


def test_scalars_are_read_as_yaml_1_2_reads_them() -> None:
    """Times, codes with a leading zero, dates, and no/on/yes are text; only true and false are truth values."""
    content = b"a: 22:00\nb: 0650100\nc: no\nd: 12\ne: 1.5\nf: true\ng: 2026-01-05\nh: ~\ni: -3\nj: on\nk: 1_000\n"
    assert parsed_yaml(content, name="x").data == {
        "a": "22:00",
        "b": "0650100",
        "c": "no",
        "d": 12,
        "e": 1.5,
        "f": True,
        "g": "2026-01-05",
        "h": None,
        "i": -3,
        "j": "on",
        "k": "1_000",
    }


def test_the_line_of_a_key_is_known() -> None:
    """Keys, items and keys inside items are found; a key that is not there is told at its parent's line."""
    file = parsed_yaml(b"policies:\n  '650000':\n    wallet: true\nlist:\n- a: 1\n- b: 2\n", name="x")
    assert file.line_of("policies", "650000", "wallet") == 3
    assert file.line_of("list", 1, "b") == 6
    assert file.line_of("policies", "650000", "missing") == 2
    assert file.line_of() == 1


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        (b"a: 1\nb: 2\na: 3\n", "FILE_KEY_TWICE", "3"),
        (b"a:\n  b: 1\n  b: 1\n", "FILE_KEY_TWICE", "3"),
        (b"a: [1, 2\n", "FILE_MALFORMED", "2"),
        (b"- 1\n", "FILE_MALFORMED", "1"),
        (b"1: one\n", "FILE_MALFORMED", "1"),
        (b"", "FILE_MALFORMED", "1"),
        (b"a: 1\nb: &x [*x]\n", "FILE_MALFORMED", "2"),
        (b"a: !!python/object/apply:os.system [ls]\n", "FILE_MALFORMED", "1"),
        (b"a: 1\n---\nb: 2\n", "FILE_MALFORMED", "2"),
        (b"[" * 5_000, "FILE_MALFORMED", None),
        (b"a: 1\nb: \xff\n", "FILE_MALFORMED", "2"),
        ("a: 1\n".encode("utf-16"), "FILE_MALFORMED", "1"),
        (b"a: 1\nb: \x07\n", "FILE_MALFORMED", "2"),
        (b"? [a, b]\n: 1\n", "FILE_MALFORMED", "1"),
        (b"a: 1\nb: !!int no\n", "FILE_MALFORMED", "2"),
        (b"a: " + b"9" * 5_000 + b"\n", "FILE_MALFORMED", "1"),
        (b'"a": 1\n"\\x61": 2\n', "FILE_KEY_TWICE", "2"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused_with_its_line(content: bytes, reason: str, line: str | None) -> None:
    """Each bad file has a reason and, where there is one, the line."""
    with pytest.raises(Failure) as refused:
        parsed_yaml(content, name="policy.yaml")
    assert (refused.value.reason, refused.value.metadata.get("line")) == (reason, line)
    assert refused.value.metadata["file"] == "policy.yaml"


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    """FILE_UNREADABLE and FILE_TOO_LARGE, before anything is parsed."""
    with pytest.raises(Failure) as missing:
        read_yaml(tmp_path / "missing.yaml")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(Failure) as refused:
        read_yaml(large)
    assert (missing.value.reason, refused.value.reason) == ("FILE_UNREADABLE", "FILE_TOO_LARGE")


def test_a_merge_key_is_a_key_like_any_other() -> None:
    """`<<` brings in nothing unseen: whoever knows no such key refuses it."""
    assert parsed_yaml(b"a: &x {b: 1}\nc:\n  <<: *x\n", name="x").data["c"] == {"<<": {"b": 1}}


def test_hidden_files_of_a_folder_are_not_read(tmp_path: Path) -> None:
    """An editor's lock and a half-written copy are no files yet; neither is what is no YAML by its name."""
    (tmp_path / "a.yaml").write_text("a: 1\n", encoding="utf-8")
    (tmp_path / ".#a.yaml").symlink_to("nobody@nowhere")
    (tmp_path / "README.md").write_text("text", encoding="utf-8")
    assert list(read_yaml_folder(tmp_path)) == ["a.yaml"]


@pytest.mark.parametrize("name", ["b.yml", "b.YAML", "b.Yml"])
def test_a_file_that_was_surely_meant_is_not_passed_over(name: str, tmp_path: Path) -> None:
    """Its name is refused, so that nobody believes it counts."""
    (tmp_path / "a.yaml").write_text("a: 1\n", encoding="utf-8")
    (tmp_path / name).write_text("a: 1\n", encoding="utf-8")
    with pytest.raises(Failure, match="FILE_UNREADABLE") as refused:
        read_yaml_folder(tmp_path)
    assert refused.value.metadata["file"].endswith(name)


def test_a_folder_that_cannot_be_looked_into_is_refused_like_a_file(tmp_path: Path) -> None:
    """By name, so that whoever follows it goes on with what counts and does not end."""
    with pytest.raises(Failure) as refused:
        read_yaml_folder(tmp_path / ("x" * 300))
    assert refused.value.reason == "FILE_UNREADABLE"
