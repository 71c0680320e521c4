"""Institutions: what a change is, and where codes may be decoded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode
from services.identity.domain.institution import Institution, InstitutionState, changed, check_designated

HOSPITAL = Institution(
    FixmedinsCode("H65010000001"), "共济医院", InstitutionState.DESIGNATED, wallet_capable=True, version=4
)


def test_the_same_again_is_no_change() -> None:
    """Whatever version the wish names, the institution that is so already comes back itself."""
    assert changed(HOSPITAL, replace(HOSPITAL, version=1)) is HOSPITAL


def test_a_change_counts_one() -> None:
    """A suspension makes the next version."""
    suspended = changed(HOSPITAL, replace(HOSPITAL, state=InstitutionState.SUSPENDED, version=1))
    assert (suspended.state, suspended.version) == (InstitutionState.SUSPENDED, 5)


def test_an_end_is_for_good() -> None:
    """An ended institution is not changed any more."""
    ended = changed(HOSPITAL, replace(HOSPITAL, state=InstitutionState.ENDED))
    assert changed(ended, ended) is ended
    with pytest.raises(Failure) as refused:
        changed(ended, HOSPITAL)
    assert refused.value == Failure(Kind.PRECONDITION, "INSTITUTION_ENDED", fixmedins_code="H65010000001")


def test_codes_are_decoded_at_designated_institutions_alone() -> None:
    """An unknown, suspended or ended institution decodes nothing."""
    assert check_designated(HOSPITAL) is HOSPITAL
    with pytest.raises(Failure, match="INSTITUTION_UNKNOWN"):
        check_designated(None)
    for state in (InstitutionState.SUSPENDED, InstitutionState.ENDED):
        with pytest.raises(Failure, match="INSTITUTION_NOT_DESIGNATED"):
            check_designated(replace(HOSPITAL, state=state))
