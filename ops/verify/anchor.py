"""Heads of chains, kept in a file that whoever owns the databases cannot change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ops.verify.report import Head


def read_anchors(file: Path) -> dict[str, Head]:
    """The heads by area; none if the file is not there yet. ValueError if it holds anything else."""
    if not file.exists():
        return {}
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {str(area): Head(**head) for area, head in stored["heads"].items()}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as problem:
        raise ValueError(f"{file} holds no heads of chains: {problem}") from None


def write_anchors(file: Path, heads: Mapping[str, Head]) -> None:
    """Puts the heads in place of those that stand there, in one step."""
    new = file.with_name(file.name + ".new")
    stored = {"heads": {area: asdict(head) for area, head in sorted(heads.items())}}
    new.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    new.replace(file)
