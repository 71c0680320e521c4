"""A payment's row as the story tells it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from ops.payments.databases import Row
from ops.payments.telling import written

AT = datetime(2026, 11, 21, 4, tzinfo=UTC)
REFUSED: dict[str, Any] = {
    "kind": "SETTLE",
    "state": "CLOSED",
    "reason": "PLAN_STALE",
    "refused_leg_no": 0,
    "amount_fen": 1_000,
    "infno": "2207",
    "msgid": "H65010000001202611211200000001",
    "created_at": AT,
    "pending_at": None,
    "decided_at": AT,
    "finished_at": AT,
}


def test_a_settlement_whose_plan_was_stale_never_began() -> None:
    """One moment, and no ledger in it; one that a ledger refused was begun, aborted and closed."""
    (moment,) = written(cast("Row", REFUSED))
    assert moment.what.startswith("CLOSED written: SETTLE")
    assert "no ledger was asked" in moment.why
    refused_by_a_ledger = written(cast("Row", REFUSED | {"reason": "ACCOUNT_FROZEN"}))
    assert [one.what.split()[0] for one in refused_by_a_ledger] == ["TRYING", "ABORTED", "CLOSED"]
