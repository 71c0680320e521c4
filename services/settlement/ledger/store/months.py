"""What each civil month took under authorisations that count months: few do, and only their batches ask for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from kernel.ids import AuthorisationId, PaymentId
from services.settlement.ledger.domain.limits import MonthUse
from services.settlement.ledger.domain.state import MonthKey
from services.settlement.ledger.store.sets import Connection

_MONTHS: Final = """
    SELECT authorisation_id, month, used_fen, held_fen, limit_fen FROM authorisation_months
    WHERE authorisation_id = ANY($1::uuid[]) AND month = ANY($2::int4[])
"""
_PAYMENTS_TO_COUNT: Final = """
    SELECT DISTINCT l.payment_id
    FROM authorisations AS a
    CROSS JOIN LATERAL (
        SELECT source_id FROM entries
        WHERE psn_no = ANY (ARRAY[a.funder_psn_no]) AND book = 'PERSONAL' AND kind = 'PAYMENT'
        UNION
        SELECT payment_id FROM branches WHERE state = 'HELD'
    ) AS of_funder(payment_id)
    JOIN branch_legs AS l ON l.payment_id = ANY (ARRAY[of_funder.payment_id])
    WHERE a.authorisation_id = ANY($1::uuid[]) AND NOT a.counts_months AND l.authorisation_id = a.authorisation_id
"""
"""By way of the funder's entries and of what is held: no index of the legs serves this alone, it is done once."""


async def load_months(
    connection: Connection, ids: Collection[AuthorisationId], months: Collection[int]
) -> dict[MonthKey, MonthUse]:
    """What these months took; one that is missing took nothing."""
    found = await connection.fetch(_MONTHS, list(ids), list(months))
    return {(AuthorisationId(record["authorisation_id"]), record["month"]): MonthUse(*record) for record in found}


async def load_payments_to_count(connection: Connection, ids: Collection[AuthorisationId]) -> list[PaymentId]:
    """What has been paid and is held under those of the authorisations whose months are not counted yet."""
    found = await connection.fetch(_PAYMENTS_TO_COUNT, list(ids))
    return [PaymentId(record["payment_id"]) for record in found]
