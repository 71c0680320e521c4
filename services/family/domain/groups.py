"""家庭成员组: who founds it, who may be invited by whom, and how an invitation ends (domain §2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, GroupId, PsnNo
from kernel.policy import PolicySet, RegionPolicy, Relation
from services.family.domain.people import Person, insured_area, refuse_oneself


@dataclass(frozen=True, slots=True)
class Pledge:
    """A signed 《个人账户家庭共济承诺书》: which text, its SHA-256, when."""

    pledge_id: UUID
    psn_no: PsnNo
    text_version: str
    text_sha256: bytes
    signed_at: datetime


class InvitationState(Enum):
    """Where an invitation stands; the comment says who acts next."""

    PENDING = "PENDING"  # The invitee, before it expires.
    ACCEPTED = "ACCEPTED"  # Nobody.
    EXPIRED = "EXPIRED"  # Nobody: invite again.


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
    """Someone in a group, and since when."""

    psn_no: PsnNo
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class Group:
    """A family group with its members in the order in which they joined."""

    group_id: GroupId
    founder: PsnNo
    members: tuple[Member, ...]
    invitations: tuple[Invitation, ...] = ()

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


def refuse_unsigned(pledges: int) -> None:
    """PLEDGE_NOT_SIGNED: who founds a group or lends an account signs 《个人账户家庭共济承诺书》 first (domain §2)."""
    if pledges == 0:
        raise Failure(Kind.PRECONDITION, "PLEDGE_NOT_SIGNED")


def refuse_founding(founder: Person, pledges: int) -> None:
    """What keeps a person from founding a group: PLEDGE_NOT_SIGNED, FOUNDER_NOT_INSURED."""
    refuse_unsigned(pledges)
    if insured_area(founder) is None:
        raise Failure(Kind.PRECONDITION, "FOUNDER_NOT_INSURED")


def refuse_outsider(group: Group, psn_no: PsnNo) -> None:
    """NOT_A_MEMBER: a group is seen and changed by its members alone."""
    if not group.has(psn_no):
        raise Failure(Kind.FORBIDDEN, "NOT_A_MEMBER")


def seen_by(group: Group, psn_no: PsnNo) -> Group:
    """As much of a group as somebody sees who is named in it: all of it, or his invitations while he is no member."""
    if group.has(psn_no):
        return group
    own = tuple(invitation for invitation in group.invitations if invitation.invitee == psn_no)
    return replace(group, members=(), invitations=own)


def joins_at_once(asked: Invite, *, policies: PolicySet, now: datetime) -> bool:
    """Whether the invitee joins without being asked (below the consent age), or waits for his own word.

    Refusals, the first that applies: NOT_A_MEMBER, RELATIVE_IS_ONESELF, ALREADY_MEMBER, ALREADY_INVITED,
    INVITER_NOT_INSURED, INVITEE_NOT_INSURED, GROUP_FULL, KINSHIP_NOT_PROVEN, KINSHIP_OTHER_THAN_STATED,
    RELATION_NOT_ALLOWED, MINOR_JOINS_THROUGH_PARENT. Whose policy: ``max_members`` the founder's insured area,
    ``relations`` the inviter's, ``consent_age`` the invitee's.
    """
    group, inviter, invitee = asked.group, asked.inviter, asked.invitee
    refuse_outsider(group, inviter.psn_no)
    refuse_oneself(inviter.psn_no, invitee.psn_no)
    if group.has(invitee.psn_no):
        raise Failure(Kind.EXISTS, "ALREADY_MEMBER")
    if any(invitation.invitee == invitee.psn_no and invitation.is_open(now) for invitation in group.invitations):
        raise Failure(Kind.EXISTS, "ALREADY_INVITED")
    inviter_area, invitee_area = insured_area(inviter), insured_area(invitee)
    if inviter_area is None:
        raise Failure(Kind.PRECONDITION, "INVITER_NOT_INSURED")
    if invitee_area is None:
        raise Failure(Kind.PRECONDITION, "INVITEE_NOT_INSURED")
    waiting = sum(invitation.is_open(now) for invitation in group.invitations)
    refuse_full(group, waiting=waiting, policy=policies.for_area(asked.founder_area or inviter_area))
    refuse_relation(asked.proven, policies.for_area(inviter_area), stated=asked.stated)
    if not invitee.is_younger_than(policies.for_area(invitee_area).consent_age, today=business_date(now)):
        return False
    if asked.stated is not Relation.CHILD:
        raise Failure(Kind.PRECONDITION, "MINOR_JOINS_THROUGH_PARENT")
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


def refuse_acceptance(
    invitation: Invitation, group: Group, invitee: Person, *, policy: RegionPolicy, now: datetime
) -> None:
    """What keeps an invited person from joining, the first that applies.

    NOT_THE_INVITEE, INVITATION_ALREADY_ACCEPTED, INVITATION_EXPIRED, INVITEE_NOT_INSURED, ALREADY_MEMBER (through
    another invitation of the same group) and GROUP_FULL (the policy has become stricter since). ``policy`` is that
    of the founder's insured area.
    """
    if invitation.invitee != invitee.psn_no:
        raise Failure(Kind.FORBIDDEN, "NOT_THE_INVITEE")
    if invitation.state is InvitationState.ACCEPTED:
        raise Failure(Kind.EXISTS, "INVITATION_ALREADY_ACCEPTED")
    if not invitation.is_open(now):
        raise Failure(Kind.PRECONDITION, "INVITATION_EXPIRED")
    if insured_area(invitee) is None:
        raise Failure(Kind.PRECONDITION, "INVITEE_NOT_INSURED")
    if group.has(invitee.psn_no):
        raise Failure(Kind.EXISTS, "ALREADY_MEMBER")
    refuse_full(group, waiting=0, policy=policy)


def expiry_of(now: datetime, *, days: int) -> datetime:
    """Until when an invitation made now can be accepted."""
    return now + timedelta(days=days)
