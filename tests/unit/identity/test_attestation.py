"""Attestations of a face: each thing that can be wrong with one has its own refusal."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from ops.sandbox_verifier import SandboxKey
from services.identity.domain.attestation import (
    AGE_MAX,
    SKEW_MAX,
    USE_WITHIN,
    Attestation,
    Purpose,
    Stated,
    VerifierKey,
    check_trusted,
    check_use,
    named_in,
    stated_in,
)
from tests.other_letters import in_other_letters

NOW = datetime(2026, 7, 1, 4, 30, tzinfo=UTC)
PERSON = PsnNo("650100000000001")
FACES = SandboxKey("face-house", "f1", bytes(range(32)))
OTHER = SandboxKey("face-house", "f1", bytes(32))
KEY = VerifierKey("face-house", "f1", FACES.public_key, is_sandbox=False, ended=False)
ID = UUID("00000000-0000-7000-8000-000000000001")


def token(key: SandboxKey = FACES, **changed: object) -> str:
    """An attestation that the person's face was shown at NOW for his real name."""
    return key.attestation(PERSON, "REAL_NAME", now=NOW, **changed)


def judged(attestation: str, *, now: datetime = NOW, key: VerifierKey = KEY) -> Stated:
    """What VerifyAttestation makes of it before the database is asked."""
    named_in(attestation)
    return stated_in(attestation, key, psn_no=PERSON, purpose=Purpose.REAL_NAME, now=now)


def test_a_good_attestation_says_who_vouches_and_when_the_face_was_shown() -> None:
    """Verifier, outBizNo and instant come out of it."""
    assert judged(token(outBizNo="B1")) == Stated("face-house", "B1", NOW)
    named = named_in(token())
    assert (named.verifier_no, named.kid) == ("face-house", "f1")


@pytest.mark.parametrize(
    ("attestation", "reason"),
    [
        (token(OTHER), "ATTESTATION_FORGED"),
        (token()[:-4] + "AAAA", "ATTESTATION_FORGED"),
        (token(aud="H65010000001"), "ATTESTATION_FOR_ANOTHER_AUDIENCE"),
        (token(aud=None), "ATTESTATION_FOR_ANOTHER_AUDIENCE"),
        (token(aud=["gongji-identity"]), "ATTESTATION_FOR_ANOTHER_AUDIENCE"),
        (token(purpose="EXPORT_DATA"), "ATTESTATION_OF_ANOTHER_PURPOSE"),
        (token(purpose="real_name"), "ATTESTATION_OF_ANOTHER_PURPOSE"),
        (token(sub="650100000000002"), "ATTESTATION_OF_ANOTHER_PERSON"),
        (token(aud="x", purpose="EXPORT_DATA", sub="x"), "ATTESTATION_FOR_ANOTHER_AUDIENCE"),
        (token(purpose="EXPORT_DATA", sub="x"), "ATTESTATION_OF_ANOTHER_PURPOSE"),
        (token(outBizNo=""), "ATTESTATION_MALFORMED"),
        (token(outBizNo="B" * 65), "ATTESTATION_MALFORMED"),
        (token(outBizNo=7), "ATTESTATION_MALFORMED"),
        (token(iat="soon"), "ATTESTATION_MALFORMED"),
        (token(iat=True), "ATTESTATION_MALFORMED"),
        (token(iat=10**30), "ATTESTATION_MALFORMED"),
        (token(exp=None), "ATTESTATION_MALFORMED"),
        (token(exp=253402300799), "ATTESTATION_MALFORMED"),
        (token(iss=""), "ATTESTATION_MALFORMED"),
        (token(iss="a/b"), "ATTESTATION_MALFORMED"),
    ],
)
def test_each_claim_that_does_not_fit_has_its_own_refusal(attestation: str, reason: str) -> None:
    """A wrong attestation is refused by the first rule that it breaks, and nothing it says is repeated."""
    with pytest.raises(Failure) as refused:
        judged(attestation)
    assert refused.value == Failure(Kind.UNAUTHENTICATED, reason, field="attestation")


def test_no_attestation_has_two_forms() -> None:
    """Whatever other text decodes to the same bytes is forged."""
    for number in range(8):
        for other in in_other_letters(token(outBizNo=f"B{number}")):
            with pytest.raises(Failure, match="ATTESTATION_FORGED"):
                judged(other)


def test_a_face_counts_for_five_minutes_by_either_clock() -> None:
    """Up to five minutes old and half a minute ahead it counts, not a second more, nor after its own exp."""
    moment = timedelta(seconds=1)
    judged(token(exp=int((NOW + timedelta(days=1)).timestamp())), now=NOW + AGE_MAX)
    with pytest.raises(Failure, match="ATTESTATION_TOO_OLD"):
        judged(token(exp=int((NOW + timedelta(days=1)).timestamp())), now=NOW + AGE_MAX + moment)
    with pytest.raises(Failure, match="ATTESTATION_TOO_OLD"):
        judged(token(exp=int(NOW.timestamp())))
    judged(token(), now=NOW - SKEW_MAX)
    with pytest.raises(Failure, match="ATTESTATION_FROM_FUTURE"):
        judged(token(), now=NOW - SKEW_MAX - moment)


def part(stated: object) -> str:
    """A part of a compact JWS."""
    return base64.urlsafe_b64encode(json.dumps(stated).encode()).rstrip(b"=").decode()


HEADER: dict[str, Any] = {"alg": "Ed25519", "kid": "f1", "typ": "gongji-attestation"}


@pytest.mark.parametrize(
    "header",
    [
        HEADER | {"alg": "none"},
        HEADER | {"alg": "EdDSA"},
        HEADER | {"alg": "HS256"},
        HEADER | {"typ": "gongji-code"},
        HEADER | {"kid": 7},
        HEADER | {"kid": "../f1"},
        HEADER | {"jwk": {"kty": "OKP"}},
        HEADER | {"crit": ["exp"]},
        {"alg": "Ed25519", "kid": "f1"},
        [],
        "text",
    ],
)
def test_a_header_that_is_not_ours_is_malformed(header: object) -> None:
    """Another algorithm, a key brought along, another type of token: never tried."""
    _, payload, signature = token().split(".")
    with pytest.raises(Failure, match="ATTESTATION_MALFORMED"):
        named_in(f"{part(header)}.{payload}.{signature}")


@given(st.text(max_size=300) | st.lists(st.binary(max_size=60), max_size=4).map(lambda raw: ".".join(map(str, raw))))
def test_no_text_is_an_attestation(text: str) -> None:
    """Whatever somebody sends is malformed, never an error."""
    with pytest.raises(Failure, match="ATTESTATION_MALFORMED"):
        named_in(text)


def test_a_text_too_long_is_not_even_read() -> None:
    """Beyond 2,048 characters nothing is parsed."""
    with pytest.raises(Failure, match="ATTESTATION_MALFORMED"):
        named_in(token(padding="A" * 2048))


@pytest.mark.parametrize(
    ("key", "known", "allowed", "reason"),
    [
        (None, False, True, "VERIFIER_UNKNOWN"),
        (None, True, True, "ATTESTATION_FORGED"),
        (replace(KEY, is_sandbox=True), True, False, "SANDBOX_VERIFIER_REFUSED"),
        (replace(KEY, is_sandbox=True, ended=True), True, False, "SANDBOX_VERIFIER_REFUSED"),
        (replace(KEY, ended=True), True, False, "VERIFIER_ENDED"),
    ],
)
def test_whose_word_does_not_count(key: VerifierKey | None, known: bool, allowed: bool, reason: str) -> None:  # noqa: FBT001  A table.
    """A stranger, an unknown key, a sandbox where none counts, one that was ended: each by its name."""
    with pytest.raises(Failure) as refused:
        check_trusted(key, known=known, sandbox_allowed=allowed)
    assert refused.value.reason == reason


def test_a_sandbox_counts_where_it_is_allowed() -> None:
    """And a verifier that is none counts everywhere."""
    sandbox = replace(KEY, is_sandbox=True)
    assert check_trusted(sandbox, known=True, sandbox_allowed=True) is sandbox
    assert check_trusted(KEY, known=True, sandbox_allowed=False) is KEY


def kept(**changed: object) -> Attestation:
    """An attestation as it was verified."""
    return replace(Attestation(ID, "face-house", "f1", "B1", PERSON, Purpose.EXPORT_DATA, NOW), **changed)  # type: ignore[arg-type]  # Any field.


@pytest.mark.parametrize(
    ("attestation", "now", "reason"),
    [
        (None, NOW, "ATTESTATION_UNKNOWN"),
        (kept(psn_no=PsnNo("650100000000002")), NOW, "ATTESTATION_OF_ANOTHER_PERSON"),
        (kept(purpose=Purpose.REAL_NAME), NOW, "ATTESTATION_OF_ANOTHER_PURPOSE"),
        (kept(), NOW + USE_WITHIN + timedelta(seconds=1), "ATTESTATION_TOO_OLD"),
        (kept(used_for="export:2"), NOW, "ATTESTATION_USED"),
        (kept(used_for="export:2", ended=True), NOW, "ATTESTATION_USED"),
        (kept(ended=True), NOW, "VERIFIER_ENDED"),
    ],
)
def test_what_an_attestation_cannot_be_used_for(attestation: Attestation | None, now: datetime, reason: str) -> None:
    """Another person, another purpose, too late, something else before, or nobody's word any more."""
    with pytest.raises(Failure) as refused:
        check_use(attestation, psn_no=PERSON, purpose=Purpose.EXPORT_DATA, used_for="export:1", now=now)
    assert refused.value.reason == reason


def test_the_same_use_again_is_no_second_one() -> None:
    """However much later a request is repeated whose answer was lost."""
    used = kept(used_for="export:1")
    late = NOW + timedelta(days=1)
    assert check_use(used, psn_no=PERSON, purpose=Purpose.EXPORT_DATA, used_for="export:1", now=late) is used
    ended = replace(used, ended=True)
    assert check_use(ended, psn_no=PERSON, purpose=Purpose.EXPORT_DATA, used_for="export:1", now=late) is ended
