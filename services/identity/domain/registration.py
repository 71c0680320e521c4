"""What a registration must hold, and when it speaks of somebody who is known already (domain §1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.certificate import Certificate, CertificateKind, Sex, parsed_certificate
from services.identity.domain.name import parsed_name, same_name
from services.identity.domain.person import birth_date_of, checked_given_number, sex_of


@dataclass(frozen=True, slots=True)
class Registration:
    """A person as a form tells of him, checked; ``psn_no`` is None where the national platform gave none."""

    certificate: Certificate
    name: str = field(repr=False)
    brdy: date
    sex: Sex
    psn_no: PsnNo | None


@dataclass(frozen=True, slots=True)
class Registered:
    """The person who holds a certificate already."""

    psn_no: PsnNo
    name: str = field(repr=False)
    brdy: date
    sex: Sex


def checked_registration(
    *,
    kind: CertificateKind,
    certno: str,
    name: str,
    brdy: date | None,
    sex: Sex | None,
    psn_no: PsnNo | None,
    today: date,
) -> Registration:
    """A registration whose parts hold, each by itself and together.

    INVALID, in this order: CERTIFICATE_… (see ``parsed_certificate``), NAME_MALFORMED, BIRTH_DATE_… , SEX_… ,
    PERSON_NUMBER_IS_CERTIFICATE.
    """
    certificate = parsed_certificate(kind, certno, today=today)
    return Registration(
        certificate=certificate,
        name=parsed_name(name),
        brdy=birth_date_of(certificate, brdy, today=today),
        sex=sex_of(certificate, sex),
        psn_no=None if psn_no is None else checked_given_number(psn_no, today=today),
    )


def check_same_person(registered: Registered, registration: Registration) -> None:
    """The same certificate again is the same person; PERSON_DIFFERS (EXISTS) names the first field that says other.

    What is on record is not told: whoever knows a number alone learns no name by trying.
    """
    differs = (
        ("psn_name", not same_name(registered.name, registration.name)),
        ("psn_no", registration.psn_no not in {None, registered.psn_no}),
        ("brdy", registered.brdy != registration.brdy),
        ("gend", registered.sex is not registration.sex),
    )
    for name, other in differs:
        if other:
            raise Failure(Kind.EXISTS, "PERSON_DIFFERS", field=name)
