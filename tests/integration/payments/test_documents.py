"""docs/guarantees.md and docs/runbook.md name only what exists: proofs, commands, metrics, log lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import typer

from ops.main import app

ROOT: Final = Path(__file__).parents[3]
DOCUMENTS: Final = ("docs/guarantees.md", "docs/runbook.md")
_CODE: Final = re.compile(r"`([^`\n]+)`")
_FILE: Final = re.compile(r"(?:tests|ops|deploy|terminal)/[a-z_0-9/]+(?:\.[a-z]+)?(?:::\w+)?")


def text_of(document: str) -> str:
    """The document."""
    return (ROOT / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_test_that_is_named_exists(document: str) -> None:
    """A proof that a reader cannot run is no proof."""
    missing = []
    for code in _CODE.findall(text_of(document)):
        for named in _FILE.findall(code):
            path, _, test = named.partition("::")
            if not (ROOT / path).exists() or (test and f"def {test}(" not in text_of(path)):
                missing.append(named)
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_named_exists(document: str) -> None:
    """Each `gongji …` of the documents is a command of this release, and so is each `make …`."""
    text = text_of(document)
    group = typer.main.get_command(app)
    commands = set(getattr(group, "commands"))  # noqa: B009  Click's group is not typed here.
    assert set(re.findall(r"gongji ([a-z]+)\b(?=[ `\n])", text)) - commands == set()
    for name in ("payments", "restore", "alarms", "suspense", "deadletters"):
        known = set(getattr(getattr(group, "commands")[name], "commands"))  # noqa: B009  As above.
        assert set(re.findall(rf"gongji {name} ([a-z]+)", text)) - known == set()
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) - targets == set()


def test_every_metric_and_log_line_of_the_runbook_is_said_by_the_code() -> None:
    """What the person on call looks for is what the processes say."""
    runbook = text_of("docs/runbook.md")
    folders = [ROOT / folder for folder in ("services", "chassis", "ops")]
    code = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    alarms = runbook.partition("## By alarm")[2].partition("## Restore")[0]
    # What verify finds is told in sentences with amounts and names in them, not in log lines.
    alarms = re.sub(r"### gongji verify reports a violation\n.*?(?=\n### )", "", alarms, flags=re.DOTALL)
    metrics = {name.removesuffix("_total") for name in re.findall(r"`(gongji_[a-z_]+)`", alarms)}
    assert {name for name in metrics if f'"{name}' not in code} == set()
    lines = [" ".join(line.split()) for line in re.findall(r'"([a-z][^"]+)"', alarms)]
    not_logged = {"ledger … could not be read", "nobody has sealed"}
    assert {line for line in lines if f'"{line}"' not in code} - not_logged == set()
    assert len(lines) > 10
