"""Keys that sign, wards, and what is shown at a desk, between messages and the domain."""

from __future__ import annotations

from datetime import datetime

from gongji.identity.v1 import credentials_pb2, events_pb2
from kernel.clock import business_date
from kernel.ids import parsed_fixmedins_code
from services.identity.domain.certificate import parsed_certificate
from services.identity.domain.credential import SigningKey, checked_business_type
from services.identity.domain.decoding import CardShown, CertificateShown, CodeShown, Desk, Presented, Visit
from services.identity.domain.name import parsed_name
from services.identity.domain.ward import Ward
from services.identity.wire.events import Draft
from services.identity.wire.people import CERTIFICATE_KINDS
from services.identity.wire.values import timestamp_of


def visit(request: credentials_pb2.DecodeCredentialRequest, *, now: datetime) -> Visit:
    """What it is shown for.

    INSTITUTION_CODE_MALFORMED, BUSINESS_TYPE_UNKNOWN, then as ``certificate_shown`` of the agent.
    """
    return Visit(
        desk=desk(request.fixmedins_code, request.terminal_no),
        business_type=checked_business_type(request.business_type),
        mdtrt_id=request.mdtrt_id,
        agent=certificate_shown(request.agent, now=now) if request.HasField("agent") else None,
    )


def presented(request: credentials_pb2.DecodeCredentialRequest, *, now: datetime) -> Presented:
    """What is shown; refusals as ``certificate_shown``."""
    match request.WhichOneof("credential"):
        case "card":
            return CardShown(request.card.card_no, request.card.pin)
        case "identity_card":
            return certificate_shown(request.identity_card, now=now)
        case _:
            return CodeShown(request.code)


def desk(fixmedins_code: str, terminal_no: str) -> Desk:
    """A terminal of an institution; INSTITUTION_CODE_MALFORMED (INVALID)."""
    return Desk(parsed_fixmedins_code(fixmedins_code, field="fixmedins_code"), terminal_no)


def certificate_shown(message: credentials_pb2.CertificateShown, *, now: datetime) -> CertificateShown:
    """A certificate with its name; refusals as ``parsed_certificate``, NAME_MALFORMED."""
    return CertificateShown(
        parsed_certificate(CERTIFICATE_KINDS[message.psn_cert_type], message.certno, today=business_date(now)),
        parsed_name(message.psn_name),
    )


def ward_message(ward: Ward) -> credentials_pb2.Ward:
    """A ward as the guardian sees him."""
    return credentials_pb2.Ward(
        ward_psn_no=ward.ward_psn_no, name_masked=ward.name_masked, added_time=timestamp_of(ward.added_at)
    )


def signing_key_message(key: SigningKey) -> credentials_pb2.SigningKey:
    """The public half of a key."""
    return credentials_pb2.SigningKey(
        kid=key.kid,
        public_key=key.public_key,
        not_before_time=timestamp_of(key.not_before),
        not_after_time=timestamp_of(key.not_after),
    )


def signing_key_activated(key: SigningKey) -> Draft:
    """A key will sign from its time on."""
    return _signing_key_told(key, version=1)


def signing_key_ended(key: SigningKey) -> Draft:
    """A key that was told before is over: whoever hears of it takes it at this version, and its first no more."""
    return _signing_key_told(key, version=2)


def _signing_key_told(key: SigningKey, *, version: int) -> Draft:
    fact = events_pb2.IdentityEvent(
        signing_key_activated=events_pb2.SigningKeyActivated(
            kid=key.kid,
            public_key=key.public_key,
            not_before_time=timestamp_of(key.not_before),
            not_after_time=timestamp_of(key.not_after),
        )
    )
    return Draft(fact, f"key:{key.kid}", version)
