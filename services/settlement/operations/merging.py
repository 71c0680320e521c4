"""Two numbers of one person become one: his wallet goes on under the number that counts (ADR 26).

Its money follows as it follows a change of area, by transfers of the saga (``following``), and so does whatever comes
back to the double's wallet later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox, telemetry
from kernel.ids import PsnNo
from services.settlement.store import merging as store
from services.settlement.wire.events import wallet_changed

_IDS: Final = uuid5(NAMESPACE_URL, "urn:gongji:settlement:merging")


async def take_over(connection: AsyncConnection, merged: Mapping[PsnNo, PsnNo]) -> None:
    """From now on what lies in these numbers' wallets follows to the wallets of the numbers that they stand for.

    Plans made before are stale, for either number: what both have used of the year counts together (ADR 30).
    Who has no wallet under the number that counts has one from now on, where the double's was used. In the transaction
    that keeps identity's word; said again it changes nothing.
    """
    if merged:
        await store.move_years_on(connection, merged)
    for double, keep in sorted(merged.items()):
        wallet = await store.lock_wallet(connection, double)
        if wallet is None:
            continue
        wallet_id = uuid5(_IDS, f"wallet:{double}:{keep}")
        is_new = await store.open_for(connection, wallet, keep, wallet_id=wallet_id)
        move_id = uuid5(_IDS, f"move:{double}:{wallet.area}")
        follows = await store.follow(connection, double, wallet.area, move_id=move_id)
        if is_new or follows:
            kept, at = await store.next_version(connection, keep, is_new=is_new)
            event = wallet_changed(kept, merged=double, occurred_at=at, traceparent=telemetry.traceparent())
            await outbox.put(connection, [event])
