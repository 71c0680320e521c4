"""The pinned requirements say the same as the three distributions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = frozenset({"gongji-protos", "gongji-terminal"})
BUILDERS: Final = frozenset({"hatchling", "editables"})


def wanted(file: str, *keys: str) -> set[str]:
    """The requirements a distribution declares, without our own distributions."""
    project = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))["project"]
    listed = list(project["dependencies"])
    for key in keys:
        listed += project["optional-dependencies"][key]
    return {line for line in listed if re.split(r"[=<>]", line)[0] not in OURS}


def written(file: str) -> set[str]:
    """The requirements a .in file lists, without comments and references."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements" / file).read_text("utf-8").splitlines())
    return {line for line in lines if line and not line.startswith("-r")}


def test_the_server_installs_what_its_distributions_declare() -> None:
    """requirements/server.in is the union of the three distributions' dependencies (and their builder)."""
    declared = (
        wanted("pyproject.toml", "services") | wanted("protos/pyproject.toml") | wanted("terminal/pyproject.toml")
    )
    assert {line for line in written("server.in") if re.split(r"[=<>]", line)[0] not in BUILDERS} == declared


def test_the_developer_installs_the_embedded_servers() -> None:
    """requirements/dev.in holds the embedded extra."""
    assert wanted("pyproject.toml", "embedded") - wanted("pyproject.toml") <= written("dev.in")


def test_the_bench_installs_its_peers() -> None:
    """requirements/bench.in is the bench extra, held to the versions of dev.txt."""
    assert {line for line in written("bench.in") if not line.startswith("-c")} == wanted(
        "pyproject.toml", "bench"
    ) - wanted("pyproject.toml")


def test_every_pinned_requirement_has_a_hash() -> None:
    """Each line of the pinned files that names a version is followed by at least one hash."""
    for name in ("server.txt", "dev.txt", "bench.txt"):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        pins = re.findall(
            r"^[a-z0-9][^\s]*==[^\n]*\n((?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n?)*)", text, re.MULTILINE
        )
        assert pins
        assert all(hashes for hashes in pins)
