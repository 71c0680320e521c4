"""What a ledger that was restored is told of a binding that had come from another area."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ops.restore.replaying import Replay, _prepare_authorisation
from services.settlement.ledger.domain.commands import OpenAuthorisation
from services.settlement.ledger.domain.limits import CarriedMonth, Limits

MOVED: dict[str, Any] = {
    "authorisation_id": UUID(int=1),
    "funder_psn_no": "650100000000001",
    "beneficiary_psn_no": "650100000000002",
    "authorised_fen": 900,
    "authorisation_version": 1,
    "state": "ACTIVE",
    "per_payment_fen": None,
    "per_month_fen": 100,
    "carried_fen": 80,
    "carried_month": 202611,
    "carried_month_fen": 70,
}


@pytest.mark.parametrize(
    ("version", "limits"), [(1, Limits(900, None, 100)), (2, Limits())], ids=["as it was", "before it was amended"]
)
def test_what_was_carried_over_is_there_again_with_its_month(version: int, limits: Limits) -> None:
    """OPEN is the one by which family opened it: with the use of the areas it has left, and of its month."""
    replay = Replay("650100")
    _prepare_authorisation(MOVED | {"authorisation_version": version}, None, replay)
    [opened] = [one.command for one in replay.opening if isinstance(one.command, OpenAuthorisation)]
    assert (opened.limits, opened.used_fen, opened.carried) == (limits, 80, CarriedMonth(202611, 70))
