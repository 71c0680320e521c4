"""The Ürümqi story: three siblings pay in turn until each has run dry, and one is unbound at the counter.

Every step is a call to real processes; the amounts are in fen.
"""

from __future__ import annotations

import json

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp

from gongji.family.v1 import binding_pb2, counter_pb2, family_pb2
from gongji.settlement.v1 import settlement_pb2
from ops import household
from tests.e2e.town import HAMI, URUMQI, Resident, Town, new_resident

BILL_FEN = 4_000
_DEEDS = "SELECT deed, opter, documents FROM counter_deeds WHERE subject = $1 ORDER BY deed_no"


def gave(settled: settlement_pb2.Settlement) -> dict[str, int]:
    """What each funder gave, in order of deduction."""
    return {funder.psn_no: funder.past_fen + funder.current_fen for funder in settled.funders}


def officer_who_saw(*people: Resident) -> counter_pb2.Counter:
    """An officer with the identity cards of these people before her."""
    seen_time = Timestamp()
    seen_time.GetCurrentTime()
    card = counter_pb2.DOCUMENT_KIND_RESIDENT_ID
    documents = [counter_pb2.SeenDocument(psn_no=one.psn_no, kind=card, seen_time=seen_time) for one in people]
    return counter_pb2.Counter(opter="zhang01", documents=documents)


async def kept_of(town: Town, binding_id: str) -> list[tuple[str, str, dict[str, str]]]:
    """What is kept of what officers did to a binding: the deed, who, and whose documents of which kind."""
    connection = await asyncpg.connect(town.world.database_url("family"))
    try:
        rows = await connection.fetch(_DEEDS, f"binding:{binding_id}")
    finally:
        await connection.close()
    return [
        (row["deed"], row["opter"], {seen["psn_no"]: seen["kind"] for seen in json.loads(row["documents"])})
        for row in rows
    ]


async def test_three_siblings_in_urumqi_run_dry_one_after_another_and_one_is_unbound(town: Town) -> None:
    """Nobody gives before his elder has nothing left, and nobody after he was unbound."""
    family = await town.family(
        new_resident(past_fen=1_000),
        new_resident(URUMQI, past_fen=5_000),
        new_resident(URUMQI, current_fen=3_000),
        new_resident(HAMI, past_fen=10_000),
    )
    patient, (eldest, second, youngest) = family.patient, family.funders

    # Bill after bill the money of one ends, and the next one begins.
    assert gave(await town.paid(family, BILL_FEN)) == {eldest.psn_no: 3_000}
    assert gave(await town.paid(family, BILL_FEN)) == {eldest.psn_no: 2_000, second.psn_no: 2_000}
    assert gave(await town.paid(family, BILL_FEN)) == {second.psn_no: 1_000, youngest.psn_no: 3_000}
    assert gave(await town.paid(family, BILL_FEN)) == {youngest.psn_no: 4_000}
    assert await town.money(family) == [(0, 0), (0, 0), (0, 0), (3_000, 0)]

    # The patient and the youngest go to the counter together; an officer sees the documents of both.
    ended = await town.desks.family.Unbind(
        family_pb2.UnbindRequest(
            binding_id=youngest.binding_id,
            by_psn_no=patient.psn_no,
            counter=officer_who_saw(patient, youngest),
        )
    )
    assert ended.binding.state == binding_pb2.BINDING_STATE_UNBOUND
    both = {patient.psn_no: "RESIDENT_ID", youngest.psn_no: "RESIDENT_ID"}
    assert await kept_of(town, youngest.binding_id) == [("UNBIND", "zhang01", both)]
    assert "UNBOUND" in await town.topics(patient)
    assert "UNBOUND" in await town.topics(youngest)
    assert "UNBOUND" not in await town.topics(eldest)

    # A month later the eldest has money again. The youngest has some as well, and it is his own.
    await household.credit(town.desks, psn_no=eldest.psn_no, area=URUMQI, past_fen=1_500, row="next-month")
    plan = await town.planned(family, BILL_FEN)
    assert [(it.psn_no, it.reason) for it in plan.skipped] == [(youngest.psn_no, "UNBOUND")]
    settled = await town.paid(family, BILL_FEN)
    assert gave(settled) == {eldest.psn_no: 1_500}
    assert settled.amounts.psn_cash_pay == BILL_FEN - 1_500
    assert await town.money(family) == [(0, 0), (0, 0), (0, 0), (3_000, 0)]
    await town.check()
