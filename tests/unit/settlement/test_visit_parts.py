"""What kind of care a transaction settles, and in what order a stay's parts may be paid and taken back."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import pytest

from kernel.failures import Failure
from kernel.ids import PaymentId, PsnNo
from services.settlement.domain.med_types import check_agent_may, check_interim, check_med_type
from services.settlement.domain.stay import StayPart, check_last, check_open
from services.settlement.domain.visit import KnownPerson

FIRST, SECOND, LAST = (PaymentId(UUID(int=number)) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("med_type", "infnos"),
    [
        ("11", {"2206", "2101"}),
        ("13", {"2206"}),
        ("14", {"2206", "2101"}),
        ("140101", {"2206", "2101"}),
        ("41", {"2101"}),
        ("21", {"2303"}),
        ("2101", {"2303"}),
        ("51", {"2206"}),
        ("52", {"2303"}),
        ("53", {"2206", "2303"}),
        ("99", set()),
        ("01", set()),
    ],
)
def test_each_kind_of_care_has_its_transactions(med_type: str, infnos: set[str]) -> None:
    """门急诊 and 慢特病 by 2206, 住院 by 2303, 购药 by 2101; what areas number behind the first two changes nothing."""
    for infno in infnos:
        check_med_type(med_type, infno=infno)
    for infno in {"2206", "2303", "2101"} - infnos:
        with pytest.raises(Failure, match="MED_TYPE_NOT_FOR_TRANSACTION"):
            check_med_type(med_type, infno=infno)


def test_only_a_stay_is_settled_in_parts_and_only_elsewhere_does_somebody_fetch_medicine() -> None:
    """中途结算 with 2303 alone, 代买药 with the two others."""
    check_interim(interim=True, infno="2303")
    check_interim(interim=False, infno="2206")
    check_agent_may("2101")
    check_agent_may("2206")
    with pytest.raises(Failure, match="INTERIM_NOT_FOR_TRANSACTION"):
        check_interim(interim=True, infno="2206")
    with pytest.raises(Failure, match="AGENT_NOT_FOR_TRANSACTION"):
        check_agent_may("2303")


def part(payment_id: PaymentId, *, interim: bool = True, undecided: bool = False) -> StayPart:
    """A settlement of the stay."""
    return StayPart(payment_id, interim=interim, undecided=undecided)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], ""),
        ([part(FIRST), part(SECOND)], ""),
        ([part(FIRST), part(LAST, interim=False)], "VISIT_CLOSED"),
        ([part(FIRST), part(LAST, interim=False, undecided=True)], "PATIENT_BUSY"),
        ([part(FIRST, undecided=True)], "PATIENT_BUSY"),
    ],
)
def test_a_stay_is_open_until_its_final_settlement(parts: list[StayPart], reason: str) -> None:
    """Interim settlements follow one another; one that is under way must end first; the final one closes the stay."""
    told = ""
    try:
        check_open(parts)
    except Failure as refusal:
        told = refusal.reason
    assert told == reason


def test_only_the_last_of_a_stay_is_taken_back() -> None:
    """The one before it is refused with the last one's id; a settlement of no stay is nobody's last."""
    parts = [part(FIRST), part(SECOND), part(LAST, interim=False)]
    check_last(LAST, parts)
    check_last(FIRST, [])
    with pytest.raises(Failure) as refused:
        check_last(SECOND, parts)
    assert (refused.value.reason, refused.value.metadata) == ("LATER_SETTLEMENT_STANDS", {"setl_id": str(LAST)})
    with pytest.raises(Failure, match="PATIENT_BUSY"):
        check_last(FIRST, [part(FIRST), part(SECOND, undecided=True)])


@pytest.mark.parametrize(
    ("brdy", "day", "age"),
    [
        ("1980-06-15", date(2026, 6, 14), 45),
        ("1980-06-15", date(2026, 6, 15), 46),
        ("2024-02-29", date(2026, 2, 28), 1),
        ("2024-02-29", date(2026, 3, 1), 2),
        ("2026-06-15", date(2026, 6, 15), 0),
        ("", date(2026, 6, 15), None),
    ],
)
def test_a_year_is_full_on_the_birthday(brdy: str, day: date, age: int | None) -> None:
    """Full years; nothing where the birth date is not told."""
    assert KnownPerson(PsnNo("1" * 10), "某*", (), sanctioned=False, brdy=brdy).age_on(day) == age
