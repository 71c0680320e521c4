"""Who may found a group, be invited and join, one refusal for each rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from kernel.failures import Failure
from kernel.policy import PolicySet, RegionPolicy, Relation
from services.family.domain.groups import (
    InvitationState,
    Invite,
    Kinship,
    joins_at_once,
    refuse_acceptance,
    refuse_founding,
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


def test_people_of_different_provinces_may_share_a_group() -> None:
    """The province limits bindings, not groups: an aunt in Lanzhou can be invited."""
    assert not joins_at_once(invite(invitee=person(AUNT, area=LANZHOU)), policies=POLICIES, now=NOW)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"invitee": person(STRANGER)}, "NOT_THE_INVITEE"),
        ({"state": InvitationState.ACCEPTED}, "INVITATION_ALREADY_ACCEPTED"),
        ({"state": InvitationState.EXPIRED}, "INVITATION_EXPIRED"),
        ({"expires_at": NOW}, "INVITATION_EXPIRED"),
        ({"invitee": person(AUNT, status="2")}, "INVITEE_NOT_INSURED"),
        ({"members": [MOTHER, AUNT]}, "ALREADY_MEMBER"),
        ({"policy": RegionPolicy(max_members=1)}, "GROUP_FULL"),
    ],
)
def test_each_rule_of_accepting_has_its_refusal(change: dict[str, object], reason: str) -> None:
    """An acceptance that breaks one rule is refused with the reason of that rule."""
    stated = {
        "invitee": person(AUNT),
        "state": InvitationState.PENDING,
        "expires_at": NOW + timedelta(microseconds=1),
        "members": [MOTHER],
        "policy": RegionPolicy(),
    } | change
    asked = invitation(state=stated["state"], expires_at=stated["expires_at"])  # type: ignore[arg-type]  # A table row.
    call = lambda: refuse_acceptance(  # noqa: E731  It is called once, to see how it refuses.
        asked,
        group(*stated["members"]),  # type: ignore[misc]  # As above.
        stated["invitee"],  # type: ignore[arg-type]  # As above.
        policy=stated["policy"],  # type: ignore[arg-type]  # As above.
        now=NOW,
    )
    assert refused(call) == reason


def test_a_group_is_founded_under_a_signed_pledge_by_someone_insured() -> None:
    """Without a pledge, or not normally insured, nobody founds a group."""
    assert refused(lambda: refuse_founding(person(MOTHER), 0)) == "PLEDGE_NOT_SIGNED"
    assert refused(lambda: refuse_founding(person(MOTHER, status="2"), 1)) == "FOUNDER_NOT_INSURED"
    refuse_founding(person(MOTHER, insutype="390"), 1)


def test_nobody_is_a_relative_of_himself() -> None:
    """The same person number twice is refused."""
    assert refused(lambda: refuse_oneself(MOTHER, MOTHER)) == "RELATIVE_IS_ONESELF"


def test_the_insured_area_is_that_of_the_employee_insurance_first() -> None:
    """Of two normal enrolments 310 counts; a paused 310 leaves 390; neither leaves none."""
    both = Person(MOTHER, "王*", None, (Enrolment("390", URUMQI, "1"), Enrolment("310", HAMI, "1")))
    paused = Person(MOTHER, "王*", None, (Enrolment("390", URUMQI, "1"), Enrolment("310", HAMI, "2")))
    assert [insured_area(one) for one in (both, paused, Person(MOTHER, "王*", None))] == [HAMI, URUMQI, None]
