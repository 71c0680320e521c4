"""Uses of accounts, as settlement's events have told them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_, select, tuple_, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, AuthorisationId, GroupId, PaymentId, PsnNo
from services.family.domain.uses import InstitutionKind, Place, Side, Sums, Use, Wanted
from services.family.tables import BINDINGS, LEFT_AUTHORISATIONS, USES

_BINDING: Final = union_all(
    select(BINDINGS.c.authorisation_id, BINDINGS.c.group_id),
    select(LEFT_AUTHORISATIONS.c.authorisation_id, BINDINGS.c.group_id).join_from(LEFT_AUTHORISATIONS, BINDINGS),
).subquery("binding")
"""By every authorisation under which it stands or stood."""
_UNDER_BINDINGS: Final = USES.outerjoin(_BINDING, _BINDING.c.authorisation_id == USES.c.authorisation_id)


@dataclass(frozen=True, slots=True)
class Listed:
    """A use, its place in the list, and the group of its binding if that is known."""

    use: Use
    place: Place
    group_id: GroupId | None


async def put(connection: AsyncConnection, uses: Sequence[Use]) -> None:
    """Keeps them; what is kept already stays as it is, so an event that comes again changes nothing."""
    if uses:
        rows = [
            {
                "payment_id": use.payment_id,
                "original_id": use.original_id,
                "funder_psn_no": use.funder,
                "beneficiary_psn_no": use.beneficiary,
                "authorisation_id": use.authorisation_id,
                "used_at": use.used_at,
                "institution_kind": use.institution_kind.value,
                "institution_area": use.institution_area,
                "amount_fen": use.amount_fen,
            }
            for use in uses
        ]
        await connection.execute(insert(USES).values(rows).on_conflict_do_nothing())


async def page(connection: AsyncConnection, wanted: Wanted, *, before: Place | None, rows_max: int) -> list[Listed]:
    """Those wanted, the latest first, from behind that place on."""
    asked = (
        select(USES, _BINDING.c.group_id)
        .select_from(_UNDER_BINDINGS)
        .where(*_conditions(wanted))
        .order_by(USES.c.used_at.desc(), USES.c.use_no.desc())
        .limit(rows_max)
    )
    if before is not None:
        asked = asked.where(tuple_(USES.c.used_at, USES.c.use_no) < tuple_(before.used_at, before.use_no))
    return [_listed(row) for row in await connection.execute(asked)]


async def sums(connection: AsyncConnection, wanted: Wanted) -> Sums:
    """Of all those wanted."""
    amount = USES.c.amount_fen
    used, returned, given, received = (
        func.coalesce(func.sum(amount).filter(condition), 0)
        for condition in (
            amount > 0,
            amount < 0,
            USES.c.funder_psn_no.in_(wanted.mine),
            USES.c.beneficiary_psn_no.in_(wanted.mine),
        )
    )
    asked = select(used, returned, given, received).select_from(_UNDER_BINDINGS).where(*_conditions(wanted))
    row = (await connection.execute(asked)).one()
    return Sums(int(row[0]), -int(row[1]), int(row[2]), int(row[3]))


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    funder, beneficiary = USES.c.funder_psn_no, USES.c.beneficiary_psn_no
    if wanted.group_id is None:
        found = [or_(funder.in_(wanted.mine), beneficiary.in_(wanted.mine))]
    else:
        found = [_BINDING.c.group_id == wanted.group_id]
    if wanted.side is not None:
        found.append((funder if wanted.side is Side.GIVEN else beneficiary).in_(wanted.mine))
    if wanted.other is not None:
        found.append(or_(funder.in_(wanted.others), beneficiary.in_(wanted.others)))
    if (from_at := wanted.period.from_at) is not None:
        found.append(USES.c.used_at >= from_at)
    if (until_at := wanted.period.until_at) is not None:
        found.append(USES.c.used_at < until_at)
    return found


def _listed(row: Any) -> Listed:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    use = Use(
        payment_id=PaymentId(row.payment_id),
        original_id=None if row.original_id is None else PaymentId(row.original_id),
        funder=PsnNo(row.funder_psn_no),
        beneficiary=PsnNo(row.beneficiary_psn_no),
        authorisation_id=None if row.authorisation_id is None else AuthorisationId(row.authorisation_id),
        used_at=row.used_at,
        institution_kind=InstitutionKind(row.institution_kind),
        institution_area=AdmDvs(row.institution_area),
        amount_fen=row.amount_fen,
    )
    return Listed(use, Place(row.used_at, row.use_no), None if row.group_id is None else GroupId(row.group_id))
