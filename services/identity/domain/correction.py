"""Corrections (更正): what a person may ask to have put right, and how an officer decides (domain §10).

The officer is shown the wanted value masked, as everybody is. To grant it he types what he reads on the document: only
the same value is granted, so a record is never changed to something that no document says.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from uuid import UUID

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.certificate import Certificate, CertificateKind, Sex, masked_number, parsed_certificate
from services.identity.domain.name import masked_name, parsed_name, same_name
from services.identity.domain.person import birth_date_of, sex_of


class CorrectionField(Enum):
    """What of a record can be put right; the value is what the database keeps."""

    NAME = "NAME"
    BIRTH_DATE = "BIRTH_DATE"  # Where the certificate does not tell it.
    SEX = "SEX"  # As above.
    CERTIFICATE = "CERTIFICATE"


class CorrectionEvidence(Enum):
    """The document that proves the wanted value."""

    CERTIFICATE = "CERTIFICATE"
    HOUSEHOLD_REGISTER = "HOUSEHOLD_REGISTER"
    BIRTH_CERTIFICATE = "BIRTH_CERTIFICATE"
    POLICE_STATEMENT = "POLICE_STATEMENT"
    COURT_OR_NOTARY = "COURT_OR_NOTARY"


class CorrectionState(Enum):
    """Where a correction stands; the comment says who acts next."""

    REQUESTED = "REQUESTED"  # An officer decides.
    GRANTED = "GRANTED"  # Nobody; the record was changed.
    REFUSED = "REFUSED"  # Nobody; the person may ask anew.


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a field ought to say, in the one form in which it is kept; ``kind`` stands with a certificate alone."""

    field: CorrectionField
    value: str = dataclasses.field(repr=False)
    kind: CertificateKind | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is on record of the person now."""

    certificate: Certificate
    name: str = dataclasses.field(repr=False)
    brdy: date
    sex: Sex


@dataclass(frozen=True, slots=True)
class Correction:
    """One request, and what became of it."""

    correction_id: UUID
    psn_no: PsnNo
    wanted: Wanted
    evidence: CorrectionEvidence
    state: CorrectionState
    requested_by: str
    requested_at: datetime
    opter: str | None = None
    cause: str = ""
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SeenCorrection:
    """A correction, and the masked name of whom it is about as it is recorded now."""

    correction: Correction
    name_masked: str


def checked_wanted(
    field: CorrectionField, text: str, kind: CertificateKind | None, *, today: date, where: str = "value"
) -> Wanted:
    """What somebody asks for, or reads on a document, in the form in which it is kept; ``where`` names it in a refusal.

    INVALID: CORRECTION_KIND_UNEXPECTED (a kind is named with a certificate and with nothing else), NAME_MALFORMED,
    CORRECTION_VALUE_MALFORMED (no date, no sex), CERTIFICATE_… as ``parsed_certificate``.
    """
    if (kind is None) == (field is CorrectionField.CERTIFICATE):
        raise Failure(Kind.INVALID, "CORRECTION_KIND_UNEXPECTED", field="psn_cert_type")
    try:
        match field:
            case CorrectionField.NAME:
                return Wanted(field, parsed_name(text))
            case CorrectionField.BIRTH_DATE:
                return Wanted(field, date.fromisoformat(text).isoformat())
            case CorrectionField.SEX:
                return Wanted(field, Sex(text).value)
            case _:
                number = parsed_certificate(kind or CertificateKind.RESIDENT_ID, text.strip(), today=today).number
                return Wanted(field, number, kind)
    except ValueError:
        raise Failure(Kind.INVALID, "CORRECTION_VALUE_MALFORMED", field=where) from None
    except Failure as failure:
        # The rule names the field of a registration; here it is another one.
        raise Failure(failure.kind, failure.reason, **(failure.metadata | {"field": where})) from None


def check_wanted(wanted: Wanted, recorded: Recorded, *, today: date) -> None:
    """Whether a record can be put right so; an officer need not see what no officer could grant.

    First that applies: PRECONDITION CORRECTION_CHANGES_NOTHING; INVALID BIRTH_DATE_… and SEX_DIFFERS, as the
    certificate on record has it.
    """
    if _says(recorded, wanted):
        raise Failure(Kind.PRECONDITION, "CORRECTION_CHANGES_NOTHING", field="value")
    match wanted.field:
        case CorrectionField.BIRTH_DATE:
            birth_date_of(recorded.certificate, date.fromisoformat(wanted.value), today=today)
        case CorrectionField.SEX:
            sex_of(recorded.certificate, Sex(wanted.value))
        case _:
            return


def same_wanted(one: Wanted, other: Wanted) -> bool:
    """Whether two values are one; of a name, capitals do not matter."""
    if one.field is CorrectionField.NAME is other.field:
        return same_name(one.value, other.value)
    return one == other


def check_decision(correction: Correction, state: CorrectionState, *, cause: str, read: Wanted | None) -> None:
    """Whether an officer may decide so; asked of a correction that is not decided this way already.

    First that applies: PRECONDITION CORRECTION_DECIDED; INVALID CAUSE_MISSING to refuse; CORRECTION_VALUE_DIFFERS to
    grant, unless ``read`` is what the person asked for.
    """
    if correction.state is not CorrectionState.REQUESTED:
        raise Failure(Kind.PRECONDITION, "CORRECTION_DECIDED", state=correction.state.value)
    if state is CorrectionState.REFUSED and not cause:
        raise Failure(Kind.INVALID, "CAUSE_MISSING", field="cause")
    if state is CorrectionState.GRANTED and (read is None or not same_wanted(read, correction.wanted)):
        raise Failure(Kind.INVALID, "CORRECTION_VALUE_DIFFERS", field="value_on_evidence")


def masked_value(wanted: Wanted) -> str:
    """The wanted value as others see it: names and numbers masked, birth date and sex as they are."""
    match wanted.field:
        case CorrectionField.NAME:
            return masked_name(wanted.value)
        case CorrectionField.CERTIFICATE:
            return masked_number(wanted.value)
        case _:
            return wanted.value


def _says(recorded: Recorded, wanted: Wanted) -> bool:
    match wanted.field:
        case CorrectionField.NAME:
            # Not ``same_name``: the way in which a name is written may be what shall be put right.
            return recorded.name == wanted.value
        case CorrectionField.BIRTH_DATE:
            return recorded.brdy.isoformat() == wanted.value
        case CorrectionField.SEX:
            return recorded.sex.value == wanted.value
        case _:
            return (recorded.certificate.kind, recorded.certificate.number) == (wanted.kind, wanted.value)
