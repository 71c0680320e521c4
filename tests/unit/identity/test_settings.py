"""What identity's settings refuse: a sandbox that vouches for anybody counts in no production."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.identity.app import Settings
from services.identity.operations.secrets_file import add_pin_pepper, make_secrets_file, read_secrets

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


@pytest.fixture
def needed(tmp_path: Path) -> dict[str, Any]:
    """The settings that must be given."""
    path = tmp_path / "identity.json"
    make_secrets_file(path)
    return {
        "database_url": "postgresql://identity@127.0.0.1/gongji_identity",
        "nats_url": "nats://127.0.0.1:4222",
        "identity_secrets_file": path,
    }


def test_no_sandbox_verifier_counts_unless_somebody_says_so(needed: dict[str, Any]) -> None:
    """The default is false, in production and elsewhere."""
    assert not Settings(**needed).sandbox_verifiers
    assert not Settings(environment="development", **needed).sandbox_verifiers


def test_production_refuses_a_sandbox_verifier(needed: dict[str, Any]) -> None:
    """Said in production it stops the start; in development it is allowed."""
    with pytest.raises(ValidationError, match="is refused where GONGJI_ENVIRONMENT is production"):
        Settings(sandbox_verifiers=True, **needed)
    assert Settings(environment="development", sandbox_verifiers=True, **needed).sandbox_verifiers


def test_no_manifest_allows_a_sandbox_verifier() -> None:
    """Neither the base nor an overlay, nor anything else that is deployed, sets the switch."""
    texts = [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".md"]  # A page tells of it.
    assert texts
    assert [path for path in texts if b"SANDBOX_VERIFIERS" in path.read_bytes()] == []


def test_the_secret_for_pins_is_added_to_an_older_file_once(tmp_path: Path) -> None:
    """The other keys stay as they are, the file its owner's alone; a file that has one is left as it is."""
    path = tmp_path / "identity.json"
    make_secrets_file(path)
    assert not add_pin_pepper(path)
    older = path.read_text(encoding="utf-8").partition('"pin"')[0].rstrip().rstrip(",") + "\n}\n"
    path.write_text(older, encoding="utf-8")
    before = read_secrets(path)
    assert before.pin_pepper is None
    assert add_pin_pepper(path)
    after = read_secrets(path)
    assert (after.encryption_keys, after.blind_index_key) == (before.encryption_keys, before.blind_index_key)
    assert after.pin_pepper is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["identity.json"]
