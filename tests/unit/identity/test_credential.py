"""Codes and the keys that sign them: what is refused, by which name, and how keys take turns."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import OctKey, OKPKey

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.credential import (
    CODE_TYPE,
    EC_TOKEN_TYPE,
    ISSUER,
    CertType,
    Code,
    EcToken,
    checked_business_type,
    checked_code,
    code_claims,
    ec_token_claims,
    new_code,
)
from services.identity.domain.signing import (
    KEY_LEAD,
    SEED_BYTES,
    HeldKey,
    KeyRing,
    ended_key,
    key_id_of,
    lacks_signer,
    needs_new_key,
    new_key,
)
from tests.other_letters import in_other_letters

NOW = datetime(2026, 7, 1, 4, 30, 0, 700_000, tzinfo=UTC)
LIFETIME = timedelta(days=90)
PATIENT = PsnNo("650100000000001")
JTI = UUID("8a9e3b54-53d3-4c9c-8a5a-5e51f7f3a111")


def key(kid: str, *, now: datetime = NOW, held: tuple[HeldKey, ...] = ()) -> HeldKey:
    """A key whose seed follows from its name."""
    seed = kid.encode().ljust(SEED_BYTES, b".")
    return new_key(kid, seed=seed, held=[each.public for each in held], now=now, lifetime=LIFETIME)


FIRST = key("first")
RING = KeyRing([FIRST])


def signed_code(*, lifetime_s: int = 60) -> str:
    """A code as it is issued."""
    code = new_code(PATIENT, jti=JTI, now=NOW, lifetime_s=lifetime_s)
    return RING.signer(now=NOW).sign(code_claims(code), as_type=CODE_TYPE)


def decoded(token: str, *, now: datetime = NOW, ring: KeyRing = RING) -> Code:
    """What DecodeCredential makes of it before the database is asked."""
    signed = ring.verify(token, now=now)
    return checked_code(signed.type, signed.claims, now=now)


def ec_token(issued_at: datetime) -> EcToken:
    """A token of a day, for a visit at the hospital's first terminal."""
    return EcToken(
        psn_no=PATIENT,
        fixmedins_code=FixmedinsCode("H65010000001"),
        terminal_no="T1",
        mdtrt_cert_type=CertType.CODE,
        business_type="01301",
        mdtrt_id="M1",
        sex=Sex.FEMALE,
        jti=JTI,
        issued_at=issued_at,
        expires_at=issued_at + timedelta(hours=24),
    )


def part(value: object) -> str:
    """A part of a compact JWS."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def test_a_fresh_code_tells_whose_it_is() -> None:
    """A code that was just issued decodes to its person and its id, until its whole second."""
    code = decoded(signed_code())
    issued_at = NOW.replace(microsecond=0)
    assert code == Code(PATIENT, JTI, issued_at, issued_at + timedelta(seconds=60))


def test_a_code_on_a_guardians_phone_says_whose_phone_it_is() -> None:
    """The guardian's number travels in the code and comes back; a code on one's own phone names nobody else."""
    guardian = PsnNo("650100000000002")
    code = new_code(PATIENT, jti=JTI, now=NOW, lifetime_s=60, shown_by=guardian)
    assert decoded(RING.signer(now=NOW).sign(code_claims(code), as_type=CODE_TYPE)) == code
    assert "shw" not in code_claims(new_code(PATIENT, jti=JTI, now=NOW, lifetime_s=60))


@pytest.mark.parametrize("text", ["01301", "01101", "02121", "02122"])
def test_a_national_business_type_is_taken(text: str) -> None:
    """A code of the national list comes back as it stands there, leading zero and all."""
    assert checked_business_type(text) == text


@pytest.mark.parametrize("text", ["", "00000", "1301", "013010", "09999", "结算"])
def test_another_business_type_is_refused(text: str) -> None:
    """What is not in the list is no business."""
    with pytest.raises(Failure) as refused:
        checked_business_type(text)
    assert refused.value == Failure(Kind.INVALID, "BUSINESS_TYPE_UNKNOWN", field="business_type")


@pytest.mark.parametrize("lifetime_s", [30, 60])
def test_a_code_ends_with_its_lifetime(lifetime_s: int) -> None:
    """It decodes in the last moment before its end and not at its end."""
    end = NOW.replace(microsecond=0) + timedelta(seconds=lifetime_s)
    token = signed_code(lifetime_s=lifetime_s)
    decoded(token, now=end - timedelta(microseconds=1))
    with pytest.raises(Failure) as refused:
        decoded(token, now=end)
    assert refused.value == Failure(Kind.UNAUTHENTICATED, "CODE_EXPIRED", field="code")


def test_a_clock_a_little_behind_the_issuers_is_borne() -> None:
    """Five seconds of difference between two replicas are allowed, not ten."""
    decoded(signed_code(), now=NOW - timedelta(seconds=5))
    with pytest.raises(Failure, match="CODE_NOT_YET_VALID"):
        decoded(signed_code(), now=NOW - timedelta(seconds=10))


def test_an_ec_token_is_no_code() -> None:
    """What we signed for settlement cannot be decoded again."""
    token = ec_token(NOW)
    with pytest.raises(Failure, match="CODE_OF_OTHER_KIND"):
        decoded(RING.signer(now=NOW).sign(ec_token_claims(token), as_type=EC_TOKEN_TYPE))


def test_a_code_for_another_audience_is_no_code() -> None:
    """The audience of a code is identity itself."""
    claims = code_claims(new_code(PATIENT, jti=JTI, now=NOW, lifetime_s=60)) | {"aud": "H65010000001"}
    with pytest.raises(Failure, match="CODE_OF_OTHER_KIND"):
        decoded(RING.signer(now=NOW).sign(claims, as_type=CODE_TYPE))


def test_an_ec_token_says_what_settlement_checks() -> None:
    """The claims are iss, aud, trm, mct, biz, vis, gnd, sub, iat, exp and jti, and nothing else."""
    begin = NOW.replace(microsecond=0)
    token = ec_token(begin)
    assert ec_token_claims(token) == {
        "iss": ISSUER,
        "aud": "H65010000001",
        "trm": "T1",
        "mct": "01",
        "biz": "01301",
        "vis": "M1",
        "gnd": "2",
        "sub": PATIENT,
        "iat": int(begin.timestamp()),
        "exp": int(begin.timestamp()) + 86_400,
        "jti": str(JTI),
    }


def test_every_part_of_a_code_is_signed() -> None:
    """A code with another's payload, another header or another signature is forged."""
    header, payload, signature = signed_code().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    other_person = part(claims | {"sub": "650100000000002"})
    other_type = part({"alg": "Ed25519", "kid": "first", "typ": EC_TOKEN_TYPE})
    for token in (
        f"{header}.{other_person}.{signature}",
        f"{other_type}.{payload}.{signature}",
        f"{header}.{payload}.{part(bytes(32))}",
        f"{header}.{payload}.{part(bytes(64))}",
        f"{header}.{payload}.{signature[:-2]}",
        f"{header}.{payload}.",
    ):
        with pytest.raises(Failure) as refused:
            decoded(token)
        assert refused.value == Failure(Kind.UNAUTHENTICATED, "CODE_FORGED", field="code")


def test_no_code_has_two_forms() -> None:
    """Whatever other text decodes to the same bytes is forged, whether it was signed as a code or as a token."""
    signer = RING.signer(now=NOW)
    tokens = [signer.sign({"jti": f"{n}"}, as_type=type_) for n in range(8) for type_ in (CODE_TYPE, EC_TOKEN_TYPE)]
    for other in [other for token in tokens for other in in_other_letters(token)]:
        with pytest.raises(Failure, match="CODE_FORGED"):
            decoded(other)


def header_of(**changes: Any) -> str:  # noqa: ANN401  Whatever a forger writes.
    """A header with some members changed; None leaves one out."""
    header = {"alg": "HS256", "kid": "first", "typ": CODE_TYPE} | changes
    return part({name: value for name, value in header.items() if value is not None})


@pytest.mark.parametrize(
    "header",
    [
        header_of(alg="none"),
        header_of(alg="Ed25519"),
        header_of(alg="HS384"),
        header_of(alg="HS256", typ=EC_TOKEN_TYPE),
        header_of(typ=["gongji-code"]),
        header_of(kid=None),
        header_of(kid=7),
        header_of(typ=None),
        header_of(jwk={"kty": "oct", "k": "AAAA"}),
        header_of(crit=["exp"]),
        header_of(b64=False),
        part([]),
        part("text"),
        part(b"\xff"),
        "",
        "!!",
    ],
)
def test_a_header_that_is_not_ours_is_malformed(header: str) -> None:
    """Another algorithm, a key brought along, a critical extension or no header at all: never tried."""
    _, payload, signature = signed_code().split(".")
    with pytest.raises(Failure) as refused:
        decoded(f"{header}.{payload}.{signature}")
    assert refused.value == Failure(Kind.UNAUTHENTICATED, "CODE_MALFORMED", field="code")


@given(st.text(max_size=200) | st.binary(max_size=300).map(lambda raw: ".".join((header_of(), part(raw), part(raw)))))
def test_no_text_is_taken_for_a_code(text: str) -> None:
    """Anything that we did not sign is malformed or forged, never an error."""
    with pytest.raises(Failure, match=r"CODE_(MALFORMED|FORGED)"):
        decoded(text)


def test_a_text_too_long_is_not_even_read() -> None:
    """Beyond 1,024 characters nothing is parsed."""
    with pytest.raises(Failure, match="CODE_MALFORMED"):
        key_id_of(signed_code() + "A" * 1024)


def test_a_key_of_which_we_know_nothing_signs_nothing_for_us() -> None:
    """A code by a key that is not in the ring, or whose time is over, is forged."""
    with pytest.raises(Failure, match="CODE_FORGED"):
        decoded(signed_code(), ring=KeyRing([key("second")]))
    with pytest.raises(Failure, match="CODE_FORGED"):
        decoded(signed_code(), now=FIRST.public.not_after)


def test_the_first_key_signs_at_once_and_a_further_one_after_everyone_knows_it() -> None:
    """The successor waits; until then the first goes on signing."""
    second = key("second", held=(FIRST,))
    assert (FIRST.public.not_before, second.public.not_before) == (NOW, NOW + KEY_LEAD)
    ring = KeyRing([second, FIRST])
    claims = code_claims(new_code(PATIENT, jti=JTI, now=NOW, lifetime_s=60))
    just_before = NOW + KEY_LEAD - timedelta(microseconds=1)
    assert key_id_of(ring.signer(now=just_before).sign(claims, as_type=CODE_TYPE)) == "first"
    assert key_id_of(ring.signer(now=NOW + KEY_LEAD).sign(claims, as_type=CODE_TYPE)) == "second"


def test_a_key_after_a_gap_signs_at_once() -> None:
    """If every key is over, the new one does not wait."""
    later = NOW + 2 * LIFETIME
    assert key("second", now=later, held=(FIRST,)).public.not_before == later


def test_without_a_key_nothing_is_signed() -> None:
    """A ring without keys refuses with SIGNING_KEY_MISSING, which asks for patience."""
    with pytest.raises(Failure) as refused:
        KeyRing([]).signer(now=NOW)
    assert refused.value == Failure(Kind.UNAVAILABLE, "SIGNING_KEY_MISSING")


def test_a_successor_is_made_before_the_youngest_key_is_over() -> None:
    """A new key is needed when there is none, and within the overlap before the end of the youngest."""
    overlap = timedelta(days=2)
    assert needs_new_key([], now=NOW, overlap=overlap)
    assert not needs_new_key([FIRST.public], now=FIRST.public.not_after - overlap, overlap=overlap)
    just_after = FIRST.public.not_after - overlap + timedelta(seconds=1)
    assert needs_new_key([FIRST.public], now=just_after, overlap=overlap)
    assert not needs_new_key([FIRST.public, key("second", now=just_after).public], now=just_after, overlap=overlap)


def test_an_ended_keys_time_is_over_and_a_time_still() -> None:
    """Its end is now, after its beginning even where that had not come; a key that is over does not live longer."""
    later = NOW + timedelta(days=3)
    assert ended_key(FIRST.public, now=later) == replace(FIRST.public, not_after=later)
    for public in (FIRST.public, key("second", held=(FIRST,)).public):
        over = ended_key(public, now=NOW)
        assert (over.not_before, over.not_after) == (NOW - timedelta(microseconds=1), NOW)
    assert ended_key(FIRST.public, now=FIRST.public.not_after) is FIRST.public


def test_a_key_that_ends_before_its_tokens_would_is_no_signer() -> None:
    """After another was ended: one that waits, or has less time than its successor and a token need, leaves a gap."""
    lasting = timedelta(days=1)
    assert lacks_signer([], now=NOW, lasting=lasting)
    assert lacks_signer([key("second", held=(FIRST,)).public], now=NOW, lasting=lasting)
    assert not lacks_signer([FIRST.public], now=FIRST.public.not_after - lasting, lasting=lasting)
    just_after = FIRST.public.not_after - lasting + timedelta(seconds=1)
    assert lacks_signer([FIRST.public], now=just_after, lasting=lasting)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=40) | st.integers(), max_size=8))
def test_what_is_signed_by_hand_is_a_compact_jws(claims: dict[str, str | int]) -> None:
    """Whatever the claims are, a library that knows nothing of us reads the same ones out of the token."""
    token = RING.signer(now=NOW).sign(claims, as_type=EC_TOKEN_TYPE)
    public = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": part(FIRST.public.public_key)})
    read = jws.deserialize_compact(token.encode(), public, algorithms=["Ed25519"])
    assert json.loads(read.payload) == claims
    assert read.headers() == {"alg": "Ed25519", "kid": "first", "typ": EC_TOKEN_TYPE}


def test_a_code_is_under_a_key_that_only_the_holder_of_the_private_half_can_make() -> None:
    """A library verifies it with the key derived from the seed, and with no key that is served or guessed."""
    token = signed_code().encode()
    derived = hmac.digest(FIRST.seed, b"gongji-code", "sha256")
    assert json.loads(jws.deserialize_compact(token, OctKey.import_key(derived), algorithms=["HS256"]).payload)
    for other in (FIRST.seed, FIRST.public.public_key):
        with pytest.raises(BadSignatureError):
            jws.deserialize_compact(token, OctKey.import_key(other), algorithms=["HS256"])


def test_a_ring_tells_the_beginning_of_its_tokens_from_any_other() -> None:
    """A token of a held key is known by its header as it stands; one of another key, or none, is not."""
    assert RING.holds_key_of(signed_code())
    assert not KeyRing([key("second")]).holds_key_of(signed_code())
    assert not RING.holds_key_of("")


def test_a_key_does_not_show_its_private_half() -> None:
    """The seed stays out of the representation."""
    assert "first....." not in repr(FIRST)
