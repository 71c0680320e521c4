"""The list of those whose premium of a year is paid, as the tax bureau gets it.

Nothing is kept of it: once no payment can begin or be taken back, it follows from the payments' rows alone, so whoever
asks again, also after a restore, gets the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from datetime import datetime
from uuid import UUID

from kernel.ids import AdmDvs
from kernel.money import Fen
from kernel.values import value
from services.settlement.domain.premium import check_final, tariff_of
from services.settlement.operations.wallets import Room
from services.settlement.saga.restoring import restoring_failure
from services.settlement.store import premiums as store
from services.settlement.store.payments import read_standing


@value
class Totals:
    """What a whole list comes to; ``sha256`` is of its bytes, the line with the columns' names among them."""

    count: int
    total_fen: Fen
    sha256: bytes


async def paid_list(room: Room, *, area: AdmDvs, year: int, now: datetime) -> AsyncGenerator[str | Totals]:
    """The list in parts of whole lines, then what it comes to; no connection is kept between them.

    Refusals in this order: COORDINATOR_RESTORING; PREMIUM_TARIFF_UNKNOWN; those of ``check_final``.
    """
    await _check_stands(room, area, year, now)
    digest, count, total_fen = hashlib.sha256(store.LIST_HEADER.encode()), 0, 0
    yield store.LIST_HEADER
    after: UUID | None = None
    while True:
        async with room.desk.database.driver_connection() as connection:
            page = await store.page_of_paid(connection, area, year, after=after)
        digest.update(page.text.encode())
        count, total_fen = count + page.count, total_fen + page.total_fen
        if page.text:
            yield page.text
        if page.last is None:
            break
        after = page.last
    yield Totals(count, total_fen, digest.digest())


async def _check_stands(room: Room, area: AdmDvs, year: int, now: datetime) -> None:
    async with room.desk.database.driver_connection() as connection:
        if (await read_standing(connection)).is_restoring:
            raise restoring_failure()
        tariff = tariff_of(await store.find_tariff(connection, area, year), area, year)
        check_final(tariff, now=now, open_count=await store.under_way_count(connection, area, year))
