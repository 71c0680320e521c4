"""Uses: kept as settlement tells them, and shown to those whom they concern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.ids import PsnNo
from services.family.domain.groups import refuse_outsider
from services.family.domain.uses import Place, Sums, Use, Wanted
from services.family.operations.groups import known_group
from services.family.store import people as people_store
from services.family.store import uses as store
from services.family.store.uses import Listed


@dataclass(frozen=True, slots=True)
class UsesView:
    """A page, the masked names of those on it, the sums of all pages, and whether more follow."""

    uses: Sequence[Listed]
    names: Mapping[PsnNo, str]
    sums: Sums
    more: bool


async def keep(connection: AsyncConnection, uses: Sequence[Use]) -> None:
    """Keeps what one event tells, in its transaction; told again it changes nothing."""
    await store.put(connection, uses)


async def list_uses(*, database: Database, wanted: Wanted, before: Place | None, size: int) -> UsesView:
    """So many uses from behind a place on, with the sums of all, read at one instant; the latest first.

    GROUP_UNKNOWN, NOT_A_MEMBER: what a group used is seen by its members alone. Who was a member once sees what he
    gave and received himself, by asking without the group.
    """
    async with database.snapshot() as connection:
        if wanted.group_id is not None:
            refuse_outsider(await known_group(connection, wanted.group_id), wanted.by)
        doubles = await people_store.numbers_of(connection, wanted.by)
        others = [] if wanted.other is None else await people_store.numbers_of(connection, wanted.other)
        wanted = replace(wanted, doubles=frozenset(doubles), doubles_of_other=frozenset(others))
        found = await store.page(connection, wanted, before=before, rows_max=size + 1)
        concerned = {psn_no for listed in found for psn_no in (listed.use.funder, listed.use.beneficiary)}
        known = await people_store.load(connection, concerned)
        counts = {psn_no: person.merged_into for psn_no, (person, _) in known.items() if person.merged_into is not None}
        known |= await people_store.load(connection, counts.values())
        return UsesView(
            uses=[replace(listed, use=listed.use.under(counts)) for listed in found[:size]],
            names={psn_no: person.name_masked for psn_no, (person, _) in known.items()},
            sums=await store.sums(connection, wanted),
            more=len(found) > size,
        )
