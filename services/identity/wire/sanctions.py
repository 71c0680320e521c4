"""Sanctions, between messages and the domain."""

from __future__ import annotations

from uuid import UUID

from gongji.identity.v1 import sanctions_pb2
from services.identity.domain.sanction import Sanction
from services.identity.wire.values import parsed_instant, parsed_text


def sanction(request: sanctions_pb2.ImposeSanctionRequest, *, sanction_id: UUID) -> Sanction:
    """The sanction as it is imposed; TIME_OUT_OF_RANGE or TEXT_MALFORMED if a part cannot be kept."""
    return Sanction(
        sanction_id=sanction_id,
        from_at=parsed_instant(request.from_time, field="from_time"),
        to_at=parsed_instant(request.to_time, field="to_time"),
        basis_clause=parsed_text(request.basis_clause, field="basis_clause"),
        decision_no=parsed_text(request.decision_no, field="decision_no"),
        organ=parsed_text(request.organ, field="organ"),
    )
