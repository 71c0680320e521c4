"""Look-ups and corrections, between messages and the domain."""

from __future__ import annotations

from datetime import date
from typing import Final

from chassis.rpc import pages
from gongji.identity.v1 import person_pb2, rights_pb2
from services.identity.domain.correction import (
    CorrectionEvidence,
    CorrectionField,
    CorrectionState,
    SeenCorrection,
    Wanted,
    checked_wanted,
    masked_value,
)
from services.identity.domain.lookup import Lookup
from services.identity.wire.people import CERTIFICATE_KINDS
from services.identity.wire.values import timestamp_of

_FIELDS: Final = {rights_pb2.CorrectionField.Value(f"CORRECTION_FIELD_{each.name}"): each for each in CorrectionField}
_EVIDENCES: Final = {
    rights_pb2.CorrectionEvidence.Value(f"CORRECTION_EVIDENCE_{each.name}"): each for each in CorrectionEvidence
}
_STATES: Final = {rights_pb2.CorrectionState.Value(f"CORRECTION_STATE_{each.name}"): each for each in CorrectionState}

LOOKUP_DIGITS_MAX: Final = 18
"""Any number of so many digits fits the column."""


def wanted(request: rights_pb2.RequestCorrectionRequest, *, today: date) -> Wanted:
    """What the person asks for, checked; refusals as ``checked_wanted`` lists them."""
    return checked_wanted(
        _FIELDS[request.field], request.value, CERTIFICATE_KINDS.get(request.psn_cert_type), today=today
    )


def evidence(value: rights_pb2.CorrectionEvidence.ValueType) -> CorrectionEvidence:
    """The document behind a request."""
    return _EVIDENCES[value]


def correction_state(value: rights_pb2.CorrectionState.ValueType) -> CorrectionState | None:
    """The state that is asked for; None: any."""
    return _STATES.get(value)


def decision(value: rights_pb2.CorrectionState.ValueType) -> CorrectionState:
    """What an officer decided."""
    return _STATES[value]


def lookup_message(lookup: Lookup) -> rights_pb2.Lookup:
    """One look-up as it is told."""
    return rights_pb2.Lookup(
        looked_up_time=timestamp_of(lookup.looked_up_at),
        purpose=lookup.purpose,
        asked_by=lookup.asked_by,
        declared=lookup.declared,
    )


def correction_message(seen: SeenCorrection) -> rights_pb2.Correction:
    """A correction as others see it: the wanted value masked."""
    correction = seen.correction
    kind = correction.wanted.kind
    return rights_pb2.Correction(
        correction_id=str(correction.correction_id),
        psn_no=correction.psn_no,
        name_masked=seen.name_masked,
        field=rights_pb2.CorrectionField.Value(f"CORRECTION_FIELD_{correction.wanted.field.name}"),
        value_masked=masked_value(correction.wanted),
        psn_cert_type=person_pb2.CERTIFICATE_TYPE_UNSPECIFIED
        if kind is None
        else person_pb2.CertificateType.Value(f"CERTIFICATE_TYPE_{kind.name}"),
        evidence=rights_pb2.CorrectionEvidence.Value(f"CORRECTION_EVIDENCE_{correction.evidence.name}"),
        state=rights_pb2.CorrectionState.Value(f"CORRECTION_STATE_{correction.state.name}"),
        requested_time=timestamp_of(correction.requested_at),
        requested_by=correction.requested_by,
        opter=correction.opter or "",
        cause=correction.cause,
        decided_time=None if correction.decided_at is None else timestamp_of(correction.decided_at),
    )


def last_lookup(page_token: str) -> int | None:
    """The look-up from which a list goes on; None for the first page, PAGE_TOKEN_MALFORMED."""
    parts = pages.parts_of(page_token, 1)
    if parts is None:
        return None
    if not (parts[0].isascii() and parts[0].isdecimal() and len(parts[0]) <= LOOKUP_DIGITS_MAX):
        raise pages.malformed()
    return int(parts[0])
