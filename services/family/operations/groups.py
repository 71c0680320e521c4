"""Pledges, groups and invitations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from chassis.db import Database, violated_constraint
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import GroupId, PsnNo
from kernel.policy import PolicySet, RegionPolicy, Relation
from services.family import wire
from services.family.clients import Identity
from services.family.domain.bindings import Binding
from services.family.domain.groups import (
    Group,
    Invitation,
    InvitationState,
    Invite,
    Member,
    Pledge,
    expiry_of,
    joins_at_once,
    refuse_acceptance,
    refuse_founding,
    refuse_outsider,
    seen_by,
)
from services.family.domain.people import Person, insured_area, refuse_oneself
from services.family.operations.people import People
from services.family.store import bindings as binding_store
from services.family.store import groups as store
from services.family.store import people as people_store

EXPIRE_ROWS_MAX: Final = 500


async def sign_pledge(*, database: Database, people: People, pledge: Pledge) -> Pledge:
    """The pledge as it is kept: signing the same text again gives the first signature."""

    async def decide(_: Mapping[PsnNo, Person]) -> Pledge:
        async with database.transaction() as connection:
            return await store.put_pledge(connection, pledge)

    return await people.decide([pledge.psn_no], decide)


async def create_group(
    *, database: Database, people: People, founder: PsnNo, request_id: UUID, group_id: GroupId, now: datetime
) -> GroupId:
    """A new group with its founder as first member; the same request again gives the same group.

    PLEDGE_NOT_SIGNED, FOUNDER_NOT_INSURED, REQUEST_ID_REUSED (by another founder).
    """

    async def decide(known: Mapping[PsnNo, Person]) -> GroupId:
        async with database.transaction() as connection:
            if (made := await store.group_of_request(connection, request_id)) is not None:
                return await _same_founder(connection, made, founder)
            refuse_founding(known[founder], await store.pledges_of(connection, founder))
            if not await store.insert_group(
                connection, group_id=group_id, founder=founder, request_id=request_id, now=now
            ):
                made = await store.group_of_request(connection, request_id)
                return await _same_founder(connection, made or group_id, founder)
            await _join(connection, Group(group_id, founder, ()), Member(founder, now))
            return group_id

    return await people.decide([founder], decide)


async def _same_founder(connection: AsyncConnection, group_id: GroupId, founder: PsnNo) -> GroupId:
    group = await store.load_group(connection, group_id)
    if group is None or group.founder != founder:
        raise Failure(Kind.INVALID, "REQUEST_ID_REUSED")
    return group_id


@dataclass(frozen=True, slots=True)
class InviteAsked:
    """What an inviter asks for, under an id of his own."""

    group_id: GroupId
    inviter: PsnNo
    invitee: PsnNo
    relation: Relation
    request_id: UUID

    def made(self, invitation: Invitation) -> Invitation:
        """The invitation that this very request has made; REQUEST_ID_REUSED if it was another request."""
        asked = (self.group_id, self.inviter, self.invitee, self.relation)
        if asked != (invitation.group_id, invitation.inviter, invitation.invitee, invitation.relation):
            raise Failure(Kind.INVALID, "REQUEST_ID_REUSED")
        return invitation


async def invite_member(
    *,
    database: Database,
    people: People,
    identity: Identity,
    policies: PolicySet,
    asked: InviteAsked,
    invitation_id: UUID,
    expiry_days: int,
    now: datetime,
) -> Invitation:
    """An invitation that waits for the invitee, or of someone below the consent age who has joined at once.

    The same request again gives the same invitation as it stands. Refusals: GROUP_UNKNOWN, REQUEST_ID_REUSED, those
    of ``domain.groups.joins_at_once``, and identity's for people it does not know.
    """
    refuse_oneself(asked.inviter, asked.invitee)
    async with database.transaction() as connection:
        if (made := await store.invitation_of_request(connection, asked.request_id)) is not None:
            return asked.made(made)
        group = await _known_group(connection, asked.group_id)
        refuse_outsider(group, asked.inviter)
    proven = await identity.kinship(asked.invitee, asked.inviter, on=business_date(now))

    async def decide(known: Mapping[PsnNo, Person]) -> Invitation:
        async with database.transaction() as connection:
            group = await _known_group(connection, asked.group_id, lock=True)
            if (made := await store.invitation_of_request(connection, asked.request_id)) is not None:
                return asked.made(made)
            at_once = joins_at_once(
                Invite(
                    group=group,
                    founder_area=insured_area(known[group.founder]),
                    inviter=known[asked.inviter],
                    invitee=known[asked.invitee],
                    stated=asked.relation,
                    proven=proven,
                ),
                policies=policies,
                now=now,
            )
            invitation = Invitation(
                invitation_id=invitation_id,
                group_id=asked.group_id,
                inviter=asked.inviter,
                invitee=asked.invitee,
                relation=asked.relation,
                state=InvitationState.ACCEPTED if at_once else InvitationState.PENDING,
                expires_at=expiry_of(now, days=expiry_days),
            )
            await store.insert_invitation(connection, invitation, request_id=asked.request_id, now=now)
            await outbox.put(connection, [wire.outgoing(wire.invitation_event(invitation, at=now))])
            if at_once:
                await _join(connection, group, Member(asked.invitee, now))
            return invitation

    try:
        return await people.decide([asked.inviter, asked.invitee, group.founder], decide)
    except IntegrityError as error:
        if violated_constraint(error) == "invitations_request":
            raise Failure(Kind.INVALID, "REQUEST_ID_REUSED") from None
        raise


async def accept_invitation(
    *, database: Database, people: People, policies: PolicySet, invitation_id: UUID, invitee: PsnNo, now: datetime
) -> GroupId:
    """The invited person joins the group; its id.

    INVITATION_UNKNOWN, and the refusals of ``domain.groups.refuse_acceptance``. That it is the invited person who
    speaks is not proved here: the face attestation (domain §1) comes with a later issue.
    """
    async with database.transaction() as connection:
        asked = await _known_invitation(connection, invitation_id)
        founder = (await _known_group(connection, asked.group_id)).founder

    async def decide(known: Mapping[PsnNo, Person]) -> GroupId:
        async with database.transaction() as connection:
            group = await _known_group(connection, asked.group_id, lock=True)
            invitation = await _known_invitation(connection, invitation_id)
            area = insured_area(known[founder]) or insured_area(known[invitee])
            policy = RegionPolicy() if area is None else policies.for_area(area)
            refuse_acceptance(invitation, group, known[invitee], policy=policy, now=now)
            accepted = replace(invitation, state=InvitationState.ACCEPTED, version=invitation.version + 1)
            await store.save_invitation(connection, accepted, now=now)
            await outbox.put(connection, [wire.outgoing(wire.invitation_event(accepted, at=now))])
            await _join(connection, group, Member(invitee, now))
            return group.group_id

    return await people.decide([founder, invitee], decide)


async def expire_invitations(*, database: Database, now: datetime) -> int:
    """Ends the invitations whose time is over and says so; how many."""
    async with database.transaction() as connection:
        expired = await store.expire(connection, now=now, rows_max=EXPIRE_ROWS_MAX)
        await outbox.put(
            connection, [wire.outgoing(wire.invitation_event(invitation, at=now)) for invitation in expired]
        )
    return len(expired)


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as its members see it."""

    group: Group
    names: dict[PsnNo, str]
    bindings: Sequence[Binding]


async def view_group(*, database: Database, group_id: GroupId, by: PsnNo) -> GroupView:
    """The group with its bindings and invitations, for a member. GROUP_UNKNOWN, NOT_A_MEMBER."""
    async with database.transaction() as connection:
        group = await _known_group(connection, group_id)
        refuse_outsider(group, by)
        return await _view(connection, group)


async def list_groups(
    *, database: Database, psn_no: PsnNo, after: GroupId | None, size: int
) -> tuple[list[GroupView], bool]:
    """So many groups of a person behind this one, as much of each as he sees, and whether more follow."""
    async with database.transaction() as connection:
        found = await store.groups_of(connection, psn_no, after=after, rows_max=size + 1)
        page = [seen_by(await _known_group(connection, group_id), psn_no) for group_id in found[:size]]
        return [await _view(connection, group) for group in page], len(found) > size


async def _view(connection: AsyncConnection, group: Group) -> GroupView:
    """The group as it may be seen: without members there are no bindings either."""
    known = await people_store.load(connection, [member.psn_no for member in group.members])
    return GroupView(
        group=group,
        names={psn_no: person.name_masked for psn_no, (person, _) in known.items()},
        bindings=await binding_store.of_group(connection, group.group_id) if group.members else [],
    )


async def _join(connection: AsyncConnection, group: Group, member: Member) -> None:
    others = [other.psn_no for other in group.members]
    await store.insert_member(connection, group_id=group.group_id, member=member)
    await outbox.put(connection, [wire.outgoing(wire.member_event(group.group_id, member, others))])


async def _known_group(connection: AsyncConnection, group_id: GroupId, *, lock: bool = False) -> Group:
    group = await store.load_group(connection, group_id, lock=lock)
    if group is None:
        raise Failure(Kind.NOT_FOUND, "GROUP_UNKNOWN")
    return group


async def _known_invitation(connection: AsyncConnection, invitation_id: UUID) -> Invitation:
    invitation = await store.load_invitation(connection, invitation_id)
    if invitation is None:
        raise Failure(Kind.NOT_FOUND, "INVITATION_UNKNOWN")
    return invitation
