"""Invitations: sent, accepted, declined, withdrawn, expired."""

from __future__ import annotations

from collections.abc import Mapping
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
from kernel.policy import PolicySet, Relation
from services.family import wire
from services.family.clients import Identity
from services.family.domain.counter import Counter, Deed, refuse_unseen
from services.family.domain.groups import (
    Accept,
    Group,
    Invitation,
    InvitationState,
    Invite,
    Kinship,
    Member,
    expiry_of,
    joins_at_once,
    needs_face,
    refuse_answer,
    refuse_closed,
    refuse_outsider,
    refuse_withdrawal,
)
from services.family.domain.people import Person, refuse_oneself, ruling_area
from services.family.operations.groups import join, known_group
from services.family.operations.people import People
from services.family.store import counter as counter_store
from services.family.store import groups as store

EXPIRE_ROWS_MAX: Final = 500


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
    counter: Counter | None,
    invitation_id: UUID,
    expiry_days: int,
    now: datetime,
) -> Invitation:
    """An invitation that waits for the invitee, or of someone below the consent age who has joined at once.

    The same request again gives the same invitation as it stands. Refusals: GROUP_UNKNOWN, REQUEST_ID_REUSED, those
    of ``domain.groups.joins_at_once``, at a counter of ``refuse_unseen`` (inviter, invitee), and identity's for people
    it does not know.
    """
    refuse_oneself(asked.inviter, asked.invitee)
    async with database.transaction() as connection:
        if (made := await store.invitation_of_request(connection, asked.request_id)) is not None:
            return asked.made(made)
        group = await known_group(connection, asked.group_id)
        refuse_outsider(group, asked.inviter)
    proven = await identity.kinship(asked.invitee, asked.inviter, on=business_date(now))

    async def decide(known: Mapping[PsnNo, Person]) -> Invitation:
        async with database.transaction() as connection:
            await store.lock_person(connection, asked.invitee)
            group = await known_group(connection, asked.group_id, lock=True)
            if (made := await store.invitation_of_request(connection, asked.request_id)) is not None:
                return asked.made(made)
            inviter, invitee = known[asked.inviter], known[asked.invitee]
            at_once = joins_at_once(
                Invite(
                    group=group,
                    founder_area=ruling_area(known[group.founder]),
                    inviter=inviter,
                    invitee=invitee,
                    stated=asked.relation,
                    proven=proven,
                    groups=await store.count_groups_of(connection, asked.invitee),
                ),
                policies=policies,
                now=now,
            )
            refuse_unseen(counter, [inviter, invitee], policies=policies, now=now)
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
            await counter_store.record(connection, counter, Deed.INVITE, _subject(invitation), now=now)
            if at_once:
                await join(connection, group, Member(asked.invitee, now))
            return invitation

    try:
        return await people.decide([asked.inviter, asked.invitee, group.founder], decide)
    except IntegrityError as error:
        if violated_constraint(error) == "invitations_request":
            raise Failure(Kind.INVALID, "REQUEST_ID_REUSED") from None
        raise


@dataclass(frozen=True, slots=True)
class AcceptAsked:
    """Who says yes to which invitation: with his face, before an officer, or, where policy lets him, with neither."""

    invitation_id: UUID
    invitee: PsnNo
    attestation_id: UUID | None
    counter: Counter | None


async def accept_invitation(
    *, database: Database, people: People, identity: Identity, policies: PolicySet, asked: AcceptAsked, now: datetime
) -> GroupId:
    """The invited person joins the group; its id.

    INVITATION_UNKNOWN, the refusals of ``domain.groups.needs_face``, FACE_NOT_SHOWN, and identity's about the face; at
    a counter those of ``refuse_unseen`` (invitee, inviter) instead. The face is used for this invitation and no other,
    and only after everything else has been found in order, so a refusal does not spend it; whoever sends the request
    again after a crash uses it for the same.
    """
    async with database.transaction() as connection:
        invitation = await known_invitation(connection, asked.invitation_id)
        founder = (await known_group(connection, invitation.group_id)).founder
    refuse_answer(invitation, by=asked.invitee, now=now)
    proven = await identity.kinship(invitation.invitee, invitation.inviter, on=business_date(now))

    async def needs_one(connection: AsyncConnection, group: Group, known: Mapping[PsnNo, Person]) -> bool:
        accept = await _accept(connection, asked.invitation_id, group, known, proven=proven)
        face = needs_face(accept, policies=policies, now=now)
        refuse_unseen(asked.counter, [accept.invitee, accept.inviter], policies=policies, now=now)
        return face and asked.counter is None

    async def look(known: Mapping[PsnNo, Person]) -> UUID | None:
        async with database.transaction() as connection:
            if not await needs_one(connection, await known_group(connection, invitation.group_id), known):
                return None
            return _shown(asked.attestation_id)

    async def decide(known: Mapping[PsnNo, Person]) -> GroupId:
        async with database.transaction() as connection:
            await store.lock_person(connection, asked.invitee)
            group = await known_group(connection, invitation.group_id, lock=True)
            if await needs_one(connection, group, known):
                _shown(face)
            answered = await _answered(connection, asked.invitation_id, InvitationState.ACCEPTED, now=now, face=face)
            await counter_store.record(connection, asked.counter, Deed.ACCEPT, _subject(answered), now=now)
            await join(connection, group, Member(asked.invitee, now))
            return group.group_id

    everybody = [founder, invitation.invitee, invitation.inviter]
    if (face := await people.decide(everybody, look)) is not None:
        await identity.use_face(face, asked.invitee, used_for=_subject(invitation))
    return await people.decide(everybody, decide)


def _shown(attestation_id: UUID | None) -> UUID:
    if attestation_id is None:
        raise Failure(Kind.UNAUTHENTICATED, "FACE_NOT_SHOWN")
    return attestation_id


async def _accept(
    connection: AsyncConnection,
    invitation_id: UUID,
    group: Group,
    known: Mapping[PsnNo, Person],
    *,
    proven: Kinship,
) -> Accept:
    invitation = await known_invitation(connection, invitation_id)
    return Accept(
        invitation=invitation,
        group=group,
        founder=known[group.founder],
        inviter=known[invitation.inviter],
        invitee=known[invitation.invitee],
        proven=proven,
        groups=await store.count_groups_of(connection, invitation.invitee),
    )


async def decline_invitation(
    *,
    database: Database,
    people: People,
    policies: PolicySet,
    invitation_id: UUID,
    invitee: PsnNo,
    counter: Counter | None,
    now: datetime,
) -> Invitation:
    """The invitation as the invitee said no to it; saying so again changes nothing.

    INVITATION_UNKNOWN, those of ``refuse_answer``, at a counter of ``refuse_unseen``.
    """

    async def decide(known: Mapping[PsnNo, Person]) -> Invitation:
        async with database.transaction() as connection:
            invitation = await _locked_invitation(connection, invitation_id)
            if (invitation.invitee, invitation.state) == (invitee, InvitationState.DECLINED):
                return invitation
            refuse_answer(invitation, by=invitee, now=now)
            refuse_unseen(counter, [known[invitee]], beside={invitation.inviter}, policies=policies, now=now)
            await counter_store.record(connection, counter, Deed.DECLINE, _subject(invitation), now=now)
            return await _answered(connection, invitation_id, InvitationState.DECLINED, now=now)

    return await people.decide([invitee], decide)


async def withdraw_invitation(
    *,
    database: Database,
    people: People,
    policies: PolicySet,
    invitation_id: UUID,
    inviter: PsnNo,
    counter: Counter | None,
    now: datetime,
) -> Invitation:
    """The invitation as the inviter took it back; doing so again changes nothing.

    INVITATION_UNKNOWN, those of ``refuse_withdrawal``, at a counter of ``refuse_unseen``.
    """

    async def decide(known: Mapping[PsnNo, Person]) -> Invitation:
        async with database.transaction() as connection:
            invitation = await _locked_invitation(connection, invitation_id)
            if (invitation.inviter, invitation.state) == (inviter, InvitationState.WITHDRAWN):
                return invitation
            refuse_withdrawal(invitation, by=inviter, now=now)
            refuse_unseen(counter, [known[inviter]], beside={invitation.invitee}, policies=policies, now=now)
            await counter_store.record(connection, counter, Deed.WITHDRAW, _subject(invitation), now=now)
            return await _answered(connection, invitation_id, InvitationState.WITHDRAWN, now=now)

    return await people.decide([inviter], decide)


async def withdraw_of(connection: AsyncConnection, group: Group, inviter: PsnNo | None, *, now: datetime) -> None:
    """Takes back what this member, or anybody, has sent out and is open; the caller holds the group's lock."""
    for invitation in group.invitations:
        if invitation.is_open(now) and inviter in {None, invitation.inviter}:
            await _answered(connection, invitation.invitation_id, InvitationState.WITHDRAWN, now=now)


async def expire_invitations(*, database: Database, now: datetime) -> int:
    """Ends the invitations whose time is over and says so; how many."""
    async with database.transaction() as connection:
        expired = await store.expire(connection, now=now, rows_max=EXPIRE_ROWS_MAX)
        await outbox.put(
            connection, [wire.outgoing(wire.invitation_event(invitation, at=now)) for invitation in expired]
        )
    return len(expired)


async def _answered(
    connection: AsyncConnection,
    invitation_id: UUID,
    state: InvitationState,
    *,
    now: datetime,
    face: UUID | None = None,
) -> Invitation:
    # The clock may have ended it between the look and this row's lock.
    invitation = await known_invitation(connection, invitation_id, lock=True)
    refuse_closed(invitation, now)
    answered = replace(invitation, state=state, version=invitation.version + 1)
    await store.save_invitation(connection, answered, now=now, attestation_id=face)
    await outbox.put(connection, [wire.outgoing(wire.invitation_event(answered, at=now))])
    return answered


async def _locked_invitation(connection: AsyncConnection, invitation_id: UUID) -> Invitation:
    """The invitation with its group's lock held; read again, since somebody may have answered it meanwhile."""
    asked = await known_invitation(connection, invitation_id)
    await known_group(connection, asked.group_id, lock=True)
    return await known_invitation(connection, invitation_id)


async def known_invitation(connection: AsyncConnection, invitation_id: UUID, *, lock: bool = False) -> Invitation:
    """The invitation; INVITATION_UNKNOWN."""
    invitation = await store.load_invitation(connection, invitation_id, lock=lock)
    if invitation is None:
        raise Failure(Kind.NOT_FOUND, "INVITATION_UNKNOWN")
    return invitation


def _subject(invitation: Invitation) -> str:
    return f"invitation:{invitation.invitation_id}"
