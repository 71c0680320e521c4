"""Two records that are one person."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.merging import check_one_person, is_merged, merged
from services.identity.domain.person import InsuranceStatus, Insutype, Person, enrolled, with_sanctions
from services.identity.domain.sanction import Sanction

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
KEEP = enrolled(
    Person(PsnNo("650100000000001"), "王*国", date(1985, 3, 12), Sex.MALE), Insutype.EMPLOYEE, AdmDvs("650100")
)
DOUBLE = enrolled(
    Person(PsnNo("650100000000002"), "王*国", date(1985, 3, 12), Sex.MALE), Insutype.RESIDENT, AdmDvs("650500")
)
SANCTIONS = [
    Sanction(UUID(int=number), NOW, NOW + timedelta(days=120), "第41条", f"{number}号", "乌鲁木齐市医保局")
    for number in (1, 2)
]


def test_the_doubles_insurance_ends_and_its_number_points_on() -> None:
    """Without sanctions nothing of the kept record changes; the double says where it went."""
    kept, gone = merged(KEEP, DOUBLE)
    assert kept is KEEP
    assert [each.psn_insu_stas for each in gone.enrolments] == [InsuranceStatus.ENDED]
    assert (gone.merged_into, gone.version) == (KEEP.psn_no, DOUBLE.version + 1)


def test_sanctions_go_to_the_record_that_is_kept() -> None:
    """Nobody is freed of a sanction by being merged."""
    kept, gone = merged(with_sanctions(KEEP, (SANCTIONS[1],)), with_sanctions(DOUBLE, (SANCTIONS[0],)))
    assert kept.sanctions == tuple(SANCTIONS)
    assert kept.version == KEEP.version + 2
    assert gone.sanctions == ()


@pytest.mark.parametrize(
    ("double", "refusal"),
    [
        (replace(DOUBLE, brdy=date(1985, 3, 13)), Failure(Kind.PRECONDITION, "MERGE_DIFFERS", field="brdy")),
        (replace(DOUBLE, sex=Sex.FEMALE), Failure(Kind.PRECONDITION, "MERGE_DIFFERS", field="gend")),
        (
            replace(DOUBLE, death_date=date(2026, 6, 30)),
            Failure(Kind.PRECONDITION, "MERGE_CONFLICT", conflict="death_date"),
        ),
    ],
)
def test_two_who_cannot_be_one_are_refused(double: Person, refusal: Failure) -> None:
    """Another birth date or sex, one dead and one alive."""
    check_one_person(KEEP, DOUBLE)
    with pytest.raises(Failure) as refused:
        check_one_person(KEEP, double)
    assert refused.value == refusal


def test_merging_again_is_known_and_a_double_is_refused() -> None:
    """The same two again are no new merging; a double of somebody else is no party to one."""
    _, gone = merged(KEEP, DOUBLE)
    other = replace(KEEP, psn_no=PsnNo("650100000000003"))
    assert is_merged(KEEP, gone)
    assert not is_merged(KEEP, DOUBLE)
    refusals = []
    for keep, double in ((gone, other), (other, gone), (None, DOUBLE), (KEEP, None)):
        with pytest.raises(Failure) as refused:
            is_merged(keep, double)
        refusals.append((refused.value.reason, refused.value.metadata["field"]))
    assert refusals == [
        ("PERSON_MERGED", "keep_psn_no"),
        ("PERSON_MERGED", "double_psn_no"),
        ("PERSON_UNKNOWN", "keep_psn_no"),
        ("PERSON_UNKNOWN", "double_psn_no"),
    ]
