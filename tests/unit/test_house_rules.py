"""The rules of the house that no linter knows: where things stand, how long they may be, what may not be named."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from kernel.failures import Kind

ROOT: Final = Path(__file__).resolve().parents[2]
FILE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 70
JUNK_DRAWERS: Final = frozenset({"utils", "helpers", "common", "misc", "manager"})
ROOM_FILES: Final = frozenset(
    {
        "__init__",
        "app",
        "api",
        "clients",
        "consumer",
        "domain",
        "operations",
        "recovery",
        "store",
        "tables",
        "wire",
    }
)
ROOMS: Final = {
    "services/identity": ROOM_FILES,
    "services/family": ROOM_FILES,
    "services/notify": ROOM_FILES,
    "services/settlement": ROOM_FILES | {"saga", "ledger"},
    "services/settlement/ledger": ROOM_FILES,
}
SPEAKS_THE_CONTRACT: Final = re.compile(
    r"(^|/)(api|consumer|wire|clients)(\.py$|/)|^chassis/rpc/|^terminal/|^tests/|^ops/|^tools/|^bench/"
)
REGISTRIES: Final = re.compile(
    r"py" r"pi\.org|pythonhos" r"ted\.org|npm" r"js\.(org|com)|debi" r"an\.org|gol" r"ang\.org|crat" r"es\.io"
)


def tracked(*patterns: str) -> list[Path]:
    """The files git tracks (or would, if added now), relative to the root, without generated ones."""
    listing = subprocess.run(  # noqa: S603  Fixed arguments.
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],  # noqa: S607  git is needed.
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = [Path(line) for line in listing.stdout.splitlines()]
    return [name for name in names if not name.is_relative_to("protos/gen") and (ROOT / name).is_file()]


PYTHON_FILES: Final = tracked("*.py")
CATALOGUE: Final[dict[str, Any]] = json.loads(
    (ROOT / "protos/gen/gongji/common/v1/reasons.json").read_text(encoding="utf-8")
)


def tree_of(file: Path) -> ast.Module:
    """The file, parsed."""
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def test_no_file_is_longer_than_the_limit() -> None:
    """A Python file has at most 500 lines."""
    lengths = {str(file): (ROOT / file).read_text(encoding="utf-8").count("\n") + 1 for file in PYTHON_FILES}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_the_limit() -> None:
    """A function has at most 70 lines."""
    long = [
        f"{file}:{node.lineno} {node.name}"
        for file in PYTHON_FILES
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert long == []


def test_there_is_no_junk_drawer() -> None:
    """No module or package is called utils, helpers, common, misc or manager."""
    assert [
        str(file) for file in PYTHON_FILES if JUNK_DRAWERS & {part.removesuffix(".py") for part in file.parts}
    ] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_only_the_files_the_architecture_names(room: str) -> None:
    """Every module of a room has one of the agreed names (ARCHITECTURE.md, "Same file name, same meaning")."""
    names = {path.stem for path in (ROOT / room).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert names - ROOMS[room] - {"migrations"} == set()


def test_generated_code_is_spoken_only_at_the_edges() -> None:
    """Only api, consumer, wire and clients files, chassis.rpc and the terminal import generated code."""
    offenders = [
        f"{file}:{node.lineno}"
        for file in PYTHON_FILES
        if not SPEAKS_THE_CONTRACT.search(str(file))
        for node in ast.walk(tree_of(file))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gongji")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "gongji" for alias in node.names))
    ]
    assert offenders == []


def test_the_kernel_needs_only_the_standard_library() -> None:
    """kernel/ imports nothing but the standard library and itself."""
    allowed = sys.stdlib_module_names | {"kernel"}
    imported = {
        (str(file), name)
        for file in PYTHON_FILES
        if file.parts[0] == "kernel"
        for node in ast.walk(tree_of(file))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.split(".")[0] not in allowed
    }
    assert imported == set()


def test_every_reason_in_the_code_stands_in_the_catalogue() -> None:
    """A literal reason given to Failure has an entry in the contract's catalogue with the code of its kind."""
    wrong = []
    for file in PYTHON_FILES:
        if file.parts[0] in {"tests", "tools"}:
            continue
        for node in ast.walk(tree_of(file)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Failure"):
                continue
            match node.args:
                case [ast.Attribute(attr=kind), ast.Constant(value=str(reason)), *_]:
                    if reason not in CATALOGUE or CATALOGUE[reason]["code"] != Kind[kind].value:
                        wrong.append(f"{file}:{node.lineno} {reason}")
    assert wrong == []


def test_every_reason_of_the_catalogue_is_given_by_the_code() -> None:
    """No entry is left of a refusal that nobody gives any more."""
    words = {
        node.value
        for file in PYTHON_FILES
        if file.parts[0] not in {"tests", "tools"}
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert CATALOGUE.keys() - words == set()


def test_no_file_names_a_registry() -> None:
    """No committed file holds the host name of a package registry."""
    offenders = []
    for file in tracked():
        content = (ROOT / file).read_bytes()
        if b"\0" not in content and REGISTRIES.search(content.decode("utf-8", errors="replace")):
            offenders.append(str(file))
    assert offenders == []
