"""The sandbox verifier's commands: a key made once, an attestation that identity's own rules take."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kernel.ids import PsnNo
from ops.main import app
from ops.sandbox_verifier import SandboxKey
from services.identity.domain.attestation import Purpose, VerifierKey, named_in, stated_in

PERSON = PsnNo("650100000000001")


def run(*arguments: str) -> tuple[int, str, str]:
    """The command's exit code, output and errors."""
    done = CliRunner().invoke(app, ["sandbox-verifier", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_what_it_attests_is_an_attestation(tmp_path: Path) -> None:
    """Key and attestation from the command line pass the rules of VerifyAttestation."""
    file = tmp_path / "key.json"
    assert run("key", "--key", str(file))[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    code, token, _ = run("attest", PERSON, "--purpose", "EXPORT_DATA", "--key", str(file))
    assert code == 0
    key = SandboxKey.read(file)
    named = named_in(token.strip())
    assert (named.verifier_no, named.kid) == ("sandbox", key.kid)
    trusted = VerifierKey(key.verifier_no, key.kid, key.public_key, is_sandbox=True, ended=False)
    stated = stated_in(token.strip(), trusted, psn_no=PERSON, purpose=Purpose.EXPORT_DATA, now=datetime.now(UTC))
    assert stated.verifier_no == "sandbox"


def test_a_key_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    """A second key in the same place would make the first one's registration worthless."""
    file = tmp_path / "key.json"
    run("key", "--key", str(file))
    content = file.read_bytes()
    code, _, said = run("key", "--key", str(file))
    assert (code, file.read_bytes()) == (2, content)
    assert "is there already" in said


@pytest.mark.parametrize("content", [None, "", "{}", '{"verifier_no": "s", "kid": "k", "seed": "!"}', "[]"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: str | None) -> None:
    """Missing, empty or something else: exit code 2 and no traceback."""
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    code, token, said = run("attest", PERSON, "--purpose", "REAL_NAME", "--key", str(file))
    assert (code, token) == (2, "")
    assert said.startswith("gongji: ")


def test_a_key_does_not_show_its_seed() -> None:
    """Not even in a representation."""
    assert "seed" not in repr(SandboxKey("s", "k", bytes(32)))
