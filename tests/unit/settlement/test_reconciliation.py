"""Two books of one day side by side: what differs, what a period is, what an officer may decide."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from kernel.clock import business_midnight
from kernel.failures import Failure
from kernel.money import AMOUNT_MAX_FEN
from services.settlement.domain.reconciliation import (
    AMOUNTS,
    SETTLING,
    Amounts,
    Decision,
    DifferenceKind,
    DifferenceState,
    Found,
    Group,
    OurRecord,
    Record,
    Standing,
    Total,
    check_decision,
    compared,
    difference_of,
    fallback_id,
    missing,
    period_of,
    standing_decision,
)

DAY = date(2026, 3, 31)
ID = UUID(int=7)
RECORD = Record(ID, "2207", "m", False, "310", "11", Amounts(100, 10, 90, 20, 0, 0))  # noqa: FBT003  In its order.
OURS = OurRecord(Standing.SETTLED, RECORD, DAY)
EXPLAINED = Decision(DifferenceState.EXPLAINED, "slip torn", "z1")
CHANGES, NOTHING = "changes it", "changes nothing"
RESOLVED = replace(EXPLAINED, state=DifferenceState.RESOLVED)


def found(theirs: Record = RECORD, ours: OurRecord | None = OURS) -> Found | None:
    """How they differ on the day."""
    return difference_of(ID, theirs, ours, day=DAY)


def test_the_same_record_does_not_differ() -> None:
    """Whether it is named by its id or by its request."""
    assert found() is None
    assert found(replace(RECORD, setl_id=None)) is None


@pytest.mark.parametrize("name", AMOUNTS)
def test_each_amount_counts(name: str) -> None:
    """A fen in any of them is a difference of that amount."""
    dearer = replace(RECORD, amounts=replace(RECORD.amounts, **{name: getattr(RECORD.amounts, name) + 1}))
    difference = found(dearer)
    assert difference is not None
    assert (difference.kind, difference.fields) == (DifferenceKind.AMOUNT, (name,))


@pytest.mark.parametrize(
    ("theirs", "ours", "kind", "fields"),
    [
        (RECORD, None, DifferenceKind.ONLY_THEIRS, ()),
        (RECORD, OurRecord(Standing.REFUSED, None, None), DifferenceKind.STATE, ("state",)),
        (RECORD, OurRecord(Standing.IN_PROGRESS, None, None), DifferenceKind.STATE, ("state",)),
        (RECORD, replace(OURS, day=DAY - timedelta(days=1)), DifferenceKind.STATE, ("stmt_date",)),
        (replace(RECORD, insutype="390"), OURS, DifferenceKind.STATE, ("insutype",)),
        (replace(RECORD, clr_type="21"), OURS, DifferenceKind.STATE, ("clr_type",)),
        (replace(RECORD, is_refund=True), OURS, DifferenceKind.STATE, ("refd_setl_flag",)),
    ],
)
def test_a_record_that_stands_otherwise_is_told_so(
    theirs: Record, ours: OurRecord | None, kind: DifferenceKind, fields: tuple[str, ...]
) -> None:
    """What differs is named."""
    difference = found(theirs, ours)
    assert difference is not None
    assert (difference.kind, difference.fields) == (kind, fields)


def test_a_fingerprint_tells_every_difference_apart() -> None:
    """A fen, a day, a side: another difference; the same one is the same in every process."""
    dearer = replace(RECORD, amounts=replace(RECORD.amounts, wallet_pay=1))
    differences = [
        found(dearer),
        found(replace(RECORD, amounts=replace(RECORD.amounts, wallet_pay=2))),
        found(dearer, replace(OURS, day=date(2026, 3, 30))),
        found(RECORD, None),
        missing(ID, OURS),
    ]
    prints = [each.fingerprint for each in differences if each is not None]
    assert len(set(prints)) == len(differences)
    again = found(dearer)
    assert again is not None
    assert again.fingerprint == prints[0]


def test_a_document_brings_the_record_back() -> None:
    """With an id and without."""
    for record in (RECORD, replace(RECORD, setl_id=None)):
        assert Record.of_document(record.document()) == record


def test_a_request_that_is_not_known_has_an_id_of_its_own() -> None:
    """The same for the same request of the same institution."""
    assert fallback_id("H65010000001", "2207", "m") == fallback_id("H65010000001", "2207", "m")
    assert fallback_id("H65010000001", "2207", "m") != fallback_id("H65010000002", "2207", "m")


def test_an_officers_word_stands_only_for_what_he_saw() -> None:
    """Found again as it was, it stands; otherwise it is open."""
    assert standing_decision(EXPLAINED, same=True) == EXPLAINED
    assert standing_decision(EXPLAINED, same=False) is None
    assert standing_decision(None, same=True) is None


@pytest.mark.parametrize(
    ("state", "before", "decision", "outcome"),
    [
        (DifferenceState.OPEN, None, EXPLAINED, CHANGES),
        (DifferenceState.OPEN, None, RESOLVED, CHANGES),
        (DifferenceState.EXPLAINED, EXPLAINED, EXPLAINED, NOTHING),
        (DifferenceState.EXPLAINED, EXPLAINED, RESOLVED, CHANGES),
        (DifferenceState.EXPLAINED, EXPLAINED, replace(EXPLAINED, cause="other"), "DIFFERENCE_DECIDED"),
        (DifferenceState.RESOLVED, RESOLVED, EXPLAINED, "DIFFERENCE_DECIDED"),
        (DifferenceState.CLEARED, None, RESOLVED, "DIFFERENCE_CLEARED"),
    ],
)
def test_what_may_be_decided(state: DifferenceState, before: Decision | None, decision: Decision, outcome: str) -> None:
    """An open one, or an explained one that is put right after all; the same word again changes nothing."""
    if outcome in {CHANGES, NOTHING}:
        assert check_decision(state, before, decision) is (outcome == CHANGES)
    else:
        with pytest.raises(Failure, match=outcome):
            check_decision(state, before, decision)


def test_a_day_begins_and_ends_at_midnight_in_shanghai() -> None:
    """16:00 UTC; and for a minute after its end a day may still get records."""
    period = period_of("2026-03-31", "2026-03-31", now=datetime(2026, 4, 1, tzinfo=UTC), fields=("a", "b"))
    assert period.begins == datetime(2026, 3, 30, 16, tzinfo=UTC)
    assert period.ends == datetime(2026, 3, 31, 16, tzinfo=UTC)
    assert period.is_provisional(period.ends + SETTLING - timedelta(seconds=1))
    assert not period.is_provisional(period.ends + SETTLING)


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [
        ("2026-03-31", "2026-03-30", "PERIOD_BACKWARDS"),
        ("2026-02-28", "2026-03-31", "PERIOD_TOO_LONG"),
        ("2026-04-01", "2026-04-01", "PERIOD_NOT_BEGUN"),
        ("2026-02-30", "2026-03-01", "DATE_MALFORMED"),
    ],
)
def test_a_period_that_cannot_be_is_refused(first: str, last: str, reason: str) -> None:
    """Judged in the last second of a day in Shanghai."""
    now = business_midnight(date(2026, 4, 1)) - timedelta(seconds=1)
    with pytest.raises(Failure, match=reason):
        period_of(first, last, now=now, fields=("a", "b"))
    assert period_of("2026-03-01", "2026-03-31", now=now, fields=("a", "b")).last == DAY


def test_groups_are_compared_each_by_itself() -> None:
    """One that only one side has is unbalanced, unless only the stated ones are judged; none is stated twice."""
    outpatient, inpatient = Group("310", "11"), Group("310", "21")
    ours, same = {outpatient: Total(1, 0, Amounts(5)), inpatient: Total(1)}, (outpatient, Total(1, 0, Amounts(5)))
    assert [(it.group, it.is_balanced) for it in compared(ours, [same], stated_only=False)] == [
        (outpatient, True),
        (inpatient, False),
    ]
    assert [it.is_balanced for it in compared(ours, [same], stated_only=True)] == [True]
    with pytest.raises(Failure, match="GROUP_STATED_TWICE"):
        compared(ours, [same, same], stated_only=True)


def test_a_settlement_and_its_refund_count_twice_and_come_to_nothing() -> None:
    """Net amounts; how many gave back stands beside."""
    total = Total(1, 0, RECORD.amounts).plus(Total(1, 1, RECORD.amounts.negated()))
    assert total == Total(2, 1, Amounts())


def test_sums_that_no_message_can_carry_are_refused() -> None:
    """Rather than breaking on the way out."""
    largest = Amounts(2**63 - AMOUNT_MAX_FEN)
    with pytest.raises(Failure, match="AMOUNTS_OUT_OF_RANGE"):
        largest.plus(Amounts(AMOUNT_MAX_FEN))
