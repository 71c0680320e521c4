"""A process that is told to use policies it cannot use does not start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
SETTINGS: Final = {
    "GONGJI_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "GONGJI_NATS_URL": "nats://127.0.0.1:1",
    "GONGJI_IDENTITY_ADDRESS": "127.0.0.1:1",
}


@pytest.mark.parametrize("module", ["services.family.app", "services.settlement.app"])
@pytest.mark.parametrize(
    ("policy", "line", "reason"),
    [
        ("  wallett: true", "3", "POLICY_KEY_UNKNOWN"),
        ("  wallet: true\n  single_pay_ratio_cap: '1.5'", "4", "RATIO_OUT_OF_RANGE"),
    ],
    ids=["unknown key", "ratio above 1"],
)
def test_a_policy_that_cannot_be_used_stops_the_start(
    module: str, policy: str, line: str, reason: str, tmp_path: Path
) -> None:
    """Exit code 2, with the file, the line and the reason on stderr, before any server is looked for."""
    (tmp_path / "650000.yaml").write_text(f"area: '650000'\npolicy:\n{policy}\n", encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GONGJI_")}
    ended = subprocess.run(  # noqa: S603  Our own process.
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**inherited, **SETTINGS, "GONGJI_POLICIES_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert reason in ended.stderr
    assert "650000.yaml" in ended.stderr
    assert f"line={line}" in ended.stderr
