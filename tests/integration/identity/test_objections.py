"""A person objects to a use of his money: one case for each bill, in the officers' queue, for bills of his alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest

from gongji.identity.v1 import identity_pb2, person_pb2, risk_pb2
from gongji.settlement.v1 import events_pb2, settlement_pb2
from services.identity.domain.objection import OBJECTION_WITHIN
from services.identity.operations import risk
from tests.integration.identity.conftest import CHILD, HOSPITAL, LI, START, WANG, Identity, refusal
from tests.integration.identity.watching import Watch, bill_refunded, bill_settled, watching

ME = WANG["psn_no"]
DOUBLE = "650100000000077"
OBJECTION = risk_pb2.RISK_KIND_OBJECTION


@pytest.fixture
async def watch(identity: Identity) -> AsyncIterator[Watch]:
    """The room hears settlement; WANG, LI and a child are known."""
    for person in (WANG, LI, CHILD):
        await identity.register(**person)
    async with watching(identity) as found:
        yield found


async def objected(
    watch: Watch,
    bill: events_pb2.SettlementEvent,
    psn_no: str = ME,
    ground: risk_pb2.ObjectionGround.ValueType = risk_pb2.OBJECTION_GROUND_NOT_CONSENTED,
) -> risk_pb2.ObjectToUseResponse:
    """The answer to an objection."""
    request = risk_pb2.ObjectToUseRequest(psn_no=psn_no, setl_id=bill.bill_settled.setl_id, ground=ground)
    return await watch.identity.risk.ObjectToUse(request)


async def test_an_objection_is_a_case_with_the_bill_as_its_evidence(watch: Watch) -> None:
    """An officer sees whose money, which bill, when, where, whose it was and on what ground; nobody else is told."""
    bill = bill_settled(START - timedelta(days=3), fixmedins_code=HOSPITAL, fen=90_000)
    await watch.tell(bill)
    answer = await objected(watch, bill)
    (event,) = await watch.listed(kind=OBJECTION, state=risk_pb2.RISK_STATE_OPEN)
    assert (answer.risk_event, answer.existed) == (event, False)
    assert (event.psn_no, event.day, event.evidence_count) == (ME, "2026-07-01", 1)
    (evidence,) = await watch.evidence(event.risk_event_id)
    assert evidence.occurred_time.ToDatetime(tzinfo=START.tzinfo) == START - timedelta(days=3)
    assert (evidence.setl_id, evidence.fixmedins_code, evidence.patient_psn_no, evidence.reason) == (
        bill.bill_settled.setl_id,
        HOSPITAL,
        CHILD["psn_no"],
        "NOT_CONSENTED",
    )
    assert await watch.raised() == []
    assert await watch.sweep() == 0


async def test_objecting_again_is_the_first_objection(watch: Watch) -> None:
    """At once, on another ground, and after an officer has judged: one case for each bill."""
    bill, other = bill_settled(START), bill_settled(START)
    await watch.tell(bill, other)
    answers = await asyncio.gather(*(objected(watch, bill) for _ in range(5)))
    assert sorted(answer.existed for answer in answers) == [False, True, True, True, True]
    again = await objected(watch, bill, ground=risk_pb2.OBJECTION_GROUND_OTHER)
    assert (again.risk_event.evidence_count, again.existed) == (1, True)
    judged = await watch.decide(again.risk_event.risk_event_id, "CONFIRMED")
    assert (await objected(watch, bill)).risk_event == judged
    assert (await objected(watch, other)).risk_event.risk_event_id != judged.risk_event_id


async def test_objections_of_one_day_are_one_case(watch: Watch) -> None:
    """As with every other kind of risk event, until an officer has judged."""
    bills = [bill_settled(START - timedelta(days=n)) for n in range(3)]
    await watch.tell(*bills)
    for bill in bills[:2]:
        await objected(watch, bill)
    watch.identity.clock.advance(days=1)
    await objected(watch, bills[2])
    assert [(each.day, each.evidence_count) for each in await watch.listed()] == [("2026-07-01", 2), ("2026-07-02", 1)]


@pytest.mark.parametrize(
    "role", [settlement_pb2.SOURCE_ROLE_OWN, settlement_pb2.SOURCE_ROLE_WALLET, settlement_pb2.SOURCE_ROLE_FUNDER]
)
async def test_whoevers_account_paid_may_object(watch: Watch, role: settlement_pb2.SourceRole.ValueType) -> None:
    """His own account and wallet too: somebody may have used his card."""
    bill = bill_settled(START, role=role, patient=ME)
    await watch.tell(bill)
    assert not (await objected(watch, bill)).existed


async def test_nobody_objects_to_a_use_of_anothers_money(watch: Watch) -> None:
    """Not the patient, a stranger or whose account gave nothing; that there is such a bill is not told."""
    bill, free = bill_settled(START), bill_settled(START, fen=0)
    await watch.tell(bill, free)
    unknown = events_pb2.SettlementEvent()
    unknown.bill_settled.setl_id = str(uuid4())
    for asked in (
        objected(watch, bill, CHILD["psn_no"]),
        objected(watch, bill, LI["psn_no"]),
        objected(watch, free),
        objected(watch, unknown),
    ):
        assert await refusal(asked) == ("NOT_FOUND", "USE_UNKNOWN", "setl_id")
    assert await refusal(objected(watch, bill, "999900000000001")) == ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")
    assert await watch.listed() == []


async def test_a_bill_whose_money_went_back_may_be_objected_to(watch: Watch) -> None:
    """That it was given back does not tell who took it."""
    bill = bill_settled(START)
    await watch.tell(bill, bill_refunded(bill, START))
    assert not (await objected(watch, bill)).existed


async def test_bills_of_a_double_are_his_and_objected_to_once(watch: Watch) -> None:
    """Paid from the account of a number that was merged into his, and objected to under it before: no second case."""
    await watch.identity.register(
        psn_cert_type=person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
        certno="S650123456",
        psn_name=WANG["psn_name"],
        brdy="1985-03-12",
        gend="1",
        psn_no=DOUBLE,
    )
    first, second = bill_settled(START, funder=DOUBLE), bill_settled(START, funder=DOUBLE)
    await watch.tell(first, second)
    await objected(watch, first, DOUBLE)
    await watch.identity.stub.MergePersons(
        identity_pb2.MergePersonsRequest(keep_psn_no=ME, double_psn_no=DOUBLE, opter="zhang01", cause="重复登记")
    )
    assert (await refusal(objected(watch, second, DOUBLE)))[1] == "PERSON_MERGED"
    assert (await objected(watch, first)).existed
    assert not (await objected(watch, second)).existed
    assert sorted(each.psn_no for each in await watch.listed(psn_no=ME)) == sorted([ME, DOUBLE])


async def test_who_paid_is_forgotten_after_a_year(watch: Watch) -> None:
    """Until then it may be objected to; the case itself stays."""
    bill, late = bill_settled(START), bill_settled(START)
    await watch.tell(bill, late)
    watch.identity.clock.advance(days=OBJECTION_WITHIN.days - 1)
    await risk.forget(database=watch.identity.database, now=watch.identity.clock.now())
    await objected(watch, bill)
    watch.identity.clock.advance(days=2)
    await risk.forget(database=watch.identity.database, now=watch.identity.clock.now())
    assert await watch.count("funded_bills") == 0
    assert (await refusal(objected(watch, late)))[1] == "USE_UNKNOWN"
    assert (await objected(watch, bill)).existed
