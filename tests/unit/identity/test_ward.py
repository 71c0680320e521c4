"""亲情账户: who may show whose code."""

from __future__ import annotations

from datetime import date

import pytest

from kernel.failures import Failure
from kernel.policy import Relation
from services.identity.domain.ward import age_on, check_consent, check_relation, check_room
from tests.unit.identity.refusals import NONE, reason_of


@pytest.mark.parametrize("relation", [Relation.PARENT, Relation.CHILD])
def test_parents_and_children_are_wards(relation: Relation) -> None:
    """A child's or a parent's code may be shown."""
    assert reason_of(lambda: check_relation(relation)) == NONE


@pytest.mark.parametrize("relation", [None, *(r for r in Relation if r not in {Relation.PARENT, Relation.CHILD})])
def test_nobody_else_is_a_ward(relation: Relation | None) -> None:
    """No spouse, no sibling, no grandparent, no stranger."""
    with pytest.raises(Failure, match="WARD_NOT_RELATED"):
        check_relation(relation)


@pytest.mark.parametrize(
    ("brdy", "today", "age"),
    [
        (date(2012, 7, 1), date(2026, 6, 30), 13),
        (date(2012, 7, 1), date(2026, 7, 1), 14),
        (date(2012, 2, 29), date(2026, 2, 28), 13),
        (date(2012, 2, 29), date(2026, 3, 1), 14),
        (date(2012, 2, 29), date(2028, 2, 29), 16),
    ],
)
def test_an_age_counts_full_years(brdy: date, today: date, age: int) -> None:
    """A year is complete on the birthday; without one, on the day after the last of February."""
    assert age_on(brdy, today) == age


def test_from_fourteen_on_the_ward_consents() -> None:
    """The day before, the guardian's face is enough; on the birthday it is not."""
    born = date(2012, 7, 1)
    check_consent(born, consented=False, today=date(2026, 6, 30))
    check_consent(born, consented=True, today=date(2026, 7, 1))
    with pytest.raises(Failure, match="WARD_CONSENT_MISSING"):
        check_consent(born, consented=False, today=date(2026, 7, 1))


def test_a_guardian_has_six_wards_at_most() -> None:
    """Beside five there is room for a sixth, beside six for no seventh."""
    assert reason_of(lambda: check_room(5)) == NONE
    assert reason_of(lambda: check_room(6)) == "WARDS_TOO_MANY"
