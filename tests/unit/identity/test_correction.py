"""What can be asked to be put right, and how it is decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from kernel.failures import Failure
from kernel.ids import PsnNo
from services.identity.domain.certificate import CertificateKind, Sex, parsed_certificate
from services.identity.domain.correction import (
    Correction,
    CorrectionEvidence,
    CorrectionField,
    CorrectionState,
    Recorded,
    Wanted,
    check_decision,
    check_wanted,
    checked_wanted,
    masked_value,
)
from tests.unit.identity.refusals import NONE, reason_of

TODAY = date(2026, 7, 1)
ID_NUMBER = "650103198503124518"
ADULT = Recorded(
    parsed_certificate(CertificateKind.RESIDENT_ID, ID_NUMBER, today=TODAY), "王建国", date(1985, 3, 12), Sex.MALE
)
NEWBORN = Recorded(
    parsed_certificate(CertificateKind.BIRTH_CERTIFICATE, "S650123456", today=TODAY),
    "王小宝",
    date(2026, 6, 1),
    Sex.MALE,
)
NAME, BIRTH_DATE, SEX, CERTIFICATE = CorrectionField


def refusal(failure: Failure) -> tuple[str, str]:
    """The reason, and the field that it names."""
    return failure.reason, failure.metadata.get("field", "")


@pytest.mark.parametrize(
    ("field", "text", "kind", "kept"),
    [
        (NAME, " 王建军 ", None, "王建军"),
        (NAME, "阿不都•买买提", None, "阿不都·买买提"),
        (BIRTH_DATE, "2026-06-02", None, "2026-06-02"),
        (SEX, "2", None, "2"),
        (CERTIFICATE, "s650123457", CertificateKind.BIRTH_CERTIFICATE, "S650123457"),
        (CERTIFICATE, ID_NUMBER, CertificateKind.RESIDENT_ID, ID_NUMBER),
    ],
)
def test_a_wanted_value_is_kept_in_one_form(
    field: CorrectionField, text: str, kind: CertificateKind | None, kept: str
) -> None:
    """However it was typed, it is kept as a registration would keep it."""
    assert checked_wanted(field, text, kind, today=TODAY) == Wanted(field, kept, kind)


@pytest.mark.parametrize(
    ("field", "text", "kind", "reason", "where"),
    [
        (NAME, "王1", None, "NAME_MALFORMED", "value"),
        (NAME, "王建军", CertificateKind.RESIDENT_ID, "CORRECTION_KIND_UNEXPECTED", "psn_cert_type"),
        (BIRTH_DATE, "2026-02-30", None, "CORRECTION_VALUE_MALFORMED", "value"),
        (SEX, "3", None, "CORRECTION_VALUE_MALFORMED", "value"),
        (CERTIFICATE, ID_NUMBER, None, "CORRECTION_KIND_UNEXPECTED", "psn_cert_type"),
        (CERTIFICATE, "650103198503124517", CertificateKind.RESIDENT_ID, "CERTIFICATE_CHECKSUM_WRONG", "value"),
        (CERTIFICATE, "650103850312451", CertificateKind.RESIDENT_ID, "CERTIFICATE_15_DIGITS", "value"),
    ],
)
def test_a_value_that_no_registration_would_take_is_refused(
    field: CorrectionField, text: str, kind: CertificateKind | None, reason: str, where: str
) -> None:
    """The refusal is that of a registration and names the field in which the value stood."""
    with pytest.raises(Failure) as refused:
        checked_wanted(field, text, kind, today=TODAY)
    assert refusal(refused.value) == (reason, where)


@pytest.mark.parametrize(
    ("recorded", "wanted", "reason"),
    [
        (ADULT, Wanted(NAME, "王建国"), "CORRECTION_CHANGES_NOTHING"),
        (ADULT, Wanted(BIRTH_DATE, "1985-03-12"), "CORRECTION_CHANGES_NOTHING"),
        (ADULT, Wanted(SEX, "1"), "CORRECTION_CHANGES_NOTHING"),
        (ADULT, Wanted(CERTIFICATE, ID_NUMBER, CertificateKind.RESIDENT_ID), "CORRECTION_CHANGES_NOTHING"),
        (ADULT, Wanted(BIRTH_DATE, "1985-03-13"), "BIRTH_DATE_DIFFERS"),
        (ADULT, Wanted(SEX, "2"), "SEX_DIFFERS"),
        (NEWBORN, Wanted(BIRTH_DATE, "2026-07-02"), "BIRTH_DATE_WRONG"),
    ],
)
def test_what_no_officer_could_grant_is_not_put_into_the_queue(recorded: Recorded, wanted: Wanted, reason: str) -> None:
    """What is recorded already, and what the certificate itself contradicts, is refused at once."""
    with pytest.raises(Failure) as refused:
        check_wanted(wanted, recorded, today=TODAY)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("recorded", "wanted"),
    [
        (ADULT, Wanted(NAME, "王建军")),
        (ADULT, Wanted(CERTIFICATE, "S650123457", CertificateKind.BIRTH_CERTIFICATE)),
        (NEWBORN, Wanted(BIRTH_DATE, "2026-06-02")),
        (NEWBORN, Wanted(SEX, "2")),
    ],
)
def test_what_an_officer_can_grant_is_taken(recorded: Recorded, wanted: Wanted) -> None:
    """Names and certificates of everyone; birth date and sex where the certificate does not tell them."""
    assert reason_of(lambda: check_wanted(wanted, recorded, today=TODAY)) == NONE


WAITING = Correction(
    correction_id=UUID(int=1),
    psn_no=PsnNo("650100000000001"),
    wanted=Wanted(NAME, "WANG Jianjun"),
    evidence=CorrectionEvidence.POLICE_STATEMENT,
    state=CorrectionState.REQUESTED,
    requested_by="unauthenticated",
    requested_at=datetime(2026, 7, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("correction", "state", "cause", "read", "reason"),
    [
        (WAITING, CorrectionState.REFUSED, "", None, "CAUSE_MISSING"),
        (WAITING, CorrectionState.GRANTED, "", None, "CORRECTION_VALUE_DIFFERS"),
        (WAITING, CorrectionState.GRANTED, "", Wanted(NAME, "WANG Jianguo"), "CORRECTION_VALUE_DIFFERS"),
        (
            replace(WAITING, state=CorrectionState.REFUSED, cause="证明不符"),
            CorrectionState.GRANTED,
            "",
            WAITING.wanted,
            "CORRECTION_DECIDED",
        ),
    ],
)
def test_a_decision_that_rests_on_nothing_is_refused(
    correction: Correction, state: CorrectionState, cause: str, read: Wanted | None, reason: str
) -> None:
    """A refusal has its cause, a grant the value read on the document, and both come once."""
    with pytest.raises(Failure) as refused:
        check_decision(correction, state, cause=cause, read=read)
    assert refused.value.reason == reason


def test_the_value_read_on_the_document_is_granted_whatever_its_capitals() -> None:
    """Another letter is another value, another capital is not; to refuse, nothing need be read."""

    def decided(state: CorrectionState, cause: str, read: str) -> str:
        wanted = Wanted(NAME, read) if read else None
        return reason_of(lambda: check_decision(WAITING, state, cause=cause, read=wanted))

    assert decided(CorrectionState.GRANTED, "", "Wang Jianjun") == NONE
    assert decided(CorrectionState.GRANTED, "", "Wang Jianjin") == "CORRECTION_VALUE_DIFFERS"
    assert decided(CorrectionState.REFUSED, "证明不符", "") == NONE


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Wanted(NAME, "王建军"), "王*军"),
        (Wanted(CERTIFICATE, ID_NUMBER, CertificateKind.RESIDENT_ID), "**************4518"),
        (Wanted(BIRTH_DATE, "2026-06-02"), "2026-06-02"),
        (Wanted(SEX, "2"), "2"),
    ],
)
def test_names_and_numbers_are_shown_masked(wanted: Wanted, shown: str) -> None:
    """An officer's list holds no name and no number in clear."""
    assert masked_value(wanted) == shown


def test_a_value_is_not_in_what_python_shows_of_it() -> None:
    """So it cannot end up in a log by accident."""
    assert "王建军" not in repr(Wanted(NAME, "王建军"))
