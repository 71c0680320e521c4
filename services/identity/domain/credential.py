"""医保码 and ecToken: what their claims say and when a code is refused (domain §1). Signing itself is at the edge.

A code is anyone's who holds the picture of it for a minute; so it counts once, and what it is exchanged for, the
ecToken, counts for one terminal, one visit and one kind of business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode, PsnNo
from kernel.values import value
from services.identity.domain.certificate import Sex

ISSUER: Final = "gongji-identity"
CODE_TYPE: Final = "gongji-code"
EC_TOKEN_TYPE: Final = "gongji-ectoken"  # noqa: S105  A media type, not a secret.
CODE_LIFETIME_MIN_S: Final = 30
CODE_LIFETIME_MAX_S: Final = 60
CLOCK_SKEW_MAX_S: Final = 5
"""How far ahead another replica's clock may be when it issued a code."""


BUSINESS_TYPES: Final = MappingProxyType(
    {
        "01101": "挂号",
        "01102": "住院建档",
        "01103": "入院登记",
        "01104": "缴纳预缴金",
        "01201": "问诊",
        "01202": "预约检查",
        "01203": "检查",
        "01204": "治疗",
        "01301": "结算",
        "01302": "取药",
        "01303": "取报告",
        "01304": "打印票据和清单",
        "01305": "病历材料复印",
        "02121": "药店购药",
        "02122": "下载外购处方",
    }
)
"""用码业务类型 with their national names: what a credential is shown for. Settlement says which of them settle."""


class CertType(Enum):
    """就诊凭证类型 mdtrt_cert_type: what the patient showed, in the national values."""

    CODE = "01"
    IDENTITY_CARD = "02"
    CARD = "03"


@value
class Code:
    """A dynamic code: whose, which, until when, and on whose phone it is shown if not on his own."""

    psn_no: PsnNo
    jti: UUID
    issued_at: datetime
    expires_at: datetime
    shown_by: PsnNo | None = None


@value
class EcToken:
    """A visit's token: bound to person, institution, terminal, visit and business; settlement verifies it by itself."""

    psn_no: PsnNo
    fixmedins_code: FixmedinsCode
    terminal_no: str
    mdtrt_cert_type: CertType
    business_type: str
    mdtrt_id: str
    sex: Sex
    """Of the result's national fields (gend): told to the visit's own settlement alone, and kept by no other room."""
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


def checked_business_type(text: str) -> str:
    """A business type of the national list; BUSINESS_TYPE_UNKNOWN (INVALID) otherwise."""
    if text not in BUSINESS_TYPES:
        raise Failure(Kind.INVALID, "BUSINESS_TYPE_UNKNOWN", field="business_type")
    return text


def new_code(psn_no: PsnNo, *, jti: UUID, now: datetime, lifetime_s: int, shown_by: PsnNo | None = None) -> Code:
    """A code that lives for so many whole seconds from now."""
    issued_at = now.replace(microsecond=0)
    return Code(psn_no, jti, issued_at, issued_at + timedelta(seconds=lifetime_s), shown_by)


def code_claims(code: Code) -> dict[str, str | int]:
    """The claims of a code. It is meant for identity alone: a terminal only carries it."""
    return {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": code.psn_no,
        "jti": str(code.jti),
        "iat": int(code.issued_at.timestamp()),
        "exp": int(code.expires_at.timestamp()),
        **({} if code.shown_by is None else {"shw": code.shown_by}),
    }


def ec_token_claims(token: EcToken) -> dict[str, str | int]:
    """The claims of an ecToken, as settlement checks them."""
    return {
        "iss": ISSUER,
        "aud": token.fixmedins_code,
        "trm": token.terminal_no,
        "mct": token.mdtrt_cert_type.value,
        "biz": token.business_type,
        "vis": token.mdtrt_id,
        "gnd": token.sex.value,
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
        shown_by=PsnNo(claims["shw"]) if "shw" in claims else None,
    )
    if code.issued_at > now + timedelta(seconds=CLOCK_SKEW_MAX_S):
        raise Failure(Kind.UNAUTHENTICATED, "CODE_NOT_YET_VALID", field="code")
    if code.expires_at <= now:
        raise Failure(Kind.UNAUTHENTICATED, "CODE_EXPIRED", field="code")
    return code


def code_already_used() -> Failure:
    """The refusal of every decoding of a code but the first."""
    return Failure(Kind.UNAUTHENTICATED, "CODE_ALREADY_USED", field="code")
