"""Copies of the manifests, to be broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.check_kubernetes import DEPLOY, NO_KUBECTL
from tools.manifests import Rendering, rendered

Broken = Callable[..., tuple[Path, Rendering]]


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    """Renders a copy of deploy/ in which one text of one file was replaced everywhere; skips aloud without kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip(NO_KUBECTL)

    def copy(file: str, old: str, new: str, *, folder: str = "base") -> tuple[Path, Rendering]:
        deploy = tmp_path / "deploy"
        shutil.copytree(DEPLOY, deploy)
        text = (deploy / file).read_text(encoding="utf-8")
        assert old in text, f"{file} no longer says what this test breaks: {old}"
        (deploy / file).write_text(text.replace(old, new), encoding="utf-8")
        return deploy, rendered(deploy, folder)

    return copy
