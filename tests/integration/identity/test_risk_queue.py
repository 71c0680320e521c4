"""The queue of risk events: shown, narrowed, paged, judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gongji.identity.v1 import risk_pb2
from tests.integration.identity.conftest import (
    CHILD,
    HOSPITAL,
    LI,
    START,
    WANG,
    Identity,
    StartIdentity,
    refusal,
)
from tests.integration.identity.watching import (
    Watch,
    bill_settled,
    credential_refused,
    watching,
)

UNKNOWN = "650100000000099"

UNHEARD_OF: Any = 99
"""A value that the contract does not know."""


@pytest.fixture
async def watch(identity: Identity) -> AsyncIterator[Watch]:
    """A room with three people, that hears settlement."""
    for person in (WANG, LI, CHILD):
        await identity.register(**person)
    async with watching(identity) as watch:
        yield watch


async def test_a_judgement_is_kept_and_nothing_follows_from_it(watch: Watch) -> None:
    """Who, when and why stand on record; the person is as before; another judgement is refused."""
    await watch.tell(credential_refused(START))
    await watch.sweep()
    before = await watch.identity.person(WANG["psn_no"])
    (event,) = await watch.listed()
    judged = await watch.decide(event.risk_event_id, "CONFIRMED", cause="出借医保码")
    assert (judged.state, judged.cause, judged.opter) == (risk_pb2.RISK_STATE_CONFIRMED, "出借医保码", "zhang01")
    assert judged.decided_time.ToDatetime(tzinfo=START.tzinfo) == START
    assert await watch.decide(event.risk_event_id, "CONFIRMED", cause="又一次") == judged
    assert await refusal(watch.decide(event.risk_event_id, "DISMISSED")) == (
        "FAILED_PRECONDITION",
        "RISK_EVENT_DECIDED",
        "",
    )
    assert await watch.identity.person(WANG["psn_no"]) == before
    assert (await watch.identity.snapshot())[f"person:{WANG['psn_no']}"].version == 1


async def test_new_evidence_after_a_judgement_opens_a_new_event(watch: Watch) -> None:
    """What was judged is not judged again; what happens afterwards on the same day is an event of its own."""
    await watch.pharmacy()
    await watch.tell(*(bill_settled(START + timedelta(minutes=n)) for n in range(6)))
    assert await watch.sweep() == 1
    (first,) = await watch.listed()
    await watch.decide(first.risk_event_id)
    watch.identity.clock.advance(seconds=1)
    await watch.tell(*(bill_settled(START + timedelta(minutes=n)) for n in range(10, 15)))
    assert await watch.sweep() == 0
    await watch.tell(bill_settled(START + timedelta(minutes=20)))
    assert await watch.sweep() == 1
    assert [(each.state, each.evidence_count) for each in await watch.listed()] == [
        (risk_pb2.RISK_STATE_DISMISSED, 6),
        (risk_pb2.RISK_STATE_OPEN, 6),
    ]


async def test_an_unknown_risk_event_is_refused(watch: Watch) -> None:
    """An event that nobody raised can be neither shown nor judged: RISK_EVENT_UNKNOWN."""
    unknown = "00000000-0000-7000-8000-000000000001"
    refused = ("NOT_FOUND", "RISK_EVENT_UNKNOWN", "risk_event_id")
    assert await refusal(watch.evidence(unknown)) == refused
    assert await refusal(watch.decide(unknown)) == refused


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (risk_pb2.ListRiskEventsRequest(page_token="nonsense"), "PAGE_TOKEN_MALFORMED", "page_token"),  # noqa: S106  No secret.
        (risk_pb2.ListRiskEventsRequest(page_size=201), "REQUEST_INVALID", "page_size"),
        (risk_pb2.ListRiskEventsRequest(psn_no="王"), "REQUEST_INVALID", "psn_no"),
        (risk_pb2.ListRiskEventsRequest(kind=UNHEARD_OF), "REQUEST_INVALID", "kind"),
    ],
)
async def test_a_malformed_question_is_refused(
    identity: Identity, request_: risk_pb2.ListRiskEventsRequest, reason: str, field: str
) -> None:
    """A state, a kind, a person or a token of no known form is refused with the field in which it stood."""
    assert await refusal(identity.risk.ListRiskEvents(request_)) == ("INVALID_ARGUMENT", reason, field)


async def test_a_cause_that_cannot_be_shown_is_refused(watch: Watch) -> None:
    """A judgement whose cause is no line of text leaves the event open."""
    await watch.tell(credential_refused(START))
    await watch.sweep()
    (event,) = await watch.listed()
    refused = ("INVALID_ARGUMENT", "TEXT_MALFORMED", "cause")
    assert await refusal(watch.decide(event.risk_event_id, cause="出\x00差")) == refused
    assert (await watch.listed())[0].state == risk_pb2.RISK_STATE_OPEN


async def test_the_queue_is_narrowed_and_paged(watch: Watch) -> None:
    """By state, kind and person; page after page shows each event once, the oldest first."""
    await watch.desks()
    for n, holder in enumerate([WANG, LI, WANG, LI, WANG]):
        watch.identity.clock.advance(days=1)
        at = START + timedelta(days=n)
        await watch.tell(credential_refused(at, presented=holder["psn_no"]))
        await watch.sweep()
    await watch.refused(20)
    await watch.sweep()
    everything = await watch.listed()
    assert len(everything) == 6
    await watch.decide(everything[0].risk_event_id)
    assert [each.day for each in await watch.listed(psn_no=LI["psn_no"])] == ["2026-07-02", "2026-07-04"]
    assert len(await watch.listed(state=risk_pb2.RISK_STATE_OPEN)) == 5
    assert len(await watch.listed(state=risk_pb2.RISK_STATE_CONFIRMED)) == 0
    assert [each.fixmedins_code for each in await watch.listed(kind=risk_pb2.RISK_KIND_REFUSED_CODES)] == [HOSPITAL]
    pages, token = [], ""
    while True:
        answer = await watch.identity.risk.ListRiskEvents(risk_pb2.ListRiskEventsRequest(page_size=4, page_token=token))
        pages.append([each.risk_event_id for each in answer.risk_events])
        if not (token := answer.next_page_token):
            break
    assert pages == [
        [each.risk_event_id for each in everything[:4]],
        [each.risk_event_id for each in everything[4:]],
    ]


async def test_whoever_is_seen_in_a_risk_event_can_tell_by_whom(watch: Watch) -> None:
    """The list, the event and the judgement leave a look-up of its person, and the evidence one of the patient."""
    await watch.tell(credential_refused(START))
    await watch.sweep()
    (event,) = await watch.listed()
    await watch.evidence(event.risk_event_id)
    await watch.decide(event.risk_event_id)
    async with watch.identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT psn_no, purpose, asked_by FROM lookups ORDER BY id")
    seen = [(row["psn_no"], row["purpose"]) for row in rows]
    assert seen.count((WANG["psn_no"], "RISK_EVENT")) == 3
    assert seen.count((CHILD["psn_no"], "RISK_EVENT")) == 1


async def test_evidence_that_comes_while_an_officer_judges_is_not_lost(start_identity: StartIdentity) -> None:
    """It stands in the event that is judged or in a new one; each event counts what it has."""
    one = await start_identity()
    two = await start_identity(one.clock)
    await one.register(**WANG)
    async with watching(one) as first, watching(two) as second:
        await first.tell(credential_refused(START))
        await first.sweep()
        for n in range(8):
            await first.tell(credential_refused(START + timedelta(minutes=n + 1)))
            open_ones = await second.listed(state=risk_pb2.RISK_STATE_OPEN)
            await asyncio.gather(first.sweep(), *(second.decide(each.risk_event_id) for each in open_ones))
        events = await first.listed()
        assert sum(each.evidence_count for each in events) == 9
        assert await first.count("risk_evidence") == 9
        for event in events:
            assert len(await first.evidence(event.risk_event_id)) == event.evidence_count
