"""What a request finds, state by state: the same key, revocation, reversal, inquiry."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import PlanId
from services.settlement.domain.payment import Key, Window, check_key, reversal_key
from services.settlement.saga.coordinator import Write
from services.settlement.saga.payment import REVERSED, VOTE_DEADLINE_PASSED, Payment, PaymentKind, State
from services.settlement.saga.requests import (
    AlreadyGivenBack,
    AlreadyStopped,
    Bury,
    Decision,
    GiveBack,
    PlanFacts,
    check_plan,
    check_same_request,
    inquired,
    refusal_failure,
    reverse,
    revoke,
    tombstone,
)
from tests.unit.saga.dialogue import (
    DECIDED_AT,
    PAYMENT_ID,
    REFUND_ID,
    REVOKE_KEY,
    SETTLE_KEY,
    credit,
    refund,
    settlement,
)

NEXT_YEAR = datetime(2026, 12, 31, 16, 0, tzinfo=UTC)
"""Midnight of 1 January in Shanghai."""


def reason_of(error: pytest.ExceptionInfo[Failure]) -> tuple[Kind, str]:
    """What a refusal says."""
    return error.value.kind, error.value.reason


class TestSameKeyAgain:
    """Rule 6: one key, one content, one outcome."""

    def test_the_same_content_may_be_asked_again(self) -> None:
        """Nothing is refused in any state."""
        for state in State:
            check_same_request(settlement(state), b"h" * 32)

    def test_other_content_is_refused_in_any_state(self) -> None:
        """The key stands for what it was first used for."""
        for state in State:
            with pytest.raises(Failure) as error:
                check_same_request(settlement(state), b"x" * 32)
            assert reason_of(error) == (Kind.INVALID, "KEY_REUSED_WITH_OTHER_CONTENT")

    def test_a_buried_key_is_reversed_whatever_its_content(self) -> None:
        """Rule 3: a late original can never start."""
        with pytest.raises(Failure) as error:
            check_same_request(tombstone(SETTLE_KEY, payment_id=PAYMENT_ID), b"h" * 32)
        assert reason_of(error) == (Kind.CONFLICT, REVERSED)


def reversal(original: Payment | None, live: Payment | None = None, *, now: datetime = DECIDED_AT) -> object:
    """What a reversal of the settlement's key does."""
    return reverse(
        original, live, original_key=SETTLE_KEY, new_id=REFUND_ID, request_hash=b"r" * 32, now=now, window=Window()
    )


class TestReverse:
    """2601 in each state (protocol, "Coordinator")."""

    def test_an_unknown_key_is_buried(self) -> None:
        """The tombstone is closed from the start and holds the key."""
        step = reversal(None)
        assert step == Bury(tombstone(SETTLE_KEY, payment_id=REFUND_ID))
        assert isinstance(step, Bury)
        assert (step.tombstone.state, step.tombstone.reason, step.tombstone.key) == (State.CLOSED, REVERSED, SETTLE_KEY)

    @pytest.mark.parametrize("overdue", [False, True])
    def test_an_undecided_payment_is_aborted_by_compare_and_set(self, overdue: bool) -> None:  # noqa: FBT001  A parameter of the table.
        """Whoever decides first wins; the reversal does not wait for the votes."""
        step = reversal(settlement(State.TRYING, overdue=overdue))
        assert step == Write(PAYMENT_ID, State.TRYING, State.ABORTED, reason=REVERSED)

    @pytest.mark.parametrize("state", [State.ABORTED, State.CLOSED])
    def test_a_refused_payment_is_stopped_already(self, state: State) -> None:
        """Nothing was taken; REVERSED is true of it."""
        assert reversal(settlement(state)) == AlreadyStopped()

    def test_a_buried_key_is_stopped_already(self) -> None:
        """The second reversal answers as the first."""
        assert reversal(tombstone(SETTLE_KEY, payment_id=PAYMENT_ID)) == AlreadyStopped()

    @pytest.mark.parametrize("state", [State.COMMITTED, State.DONE])
    def test_a_paid_settlement_is_given_back_under_a_key_derived_from_its_own(self, state: State) -> None:
        """Leg by leg what was charged, decided from the start, the same key for every reversal of it."""
        original = settlement(state)
        step = reversal(original)
        assert isinstance(step, GiveBack)
        made = step.refund
        assert (made.kind, made.state, made.key) == (PaymentKind.REFUND, State.COMMITTED, reversal_key(SETTLE_KEY))
        assert (made.original_id, made.legs, made.year) == (PAYMENT_ID, original.legs, original.year)

    @pytest.mark.parametrize("state", [State.COMMITTED, State.DONE])
    def test_a_settlement_that_was_given_back_answers_with_that_refund(self, state: State) -> None:
        """Reversed twice, or revoked before: the money goes back once."""
        assert reversal(settlement(state), refund()) == AlreadyGivenBack(refund())
        assert reversal(settlement(state), refund(State.DONE), now=NEXT_YEAR) == AlreadyGivenBack(refund(State.DONE))

    def test_a_settlement_of_last_year_stands(self) -> None:
        """Outside the revoke window the reversal is refused with the settlement's id."""
        with pytest.raises(Failure) as error:
            reversal(settlement(State.DONE), now=NEXT_YEAR)
        assert reason_of(error) == (Kind.PRECONDITION, "REVOKE_WINDOW_CLOSED")
        assert error.value.metadata == {"setl_id": str(PAYMENT_ID)}

    def test_a_revocation_that_was_made_stands(self) -> None:
        """A committed refund is never undone (rule 7)."""
        for found in (refund(), refund(State.DONE), credit()):
            with pytest.raises(Failure) as error:
                reversal(found)
            assert reason_of(error) == (Kind.PRECONDITION, "REVOCATION_STANDS")


def revocation(
    original: Payment | None, live: Payment | None = None, *, key: Key = REVOKE_KEY, now: datetime = DECIDED_AT
) -> GiveBack | AlreadyGivenBack:
    """What a revocation of the settlement does."""
    return revoke(original, live, key=key, request_hash=b"v" * 32, refund_id=REFUND_ID, now=now, window=Window())


def made_by(msgid: str) -> Payment:
    """The refund, made by another revocation."""
    return replace(refund(), key=REVOKE_KEY._replace(msgid=msgid))


class TestRevoke:
    """2208 / 2103 / 2305: refusals in their order, then the refund."""

    @pytest.mark.parametrize(
        ("original", "live", "key", "now", "kind", "reason"),
        [
            (None, None, REVOKE_KEY, DECIDED_AT, Kind.NOT_FOUND, "SETTLEMENT_UNKNOWN"),
            (refund(), None, REVOKE_KEY, DECIDED_AT, Kind.NOT_FOUND, "SETTLEMENT_UNKNOWN"),
            (
                settlement(State.DONE),
                None,
                REVOKE_KEY._replace(fixmedins_code="H65010000002"),
                DECIDED_AT,
                Kind.NOT_FOUND,
                "SETTLEMENT_UNKNOWN",
            ),
            (
                settlement(State.DONE),
                None,
                REVOKE_KEY._replace(infno="2103"),
                DECIDED_AT,
                Kind.INVALID,
                "INFNO_DOES_NOT_FIT",
            ),
            (settlement(State.TRYING), None, REVOKE_KEY, DECIDED_AT, Kind.UNAVAILABLE, "PAYMENT_IN_PROGRESS"),
            (settlement(State.ABORTED), None, REVOKE_KEY, DECIDED_AT, Kind.PRECONDITION, "SETTLEMENT_NOT_PAID"),
            (settlement(State.CLOSED), None, REVOKE_KEY, DECIDED_AT, Kind.PRECONDITION, "SETTLEMENT_NOT_PAID"),
            (
                settlement(State.DONE),
                made_by("H65010000001202611211200000003"),
                REVOKE_KEY,
                NEXT_YEAR,
                Kind.PRECONDITION,
                "ALREADY_REVOKED",
            ),
            (
                settlement(State.DONE),
                refund(),
                REVOKE_KEY,
                NEXT_YEAR,
                Kind.INVALID,
                "KEY_REUSED_WITH_OTHER_CONTENT",
            ),
            (settlement(State.COMMITTED), None, REVOKE_KEY, NEXT_YEAR, Kind.PRECONDITION, "REVOKE_WINDOW_CLOSED"),
        ],
    )
    def test_a_revocation_is_refused_with_the_first_reason_that_applies(
        self, original: Payment | None, live: Payment | None, key: Key, now: datetime, kind: Kind, reason: str
    ) -> None:
        """One row of the table each."""
        with pytest.raises(Failure) as error:
            revocation(original, live, key=key, now=now)
        assert reason_of(error) == (kind, reason)

    def test_a_second_revocation_names_the_first(self) -> None:
        """The cashier can look it up."""
        with pytest.raises(Failure) as error:
            revocation(settlement(State.DONE), made_by("H65010000001202611211200000003"))
        assert error.value.metadata == {"setl_id": str(REFUND_ID)}

    def test_the_same_revocation_finds_its_own_refund(self) -> None:
        """Two copies of one request at once: the slower one is answered with what the faster one wrote."""
        mine = replace(refund(), request_hash=b"v" * 32)
        assert revocation(settlement(State.DONE), mine) == AlreadyGivenBack(mine)

    @pytest.mark.parametrize("state", [State.COMMITTED, State.DONE])
    def test_a_paid_settlement_is_given_back_leg_by_leg(self, state: State) -> None:
        """Exactly what was charged, under the revocation's own key; the last second of the year still counts."""
        original = settlement(state)
        step = revocation(original, now=NEXT_YEAR - timedelta(seconds=1))
        assert isinstance(step, GiveBack)
        made = step.refund
        assert (made.kind, made.state, made.key) == (PaymentKind.REFUND, State.COMMITTED, REVOKE_KEY)
        assert (made.legs, made.amount_fen) == (original.legs, original.amount_fen)


class TestInquire:
    """Rules 2 and 4: what a ledger that asks is told."""

    @pytest.mark.parametrize(
        ("found", "answer"),
        [
            (None, Decision.WAIT),
            (settlement(State.TRYING), Decision.WAIT),
            (settlement(State.COMMITTED), Decision.CONFIRM),
            (settlement(State.DONE), Decision.CONFIRM),
            (settlement(State.ABORTED), Decision.CANCEL),
            (settlement(State.CLOSED), Decision.CANCEL),
            (tombstone(SETTLE_KEY, payment_id=PAYMENT_ID), Decision.CANCEL),
        ],
    )
    def test_the_answer_is_what_the_row_says(self, found: Payment | None, answer: Decision) -> None:
        """Unknown is WAIT: guessing would lose money that was confirmed."""
        assert inquired(found) is answer

    def test_an_overdue_payment_is_aborted_before_the_ledger_is_told(self) -> None:
        """By compare-and-set; what the row says then is the answer."""
        write = inquired(settlement(State.TRYING, overdue=True))
        assert write == Write(PAYMENT_ID, State.TRYING, State.ABORTED, reason=VOTE_DEADLINE_PASSED)


FACTS = PlanFacts(
    plan_id=PlanId(UUID(int=9)),
    digest=b"d" * 32,
    fixmedins_code=SETTLE_KEY.fixmedins_code,
    infno="2206",
    patient_version=3,
    is_expired=False,
    version_now=3,
)


@pytest.mark.parametrize(
    ("facts", "kind", "reason"),
    [
        (None, Kind.NOT_FOUND, "PLAN_UNKNOWN"),
        (replace(FACTS, fixmedins_code="H65010000002", infno="2101"), Kind.FORBIDDEN, "PLAN_NOT_OF_INSTITUTION"),
        (replace(FACTS, infno="2101", digest=b""), Kind.INVALID, "INFNO_DOES_NOT_FIT"),
        (replace(FACTS, digest=b"x" * 32, is_expired=True), Kind.INVALID, "PLAN_DIGEST_MISMATCH"),
        (replace(FACTS, is_expired=True, version_now=4), Kind.PRECONDITION, "PLAN_EXPIRED"),
        (replace(FACTS, is_expired=True, is_sanctioned=True), Kind.PRECONDITION, "PLAN_EXPIRED"),
        (replace(FACTS, version_now=4), Kind.CONFLICT, "PLAN_STALE"),
        (replace(FACTS, is_sanctioned=True), Kind.CONFLICT, "PLAN_STALE"),
    ],
)
def test_a_plan_is_refused_with_the_first_reason_that_applies(facts: PlanFacts | None, kind: Kind, reason: str) -> None:
    """Each row breaks its rule and the next ones."""
    with pytest.raises(Failure) as error:
        check_plan(facts, key=SETTLE_KEY, digest=b"d" * 32)
    assert reason_of(error) == (kind, reason)


def test_a_plan_that_fits_is_not_refused() -> None:
    """Institution, transaction, digest, time and version agree."""
    check_plan(FACTS, key=SETTLE_KEY, digest=b"d" * 32)


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ("INSUFFICIENT_FUNDS", Kind.PRECONDITION),
        (VOTE_DEADLINE_PASSED, Kind.CONFLICT),
        ("ACCOUNT_NOT_FOUND", Kind.NOT_FOUND),
        (REVERSED, Kind.CONFLICT),
    ],
)
def test_a_refusal_that_gets_no_new_plan_is_told_with_its_stored_reason(stored: str, kind: Kind) -> None:
    """The kind is the one that the catalogue gives the reason."""
    failure = refusal_failure(replace(settlement(State.ABORTED), reason=stored))
    assert (failure.kind, failure.reason) == (kind, stored)


NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
"""20:00 in Shanghai."""


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (SETTLE_KEY._replace(msgid="H65010000001202613211200000001"), "MSGID_MALFORMED"),
        (SETTLE_KEY._replace(fixmedins_code="H65010000002", infno="2208"), "MSGID_OF_ANOTHER_INSTITUTION"),
        (SETTLE_KEY._replace(infno="2208", msgid="H65010000001202501010000000001"), "INFNO_DOES_NOT_FIT"),
        (SETTLE_KEY._replace(msgid="H65010000001202605251959590001"), "MSGID_TOO_OLD"),
        (SETTLE_KEY._replace(msgid="H65010000001202611212010010001"), "MSGID_AHEAD_OF_TIME"),
    ],
)
def test_a_key_is_refused_with_the_first_reason_that_applies(key: Key, reason: str) -> None:
    """Form, institution, transaction, age: in this order."""
    with pytest.raises(Failure) as error:
        check_key(key, infnos=frozenset({"2207"}), now=NOW)
    assert reason_of(error) == (Kind.INVALID, reason)


@pytest.mark.parametrize("msgid", ["H65010000001202605252000000001", "H65010000001202611212010000001"])
def test_a_key_within_the_retention_and_ten_minutes_ahead_is_taken(msgid: str) -> None:
    """Both ends belong to it."""
    check_key(SETTLE_KEY._replace(msgid=msgid), infnos=frozenset({"2207"}), now=NOW)
