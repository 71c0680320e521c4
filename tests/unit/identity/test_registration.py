"""A registration as a whole, and when it speaks of somebody else."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.certificate import CertificateKind, Sex
from services.identity.domain.registration import Registered, Registration, check_same_person, checked_registration
from tests.unit.identity.strategies import TODAY

NUMBER = PsnNo("650100000000001")
RESIDENT: dict[str, Any] = {
    "kind": CertificateKind.RESIDENT_ID,
    "certno": "650103198503124518",
    "name": "王建国",
    "brdy": None,
    "sex": None,
    "psn_no": NUMBER,
    "today": TODAY,
}
NEWBORN: dict[str, Any] = {
    "kind": CertificateKind.BIRTH_CERTIFICATE,
    "certno": "S650123456",
    "name": "王小宝",
    "brdy": date(2026, 6, 1),
    "sex": Sex.FEMALE,
    "psn_no": None,
    "today": TODAY,
}


def registration(base: dict[str, Any], **changes: object) -> Registration:
    """The registration with some fields changed."""
    return checked_registration(**(base | changes))


def test_a_resident_needs_certificate_and_name_alone() -> None:
    """Birth date and sex come from the 18-character number."""
    checked = registration(RESIDENT)
    assert (checked.brdy, checked.sex, checked.psn_no) == (date(1985, 3, 12), Sex.MALE, NUMBER)


def test_a_newborn_brings_birth_date_and_sex() -> None:
    """A birth certificate with birth date and sex beside it is complete."""
    checked = registration(NEWBORN)
    assert (checked.brdy, checked.sex, checked.psn_no) == (date(2026, 6, 1), Sex.FEMALE, None)


@pytest.mark.parametrize(
    ("base", "changes", "reason", "field"),
    [
        (RESIDENT, {"certno": "650103198503124517", "name": ""}, "CERTIFICATE_CHECKSUM_WRONG", "certno"),
        (RESIDENT, {"name": "", "brdy": date(1985, 3, 13)}, "NAME_MALFORMED", "psn_name"),
        (RESIDENT, {"brdy": date(1985, 3, 13), "sex": Sex.FEMALE}, "BIRTH_DATE_DIFFERS", "brdy"),
        (RESIDENT, {"sex": Sex.FEMALE, "psn_no": "650103198503124518"}, "SEX_DIFFERS", "gend"),
        (RESIDENT, {"psn_no": PsnNo("650103198503124518")}, "PERSON_NUMBER_IS_CERTIFICATE", "psn_no"),
        (NEWBORN, {"brdy": None, "sex": None}, "BIRTH_DATE_MISSING", "brdy"),
        (NEWBORN, {"brdy": date(2026, 7, 2)}, "BIRTH_DATE_WRONG", "brdy"),
        (NEWBORN, {"brdy": date(1800, 1, 1)}, "BIRTH_DATE_WRONG", "brdy"),
        (NEWBORN, {"sex": None}, "SEX_MISSING", "gend"),
    ],
)
def test_the_first_wrong_part_is_named(base: dict[str, Any], changes: dict[str, Any], reason: str, field: str) -> None:
    """Refusals come in the order certificate, name, birth date, sex, number."""
    with pytest.raises(Failure) as refused:
        registration(base, **changes)
    assert refused.value == Failure(Kind.INVALID, reason, field=field)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "王建军"}, "psn_name"),
        ({"psn_no": PsnNo("650100000000002")}, "psn_no"),
        ({"brdy": date(2026, 6, 2)}, "brdy"),
        ({"sex": Sex.MALE}, "gend"),
    ],
)
def test_the_same_certificate_with_other_particulars_is_refused(changes: dict[str, Any], field: str) -> None:
    """The field that differs is named; what is on record is not told."""
    registered = Registered(NUMBER, "王小宝", date(2026, 6, 1), Sex.FEMALE)
    check_same_person(registered, registration(NEWBORN))
    check_same_person(registered, registration(NEWBORN, psn_no=NUMBER))
    with pytest.raises(Failure) as refused:
        check_same_person(registered, registration(NEWBORN, **changes))
    assert refused.value == Failure(Kind.EXISTS, "PERSON_DIFFERS", field=field)


def test_a_registration_does_not_show_the_name() -> None:
    """Name and number stay out of the representation, which ends up in tracebacks."""
    assert "王" not in repr(registration(RESIDENT))
    assert "4518" not in repr(registration(RESIDENT))
