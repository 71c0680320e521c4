"""Attestations (实名、人脸核身): a registered verifier's signed word that it was this person, for this, just now.

This room looks at no face (domain §1). It judges the word: who says it, with which key, of whom, for what, how long
ago, and that it was never said before. What the word then is used for, it is used for once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo

ALGORITHM: Final = "Ed25519"
ATTESTATION_TYPE: Final = "gongji-attestation"
AUDIENCE: Final = "gongji-identity"
AGE_MAX: Final = timedelta(minutes=5)
"""A face that was shown longer ago may belong to somebody who has left the phone since."""
SKEW_MAX: Final = timedelta(seconds=30)
"""How far ahead the clock of a verifier, who is another house, may be."""
USE_WITHIN: Final = timedelta(minutes=30)
"""How long after the face was shown the attestation can be used: what it is for follows at once."""
LENGTH_MAX: Final = 2048
_HEADERS: Final = frozenset({"alg", "kid", "typ"})
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_YEAR_MAX: Final = 2200


class Purpose(Enum):
    """What a face was shown for; the value is what the claim says and the database keeps."""

    REAL_NAME = "REAL_NAME"  # 实名认证.
    JOIN_GROUP = "JOIN_GROUP"  # Family: from 16 on by own consent.
    ADD_WARD = "ADD_WARD"  # 亲情账户: the guardian's.
    ACTIVATE_CARD = "ACTIVATE_CARD"
    UNLOCK_PIN = "UNLOCK_PIN"
    EXPORT_DATA = "EXPORT_DATA"  # PIPL: everything held about me.
    OPEN_WALLET = "OPEN_WALLET"  # Settlement.
    BE_WARD = "BE_WARD"  # 亲情账户: the ward's, from 14 on.


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A verifier as far as a signature needs it; ``ended`` if the verifier or this key of it was ended."""

    verifier_no: str
    kid: str
    public_key: bytes
    is_sandbox: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class Named:
    """Whose key a token names, before anything in it is believed."""

    verifier_no: str
    kid: str


@dataclass(frozen=True, slots=True)
class Stated:
    """What a good signature vouches for."""

    verifier_no: str
    out_biz_no: str
    attested_at: datetime


@dataclass(frozen=True, slots=True)
class Attestation:
    """An attestation that was verified, with its one use; ``ended`` if its verifier or the key of it was since."""

    attestation_id: UUID
    verifier_no: str
    kid: str
    out_biz_no: str = field(repr=False)
    psn_no: PsnNo
    purpose: Purpose
    attested_at: datetime
    used_for: str | None = None
    ended: bool = False


def named_in(token: str) -> Named:
    """The verifier and the key that a token names; ATTESTATION_MALFORMED (UNAUTHENTICATED) if it names none."""
    if not token.isascii() or len(token) > LENGTH_MAX:
        raise _malformed()
    try:
        unread = jws.extract_compact(token.encode("ascii"))
        header: Any = unread.headers()
        named = Named(_text(_claims(unread.payload), "iss"), _text(header, "kid"))
        ours = header.keys() == _HEADERS and header["alg"] == ALGORITHM and header["typ"] == ATTESTATION_TYPE
    except (JoseError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise _malformed() from None
    if not ours:
        raise _malformed()
    return named


def check_trusted(key: VerifierKey | None, *, known: bool, sandbox_allowed: bool) -> VerifierKey:
    """The key, if its owner may vouch for anyone.

    First that applies: VERIFIER_UNKNOWN (NOT_FOUND), SANDBOX_VERIFIER_REFUSED (FORBIDDEN), ATTESTATION_FORGED
    (UNAUTHENTICATED: the verifier has no such key), VERIFIER_ENDED (PRECONDITION).
    """
    if not known:
        raise Failure(Kind.NOT_FOUND, "VERIFIER_UNKNOWN", field="attestation")
    if key is None:
        raise Failure(Kind.UNAUTHENTICATED, "ATTESTATION_FORGED", field="attestation")
    check_sandbox(is_sandbox=key.is_sandbox, allowed=sandbox_allowed)
    if key.ended:
        raise Failure(Kind.PRECONDITION, "VERIFIER_ENDED", field="attestation")
    return key


def check_sandbox(*, is_sandbox: bool, allowed: bool) -> None:
    """SANDBOX_VERIFIER_REFUSED (FORBIDDEN) where no sandbox verifier counts: it vouches for whoever asks."""
    if is_sandbox and not allowed:
        raise Failure(Kind.FORBIDDEN, "SANDBOX_VERIFIER_REFUSED")


def stated_in(token: str, key: VerifierKey, *, psn_no: PsnNo, purpose: Purpose, now: datetime) -> Stated:
    """What the token says, if this key signed it and it says it of this person, for this purpose, just now.

    UNAUTHENTICATED, first that applies: ATTESTATION_FORGED, ATTESTATION_MALFORMED (a claim is missing),
    ATTESTATION_FOR_ANOTHER_AUDIENCE, ATTESTATION_OF_ANOTHER_PURPOSE, ATTESTATION_OF_ANOTHER_PERSON,
    ATTESTATION_FROM_FUTURE, ATTESTATION_TOO_OLD.
    """
    signed, _, signature = token.rpartition(".")
    try:
        proof = urlsafe_b64decode(signature.encode("ascii"))
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(proof, signed.encode("ascii"))
    except (ValueError, InvalidSignature):
        raise _refused("ATTESTATION_FORGED") from None
    try:
        claims = _claims(jws.extract_compact(token.encode("ascii")).payload)
        stated = Stated(key.verifier_no, _text(claims, "outBizNo"), _instant(claims, "iat"))
        expires_at = _instant(claims, "exp")
    except (ValueError, TypeError, LookupError):
        raise _malformed() from None
    rules = (
        ("ATTESTATION_FOR_ANOTHER_AUDIENCE", claims.get("aud") != AUDIENCE),
        ("ATTESTATION_OF_ANOTHER_PURPOSE", claims.get("purpose") != purpose.value),
        ("ATTESTATION_OF_ANOTHER_PERSON", claims.get("sub") != psn_no),
        ("ATTESTATION_FROM_FUTURE", stated.attested_at > now + SKEW_MAX),
        ("ATTESTATION_TOO_OLD", now > stated.attested_at + AGE_MAX or expires_at <= now),
    )
    for reason, applies in rules:
        if applies:
            raise _refused(reason)
    return stated


def check_use(
    attestation: Attestation | None, *, psn_no: PsnNo, purpose: Purpose, used_for: str, now: datetime
) -> Attestation:
    """The attestation, if it may be used for this; the same use again is no second use.

    First that applies: ATTESTATION_UNKNOWN (NOT_FOUND); UNAUTHENTICATED ATTESTATION_OF_ANOTHER_PERSON,
    ATTESTATION_OF_ANOTHER_PURPOSE; PRECONDITION ATTESTATION_USED, VERIFIER_ENDED (who is ended was found wanting, in
    what it said just before as well); UNAUTHENTICATED ATTESTATION_TOO_OLD.
    """
    if attestation is None:
        raise Failure(Kind.NOT_FOUND, "ATTESTATION_UNKNOWN", field="attestation_id")
    if attestation.psn_no != psn_no:
        raise _refused("ATTESTATION_OF_ANOTHER_PERSON", where="attestation_id")
    if attestation.purpose is not purpose:
        raise _refused("ATTESTATION_OF_ANOTHER_PURPOSE", where="attestation_id")
    if attestation.used_for is None:
        if attestation.ended:
            raise Failure(Kind.PRECONDITION, "VERIFIER_ENDED", field="attestation_id")
        if now > attestation.attested_at + USE_WITHIN:
            raise _refused("ATTESTATION_TOO_OLD", where="attestation_id")
    elif attestation.used_for != used_for:
        raise attestation_used()
    return attestation


def attestation_used() -> Failure:
    """The refusal of a face that was shown for something that has been done."""
    return Failure(Kind.PRECONDITION, "ATTESTATION_USED", field="attestation_id")


def _claims(payload: bytes) -> Mapping[str, Any]:
    claims: Any = json.loads(payload)
    if not isinstance(claims, dict):
        raise TypeError("the payload is no object")
    return claims


def _text(stated: Mapping[str, Any], name: str) -> str:
    text = stated[name]
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError(f"{name} is no name")
    return text


def _instant(claims: Mapping[str, Any], name: str) -> datetime:
    stated = claims[name]
    if isinstance(stated, bool) or not isinstance(stated, int):
        raise TypeError(f"{name} is no whole number of seconds")
    try:
        instant = datetime.fromtimestamp(stated, UTC)
    except (OverflowError, OSError):
        raise ValueError(f"{name} is no time") from None
    if instant.year > _YEAR_MAX:
        raise ValueError(f"{name} is no time of ours")
    return instant


def _malformed() -> Failure:
    return _refused("ATTESTATION_MALFORMED")


def _refused(reason: str, *, where: str = "attestation") -> Failure:
    return Failure(Kind.UNAUTHENTICATED, reason, field=where)
