"""Bindings, and which of them the ledgers still have to hear about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, or_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, AuthorisationId, BindingId, GroupId, PsnNo
from kernel.policy import Relation
from services.family.domain.bindings import LIVE, Binding, BindingState, LedgerAnswer
from services.family.domain.limits import Limits, MonthUse
from services.family.tables import BINDINGS, LEFT_AUTHORISATIONS

BACK_OFF_MAX_S: Final = 30
JUDGE_PAUSE_S: Final = 5
"""How long a judgement for which identity gave no answer waits to be tried again."""
_LIVE: Final = BINDINGS.c.state.in_(sorted(state.value for state in LIVE)) | BINDINGS.c.moving_to.is_not(None)
_LOCK_PERSON: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:psn_no, 0))")


async def lock_beneficiary(connection: AsyncConnection, psn_no: PsnNo) -> None:
    """Until the end of the transaction nobody else changes who pays for this person, or in which order."""
    await connection.execute(_LOCK_PERSON, {"psn_no": psn_no})


async def add(connection: AsyncConnection, binding: Binding, *, now: datetime, grace: timedelta) -> None:
    """A new binding; the sweep leaves it alone for ``grace``, while the request that made it talks to the ledger."""
    await connection.execute(insert(BINDINGS).values(**_row(binding, now), next_drive_at=_next_drive(binding, grace)))


async def save(connection: AsyncConnection, binding: Binding, *, now: datetime, grace: timedelta) -> None:
    """The binding's new row; the caller holds its lock (``load`` with ``lock``)."""
    await connection.execute(
        update(BINDINGS)
        .where(BINDINGS.c.binding_id == binding.binding_id)
        .values(
            **_row(binding, now),
            next_drive_at=_next_drive(binding, grace),
            attempts=0,
        )
    )


async def keep_left(connection: AsyncConnection, binding: Binding, left: LedgerAnswer) -> None:
    """Notes the authorisation that a binding leaves behind with its area, and what was used under it."""
    await connection.execute(
        insert(LEFT_AUTHORISATIONS).values(
            authorisation_id=binding.authorisation_id,
            binding_id=binding.binding_id,
            area=binding.funder_area,
            used_fen=left.used_fen,
            left_at=func.now(),
        )
    )


async def load(connection: AsyncConnection, binding_id: BindingId, *, lock: bool = False) -> Binding | None:
    """One binding."""
    wanted = select(BINDINGS).where(BINDINGS.c.binding_id == binding_id)
    row = (await connection.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
    return None if row is None else _binding(row)


async def of_request(connection: AsyncConnection, request_id: UUID) -> Binding | None:
    """The binding that this request has made."""
    found = await connection.execute(select(BINDINGS).where(BINDINGS.c.request_id == request_id))
    row = found.one_or_none()
    return None if row is None else _binding(row)


async def live_of(connection: AsyncConnection, beneficiary: PsnNo, *, lock: bool = False) -> list[Binding]:
    """The beneficiary's live bindings, in the order of their ids."""
    wanted = select(BINDINGS).where(BINDINGS.c.beneficiary_psn_no == beneficiary, _LIVE).order_by(BINDINGS.c.binding_id)
    rows = await connection.execute(wanted.with_for_update() if lock else wanted)
    return [_binding(row) for row in rows]


async def ended_of_pair(connection: AsyncConnection, funder: PsnNo, beneficiary: PsnNo, *, since: datetime) -> int:
    """How many bindings of this pair a person has ended since then, while they stood."""
    counted = await connection.execute(
        select(func.count())
        .select_from(BINDINGS)
        .where(
            BINDINGS.c.funder_psn_no == funder,
            BINDINGS.c.beneficiary_psn_no == beneficiary,
            BINDINGS.c.ended_at >= since,
        )
    )
    return int(counted.scalar_one())


async def of_group(connection: AsyncConnection, group_id: GroupId) -> list[Binding]:
    """Every binding of a group, ended ones too, in the order in which they were made."""
    rows = await connection.execute(
        select(BINDINGS).where(BINDINGS.c.group_id == group_id).order_by(BINDINGS.c.bound_at, BINDINGS.c.binding_id)
    )
    return [_binding(row) for row in rows]


async def of_person(connection: AsyncConnection, numbers: Sequence[PsnNo]) -> list[Binding]:
    """Every binding that the person with these numbers gives or gets by, ended ones too, as they were made."""
    his = or_(BINDINGS.c.funder_psn_no.in_(numbers), BINDINGS.c.beneficiary_psn_no.in_(numbers))
    rows = await connection.execute(select(BINDINGS).where(his).order_by(BINDINGS.c.bound_at, BINDINGS.c.binding_id))
    return [_binding(row) for row in rows]


async def lock_group(connection: AsyncConnection, group_id: GroupId) -> None:
    """Every binding of a group, for whoever changes those of several members: in the order of ids, as elsewhere."""
    rows = select(BINDINGS.c.binding_id).where(BINDINGS.c.group_id == group_id).order_by(BINDINGS.c.binding_id)
    await connection.execute(rows.with_for_update())


async def lock_in_group(connection: AsyncConnection, group_id: GroupId, psn_no: PsnNo) -> list[Binding]:
    """Every binding of this person in the group, ended ones too, locked in the order of their ids as elsewhere."""
    his = (BINDINGS.c.funder_psn_no == psn_no) | (BINDINGS.c.beneficiary_psn_no == psn_no)
    rows = await connection.execute(
        select(BINDINGS).where(BINDINGS.c.group_id == group_id, his).order_by(BINDINGS.c.binding_id).with_for_update()
    )
    return [_binding(row) for row in rows]


async def take_due(connection: AsyncConnection, *, rows_max: int) -> Sequence[Binding]:
    """Bindings whose ledger should be told (again) now, by the database's clock; each waits longer the next time.

    Two sweeps never take the same row at once (SKIP LOCKED); should they tell a ledger twice, it does not mind.
    """
    waiting = (
        select(BINDINGS.c.binding_id)
        .where(BINDINGS.c.next_drive_at <= func.now())
        .order_by(BINDINGS.c.next_drive_at)
        .limit(rows_max)
        .with_for_update(skip_locked=True)
    )
    pause_s = func.least(BACK_OFF_MAX_S, func.power(2, BINDINGS.c.attempts))
    rows = await connection.execute(
        update(BINDINGS)
        .where(BINDINGS.c.binding_id.in_(waiting))
        .values(attempts=BINDINGS.c.attempts + 1, next_drive_at=func.now() + pause_s * timedelta(seconds=1))
        .returning(BINDINGS)
    )
    return [_binding(row) for row in rows]


async def doubt(connection: AsyncConnection, pairs: Collection[tuple[PsnNo, PsnNo]]) -> None:
    """Live bindings of these pairs (funder, beneficiary) are to be judged at once."""
    pair = tuple_(BINDINGS.c.funder_psn_no, BINDINGS.c.beneficiary_psn_no)
    await _doubt(connection, pair.in_(sorted(pairs)))


async def doubt_person(connection: AsyncConnection, psn_no: PsnNo) -> None:
    """Live bindings that this person gives or gets by are to be judged at once."""
    await _doubt(connection, (BINDINGS.c.funder_psn_no == psn_no) | (BINDINGS.c.beneficiary_psn_no == psn_no))


async def _doubt(connection: AsyncConnection, those: ColumnElement[bool]) -> None:
    """Locked in the order of their ids as elsewhere: no crosswise wait with an order of deduction."""
    found = select(BINDINGS.c.binding_id).where(those, _LIVE).order_by(BINDINGS.c.binding_id).with_for_update()
    await connection.execute(
        update(BINDINGS).where(BINDINGS.c.binding_id.in_(found)).values(judge_at=func.clock_timestamp())
    )


async def doubt_all(connection: AsyncConnection, *, after: BindingId | None, rows_max: int) -> BindingId | None:
    """So many live bindings that nothing has called into doubt are to be judged within a day; the last of them.

    Not all at once, so that what falls meanwhile is judged within seconds, and none in the first quarter of an hour,
    while processes of a former release may take the question and not ask it. None: there were no more.
    """
    standing = select(BINDINGS.c.binding_id).where(_LIVE, BINDINGS.c.judge_at.is_(None))
    if after is not None:
        standing = standing.where(BINDINGS.c.binding_id > after)
    standing = standing.order_by(BINDINGS.c.binding_id).limit(rows_max).with_for_update()
    judge_at = func.now() + timedelta(minutes=15) + func.random() * timedelta(days=1)
    rows = await connection.execute(
        update(BINDINGS)
        .where(BINDINGS.c.binding_id.in_(standing))
        .values(judge_at=judge_at)
        .returning(BINDINGS.c.binding_id)
    )
    return max((BindingId(row.binding_id) for row in rows), default=None)


async def take_doubted(connection: AsyncConnection, *, rows_max: int) -> Sequence[Binding]:
    """Bindings to be judged now; each comes again after a pause if it is not."""
    waiting = (
        select(BINDINGS.c.binding_id)
        .where(BINDINGS.c.judge_at <= func.now())
        .order_by(BINDINGS.c.judge_at)
        .limit(rows_max)
        .with_for_update(skip_locked=True)
    )
    rows = await connection.execute(
        update(BINDINGS)
        .where(BINDINGS.c.binding_id.in_(waiting))
        .values(judge_at=func.now() + timedelta(seconds=JUDGE_PAUSE_S))
        .returning(BINDINGS)
    )
    return [_binding(row) for row in rows]


async def page(
    connection: AsyncConnection, *, after: BindingId | None, rows_max: int
) -> list[tuple[Binding, datetime]]:
    """Bindings in the order of their ids, each with when it last changed; for a snapshot."""
    wanted = select(BINDINGS).order_by(BINDINGS.c.binding_id).limit(rows_max)
    if after is not None:
        wanted = wanted.where(BINDINGS.c.binding_id > after)
    return [(_binding(row), row.changed_at) for row in await connection.execute(wanted)]


def _next_drive(binding: Binding, grace: timedelta) -> Any:  # noqa: ANN401  An SQL expression or nothing.
    return func.now() + grace if binding.awaits_ledger else None


def _row(binding: Binding, now: datetime) -> dict[str, Any]:
    return {
        "binding_id": binding.binding_id,
        "group_id": binding.group_id,
        "funder_psn_no": binding.funder,
        "beneficiary_psn_no": binding.beneficiary,
        "relation": binding.relation.value,
        "state": binding.state.value,
        "cause": binding.cause,
        "judge_at": binding.judge_at,
        "ended_at": binding.ended_at,
        "vouched": binding.vouched,
        "authorised_fen": binding.authorised_fen,
        "wanted_fen": binding.wanted_fen,
        "amending": binding.amending,
        "deduct_order": binding.deduct_order,
        "bound_at": binding.bound_at,
        "authorisation_id": binding.authorisation_id,
        "authorisation_version": binding.authorisation_version,
        "funder_area": binding.funder_area,
        "version": binding.version,
        "changed_at": now,
        "request_id": binding.request_id,
        "requested_fen": binding.requested_fen,
        "per_payment_fen": binding.limits.per_payment_fen,
        "per_month_fen": binding.limits.per_month_fen,
        "wanted_per_payment_fen": binding.wanted_limits.per_payment_fen,
        "wanted_per_month_fen": binding.wanted_limits.per_month_fen,
        "requested_per_payment_fen": binding.requested_limits.per_payment_fen,
        "requested_per_month_fen": binding.requested_limits.per_month_fen,
        "moving_to": binding.moving_to,
        "moves": binding.moves,
        "carried_fen": binding.carried_fen,
        "carried_month": binding.carried_month.month if binding.carried_month else None,
        "carried_month_fen": binding.carried_month.used_fen if binding.carried_month else None,
    }


def _binding(row: Any) -> Binding:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    return Binding(
        binding_id=BindingId(row.binding_id),
        group_id=GroupId(row.group_id),
        funder=PsnNo(row.funder_psn_no),
        beneficiary=PsnNo(row.beneficiary_psn_no),
        relation=Relation(row.relation),
        state=BindingState(row.state),
        authorised_fen=row.authorised_fen,
        bound_at=row.bound_at,
        authorisation_id=AuthorisationId(row.authorisation_id),
        funder_area=AdmDvs(row.funder_area),
        request_id=row.request_id,
        requested_fen=row.requested_fen,
        deduct_order=row.deduct_order,
        cause=row.cause,
        judge_at=row.judge_at,
        ended_at=row.ended_at,
        vouched=row.vouched,
        authorisation_version=row.authorisation_version,
        amending=row.amending,
        wanted_fen=row.wanted_fen,
        version=row.version,
        limits=Limits(row.per_payment_fen, row.per_month_fen),
        wanted_limits=Limits(row.wanted_per_payment_fen, row.wanted_per_month_fen),
        requested_limits=Limits(row.requested_per_payment_fen, row.requested_per_month_fen),
        moving_to=row.moving_to,
        moves=row.moves,
        carried_fen=row.carried_fen,
        carried_month=None if row.carried_month is None else MonthUse(row.carried_month, row.carried_month_fen),
    )
