"""Groups, members and invitations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import exists, func, insert, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import GroupId, PsnNo
from kernel.policy import Relation
from services.family.domain.groups import Group, GroupState, Invitation, InvitationState, Member
from services.family.tables import DEPARTURES, GROUPS, INVITATIONS, MEMBERS

_LOCK_PERSON: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:psn_no, 0))")


async def insert_group(
    connection: AsyncConnection, *, group_id: GroupId, founder: PsnNo, request_id: UUID, now: datetime
) -> bool:
    """Whether the group was made; not if this request has made one already."""
    made = await connection.execute(
        upsert(GROUPS)
        .values(group_id=group_id, founder_psn_no=founder, request_id=request_id, created_at=now)
        .on_conflict_do_nothing(constraint="groups_request")
        .returning(GROUPS.c.group_id)
    )
    return made.first() is not None


async def group_of_request(connection: AsyncConnection, request_id: UUID) -> GroupId | None:
    """The group that this request has made."""
    found = await connection.execute(select(GROUPS.c.group_id).where(GROUPS.c.request_id == request_id))
    return found.scalar_one_or_none()


async def load_group(
    connection: AsyncConnection, group_id: GroupId, *, lock: bool = False, share: bool = False
) -> Group | None:
    """A group with its members and invitations.

    With ``lock``, nobody else joins, is invited or goes until the end of the transaction; with ``share``, nobody goes.
    """
    wanted = select(GROUPS).where(GROUPS.c.group_id == group_id)
    if lock or share:
        wanted = wanted.with_for_update(read=not lock)
    row = (await connection.execute(wanted)).one_or_none()
    if row is None:
        return None
    going = exists().where(
        DEPARTURES.c.group_id == MEMBERS.c.group_id,
        DEPARTURES.c.psn_no == MEMBERS.c.psn_no,
        DEPARTURES.c.done_at.is_(None),
    )
    members = await connection.execute(
        select(MEMBERS, going.label("leaving"))
        .where(MEMBERS.c.group_id == group_id)
        .order_by(MEMBERS.c.joined_at, MEMBERS.c.psn_no)
    )
    invitations = await connection.execute(
        select(INVITATIONS).where(INVITATIONS.c.group_id == group_id).order_by(INVITATIONS.c.invitation_id)
    )
    return Group(
        group_id=GroupId(row.group_id),
        founder=PsnNo(row.founder_psn_no),
        members=tuple(
            Member(PsnNo(member.psn_no), member.joined_at, member.version, member.leaving) for member in members
        ),
        invitations=tuple(_invitation(invitation) for invitation in invitations),
        state=_state(row),
    )


async def lock_person(connection: AsyncConnection, psn_no: PsnNo) -> None:
    """Until the end of the transaction nobody else lets this person join a group; taken before the group's lock."""
    await connection.execute(_LOCK_PERSON, {"psn_no": psn_no})


async def count_groups_of(connection: AsyncConnection, psn_no: PsnNo) -> int:
    """In how many groups somebody is, those he is leaving among them."""
    counted = await connection.execute(select(func.count()).select_from(MEMBERS).where(MEMBERS.c.psn_no == psn_no))
    return int(counted.scalar_one())


async def groups_of(
    connection: AsyncConnection, psn_no: PsnNo, *, after: GroupId | None, rows_max: int
) -> list[GroupId]:
    """The groups that somebody is in or may answer an invitation to, in the order of their ids."""
    member = select(MEMBERS.c.group_id).where(MEMBERS.c.psn_no == psn_no)
    invited = select(INVITATIONS.c.group_id).where(
        INVITATIONS.c.invitee_psn_no == psn_no, INVITATIONS.c.state == InvitationState.PENDING.value
    )
    either = member.union(invited).subquery()
    wanted = select(either.c.group_id).order_by(either.c.group_id).limit(rows_max)
    if after is not None:
        wanted = wanted.where(either.c.group_id > after)
    return [GroupId(group_id) for group_id in await connection.scalars(wanted)]


async def all_groups_of(connection: AsyncConnection, psn_no: PsnNo) -> list[GroupId]:
    """The groups that somebody is in or is named in by an open invitation, in the order of their ids."""
    member = select(MEMBERS.c.group_id).where(MEMBERS.c.psn_no == psn_no)
    # Who has sent one out is a member.
    invited = select(INVITATIONS.c.group_id).where(
        INVITATIONS.c.invitee_psn_no == psn_no, INVITATIONS.c.state == InvitationState.PENDING.value
    )
    either = member.union(invited).subquery()
    found = await connection.scalars(select(either.c.group_id).order_by(either.c.group_id))
    return [GroupId(group_id) for group_id in found]


async def set_founder(connection: AsyncConnection, group_id: GroupId, founder: PsnNo) -> None:
    """Somebody else is the founder; the caller holds the group's lock."""
    await connection.execute(update(GROUPS).where(GROUPS.c.group_id == group_id).values(founder_psn_no=founder))


async def next_member_version(connection: AsyncConnection, group_id: GroupId, psn_no: PsnNo) -> int:
    """The version of the membership's next event; the caller holds the group's lock."""
    changed = await connection.execute(
        update(MEMBERS)
        .where(MEMBERS.c.group_id == group_id, MEMBERS.c.psn_no == psn_no)
        .values(version=MEMBERS.c.version + 1)
        .returning(MEMBERS.c.version)
    )
    return int(changed.scalar_one())


async def readdress(connection: AsyncConnection, invitation: Invitation, *, now: datetime) -> None:
    """The invitation with its new people, state and version; the caller holds the group's lock."""
    await connection.execute(
        update(INVITATIONS)
        .where(
            INVITATIONS.c.invitation_id == invitation.invitation_id,
            INVITATIONS.c.version == invitation.version - 1,
        )
        .values(
            inviter_psn_no=invitation.inviter,
            invitee_psn_no=invitation.invitee,
            state=invitation.state.value,
            version=invitation.version,
            changed_at=now,
        )
    )


async def insert_member(connection: AsyncConnection, *, group_id: GroupId, member: Member) -> None:
    """A member who was none before."""
    await connection.execute(
        insert(MEMBERS).values(
            group_id=group_id, psn_no=member.psn_no, joined_at=member.joined_at, version=member.version
        )
    )


async def insert_invitation(
    connection: AsyncConnection, invitation: Invitation, *, request_id: UUID, now: datetime
) -> None:
    """A new invitation; the caller holds the group's lock and has looked for the request."""
    await connection.execute(
        insert(INVITATIONS).values(
            invitation_id=invitation.invitation_id,
            group_id=invitation.group_id,
            inviter_psn_no=invitation.inviter,
            invitee_psn_no=invitation.invitee,
            relation=invitation.relation.value,
            state=invitation.state.value,
            expires_at=invitation.expires_at,
            version=invitation.version,
            changed_at=now,
            request_id=request_id,
        )
    )


async def invitations_of(connection: AsyncConnection, numbers: Sequence[PsnNo]) -> list[Invitation]:
    """Every invitation to or of the person with these numbers, ended ones too, in the order of their ids."""
    his = or_(INVITATIONS.c.inviter_psn_no.in_(numbers), INVITATIONS.c.invitee_psn_no.in_(numbers))
    rows = await connection.execute(select(INVITATIONS).where(his).order_by(INVITATIONS.c.invitation_id))
    return [_invitation(row) for row in rows]


async def invitation_of_request(connection: AsyncConnection, request_id: UUID) -> Invitation | None:
    """The invitation that this request has made."""
    found = await connection.execute(select(INVITATIONS).where(INVITATIONS.c.request_id == request_id))
    row = found.one_or_none()
    return None if row is None else _invitation(row)


async def load_invitation(connection: AsyncConnection, invitation_id: UUID, *, lock: bool = False) -> Invitation | None:
    """An invitation; whoever changes it holds its group's lock and, against the clock that ends it, its own."""
    wanted = select(INVITATIONS).where(INVITATIONS.c.invitation_id == invitation_id)
    row = (await connection.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
    return None if row is None else _invitation(row)


async def save_invitation(
    connection: AsyncConnection, invitation: Invitation, *, now: datetime, attestation_id: UUID | None = None
) -> None:
    """The invitation's new state and version, and the face with which it was accepted."""
    await connection.execute(
        update(INVITATIONS)
        .where(INVITATIONS.c.invitation_id == invitation.invitation_id)
        .values(
            state=invitation.state.value,
            version=invitation.version,
            changed_at=now,
            attestation_id=attestation_id,
        )
    )


async def expire(connection: AsyncConnection, *, now: datetime, rows_max: int) -> list[Invitation]:
    """Ends pending invitations whose time is over, compare-and-set on their state; the ended ones."""
    over = (
        select(INVITATIONS.c.invitation_id)
        .where(INVITATIONS.c.state == InvitationState.PENDING.value, INVITATIONS.c.expires_at <= now)
        .order_by(INVITATIONS.c.expires_at)
        .limit(rows_max)
        .with_for_update(skip_locked=True)
    )
    rows = await connection.execute(
        update(INVITATIONS)
        .where(INVITATIONS.c.invitation_id.in_(over))
        .values(state=InvitationState.EXPIRED.value, version=INVITATIONS.c.version + 1, changed_at=now)
        .returning(INVITATIONS)
    )
    return [_invitation(row) for row in rows]


async def page_of_invitations(
    connection: AsyncConnection, *, after: UUID | None, rows_max: int
) -> list[tuple[Invitation, datetime]]:
    """Invitations in the order of their ids, each with when it last changed; for a snapshot."""
    wanted = select(INVITATIONS).order_by(INVITATIONS.c.invitation_id).limit(rows_max)
    if after is not None:
        wanted = wanted.where(INVITATIONS.c.invitation_id > after)
    return [(_invitation(row), row.changed_at) for row in await connection.execute(wanted)]


async def page_of_members(
    connection: AsyncConnection, *, after: tuple[GroupId, PsnNo] | None, rows_max: int
) -> list[tuple[GroupId, Member]]:
    """Memberships in the order of group and person; for a snapshot."""
    wanted = select(MEMBERS).order_by(MEMBERS.c.group_id, MEMBERS.c.psn_no).limit(rows_max)
    if after is not None:
        wanted = wanted.where(tuple_(MEMBERS.c.group_id, MEMBERS.c.psn_no) > tuple_(*after))
    rows = await connection.execute(wanted)
    return [(GroupId(row.group_id), Member(PsnNo(row.psn_no), row.joined_at, row.version)) for row in rows]


def _state(row: Any) -> GroupState:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    if row.dissolved_at is not None:
        return GroupState.DISSOLVED
    return GroupState.ACTIVE if row.dissolving_at is None else GroupState.DISSOLVING


def _invitation(row: Any) -> Invitation:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    return Invitation(
        invitation_id=row.invitation_id,
        group_id=GroupId(row.group_id),
        inviter=PsnNo(row.inviter_psn_no),
        invitee=PsnNo(row.invitee_psn_no),
        relation=Relation(row.relation),
        state=InvitationState(row.state),
        expires_at=row.expires_at,
        version=row.version,
    )
