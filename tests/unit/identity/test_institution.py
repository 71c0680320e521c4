"""Institutions: what a change is, who decides the state, and where credentials may be decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode
from services.identity.domain.institution import (
    Capability,
    Institution,
    InstitutionState,
    TerminalStanding,
    TerminalState,
    changed,
    check_decodes,
    check_described,
    decided,
)
from services.identity.domain.sanction import Sanction

NOW = datetime(2026, 7, 1, 4, 30, tzinfo=UTC)
TODAY = date(2026, 7, 1)
HOSPITAL = Institution(
    FixmedinsCode("H65010000001"), "共济医院", InstitutionState.DESIGNATED, wallet_capable=True, version=4
)
PHARMACY = replace(HOSPITAL, fixmedins_code=FixmedinsCode("P65010000001"))
SANCTION = Sanction(UUID(int=1), NOW, NOW + timedelta(days=100), "第四十一条", "3号", "医保局")
AT_WORK = TerminalStanding(
    InstitutionState.DESIGNATED, None, None, TerminalState.ACTIVE, sign_ends_at=NOW + timedelta(hours=1)
)


def test_the_same_again_is_no_change() -> None:
    """Whatever version and sanctions the wish names, the institution that is so already comes back itself."""
    sanctioned = replace(HOSPITAL, sanctions=(SANCTION,))
    assert changed(sanctioned, replace(HOSPITAL, version=1)) is sanctioned


def test_a_change_counts_one_and_keeps_the_sanctions() -> None:
    """Another name makes the next version; who describes an institution says nothing of its sanctions."""
    renamed = changed(replace(HOSPITAL, sanctions=(SANCTION,)), replace(HOSPITAL, fixmedins_name="共济总医院"))
    assert (renamed.fixmedins_name, renamed.version, renamed.sanctions) == ("共济总医院", 5, (SANCTION,))


def test_the_state_is_decided_not_described() -> None:
    """Registering an institution again in another state is refused; a decision changes it and counts one."""
    with pytest.raises(Failure, match="INSTITUTION_STATE_IS_DECIDED"):
        changed(HOSPITAL, replace(HOSPITAL, state=InstitutionState.SUSPENDED))
    suspended = decided(HOSPITAL, InstitutionState.SUSPENDED)
    assert (suspended.state, suspended.version) == (InstitutionState.SUSPENDED, 5)
    assert decided(suspended, InstitutionState.SUSPENDED) is suspended


def test_an_end_is_for_good() -> None:
    """An ended institution is neither described nor decided about any more."""
    ended = decided(HOSPITAL, InstitutionState.ENDED)
    assert changed(ended, ended) is ended
    attempts: tuple[Callable[[], Institution], ...] = (
        lambda: changed(ended, HOSPITAL),
        lambda: decided(ended, InstitutionState.DESIGNATED),
    )
    for attempt in attempts:
        with pytest.raises(Failure) as refused:
            attempt()
        assert refused.value == Failure(Kind.PRECONDITION, "INSTITUTION_ENDED", fixmedins_code="H65010000001")


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        (replace(HOSPITAL, agreement_from=TODAY, agreement_to=TODAY), ""),
        (replace(HOSPITAL, agreement_from=TODAY, agreement_to=TODAY - timedelta(days=1)), "AGREEMENT_PERIOD_REVERSED"),
        (replace(HOSPITAL, capabilities=frozenset(Capability)), ""),
        (replace(PHARMACY, capabilities=frozenset({Capability.CHRONIC, Capability.DUAL_CHANNEL})), ""),
        (replace(PHARMACY, capabilities=frozenset({Capability.INPATIENT})), "CAPABILITY_NOT_FOR_INSTITUTION"),
    ],
)
def test_a_description_must_fit_together(described: Institution, reason: str) -> None:
    """An agreement of one day is one; a pharmacy has no beds."""
    if not reason:
        check_described(described)
        return
    with pytest.raises(Failure, match=reason):
        check_described(described)


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (TerminalStanding(None, None, None, None, None), "INSTITUTION_UNKNOWN"),
        (
            replace(AT_WORK, institution_state=InstitutionState.SUSPENDED, terminal_state=None),
            "INSTITUTION_NOT_DESIGNA",
        ),
        (replace(AT_WORK, institution_state=InstitutionState.ENDED), "INSTITUTION_NOT_DESIGNATED"),
        (replace(AT_WORK, agreement_from=TODAY + timedelta(days=1)), "INSTITUTION_NOT_DESIGNATED"),
        (replace(AT_WORK, agreement_to=TODAY - timedelta(days=1)), "INSTITUTION_NOT_DESIGNATED"),
        (replace(AT_WORK, agreement_from=TODAY, agreement_to=TODAY), ""),
        (replace(AT_WORK, terminal_state=None, sign_ends_at=None), "TERMINAL_UNKNOWN"),
        (replace(AT_WORK, terminal_state=TerminalState.RETIRED, sign_ends_at=None), "TERMINAL_UNKNOWN"),
        (replace(AT_WORK, sign_ends_at=None), "TERMINAL_NOT_SIGNED_IN"),
        (replace(AT_WORK, sign_ends_at=NOW), "TERMINAL_NOT_SIGNED_IN"),
        (AT_WORK, ""),
    ],
)
def test_credentials_are_decoded_at_signed_in_terminals_of_designated_institutions_alone(
    standing: TerminalStanding, reason: str
) -> None:
    """The first reason that applies is the one shown; both days of an agreement belong to it."""
    if not reason:
        check_decodes(standing, fixmedins_code=HOSPITAL.fixmedins_code, now=NOW)
        return
    with pytest.raises(Failure, match=reason):
        check_decodes(standing, fixmedins_code=HOSPITAL.fixmedins_code, now=NOW)


def test_the_agreements_day_is_that_of_shanghai() -> None:
    """At 16:00 UTC on its last day the agreement is over: it is midnight there."""
    last_day = replace(AT_WORK, agreement_to=TODAY, sign_ends_at=NOW + timedelta(days=2))
    check_decodes(last_day, fixmedins_code=HOSPITAL.fixmedins_code, now=datetime(2026, 7, 1, 15, 59, 59, tzinfo=UTC))
    with pytest.raises(Failure, match="INSTITUTION_NOT_DESIGNATED"):
        check_decodes(last_day, fixmedins_code=HOSPITAL.fixmedins_code, now=datetime(2026, 7, 1, 16, tzinfo=UTC))
