"""Who may pay for whom, and how a binding follows its authorisation in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.policy import PolicySet, RegionPolicy, Relation
from services.family.domain.bindings import (
    FUNDERS_MAX,
    Amend,
    Bind,
    BindingState,
    Change,
    Close,
    LedgerAnswer,
    Open,
    Step,
    Terms,
    agreed_terms,
    amended,
    answered,
    closing,
    due,
    order_key,
    reordered,
)
from services.family.domain.endings import shown_to
from services.family.domain.groups import Group, GroupState, Kinship, Member
from services.family.domain.judging import Standing, judged, judged_next
from tests.unit.family.given import (
    AUNT,
    CHILD,
    HAMI,
    LANZHOU,
    MOTHER,
    NOW,
    POLICIES,
    STRANGER,
    URUMQI,
    bind,
    binding,
    group,
    person,
    standing,
)

DAY = timedelta(days=1)
LATER = NOW + timedelta(days=90)
BELOW_USE = Failure(Kind.PRECONDITION, "AUTHORISED_AMOUNT_BELOW_USE")
CLOSED = Failure(Kind.PRECONDITION, "AUTHORISATION_CLOSED")


def refused(call: Callable[[], object]) -> str:
    """The reason with which the call refuses."""
    with pytest.raises(Failure) as caught:
        call()
    return caught.value.reason


def going(leaving: PsnNo, staying: PsnNo) -> Group:
    """A group of two, one of whom is on the way out."""
    return replace(group(staying), members=(Member(leaving, NOW, leaving=True), Member(staying, NOW)))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (bind(pledges=0), "PLEDGE_NOT_SIGNED"),
        (bind(beneficiary=person(MOTHER)), "RELATIVE_IS_ONESELF"),
        (bind(funder=person(STRANGER)), "NOT_A_MEMBER"),
        (bind(into=group(MOTHER)), "NOT_A_MEMBER"),
        (bind(into=replace(group(MOTHER, CHILD), state=GroupState.DISSOLVING)), "GROUP_DISSOLVED"),
        (bind(into=going(MOTHER, CHILD)), "MEMBER_IS_LEAVING"),
        (bind(into=going(CHILD, MOTHER)), "MEMBER_IS_LEAVING"),
        (bind(funder=person(MOTHER, insutype="390")), "FUNDER_NOT_INSURED"),
        (bind(funder=person(MOTHER, status="2")), "FUNDER_NOT_INSURED"),
        (bind(beneficiary=person(CHILD, status="4")), "BENEFICIARY_NOT_INSURED"),
        (bind(funder=person(MOTHER, sanctioned_until=LATER)), "FUNDER_SANCTIONED"),
        (bind(beneficiary=person(CHILD, sanctioned_until=LATER)), "BENEFICIARY_SANCTIONED"),
        (bind(funder=person(MOTHER, area=LANZHOU)), "BINDING_ACROSS_PROVINCES"),
        (bind(proven=Kinship(None, "IN_LAW_ONLY")), "KINSHIP_NOT_PROVEN"),
        (bind(live=[binding()]), "ALREADY_BOUND"),
    ],
)
def test_each_rule_of_a_binding_has_its_refusal(asked: Bind, reason: str) -> None:
    """A binding that breaks one rule is refused with the reason of that rule."""
    assert refused(lambda: agreed_terms(asked, policies=POLICIES, now=NOW)) == reason


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({HAMI: {"relations": ["SPOUSE", "CHILD"]}}, "RELATION_NOT_ALLOWED"),
        ({HAMI: {"authorized_amount_required": True}}, "AUTHORISED_AMOUNT_REQUIRED"),
        ({HAMI: {"max_funders_per_beneficiary": 1}}, "FUNDERS_TOO_MANY"),
    ],
)
def test_what_policy_asks_for_is_refused_where_it_is_missing(policy: dict[str, object], reason: str) -> None:
    """Relations, a required amount and the number of funders are the areas' to limit."""
    asked = bind(live=[binding(funder=AUNT)])
    agreed_terms(asked, policies=POLICIES, now=NOW)
    assert refused(lambda: agreed_terms(asked, policies=PolicySet.of(policy), now=NOW)) == reason


@pytest.mark.parametrize(("allowed", "ended", "refuses"), [(0, 0, False), (0, 1, True), (1, 1, False), (1, 2, True)])
def test_a_pair_binds_anew_so_often_in_a_year(allowed: int, ended: int, *, refuses: bool) -> None:
    """Each binding of the two that a person has ended this year makes the next one a change; the first is none."""
    policies = PolicySet.of({HAMI: {"rebind_per_year": allowed}})
    asked = bind(ended=ended)
    agreed_terms(asked, policies=POLICIES, now=NOW)
    if refuses:
        assert refused(lambda: agreed_terms(asked, policies=policies, now=NOW)) == "REBINDS_TOO_MANY"
    else:
        agreed_terms(asked, policies=policies, now=NOW)


def test_no_policy_lets_more_funders_in_than_one_payment_can_have() -> None:
    """The sixtieth is the last one."""
    sixty = [binding(funder=PsnNo(f"{HAMI}{number:09d}")) for number in range(FUNDERS_MAX)]
    agreed_terms(bind(live=sixty[1:]), policies=POLICIES, now=NOW)
    for policies in (POLICIES, PolicySet.of({HAMI: {"max_funders_per_beneficiary": 500}})):
        with pytest.raises(Failure) as error:
            agreed_terms(bind(live=sixty), policies=policies, now=NOW)
        assert (error.value.reason, error.value.metadata) == ("FUNDERS_TOO_MANY", {"funders_max": "60"})


def test_the_funders_area_allows_and_the_beneficiarys_counts() -> None:
    """Relations and the amount follow the funder's insured area, the number of funders the beneficiary's."""
    asked = bind(funder=person(MOTHER, area=URUMQI), live=[binding(funder=AUNT)])
    harmless = PolicySet.of(
        {
            HAMI: {"relations": ["SPOUSE"], "authorized_amount_required": True},
            URUMQI: {"max_funders_per_beneficiary": 1},
        }
    )
    assert agreed_terms(asked, policies=harmless, now=NOW) == Terms(Relation.PARENT, URUMQI)


def test_a_resident_may_benefit_and_a_sanction_ends() -> None:
    """A beneficiary insured as 390 is bound, also when a sanction is over."""
    asked = bind(beneficiary=person(CHILD, insutype="390", sanctioned_until=NOW))
    assert agreed_terms(asked, policies=POLICIES, now=NOW).funder_area == HAMI


def test_what_the_ledger_is_told_follows_from_the_row() -> None:
    """OPEN while opening, AMEND while amending, CLOSE while closing, nothing otherwise."""
    opening, ending = binding(state=BindingState.OPENING), binding(state=BindingState.CLOSING)
    amending = replace(binding(), amending=True, wanted_fen=5, authorisation_version=3)
    authorisation_id = opening.authorisation_id
    assert [due(one) for one in (opening, amending, ending)] == [
        Open(authorisation_id, MOTHER, CHILD, 100_00),
        Amend(authorisation_id, 3, 5),
        Close(authorisation_id),
    ]
    quiet = [binding(), binding(state=BindingState.UNBOUND), binding(state=BindingState.SUSPENDED)]
    assert [due(one) for one in quiet] == [None, None, None]


def test_an_opened_authorisation_makes_the_binding_active() -> None:
    """OPENING, told OPEN and answered open, is ACTIVE and said to be bound."""
    opening = binding(state=BindingState.OPENING)
    command = due(opening)
    assert command is not None
    step = answered(opening, command, LedgerAnswer(is_open=True, authorised_fen=100_00))
    assert step == Step(replace(opening, state=BindingState.ACTIVE, version=2), Change.BOUND)


def test_a_refused_opening_ends_the_binding_with_the_ledgers_reason() -> None:
    """OPENING, told OPEN and refused, is SUSPENDED with the reason as its cause."""
    opening = binding(state=BindingState.OPENING)
    command = due(opening)
    assert command is not None
    step = answered(opening, command, LedgerAnswer(is_open=False, authorised_fen=None, refusal=CLOSED))
    assert step is not None
    assert (step.binding.state, step.binding.cause) == (BindingState.SUSPENDED, "AUTHORISATION_CLOSED")


def test_an_answer_to_what_is_no_longer_due_changes_nothing() -> None:
    """When a person has ended the binding while OPEN was on its way, its answer is stale."""
    opening = binding(state=BindingState.OPENING)
    command = due(opening)
    assert command is not None
    ended = closing(opening, by=CHILD, now=NOW)
    assert ended is not None
    assert answered(ended.binding, command, LedgerAnswer(is_open=True, authorised_fen=100_00)) is None


def test_a_refused_amendment_keeps_what_the_ledger_keeps() -> None:
    """Less than what is used and held is refused; the amount stays, and nobody is told anything."""
    step = amended(binding(), by=MOTHER, wanted_fen=1)
    assert step is not None
    command = due(step.binding)
    assert command is not None
    after = answered(step.binding, command, LedgerAnswer(is_open=True, authorised_fen=100_00, refusal=BELOW_USE))
    assert after == Step(replace(binding(), authorisation_version=2), None)


def test_an_authorisation_the_ledger_does_not_know_tells_no_amount() -> None:
    """A refusal without an authorisation leaves our amount as it was: it does not become "no limit"."""
    step = amended(binding(), by=MOTHER, wanted_fen=200_00)
    assert step is not None
    command = due(step.binding)
    assert command is not None
    after = answered(step.binding, command, LedgerAnswer(is_open=False, authorised_fen=None, refusal=CLOSED))
    assert after is not None
    assert after.binding.authorised_fen == 100_00


def test_a_second_amendment_waits_for_the_first() -> None:
    """While one amount is under way another is refused, to be asked for again."""
    first = amended(binding(), by=MOTHER, wanted_fen=200_00)
    assert first is not None
    assert refused(lambda: amended(first.binding, by=MOTHER, wanted_fen=300_00)) == "AMENDMENT_PENDING"


def test_the_same_amount_again_is_no_amendment() -> None:
    """An amount that stands, or is under way, is not sent to the ledger once more under a new version."""
    waiting = amended(binding(), by=MOTHER, wanted_fen=None)
    assert waiting is not None
    assert amended(waiting.binding, by=MOTHER, wanted_fen=None) is None
    assert amended(binding(), by=MOTHER, wanted_fen=100_00) is None


def test_only_the_funder_amends_an_active_binding() -> None:
    """The beneficiary may not, and a binding that is not active has nothing to amend."""
    assert refused(lambda: amended(binding(), by=CHILD, wanted_fen=1)) == "NOT_THE_FUNDER"
    opening = binding(state=BindingState.OPENING)
    assert refused(lambda: amended(opening, by=MOTHER, wanted_fen=1)) == "BINDING_NOT_ACTIVE"


@pytest.mark.parametrize("state", [BindingState.OPENING, BindingState.ACTIVE, BindingState.SUSPENDED])
def test_either_of_the_two_ends_a_binding_at_once(state: BindingState) -> None:
    """Funder and beneficiary both end it, from every state that is not an end; the ledger is told to close."""
    cause = "AUTHORISATION_CLOSED" if state is BindingState.SUSPENDED else ""
    standing = replace(binding(state=state), cause=cause)
    for by in (MOTHER, CHILD):
        step = closing(standing, by=by, now=NOW)
        assert step is not None
        assert (step.binding.state, step.binding.cause, step.change) == (BindingState.CLOSING, "", Change.CLOSING)
        assert due(step.binding) == Close(standing.authorisation_id)


@pytest.mark.parametrize("state", [BindingState.OPENING, BindingState.ACTIVE])
@pytest.mark.parametrize(
    ("proven", "cause"),
    [
        (Kinship(None, "NO_CHAIN"), "KINSHIP_NOT_PROVEN"),
        (Kinship(None, "IN_LAW_ONLY"), "KINSHIP_NOT_PROVEN"),
        (Kinship(Relation.SIBLING), "RELATION_NOT_ALLOWED"),
    ],
)
def test_a_binding_stops_when_its_kinship_counts_no_more(state: BindingState, proven: Kinship, cause: str) -> None:
    """Live, it is closed at the ledger, with its cause from the first moment; an amendment under way is given up."""
    policy = RegionPolicy(relations=frozenset({Relation.PARENT, Relation.CHILD}))
    live = replace(binding(state=state), amending=state is BindingState.ACTIVE)
    step = judged(live, standing(proven=proven), policy, now=NOW)
    assert step is not None
    assert (step.binding.state, step.binding.cause, step.change) == (BindingState.CLOSING, cause, Change.SUSPENDED)
    command = due(step.binding)
    assert command == Close(live.authorisation_id)
    after = answered(step.binding, command, LedgerAnswer(is_open=False, authorised_fen=None))
    assert after is not None
    assert (after.binding.state, after.binding.cause, after.change) == (BindingState.SUSPENDED, cause, Change.UNBOUND)


@pytest.mark.parametrize("state", [BindingState.CLOSING, BindingState.UNBOUND, BindingState.SUSPENDED])
def test_kinship_changes_nothing_about_a_binding_that_is_over(state: BindingState) -> None:
    """A fact that falls, or one that comes back, is no consent."""
    for proven in (Kinship(None, "NO_CHAIN"), Kinship(Relation.PARENT), Kinship(Relation.SIBLING)):
        assert judged(binding(state=state), standing(proven=proven), RegionPolicy(), now=NOW) is None


def test_kinship_that_still_counts_leaves_a_binding_alone_or_names_it_anew() -> None:
    """The same relation is nothing new; another one that counts is told, and nothing stops."""
    assert judged(binding(), standing(proven=Kinship(binding().relation)), RegionPolicy(), now=NOW) is None
    step = judged(binding(), standing(proven=Kinship(Relation.SIBLING)), RegionPolicy(), now=NOW)
    assert step is not None
    assert (step.binding.state, step.binding.relation, step.change) == (
        BindingState.ACTIVE,
        Relation.SIBLING,
        Change.RELATION,
    )


STANDINGS = {
    "the funder's number is a double": (standing(funder=person(MOTHER, merged_into=AUNT)), "MERGED"),
    "the beneficiary's number is a double": (standing(beneficiary=person(CHILD, merged_into=AUNT)), "MERGED"),
    "the funder died": (standing(funder=person(MOTHER, died_on=NOW.date(), status="4")), "DIED"),
    "the beneficiary died": (standing(beneficiary=person(CHILD, died_on=NOW.date())), "DIED"),
    "the funder's insurance is paused": (standing(funder=person(MOTHER, status="2")), "NOT_INSURED"),
    "the funder's insurance has ended": (standing(funder=person(MOTHER, status="4")), "NOT_INSURED"),
    "the funder is a resident now": (standing(funder=person(MOTHER, insutype="390")), "NOT_INSURED"),
    "the funder moved out of the province": (standing(funder=person(MOTHER, area=LANZHOU)), "OTHER_PROVINCE"),
    "the beneficiary moved out of the province": (standing(beneficiary=person(CHILD, area=LANZHOU)), "OTHER_PROVINCE"),
    "the funder is sanctioned": (standing(funder=person(MOTHER, sanctioned_until=NOW + DAY)), "SANCTIONED"),
    "the kinship fell": (standing(proven=Kinship(None, "NO_CHAIN")), "KINSHIP_NOT_PROVEN"),
}


@pytest.mark.parametrize(("fallen", "cause"), STANDINGS.values(), ids=STANDINGS)
def test_a_binding_stops_by_itself_with_its_cause(fallen: Standing, cause: str) -> None:
    """Whatever it rested on, each with a name of its own (domain §2)."""
    step = judged(binding(), fallen, RegionPolicy(), now=NOW)
    assert step is not None
    assert (step.binding.state, step.binding.cause, step.change) == (BindingState.CLOSING, cause, Change.SUSPENDED)


@pytest.mark.parametrize(
    "still",
    [
        standing(funder=person(MOTHER, area=URUMQI)),
        standing(beneficiary=person(CHILD, status="2")),
        standing(beneficiary=person(CHILD, sanctioned_until=NOW + DAY)),
        standing(funder=person(MOTHER, sanctioned_until=NOW)),
        standing(funder=person(MOTHER, sanctioned_from=NOW + DAY, sanctioned_until=NOW + 90 * DAY)),
    ],
    ids=[
        "the funder moved inside the province",
        "the beneficiary's insurance is paused",
        "the beneficiary is sanctioned",
        "the funder's sanction is over",
        "the funder's sanction is to come",
    ],
)
def test_what_leaves_a_binding_alone(still: Standing) -> None:
    """Bills of a beneficiary who may not settle are refused meanwhile; his bindings stay."""
    assert judged(binding(), still, RegionPolicy(), now=NOW) is None


def test_a_sanction_to_come_is_looked_at_when_it_begins() -> None:
    """No event tells of that moment; the nearest one of several counts."""
    begins = NOW + DAY
    coming = standing(funder=person(MOTHER, sanctioned_from=begins, sanctioned_until=NOW + 90 * DAY))
    assert judged_next(coming, now=NOW) == begins
    step = judged(binding(), coming, RegionPolicy(), now=begins)
    assert step is not None
    assert (step.binding.cause, judged_next(coming, now=begins)) == ("SANCTIONED", None)
    assert judged_next(standing(), now=NOW) is None


def test_nothing_is_opened_while_kinship_is_in_doubt() -> None:
    """An OPENING binding that identity was not asked about has nothing to say to the ledger; a closing one has."""
    doubted = replace(binding(state=BindingState.OPENING), vouched=False)
    assert (due(doubted), doubted.awaits_ledger) == (None, True)
    ending = closing(doubted, by=CHILD, now=NOW)
    assert ending is not None
    assert due(ending.binding) == Close(doubted.authorisation_id)


def test_a_person_may_end_what_has_stopped_by_itself() -> None:
    """While the ledger has not closed it yet, too: it ends UNBOUND, which is said of nothing else."""
    stopping = replace(binding(state=BindingState.CLOSING), cause="KINSHIP_NOT_PROVEN")
    step = closing(stopping, by=CHILD, now=NOW)
    assert step is not None
    assert (step.binding.state, step.binding.cause, step.change) == (BindingState.CLOSING, "", Change.CLOSING)
    assert step.binding.ended_at is None  # It counts as no change of the year.


def test_ending_twice_and_by_others_changes_nothing() -> None:
    """An ended binding stays as it is; someone else is refused."""
    assert closing(binding(state=BindingState.CLOSING), by=MOTHER, now=NOW) is None
    assert closing(binding(state=BindingState.UNBOUND), by=MOTHER, now=NOW) is None
    assert refused(lambda: closing(binding(), by=AUNT, now=NOW)) == "NOT_A_PARTY"


def test_ending_gives_up_an_amendment_under_way() -> None:
    """A binding that ends while it is being amended has only its closing left to be told."""
    waiting = amended(binding(), by=MOTHER, wanted_fen=1)
    assert waiting is not None
    step = closing(waiting.binding, by=MOTHER, now=NOW)
    assert step is not None
    assert not step.binding.amending


def test_the_beneficiary_orders_the_funders() -> None:
    """Those named get 1, 2, ...; others come last, by when they were bound; who does not move is not told."""
    mine = [binding(number=1), binding(number=2, funder=AUNT, deduct_order=1), binding(number=3, funder=STRANGER)]
    steps = reordered(mine, [AUNT, MOTHER])
    assert [(step.binding.funder, step.binding.deduct_order) for step in steps] == [(MOTHER, 2)]
    after = sorted([steps[0].binding, *mine[1:]], key=order_key)
    assert [one.funder for one in after] == [AUNT, MOTHER, STRANGER]


def test_a_funder_left_out_of_the_order_comes_last_again() -> None:
    """Being no longer named takes a funder's place away."""
    steps = reordered([binding(deduct_order=1), binding(number=2, funder=AUNT, deduct_order=2)], [AUNT])
    assert {step.binding.funder: step.binding.deduct_order for step in steps} == {MOTHER: None, AUNT: 1}


def test_only_bound_funders_can_be_ordered() -> None:
    """A name in the list behind which no live binding stands is refused by its place."""
    with pytest.raises(Failure) as caught:
        reordered([binding()], [MOTHER, AUNT])
    assert (caught.value.reason, caught.value.metadata) == ("FUNDER_NOT_BOUND", {"position": "2"})


@pytest.mark.parametrize("cause", ["SANCTIONED", "NOT_INSURED"])
def test_why_a_funder_may_pay_no_more_is_read_by_himself_alone(cause: str) -> None:
    """The others read the same word for both causes."""
    stopped = replace(binding(state=BindingState.SUSPENDED), cause=cause)
    assert shown_to(stopped, stopped.funder).cause == cause
    assert shown_to(stopped, stopped.beneficiary).cause == "FUNDER_NOT_ELIGIBLE"
    assert shown_to(stopped, AUNT).cause == "FUNDER_NOT_ELIGIBLE"


def test_what_concerns_both_is_read_by_both() -> None:
    """Kinship that fell, say."""
    stopped = replace(binding(state=BindingState.SUSPENDED), cause="KINSHIP_NOT_PROVEN")
    assert shown_to(stopped, stopped.beneficiary) == shown_to(stopped, stopped.funder) == stopped
