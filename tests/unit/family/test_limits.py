"""单笔限额 and 月限额 of a binding: what may be asked for, and how a row and its ledger agree on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel.failures import Failure
from services.family.domain.bindings import (
    Amend,
    BindingState,
    Change,
    LedgerAnswer,
    Open,
    Step,
    agreed_terms,
    amended,
    answered,
    closing,
    due,
    limited,
)
from services.family.domain.limits import NO_LIMITS, Limits, refuse_odd_limits
from tests.unit.family.given import CHILD, MOTHER, NOW, POLICIES, URUMQI, bind, binding
from tests.unit.family.test_bindings import BELOW_USE, refused

LIMITS = Limits(20_00, 60_00)


@pytest.mark.parametrize(
    ("limits", "authorised_fen", "reason", "field"),
    [
        (Limits(0, None), None, "LIMIT_NOT_POSITIVE", "per_payment_fen"),
        (Limits(None, 0), None, "LIMIT_NOT_POSITIVE", "per_month_fen"),
        (Limits(-1, 5), None, "LIMIT_NOT_POSITIVE", "per_payment_fen"),
        (Limits(101, 100), 100, "LIMIT_ABOVE_AUTHORISED_AMOUNT", "per_payment_fen"),
        (Limits(100, 101), 100, "LIMIT_ABOVE_AUTHORISED_AMOUNT", "per_month_fen"),
        (Limits(1, None), 0, "LIMIT_ABOVE_AUTHORISED_AMOUNT", "per_payment_fen"),
    ],
)
def test_a_limit_that_says_nothing_is_refused_with_its_field(
    limits: Limits, authorised_fen: int | None, reason: str, field: str
) -> None:
    """Nothing or less, and more than the whole amount; the first field that is wrong is named."""
    with pytest.raises(Failure) as caught:
        refuse_odd_limits(limits, authorised_fen)
    assert (caught.value.reason, caught.value.metadata["field"]) == (reason, field)
    assert (
        refused(lambda: limited(replace(binding(), authorised_fen=authorised_fen), by=MOTHER, wanted=limits)) == reason
    )
    asked = replace(bind(), limits=limits, authorised_fen=authorised_fen)
    assert refused(lambda: agreed_terms(asked, policies=POLICIES, now=NOW)) == reason


@pytest.mark.parametrize(("limits", "authorised_fen"), [(Limits(100, 100), 100), (Limits(9, 5), None), (NO_LIMITS, 0)])
def test_a_limit_up_to_the_amount_is_taken(limits: Limits, authorised_fen: int | None) -> None:
    """Equal to the amount, of any size without one; and one payment may be allowed more than a month has."""
    refuse_odd_limits(limits, authorised_fen)


def test_a_binding_is_opened_with_its_limits_or_not_at_all() -> None:
    """OPEN carries them, and ACTIVE it is once the ledger keeps them: one that knows no limits leaves it OPENING."""
    opening = replace(binding(state=BindingState.OPENING), limits=LIMITS)
    command = due(opening)
    assert command == Open(opening.authorisation_id, MOTHER, CHILD, 100_00, LIMITS)
    assert answered(opening, command, LedgerAnswer(is_open=True, authorised_fen=100_00)) is None
    step = answered(opening, command, LedgerAnswer(is_open=True, authorised_fen=100_00, limits=LIMITS))
    assert step == Step(replace(opening, state=BindingState.ACTIVE, version=2), Change.BOUND)


def test_limits_are_set_beside_the_amount_and_the_amount_beside_the_limits() -> None:
    """Each amendment tells the ledger all three as they shall stand, so that none of them is lost by another."""
    first = limited(binding(), by=MOTHER, wanted=LIMITS)
    assert first is not None
    command = due(first.binding)
    assert command == Amend(first.binding.authorisation_id, 2, 100_00, LIMITS)
    kept = answered(first.binding, command, LedgerAnswer(is_open=True, authorised_fen=100_00, limits=LIMITS))
    assert kept is not None
    assert kept == Step(replace(binding(), limits=LIMITS, authorisation_version=2, version=2), Change.LIMITS)
    second = amended(kept.binding, by=MOTHER, wanted_fen=200_00)
    assert second is not None
    assert due(second.binding) == Amend(first.binding.authorisation_id, 3, 200_00, LIMITS)


def test_limits_are_cleared_and_the_same_again_is_no_amendment() -> None:
    """None is no limit; what stands, or is under way, is not sent again."""
    standing = replace(binding(), limits=LIMITS)
    assert limited(standing, by=MOTHER, wanted=LIMITS) is None
    step = limited(standing, by=MOTHER, wanted=NO_LIMITS)
    assert step is not None
    assert limited(step.binding, by=MOTHER, wanted=NO_LIMITS) is None
    assert amended(step.binding, by=MOTHER, wanted_fen=100_00) is None
    assert refused(lambda: limited(step.binding, by=MOTHER, wanted=LIMITS)) == "AMENDMENT_PENDING"
    assert refused(lambda: amended(step.binding, by=MOTHER, wanted_fen=1)) == "AMENDMENT_PENDING"


def test_a_refused_amount_leaves_the_limits() -> None:
    """The ledger's answer tells what it keeps, of both; ending the binding forgets what was under way."""
    standing = replace(binding(), limits=LIMITS)
    step = amended(standing, by=MOTHER, wanted_fen=1)
    assert step is not None
    command = due(step.binding)
    assert command is not None
    answer = LedgerAnswer(is_open=True, authorised_fen=100_00, refusal=BELOW_USE, limits=LIMITS)
    assert answered(step.binding, command, answer) == Step(replace(standing, authorisation_version=2), None)
    ended = closing(step.binding, by=CHILD, now=NOW)
    assert ended is not None
    assert (ended.binding.wanted_limits, ended.binding.limits) == (NO_LIMITS, LIMITS)


def test_an_amount_may_be_lowered_below_a_limit() -> None:
    """The lower of the two counts then; to take the limit back first would be one call more in a hurry."""
    step = amended(replace(binding(), limits=LIMITS), by=MOTHER, wanted_fen=5_00)
    assert step is not None
    assert due(step.binding) == Amend(step.binding.authorisation_id, 2, 5_00, LIMITS)


def test_limits_go_along_to_another_area() -> None:
    """The authorisation that is opened where the funder's account is now has them too."""
    leaving = replace(binding(state=BindingState.CLOSING), moving_to=URUMQI, limits=LIMITS)
    command = due(leaving)
    assert command is not None
    answer = LedgerAnswer(is_open=False, authorised_fen=100_00, limits=LIMITS, used_fen=30_00)
    step = answered(leaving, command, answer)
    assert step is not None
    opening = due(step.binding)
    assert isinstance(opening, Open)
    assert (opening.limits, opening.used_fen, step.binding.funder_area) == (LIMITS, 30_00, URUMQI)


def test_only_the_funder_limits_an_active_binding() -> None:
    """The beneficiary may not, and a binding that is not active has nothing to limit."""
    assert refused(lambda: limited(binding(), by=CHILD, wanted=LIMITS)) == "NOT_THE_FUNDER"
    opening = binding(state=BindingState.OPENING)
    assert refused(lambda: limited(opening, by=MOTHER, wanted=LIMITS)) == "BINDING_NOT_ACTIVE"
