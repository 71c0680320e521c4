"""医保码 and ecToken: what their claims say and when a code is refused (domain §1). Signing itself is at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode, PsnNo

ISSUER: Final = "gongji-identity"
CODE_TYPE: Final = "gongji-code"
EC_TOKEN_TYPE: Final = "gongji-ectoken"  # noqa: S105  A media type, not a secret.
CODE_LIFETIME_MIN_S: Final = 30
CODE_LIFETIME_MAX_S: Final = 60
CLOCK_SKEW_MAX_S: Final = 5
"""How far ahead another replica's clock may be when it issued a code."""


@dataclass(frozen=True, slots=True)
class Code:
    """A dynamic code: whose, which, and until when."""

    psn_no: PsnNo
    jti: UUID
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EcToken:
    """A visit's token: bound to a person, an institution and a terminal; settlement verifies it without a call."""

    psn_no: PsnNo
    fixmedins_code: FixmedinsCode
    terminal_no: str
    jti: UUID
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key's public half and time: it signs from ``not_before``; nothing it signed outlives ``not_after``."""

    kid: str
    public_key: bytes
    not_before: datetime
    not_after: datetime


def new_code(psn_no: PsnNo, *, jti: UUID, now: datetime, lifetime_s: int) -> Code:
    """A code that lives for so many whole seconds from now."""
    issued_at = now.replace(microsecond=0)
    return Code(psn_no, jti, issued_at, issued_at + timedelta(seconds=lifetime_s))


def code_claims(code: Code) -> dict[str, str | int]:
    """The claims of a code. It is meant for identity alone: a terminal only carries it."""
    return {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": code.psn_no,
        "jti": str(code.jti),
        "iat": int(code.issued_at.timestamp()),
        "exp": int(code.expires_at.timestamp()),
    }


def ec_token_claims(token: EcToken) -> dict[str, str | int]:
    """The claims of an ecToken, as settlement checks them."""
    return {
        "iss": ISSUER,
        "aud": token.fixmedins_code,
        "trm": token.terminal_no,
        "sub": token.psn_no,
        "jti": str(token.jti),
        "iat": int(token.issued_at.timestamp()),
        "exp": int(token.expires_at.timestamp()),
    }


def checked_code(type_: object, claims: Mapping[str, Any], *, now: datetime) -> Code:
    """The code that signed claims are; single use is the database's to judge.

    UNAUTHENTICATED, first that applies: CODE_OF_OTHER_KIND (something else that we signed, such as an ecToken),
    CODE_NOT_YET_VALID (issued in the future by more than the clocks may differ), CODE_EXPIRED.
    """
    if type_ != CODE_TYPE or claims.get("iss") != ISSUER or claims.get("aud") != ISSUER:
        raise Failure(Kind.UNAUTHENTICATED, "CODE_OF_OTHER_KIND", field="code")
    code = Code(
        psn_no=PsnNo(claims["sub"]),
        jti=UUID(claims["jti"]),
        issued_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )
    if code.issued_at > now + timedelta(seconds=CLOCK_SKEW_MAX_S):
        raise Failure(Kind.UNAUTHENTICATED, "CODE_NOT_YET_VALID", field="code")
    if code.expires_at <= now:
        raise Failure(Kind.UNAUTHENTICATED, "CODE_EXPIRED", field="code")
    return code


def code_already_used() -> Failure:
    """The refusal of every decoding of a code but the first."""
    return Failure(Kind.UNAUTHENTICATED, "CODE_ALREADY_USED", field="code")
