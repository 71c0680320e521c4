"""`buf breaking`, as the protos configure it, names a breaking change. There is no release yet to hold them against."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
BUF: Final = Path(sys.executable).parent / "buf"
PROTO: Final = Path("gongji/settlement/v1/settlement.proto")


def breaking(changed: Path) -> subprocess.CompletedProcess[str]:
    """``buf breaking`` of a changed copy of the protos against those in the tree."""
    return subprocess.run(  # noqa: S603  Our own files.
        [str(BUF), "breaking", str(changed), "--against", str(ROOT / "protos")],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the protos to change."""
    target = tmp_path / "protos"
    shutil.copytree(ROOT / "protos", target, ignore=shutil.ignore_patterns("gen", "__pycache__"))
    return target


def test_an_unchanged_contract_passes(copy: Path) -> None:
    """The same protos break nothing."""
    result = breaking(copy)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("bytes plan_digest = 3", "bytes plan_digest = 9", "plan_digest"),
        ("int64 psn_cash_pay = 19;", "string psn_cash_pay = 19;", "psn_cash_pay"),
        (
            "  rpc ReverseTransaction(ReverseTransactionRequest) returns (ReverseTransactionResponse);\n",
            "",
            "ReverseTransaction",
        ),
    ],
    ids=["field renumbered", "type changed", "RPC removed"],
)
def test_a_breaking_change_is_refused(copy: Path, old: str, new: str, told: str) -> None:
    """A renumbered field, a changed type or a removed RPC is an error that names it."""
    text = (copy / PROTO).read_text(encoding="utf-8")
    assert old in text
    (copy / PROTO).write_text(text.replace(old, new, 1), encoding="utf-8")
    result = breaking(copy)
    assert result.returncode != 0
    assert told in result.stdout
