"""The ecToken: which one counts, and by which name each other one is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from joserfc import jws
from joserfc.jwk import OctKey, OKPKey
from joserfc.util import urlsafe_b64decode

from kernel.failures import Failure
from kernel.ids import FixmedinsCode, PsnNo
from services.settlement.domain.credential import (
    Claims,
    SigningKey,
    check_claims,
    key_id_of,
    stated_holder,
    verified_claims,
)
from tests.other_letters import in_other_letters

NOW: Final = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
PATIENT: Final = PsnNo("650100000000001")
FUNDER: Final = PsnNo("650100000000002")
HOSPITAL: Final = FixmedinsCode("H65010000001")
PAIR: Final = OKPKey.generate_key("Ed25519")
OTHER_PAIR: Final = OKPKey.generate_key("Ed25519")


def key_of(pair: OKPKey = PAIR, **changes: Any) -> SigningKey:  # noqa: ANN401  Any field of a key.
    """A pair's public half, in force around NOW."""
    known = {
        "kid": "k1",
        "public_key": urlsafe_b64decode(str(pair.as_dict(private=False)["x"]).encode()),
        "not_before": NOW - timedelta(days=1),
        "not_after": NOW + timedelta(days=30),
    }
    return SigningKey(**{**known, **changes})


def token_of(pair: OKPKey = PAIR, *, header: dict[str, Any] | None = None, **changes: Any) -> str:  # noqa: ANN401  As above.
    """An ecToken of the patient at the hospital's T01, as identity signs it."""
    claims = {
        "iss": "gongji-identity",
        "sub": PATIENT,
        "aud": HOSPITAL,
        "trm": "T01",
        "mct": "01",
        "biz": "01301",
        "vis": "M1",
        "gnd": "2",
        "iat": int((NOW - timedelta(minutes=5)).timestamp()),
        "exp": int((NOW + timedelta(hours=1)).timestamp()),
        "jti": "j",
    }
    stated = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    head = {"alg": "Ed25519", "kid": "k1", "typ": "gongji-ectoken", **(header or {})}
    return jws.serialize_compact(head, json.dumps(stated).encode(), pair, algorithms=["Ed25519"])


def check(claims: Claims) -> None:
    """Whether the claims count for the patient at T01 now, with one funder bound."""
    check_claims(
        claims,
        patient=PATIENT,
        funders=[FUNDER],
        fixmedins_code=HOSPITAL,
        terminal_no="T01",
        mdtrt_id="M1",
        now=NOW,
    )


@pytest.mark.parametrize(("told", "gend"), [("1", "1"), ("2", "2"), (None, ""), ("9", ""), (1, ""), (["1"], "")])
def test_a_sex_is_taken_as_the_national_values_have_it(told: object, gend: str) -> None:
    """1 or 2; a token that does not tell it, or tells something else, counts all the same."""
    claims = verified_claims(token_of(gnd=told), key_of(), now=NOW)
    check(claims)
    assert claims.gend == gend


def test_a_fresh_token_of_the_patient_at_this_terminal_counts() -> None:
    """Signed by a known key, for this person, institution and terminal, and not over: it counts."""
    token = token_of()
    claims = verified_claims(token, key_of(), now=NOW)
    check(claims)
    assert (key_id_of(token), claims.psn_no) == ("k1", PATIENT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(NOW.timestamp())}, "EC_TOKEN_EXPIRED"),
        ({"iat": int((NOW + timedelta(minutes=2)).timestamp())}, "EC_TOKEN_INVALID"),
        ({"aud": "H65010000002"}, "EC_TOKEN_OF_ANOTHER_TERMINAL"),
        ({"trm": "T02"}, "EC_TOKEN_OF_ANOTHER_TERMINAL"),
        ({"sub": FUNDER}, "FUNDER_CREDENTIAL_USED"),
        ({"sub": "650100000000009"}, "CREDENTIAL_NOT_OF_PATIENT"),
        ({"sub": FUNDER, "trm": "T02"}, "EC_TOKEN_OF_ANOTHER_TERMINAL"),
        ({"vis": "M2"}, "CREDENTIAL_OF_ANOTHER_VISIT"),
        ({"sub": FUNDER, "vis": "M2"}, "FUNDER_CREDENTIAL_USED"),
        ({"biz": "01101"}, "EC_TOKEN_OF_ANOTHER_BUSINESS"),
        ({"biz": "01101", "vis": "M2"}, "CREDENTIAL_OF_ANOTHER_VISIT"),
    ],
)
def test_each_claim_that_does_not_fit_has_its_own_refusal(changes: dict[str, Any], reason: str) -> None:
    """A well-signed token is refused by the first rule that it breaks."""
    claims = verified_claims(token_of(**changes), key_of(), now=NOW)
    with pytest.raises(Failure) as refused:
        check(claims)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "token",
    [
        token_of(OTHER_PAIR),
        token_of(iss="someone-else"),
        token_of(sub=None),
        token_of(trm=7),
        token_of(vis=None),
        token_of(vis=""),
        token_of(biz=None),
        token_of(biz=1301),
        token_of(exp=None),
        token_of(iat="soon"),
        token_of(exp=10**30),
        token_of(iat=True),
        token_of()[:-4] + "AAAA",
        jws.serialize_compact({"alg": "Ed25519", "kid": "k1"}, b"[1]", PAIR, algorithms=["Ed25519"]),
        jws.serialize_compact({"alg": "Ed25519", "kid": "k1"}, b"not json", PAIR, algorithms=["Ed25519"]),
    ],
)
def test_what_the_key_did_not_sign_as_a_token_is_invalid(token: str) -> None:
    """A forged or misshapen token is never believed, whatever it says."""
    with pytest.raises(Failure) as refused:
        verified_claims(token, key_of(), now=NOW)
    assert refused.value.reason == "EC_TOKEN_INVALID"


@pytest.mark.parametrize("number", range(8))
def test_no_token_has_two_forms(number: int) -> None:
    """Whatever other text decodes to the same bytes is never believed."""
    for other in in_other_letters(token_of(jti=f"j{number}")):
        with pytest.raises(Failure, match="EC_TOKEN_INVALID"):
            verified_claims(other, key_of(), now=NOW)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "....",
        "e30.e30.e30",
        "国.家.局",
        "WzFd.e30.AA",
        "W1tb" * 1000 + ".e30.AA",
        token_of(header={"kid": ""}),
        token_of(header={"kid": "\0"}),
        token_of(header={"kid": "\ud800"}),
        token_of(header={"kid": "k" * 65}),
        token_of(header={"typ": "gongji-code"}),
        jws.serialize_compact(
            {"alg": "HS256", "kid": "k1", "typ": "gongji-ectoken"},
            b"{}",
            OctKey.generate_key(256),
            algorithms=["HS256"],
        ),
    ],
)
def test_what_is_no_token_names_no_key(token: str) -> None:
    """Rubbish, another algorithm, another type or a missing kid is refused before any key is looked up."""
    with pytest.raises(Failure) as refused:
        key_id_of(token)
    assert refused.value.reason == "EC_TOKEN_INVALID"


def test_whose_a_token_says_it_is_can_be_read_before_it_is_believed() -> None:
    """Whoever signed it; what it is read for is asked by it, and told only when the signature fits."""
    assert stated_holder(token_of(OTHER_PAIR, sub=FUNDER)) == FUNDER


@pytest.mark.parametrize(
    "token",
    [
        *("", "x", "a.b.c", "国.家.局", "e30.e30.e30", "e30.WzFd.e30"),
        token_of(sub=None),
        token_of(sub=7),
        token_of(sub="\0"),
        token_of(sub="P" * 1_000),
        jws.serialize_compact({"alg": "Ed25519", "kid": "k1"}, b"[" * 100_000, PAIR, algorithms=["Ed25519"]),
        jws.serialize_compact({"alg": "Ed25519", "kid": "k1"}, b"\xff", PAIR, algorithms=["Ed25519"]),
    ],
)
def test_what_names_nobody_that_there_can_be_is_nobodys(token: str) -> None:
    """No text that a database would refuse, or that is no number of a person, is ever asked for."""
    assert stated_holder(token) == ""


@pytest.mark.parametrize(
    "key",
    [key_of(not_after=NOW), key_of(not_before=NOW - timedelta(minutes=4))],
)
def test_a_key_vouches_for_nothing_outside_its_time(key: SigningKey) -> None:
    """A key that is over, and one that had not begun when the token was issued, prove nothing."""
    with pytest.raises(Failure) as refused:
        verified_claims(token_of(), key, now=NOW)
    assert refused.value.reason == "EC_TOKEN_INVALID"
