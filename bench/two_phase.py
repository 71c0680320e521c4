"""Peer: two-phase commit by PREPARE TRANSACTION with a decision row, by asyncpg: ``python -m bench.two_phase``.

For each ledger, both at once: BEGIN, one statement with all rows, PREPARE TRANSACTION. Then the decision row with the
event in the coordinator's database. Then COMMIT PREPARED in both at once, and only then is the payment answered. After
a crash its recovery would go through pg_prepared_xacts and ask for the decision rows; nothing of that costs here.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg
import uvloop

from bench.peer import Told, drive
from bench.rows import DECIDE, LEGS, PLANNED_BY_KEY, TAKE, Payment

_PAYMENT: Final = "$1::uuid"
_TAKE: Final = TAKE.format(
    s="", payment=_PAYMENT, legs=LEGS.format(leg_nos="$2::int2[]", psn_nos="$3::text[]", authorisations="$4::uuid[]")
)
_DECIDE: Final = DECIDE.format(s="", payment=_PAYMENT, msgid="$2::text", psn_no="$3::text", document="$4::text")


class Coordinator:
    """A pool for each database, as large as the largest number in flight."""

    def __init__(self, pools: dict[str, Any]) -> None:
        self._ledgers = dict(pools)
        self._coordinator = self._ledgers.pop("settlement")

    async def settle(self, payment: Payment) -> None:
        """One payment from its first statement to both commits."""
        areas = list(payment.leg_nos)
        prepared = await asyncio.gather(*(self._prepare(area, payment) for area in areas))
        if not all(prepared):
            held = [area for area, is_prepared in zip(areas, prepared, strict=True) if is_prepared]
            await asyncio.gather(*(self._end("ROLLBACK", area, payment) for area in held))
            raise RuntimeError("a peer's payment was refused")
        async with self._coordinator.acquire() as connection:
            await connection.execute(_DECIDE, payment.payment_id, payment.msgid, payment.psn_no, payment.document)
        await asyncio.gather(*(self._end("COMMIT", area, payment) for area in areas))

    async def _prepare(self, area: str, payment: Payment) -> bool:
        async with self._ledgers[area].acquire() as connection:
            await connection.execute("BEGIN")
            legs = payment.leg_nos[area]
            passed = await connection.fetchval(
                _TAKE, payment.payment_id, legs, payment.psn_nos[area], payment.authorisations[area]
            )
            if passed != len(legs):
                await connection.execute("ROLLBACK")
                return False
            await connection.execute(f"PREPARE TRANSACTION '{payment.payment_id}/{area}'")
            return True

    async def _end(self, how: str, area: str, payment: Payment) -> None:
        async with self._ledgers[area].acquire() as connection:
            await connection.execute(f"{how} PREPARED '{payment.payment_id}/{area}'")


async def _no_reset(connection: asyncpg.Connection) -> None:
    """Nothing is left on a connection that would need resetting: a round trip saved for the peer."""


async def main() -> None:
    """Opens the pools and serves."""
    told = Told.read()
    pools = {
        name: await asyncpg.create_pool(
            url,
            min_size=told.in_flight_max,
            max_size=told.in_flight_max,
            reset=_no_reset,
            server_settings=PLANNED_BY_KEY,
        )
        for name, url in told.urls.items()
        if name != "system"
    }
    await drive(told, Coordinator(pools).settle)
    for pool in pools.values():
        await pool.close()


if __name__ == "__main__":
    uvloop.run(main())
