"""家庭成员组: who founds it, who may be invited by whom, and how an invitation ends (domain §2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, GroupId, PsnNo, province_of
from kernel.policy import PolicySet, RegionPolicy, Relation
from services.family.domain.people import Person, insured_area, refuse_child, refuse_oneself, ruling_area
from services.family.domain.pledges import refuse_unsigned


class InvitationState(Enum):
    """Where an invitation stands; the comment says who acts next."""

    PENDING = "PENDING"  # The invitee, before it expires.
    ACCEPTED = "ACCEPTED"  # Nobody.
    EXPIRED = "EXPIRED"  # Nobody: invite again.
    DECLINED = "DECLINED"  # Nobody: the invitee said no.
    WITHDRAWN = "WITHDRAWN"  # Nobody: the inviter took it back, or is going himself.


ENDED: Final = {
    InvitationState.ACCEPTED: (Kind.EXISTS, "INVITATION_ALREADY_ACCEPTED"),
    InvitationState.EXPIRED: (Kind.PRECONDITION, "INVITATION_EXPIRED"),
    InvitationState.DECLINED: (Kind.PRECONDITION, "INVITATION_DECLINED"),
    InvitationState.WITHDRAWN: (Kind.PRECONDITION, "INVITATION_WITHDRAWN"),
}
"""How an invitation is refused that is open no more."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """``relation`` is what the invitee is to the inviter, as identity has proved it."""

    invitation_id: UUID
    group_id: GroupId
    inviter: PsnNo
    invitee: PsnNo
    relation: Relation
    state: InvitationState
    expires_at: datetime
    version: int = 1

    def is_open(self, now: datetime) -> bool:
        """Whether it can still be accepted."""
        return self.state is InvitationState.PENDING and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Member:
    """Someone in a group, and since when; ``leaving`` while the ledgers close his bindings.

    ``version`` counts the membership's events, over every time that he was in this group.
    """

    psn_no: PsnNo
    joined_at: datetime
    version: int = 1
    leaving: bool = False


class GroupState(Enum):
    """Where a group stands; the comment says who acts next."""

    ACTIVE = "ACTIVE"  # Its members.
    DISSOLVING = "DISSOLVING"  # The ledgers: they close the last bindings.
    DISSOLVED = "DISSOLVED"  # Nobody.


@dataclass(frozen=True, slots=True)
class Group:
    """A family group with its members in the order in which they joined."""

    group_id: GroupId
    founder: PsnNo
    members: tuple[Member, ...]
    invitations: tuple[Invitation, ...] = ()
    state: GroupState = GroupState.ACTIVE

    def has(self, psn_no: PsnNo) -> bool:
        """Whether this person is a member."""
        return any(member.psn_no == psn_no for member in self.members)


@dataclass(frozen=True, slots=True)
class Kinship:
    """Identity's answer: the relation, or why there is none."""

    relation: Relation | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Invite:
    """Everything that decides whether an invitation may be sent. ``stated`` is what the inviter says they are."""

    group: Group
    founder_area: AdmDvs | None
    inviter: Person
    invitee: Person
    stated: Relation
    proven: Kinship
    groups: int = 0
    """In how many groups the invitee is."""


def refuse_founding(founder: Person, pledges: int, *, groups: int, policies: PolicySet, now: datetime) -> None:
    """What keeps a person from founding a group, the first that applies.

    PLEDGE_NOT_SIGNED, FOUNDER_NOT_INSURED, MINOR_ACTS_THROUGH_PARENT (a parent founds it), GROUPS_TOO_MANY.
    """
    refuse_unsigned(pledges)
    area = insured_area(founder)
    if area is None:
        raise Failure(Kind.PRECONDITION, "FOUNDER_NOT_INSURED")
    policy = policies.for_area(area)
    refuse_child(founder, policy, today=business_date(now))
    refuse_another_group(groups, policy)


def refuse_outsider(group: Group, psn_no: PsnNo) -> None:
    """NOT_A_MEMBER: a group is seen and changed by its members alone."""
    if not group.has(psn_no):
        raise Failure(Kind.FORBIDDEN, "NOT_A_MEMBER")


def refuse_ended(group: Group) -> None:
    """GROUP_DISSOLVED: nothing new begins in a group that was ended, also while its last bindings are being closed."""
    if group.state is not GroupState.ACTIVE:
        raise Failure(Kind.PRECONDITION, "GROUP_DISSOLVED")


def refuse_going(group: Group, psn_no: PsnNo) -> None:
    """MEMBER_IS_LEAVING: who is on his way out begins nothing new."""
    if any(member.psn_no == psn_no and member.leaving for member in group.members):
        raise Failure(Kind.PRECONDITION, "MEMBER_IS_LEAVING")


def refuse_another_group(groups: int, policy: RegionPolicy) -> None:
    """GROUPS_TOO_MANY: somebody is in as many groups as his area allows."""
    if policy.max_groups_per_person is not None and groups >= policy.max_groups_per_person:
        raise Failure(Kind.PRECONDITION, "GROUPS_TOO_MANY", groups_max=policy.max_groups_per_person)


def seen_by(group: Group, psn_no: PsnNo) -> Group:
    """As much of a group as somebody sees who is named in it: all of it, or his invitations while he is no member."""
    if group.has(psn_no):
        return group
    own = tuple(invitation for invitation in group.invitations if invitation.invitee == psn_no)
    return replace(group, members=(), invitations=own)


def joins_at_once(asked: Invite, *, policies: PolicySet, now: datetime) -> bool:
    """Whether the invitee joins without being asked (below the consent age), or waits for his own word.

    Refusals, the first that applies: NOT_A_MEMBER, GROUP_DISSOLVED, MEMBER_IS_LEAVING, RELATIVE_IS_ONESELF,
    ALREADY_MEMBER, ALREADY_INVITED, INVITER_NOT_INSURED, MINOR_ACTS_THROUGH_PARENT (the inviter is a child),
    INVITEE_NOT_INSURED, INVITEE_IN_ANOTHER_PROVINCE (what joins them is the wallet, which needs no group; domain §2),
    GROUP_FULL, KINSHIP_NOT_PROVEN, KINSHIP_OTHER_THAN_STATED, RELATION_NOT_ALLOWED, MINOR_JOINS_THROUGH_PARENT,
    GROUPS_TOO_MANY (of one who joins at once; another is refused when he accepts). Whose policy: ``max_members`` the
    founder's insured area, ``relations`` the inviter's, ``consent_age`` and ``max_groups_per_person`` the invitee's.
    """
    group, inviter, invitee = asked.group, asked.inviter, asked.invitee
    refuse_outsider(group, inviter.psn_no)
    refuse_ended(group)
    refuse_going(group, inviter.psn_no)
    refuse_oneself(inviter.psn_no, invitee.psn_no)
    if group.has(invitee.psn_no):
        raise Failure(Kind.EXISTS, "ALREADY_MEMBER")
    if any(invitation.invitee == invitee.psn_no and invitation.is_open(now) for invitation in group.invitations):
        raise Failure(Kind.EXISTS, "ALREADY_INVITED")
    inviter_area, invitee_area = insured_area(inviter), insured_area(invitee)
    if inviter_area is None:
        raise Failure(Kind.PRECONDITION, "INVITER_NOT_INSURED")
    refuse_child(inviter, policies.for_area(inviter_area), today=business_date(now))
    if invitee_area is None:
        raise Failure(Kind.PRECONDITION, "INVITEE_NOT_INSURED")
    if province_of(inviter_area) != province_of(invitee_area):
        raise Failure(Kind.PRECONDITION, "INVITEE_IN_ANOTHER_PROVINCE")
    waiting = sum(invitation.is_open(now) for invitation in group.invitations)
    refuse_full(group, waiting=waiting, policy=policies.for_area(asked.founder_area or inviter_area))
    refuse_relation(asked.proven, policies.for_area(inviter_area), stated=asked.stated)
    policy = policies.for_area(invitee_area)
    if not invitee.is_younger_than(policy.consent_age, today=business_date(now)):
        return False
    if asked.stated is not Relation.CHILD:
        raise Failure(Kind.PRECONDITION, "MINOR_JOINS_THROUGH_PARENT")
    refuse_another_group(asked.groups, policy)
    return True


def refuse_full(group: Group, *, waiting: int, policy: RegionPolicy) -> None:
    """GROUP_FULL: members and open invitations together never exceed ``max_members``."""
    if policy.max_members is not None and len(group.members) + waiting >= policy.max_members:
        raise Failure(Kind.PRECONDITION, "GROUP_FULL", members_max=policy.max_members)


def refuse_relation(proven: Kinship, policy: RegionPolicy, *, stated: Relation | None = None) -> Relation:
    """The proven relation, if it is the stated one and policy lets it count.

    KINSHIP_NOT_PROVEN, KINSHIP_OTHER_THAN_STATED, RELATION_NOT_ALLOWED.
    """
    if proven.relation is None:
        raise Failure(Kind.PRECONDITION, "KINSHIP_NOT_PROVEN", because=proven.reason or "NO_CHAIN")
    if stated is not None and proven.relation is not stated:
        raise Failure(Kind.PRECONDITION, "KINSHIP_OTHER_THAN_STATED", stated=stated.value, proven=proven.relation.value)
    if proven.relation not in policy.relations:
        raise Failure(Kind.PRECONDITION, "RELATION_NOT_ALLOWED", relation=proven.relation.value)
    return proven.relation


def refuse_answer(invitation: Invitation, *, by: PsnNo, now: datetime) -> None:
    """What keeps somebody from saying yes or no to an invitation, the first that applies.

    NOT_THE_INVITEE, INVITATION_ALREADY_ACCEPTED, INVITATION_DECLINED, INVITATION_WITHDRAWN, INVITATION_EXPIRED.
    """
    if invitation.invitee != by:
        raise Failure(Kind.FORBIDDEN, "NOT_THE_INVITEE")
    refuse_closed(invitation, now)


def refuse_withdrawal(invitation: Invitation, *, by: PsnNo, now: datetime) -> None:
    """NOT_THE_INVITER, INVITATION_ALREADY_ACCEPTED, INVITATION_DECLINED, INVITATION_WITHDRAWN, INVITATION_EXPIRED."""
    if invitation.inviter != by:
        raise Failure(Kind.FORBIDDEN, "NOT_THE_INVITER")
    refuse_closed(invitation, now)


def refuse_closed(invitation: Invitation, now: datetime) -> None:
    """Open no more: INVITATION_ALREADY_ACCEPTED, INVITATION_DECLINED, INVITATION_WITHDRAWN, INVITATION_EXPIRED."""
    if not invitation.is_open(now):
        kind, reason = ENDED.get(invitation.state, ENDED[InvitationState.EXPIRED])
        raise Failure(kind, reason)


@dataclass(frozen=True, slots=True)
class Accept:
    """Everything that decides whether an invited person joins. ``groups`` is in how many groups he is already."""

    invitation: Invitation
    group: Group
    founder: Person
    inviter: Person
    invitee: Person
    proven: Kinship
    groups: int


def needs_face(asked: Accept, *, policies: PolicySet, now: datetime) -> bool:
    """Whether the invited person, who may join, shows his face for it: ``consent_face`` of his insured area.

    What keeps him from joining, the first that applies: as ``refuse_answer``; GROUP_DISSOLVED, MEMBER_IS_LEAVING (the
    inviter), INVITEE_NOT_INSURED, ALREADY_MEMBER (through another invitation of the same group),
    INVITEE_IN_ANOTHER_PROVINCE, KINSHIP_NOT_PROVEN, KINSHIP_OTHER_THAN_STATED and RELATION_NOT_ALLOWED (what was true
    when he was invited need not be now), GROUP_FULL (the policy has become stricter since), GROUPS_TOO_MANY. Whose
    policy: as for an invitation.
    """
    group, invitee = asked.group, asked.invitee
    refuse_answer(asked.invitation, by=invitee.psn_no, now=now)
    refuse_ended(group)
    refuse_going(group, asked.inviter.psn_no)
    area = insured_area(invitee)
    if area is None:
        raise Failure(Kind.PRECONDITION, "INVITEE_NOT_INSURED")
    if group.has(invitee.psn_no):
        raise Failure(Kind.EXISTS, "ALREADY_MEMBER")
    inviter_area = ruling_area(asked.inviter) or area
    if province_of(inviter_area) != province_of(area):
        raise Failure(Kind.PRECONDITION, "INVITEE_IN_ANOTHER_PROVINCE")
    refuse_relation(asked.proven, policies.for_area(inviter_area), stated=asked.invitation.relation)
    refuse_full(group, waiting=0, policy=policies.for_area(ruling_area(asked.founder) or area))
    policy = policies.for_area(area)
    refuse_another_group(asked.groups, policy)
    return policy.consent_face


def expiry_of(now: datetime, *, days: int) -> datetime:
    """Until when an invitation made now can be accepted."""
    return now + timedelta(days=days)
