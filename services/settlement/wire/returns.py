"""A planned return as the cashier is shown it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from gongji.settlement.v1 import returns_pb2 as pb
from services.settlement.domain.plan import Plan, StoredPlan
from services.settlement.operations.returning import PlannedReturn
from services.settlement.wire.desk import plan_message, settled_message

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def planned_return(planned: PlannedReturn) -> pb.PlanReturnResponse:
    """What goes back, and the rest twice; the two plans without the number and digest by which one is paid."""
    return pb.PlanReturnResponse(
        original=settled_message(planned.original, planned.plan),
        expected=_figures(planned.plan, planned.expected),
        at_worst=_figures(planned.plan, planned.at_worst),
        to_suspense_fen=planned.to_suspense_fen,
    )


def _figures(whole: Plan, rest: Plan) -> pb.RestFigures:
    shown = plan_message(StoredPlan(rest, _NEVER, b""))
    return pb.RestFigures(
        amounts=shown.amounts,
        funders=shown.funders,
        skipped=shown.skipped,
        cash_back_fen=whole.amounts.psn_cash_pay - rest.amounts.psn_cash_pay,
    )
