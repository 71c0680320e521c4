"""The end of docs/integration.md: what each call is refused for in the terminals' cases, and what the cashier does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
CASES: Final = ROOT / "terminal" / "gongji_terminal" / "cases"
PAGE: Final = ROOT / "docs" / "integration.md"
MARK: Final = "<!-- Written by `make proto` from the case files and the catalogue; do not edit below. -->\n"


def counter_page(reasons: Mapping[str, Mapping[str, str]], page: str) -> str:
    """The page with its tables anew, one for each call."""
    told: dict[str, set[str]] = {}
    for file in sorted(CASES.glob("*/*.yaml")):
        case: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        for step in case["steps"]:
            if "refusal" in step:
                told.setdefault(step["call"].rpartition(".")[2], set()).add(step["refusal"]["reason"])
    lines = [page.partition(MARK)[0] + MARK]
    for call, names in sorted(told.items()):
        lines += [f"### {call}", "", "| reason | the cashier |", "|---|---|"]
        lines += [f"| [{name}](errors.md#{name.lower()}) | {reasons[name]['cashier']} |" for name in sorted(names)]
        lines += [""]
    return "\n".join(lines)
