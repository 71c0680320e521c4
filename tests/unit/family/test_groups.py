"""Who may found a group, be invited and join, one refusal for each rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest

from kernel.failures import Failure
from kernel.ids import PsnNo
from kernel.policy import PolicySet, Relation
from services.family.domain.groups import (
    Accept,
    GroupState,
    InvitationState,
    Invite,
    Kinship,
    Member,
    joins_at_once,
    needs_face,
    refuse_founding,
    refuse_withdrawal,
)
from services.family.domain.people import Enrolment, Person, insured_area, refuse_oneself
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
    accept,
    group,
    invitation,
    invite,
    person,
)

FULL = [invitation(invitee=CHILD)]
TWELVE = date(2014, 1, 1)


def refused(call: Callable[[], object]) -> str:
    """The reason with which the call refuses."""
    with pytest.raises(Failure) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (invite(inviter=person(STRANGER)), "NOT_A_MEMBER"),
        (invite(invitee=person(MOTHER)), "RELATIVE_IS_ONESELF"),
        (invite(into=group(MOTHER, AUNT)), "ALREADY_MEMBER"),
        (invite(into=group(MOTHER, invitations=[invitation()])), "ALREADY_INVITED"),
        (invite(inviter=person(MOTHER, status="2")), "INVITER_NOT_INSURED"),
        (invite(inviter=person(MOTHER, born=TWELVE)), "MINOR_ACTS_THROUGH_PARENT"),
        (invite(invitee=person(AUNT, status="4")), "INVITEE_NOT_INSURED"),
        (invite(proven=Kinship(None, "IN_LAW_ONLY")), "KINSHIP_NOT_PROVEN"),
        (invite(proven=Kinship(Relation.SPOUSE)), "KINSHIP_OTHER_THAN_STATED"),
        (invite(invitee=person(AUNT, born=TWELVE)), "MINOR_JOINS_THROUGH_PARENT"),
    ],
)
def test_each_rule_of_an_invitation_has_its_refusal(asked: Invite, reason: str) -> None:
    """An invitation that breaks one rule is refused with the reason of that rule."""
    assert refused(lambda: joins_at_once(asked, policies=POLICIES, now=NOW)) == reason


def test_a_relation_the_area_does_not_allow_is_refused() -> None:
    """Where policy allows spouse, parents and children only, a sister cannot be invited."""
    strict = PolicySet.of({HAMI: {"relations": ["SPOUSE", "PARENT", "CHILD"]}})
    assert refused(lambda: joins_at_once(invite(), policies=strict, now=NOW)) == "RELATION_NOT_ALLOWED"


def test_open_invitations_count_towards_the_members_of_a_group() -> None:
    """With three members allowed, two members and an open invitation leave no room; an expired one does."""
    three = PolicySet.of({HAMI: {"max_members": 3}})
    crowded = invite(into=group(MOTHER, STRANGER, invitations=FULL))
    assert refused(lambda: joins_at_once(crowded, policies=three, now=NOW)) == "GROUP_FULL"
    assert not joins_at_once(crowded, policies=three, now=NOW + timedelta(days=8))


def test_whose_policy_limits_a_group_is_the_founders() -> None:
    """``max_members`` of the inviter's and the invitee's areas do not matter if the founder's has none."""
    elsewhere = PolicySet.of({URUMQI: {"max_members": 2}})
    asked = invite(into=group(MOTHER, STRANGER), inviter=person(MOTHER, area=URUMQI), invitee=person(AUNT, area=URUMQI))
    assert not joins_at_once(asked, policies=elsewhere, now=NOW)


def test_a_young_child_joins_at_once_through_a_parent() -> None:
    """The mother's child of twelve joins at once; on its sixteenth birthday it would be asked."""
    young = invite(invitee=person(CHILD, born=date(2010, 11, 21)), stated=Relation.CHILD)
    assert joins_at_once(young, policies=POLICIES, now=NOW)
    assert not joins_at_once(young, policies=POLICIES, now=NOW + timedelta(days=1))


def test_the_day_of_a_birthday_is_that_of_shanghai() -> None:
    """At 16:30 UTC it is the next day in Shanghai, and the person is sixteen."""
    young = invite(invitee=person(CHILD, born=date(2010, 11, 21)), stated=Relation.CHILD)
    assert not joins_at_once(young, policies=POLICIES, now=NOW.replace(hour=16, minute=30))


def test_a_person_born_on_a_leap_day_is_of_age_on_the_first_of_march() -> None:
    """Born on 29 February 2008, someone is younger than 17 on 28 February 2025 and not on 1 March."""
    born = person(CHILD, born=date(2008, 2, 29))
    assert born.is_younger_than(17, today=date(2025, 2, 28))
    assert not born.is_younger_than(17, today=date(2025, 3, 1))


def test_somebody_of_another_province_is_not_invited() -> None:
    """A group is there for binding, which ends at the province; an aunt in Lanzhou gets money by her wallet."""
    abroad = invite(invitee=person(AUNT, area=LANZHOU))
    assert refused(lambda: joins_at_once(abroad, policies=POLICIES, now=NOW)) == "INVITEE_IN_ANOTHER_PROVINCE"


@pytest.mark.parametrize(
    ("asked", "policy", "reason"),
    [
        (accept(invitee=person(STRANGER)), {}, "NOT_THE_INVITEE"),
        (accept(invitation(state=InvitationState.ACCEPTED)), {}, "INVITATION_ALREADY_ACCEPTED"),
        (accept(invitation(state=InvitationState.EXPIRED)), {}, "INVITATION_EXPIRED"),
        (accept(invitation(expires_at=NOW)), {}, "INVITATION_EXPIRED"),
        (accept(invitation(state=InvitationState.DECLINED)), {}, "INVITATION_DECLINED"),
        (accept(invitation(state=InvitationState.WITHDRAWN)), {}, "INVITATION_WITHDRAWN"),
        (accept(into=replace(group(MOTHER), state=GroupState.DISSOLVING)), {}, "GROUP_DISSOLVED"),
        (accept(into=replace(group(), members=(Member(MOTHER, NOW, leaving=True),))), {}, "MEMBER_IS_LEAVING"),
        (accept(invitee=person(AUNT, status="2")), {}, "INVITEE_NOT_INSURED"),
        (accept(into=group(MOTHER, AUNT)), {}, "ALREADY_MEMBER"),
        (accept(proven=Kinship(None, "ENDED")), {}, "KINSHIP_NOT_PROVEN"),
        (accept(proven=Kinship(Relation.SPOUSE)), {}, "KINSHIP_OTHER_THAN_STATED"),
        (accept(), {"relations": ["SPOUSE"]}, "RELATION_NOT_ALLOWED"),
        (accept(into=group(MOTHER, CHILD)), {"max_members": 2}, "GROUP_FULL"),
        (accept(groups=1), {"max_groups_per_person": 1}, "GROUPS_TOO_MANY"),
    ],
)
def test_each_rule_of_accepting_has_its_refusal(asked: Accept, policy: dict[str, object], reason: str) -> None:
    """An acceptance that breaks one rule is refused with the reason of that rule."""
    policies = PolicySet.of({HAMI: policy})
    assert refused(lambda: needs_face(asked, policies=policies, now=NOW)) == reason


def test_a_face_is_shown_where_the_area_of_the_invited_asks_for_it() -> None:
    """Everywhere unless ``consent_face`` is false where the invited person is insured; the founder's does not count."""
    faceless = PolicySet.of({HAMI: {"consent_face": False}})
    assert needs_face(accept(), policies=POLICIES, now=NOW)
    assert not needs_face(accept(), policies=faceless, now=NOW)
    assert needs_face(accept(invitee=person(AUNT, area=URUMQI)), policies=faceless, now=NOW)


@pytest.mark.parametrize(
    ("by", "state", "reason"),
    [
        (AUNT, InvitationState.PENDING, "NOT_THE_INVITER"),
        (MOTHER, InvitationState.ACCEPTED, "INVITATION_ALREADY_ACCEPTED"),
        (MOTHER, InvitationState.EXPIRED, "INVITATION_EXPIRED"),
        (MOTHER, InvitationState.DECLINED, "INVITATION_DECLINED"),
    ],
)
def test_only_its_inviter_takes_an_open_invitation_back(by: PsnNo, state: InvitationState, reason: str) -> None:
    """Another's, an accepted one and one that has ended stay as they are."""
    assert refused(lambda: refuse_withdrawal(invitation(state=state), by=by, now=NOW)) == reason
    refuse_withdrawal(invitation(), by=MOTHER, now=NOW)


def test_nothing_new_begins_with_who_is_going() -> None:
    """A member on his way out invites nobody, nor does anybody in a group that is being dissolved."""
    going = replace(group(), members=(Member(MOTHER, NOW, leaving=True),))
    dissolving = replace(group(MOTHER), state=GroupState.DISSOLVING)
    assert refused(lambda: joins_at_once(invite(into=going), policies=POLICIES, now=NOW)) == "MEMBER_IS_LEAVING"
    assert refused(lambda: joins_at_once(invite(into=dissolving), policies=POLICIES, now=NOW)) == "GROUP_DISSOLVED"


def test_an_area_may_limit_how_many_groups_somebody_is_in() -> None:
    """With one group allowed, who is in one founds none, and a child in one is not brought into another."""
    one = PolicySet.of({HAMI: {"max_groups_per_person": 1}})
    child = invite(invitee=person(CHILD, born=TWELVE), stated=Relation.CHILD)
    refuse_founding(person(MOTHER), 1, groups=0, policies=one, now=NOW)
    assert refused(lambda: refuse_founding(person(MOTHER), 1, groups=1, policies=one, now=NOW)) == "GROUPS_TOO_MANY"
    assert joins_at_once(child, policies=one, now=NOW)
    assert refused(lambda: joins_at_once(replace(child, groups=1), policies=one, now=NOW)) == "GROUPS_TOO_MANY"
    assert joins_at_once(replace(child, groups=1), policies=POLICIES, now=NOW)


def founding(founder: Person, pledges: int = 1) -> None:
    """Somebody founds his first group."""
    refuse_founding(founder, pledges, groups=0, policies=POLICIES, now=NOW)


def test_a_group_is_founded_under_a_signed_pledge_by_someone_insured_and_of_age() -> None:
    """Without a pledge, not normally insured, or below the consent age, nobody founds a group; a resident may."""
    assert refused(lambda: founding(person(MOTHER), 0)) == "PLEDGE_NOT_SIGNED"
    assert refused(lambda: founding(person(MOTHER, status="2"))) == "FOUNDER_NOT_INSURED"
    assert refused(lambda: founding(person(CHILD, insutype="390", born=TWELVE))) == "MINOR_ACTS_THROUGH_PARENT"
    founding(person(CHILD, insutype="390", born=date(2010, 11, 20)))
    founding(person(MOTHER, insutype="390"))


def test_nobody_is_a_relative_of_himself() -> None:
    """The same person number twice is refused."""
    assert refused(lambda: refuse_oneself(MOTHER, MOTHER)) == "RELATIVE_IS_ONESELF"


def test_the_insured_area_is_that_of_the_employee_insurance_first() -> None:
    """Of two normal enrolments 310 counts; a paused 310 leaves 390; neither leaves none."""
    both = Person(MOTHER, "王*", None, (Enrolment("390", URUMQI, "1"), Enrolment("310", HAMI, "1")))
    paused = Person(MOTHER, "王*", None, (Enrolment("390", URUMQI, "1"), Enrolment("310", HAMI, "2")))
    assert [insured_area(one) for one in (both, paused, Person(MOTHER, "王*", None))] == [HAMI, URUMQI, None]
