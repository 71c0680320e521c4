"""One trace id follows a payment through the logs of every process it passes; nothing personal is in any of them."""

from __future__ import annotations

import json
from typing import Any

from chassis.telemetry import new_trace, traced
from tests.e2e.asking import refusal, revoke, settle
from tests.e2e.town import Town


def lines_of(town: Town, process: str) -> list[dict[str, Any]]:
    """What a process logged, each line a JSON object."""
    return [json.loads(line) for line in town.logs()[process].splitlines()]


async def test_a_trace_id_follows_one_payment_through_settlement_and_both_ledgers(town: Town) -> None:
    """The caller's trace id is in settlement's line of the call and in the ledgers' lines of TRY and of CONFIRM."""
    family = await town.couple()
    request = settle(await town.planned(family, 20_000))
    trace = new_trace()
    with traced(trace):
        settled = (await town.desks.settlement.Settle(request)).settlement
    await town.at_rest()
    calls = [line for line in lines_of(town, "settlement") if line.get("trace_id") == trace.trace_id]
    assert [(line["method"].rpartition("/")[2], line["answer"]) for line in calls if "method" in line] == [
        ("Settle", "OK")
    ]
    booked = [line for line in lines_of(town, "ledger") if trace.trace_id in line.get("traces", ())]
    assert sorted(line["area"] for line in booked) == ["650100", "650100", "650500", "650500"]
    stored = await town.payment(request.key)
    assert stored is not None
    assert (str(stored["payment_id"]), trace.trace_id in stored["traceparent"]) == (settled.setl_id, True)
    await town.check()


async def test_the_trace_of_a_revocation_is_its_own(town: Town) -> None:
    """The ledgers' lines of the credits carry the trace of the revocation, not that of the payment."""
    family = await town.couple()
    settled = await town.paid(family, 20_000)
    await town.at_rest()
    trace = new_trace()
    with traced(trace):
        await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))
    await town.at_rest()
    booked = [line for line in lines_of(town, "ledger") if trace.trace_id in line.get("traces", ())]
    assert sorted(line["area"] for line in booked) == ["650100", "650500"]
    await town.check()


async def test_every_line_of_every_log_is_json_and_none_names_a_person(town: Town) -> None:
    """No ID number, name, code or token that was ever used in this town stands in a log, whatever went wrong."""
    family = await town.couple()
    settled = await town.paid(family, 20_000)
    await refusal(town.desks.settlement.RevokeSettle(revoke(settled.plan_id)))
    await town.told()
    assert len(town.personal) >= 2 * len(family.members) + 2
    for process, text in town.logs().items():
        assert text, process
        for line in text.splitlines():
            assert isinstance(json.loads(line), dict), process
    assert town.personal_in_logs() == {}
    errors = [
        line
        for process in town.logs()
        for line in lines_of(town, process)
        if line["level"] in {"error", "critical"} or line.get("answer") == "INTERNAL"
    ]
    assert errors == []
    await town.check()
