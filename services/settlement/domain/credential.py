"""The ecToken: identity's signed word that this patient stood at this terminal with his own credential (domain §1).

It is verified here without a call, by the public key that identity announced. 本人参保，本人享受待遇: a funder's
credential is refused even inside the family. A token counts for one visit, and for a business that settles.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeAlias

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64encode

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode, PsnNo, parsed_psn_no

ALGORITHM: Final = "Ed25519"
ISSUER: Final = "gongji-identity"
TOKEN_TYPE: Final = "gongji-ectoken"  # noqa: S105  A media type, not a secret.
_KID: Final = re.compile(r"[0-9A-Za-z._:-]{1,64}")
SETTLING_BUSINESSES: Final = frozenset({"01301", "02121"})
"""用码业务类型 that end with a payment: 结算 at a hospital, 药店购药. What was shown to register, say, pays nothing."""
GENDERS: Final = ("1", "2")
AGENT_FIELD: Final = "agent_ec_token"
_Rule: TypeAlias = tuple[str, Kind, Callable[[], bool]]
KEYS_KEPT: Final = 64
"""Public keys that are ready to verify; whether a key counts is asked each time."""
CLOCK_SKEW_S: Final = 30
"""How far identity's clock may be ahead of ours before its token seems to come from the future."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public half of a key that signs ecTokens, and when it may have signed."""

    kid: str
    public_key: bytes
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified ecToken says: who, at which terminal, for which visit and business, and when it counts."""

    psn_no: PsnNo
    fixmedins_code: str
    terminal_no: str
    business_type: str
    mdtrt_id: str
    issued_at: datetime
    expires_at: datetime
    mdtrt_cert_type: str = ""
    """What was shown: 01 code, 02 identity card, 03 card."""
    gend: str = ""
    """性别 of the holder: 1 male, 2 female; empty in a token of a release that did not tell it."""


def token_digest(token: str) -> str:
    """SHA-256 in hex of what was signed: the signature itself can be written in more than one way."""
    return hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()


def key_id_of(token: str) -> str:
    """Which key a token names, before anything in it is believed; EC_TOKEN_INVALID if it names none."""
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        raise _invalid("not a signed token") from None
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or header.get("typ") != TOKEN_TYPE or not _KID.fullmatch(str(kid)):
        raise _invalid("another algorithm or type, or no key named")
    return str(kid)


def stated_holder(token: str) -> PsnNo:
    """Whose a token says it is, before anything in it is believed; empty where it names nobody that there can be.

    What is read by it is told to nobody until the signature is proved.
    """
    try:
        stated = json.loads(jws.extract_compact(token.encode("ascii")).payload)
        return parsed_psn_no(stated["sub"], field="sub")
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, Failure):
        return PsnNo("")


def verified_claims(token: str, key: SigningKey, *, now: datetime) -> Claims:
    """The claims, once the signature is proved to be this key's; EC_TOKEN_INVALID otherwise.

    A key vouches for nothing before its time nor after it: nothing that it signed outlives it.
    """
    try:
        signed = jws.deserialize_compact(token.encode("ascii"), _public_key(key.public_key), algorithms=[ALGORITHM])
        stated: Any = json.loads(signed.payload)
    except (JoseError, ValueError, TypeError):
        raise _invalid("the signature does not fit") from None
    claims = _claims_of(stated)
    if claims.issued_at + timedelta(seconds=CLOCK_SKEW_S) < key.not_before or key.not_after <= now:
        raise _invalid("outside the key's time")
    return claims


def check_claims(
    claims: Claims,
    *,
    patient: PsnNo,
    funders: Collection[PsnNo],
    fixmedins_code: FixmedinsCode,
    terminal_no: str,
    mdtrt_id: str,
    now: datetime,
) -> None:
    """The token counts for this patient and this visit, here and now.

    Refusals in this order: EC_TOKEN_INVALID if it comes from the future; EC_TOKEN_EXPIRED;
    EC_TOKEN_OF_ANOTHER_TERMINAL; FUNDER_CREDENTIAL_USED where the holder is one of those bound for the patient;
    CREDENTIAL_NOT_OF_PATIENT for anyone else's; CREDENTIAL_OF_ANOTHER_VISIT; EC_TOKEN_OF_ANOTHER_BUSINESS where it was
    shown for one that does not settle.
    """
    here = _rules_of_place(claims, fixmedins_code=fixmedins_code, terminal_no=terminal_no, now=now)
    whose: tuple[_Rule, ...] = (
        ("FUNDER_CREDENTIAL_USED", Kind.FORBIDDEN, lambda: claims.psn_no != patient and claims.psn_no in funders),
        ("CREDENTIAL_NOT_OF_PATIENT", Kind.FORBIDDEN, lambda: claims.psn_no != patient),
    )
    _refuse_first((*here, *whose, _rule_of_visit(claims, mdtrt_id), _rule_of_business(claims)))


def check_holder(
    claims: Claims, *, fixmedins_code: FixmedinsCode, terminal_no: str, mdtrt_id: str, now: datetime
) -> None:
    """Its holder stands here for this visit, whatever for (1101).

    Refusals in this order: EC_TOKEN_INVALID if it comes from the future; EC_TOKEN_EXPIRED;
    EC_TOKEN_OF_ANOTHER_TERMINAL; CREDENTIAL_OF_ANOTHER_VISIT.
    """
    here = _rules_of_place(claims, fixmedins_code=fixmedins_code, terminal_no=terminal_no, now=now)
    _refuse_first((*here, _rule_of_visit(claims, mdtrt_id)))


def check_agent(
    claims: Claims, *, patient: PsnNo, fixmedins_code: FixmedinsCode, terminal_no: str, mdtrt_id: str, now: datetime
) -> None:
    """代买药: its holder fetches the medicine for the patient, and is somebody else.

    Refusals in this order, with ``field`` agent_ec_token: as ``check_holder``; EC_TOKEN_OF_ANOTHER_BUSINESS;
    AGENT_IS_PATIENT.
    """
    here = _rules_of_place(claims, fixmedins_code=fixmedins_code, terminal_no=terminal_no, now=now)
    own: _Rule = ("AGENT_IS_PATIENT", Kind.INVALID, lambda: claims.psn_no == patient)
    rules = (*here, _rule_of_visit(claims, mdtrt_id), _rule_of_business(claims), own)
    _refuse_first(rules, field=AGENT_FIELD)


def _rules_of_place(
    claims: Claims, *, fixmedins_code: FixmedinsCode, terminal_no: str, now: datetime
) -> tuple[_Rule, ...]:
    return (
        (
            "EC_TOKEN_INVALID",
            Kind.UNAUTHENTICATED,
            lambda: claims.issued_at > now + timedelta(seconds=CLOCK_SKEW_S),
        ),
        ("EC_TOKEN_EXPIRED", Kind.UNAUTHENTICATED, lambda: claims.expires_at <= now),
        (
            "EC_TOKEN_OF_ANOTHER_TERMINAL",
            Kind.FORBIDDEN,
            lambda: (claims.fixmedins_code, claims.terminal_no) != (fixmedins_code, terminal_no),
        ),
    )


def _rule_of_visit(claims: Claims, mdtrt_id: str) -> _Rule:
    return "CREDENTIAL_OF_ANOTHER_VISIT", Kind.FORBIDDEN, lambda: claims.mdtrt_id != mdtrt_id


def _rule_of_business(claims: Claims) -> _Rule:
    return "EC_TOKEN_OF_ANOTHER_BUSINESS", Kind.FORBIDDEN, lambda: claims.business_type not in SETTLING_BUSINESSES


def _refuse_first(rules: Iterable[_Rule], **facts: str) -> None:
    for reason, kind, applies in rules:
        if applies():
            raise Failure(kind, reason, **facts)


def _claims_of(stated: object) -> Claims:
    if not isinstance(stated, Mapping) or stated.get("iss") != ISSUER:
        raise _invalid("another issuer")
    texts = [stated.get(name) for name in ("sub", "aud", "trm", "biz", "vis")]
    subject, audience, terminal, business, visit = (text if isinstance(text, str) else "" for text in texts)
    if not (subject and audience and terminal and business and visit):
        raise _invalid("a claim is missing")
    return Claims(
        psn_no=PsnNo(subject),
        fixmedins_code=audience,
        terminal_no=terminal,
        business_type=business,
        mdtrt_id=visit,
        issued_at=_instant(stated.get("iat")),
        expires_at=_instant(stated.get("exp")),
        mdtrt_cert_type=shown if isinstance(shown := stated.get("mct"), str) else "",
        gend=gend if (gend := stated.get("gnd")) in GENDERS else "",
    )


def _instant(stated: object) -> datetime:
    if isinstance(stated, bool) or not isinstance(stated, int | float):
        raise _invalid("a time is missing")
    try:
        return datetime.fromtimestamp(stated, UTC)
    except (OverflowError, ValueError, OSError):
        raise _invalid("a time is no time") from None


@lru_cache(maxsize=KEYS_KEPT)
def _public_key(raw: bytes) -> OKPKey:
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": urlsafe_b64encode(raw).decode("ascii")})


def _invalid(because: str) -> Failure:
    return Failure(Kind.UNAUTHENTICATED, "EC_TOKEN_INVALID", because=because)
