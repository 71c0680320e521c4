"""Events become messages once each, for everyone concerned, and reach those who list and those who watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.db import Database
from gongji.identity.v1 import events_pb2 as identity_events
from gongji.identity.v1 import risk_pb2, sanctions_pb2
from gongji.notify.v1 import notify_pb2, notify_pb2_grpc
from kernel.failures import Failure
from kernel.ids import PsnNo
from services.notify.operations.watching import Watchers
from tests.integration.notify.conftest import Desk, credited, settled
from tests.patience import say

StartSecond = Callable[..., Awaitable["notify_pb2_grpc.NotifyServiceAsyncStub"]]


async def watch(
    notify: notify_pb2_grpc.NotifyServiceAsyncStub, psn_no: str, *, after: int = 0
) -> AsyncIterator[notify_pb2.Message]:
    """A person's live stream."""
    request = notify_pb2.WatchMessagesRequest(psn_no=psn_no, after_message_no=after)
    call = notify.WatchMessages(request, timeout=30)
    try:
        async for answer in call:
            yield answer.message
    finally:
        call.cancel()


async def first(
    notify: notify_pb2_grpc.NotifyServiceAsyncStub, psn_no: str, count: int, *, after: int = 0
) -> list[notify_pb2.Message]:
    """So many messages of a live stream."""
    got: list[notify_pb2.Message] = []
    async with asyncio.timeout(60), aclosing(watch(notify, psn_no, after=after)) as messages:  # type: ignore[type-var]
        async for message in messages:
            got.append(message)
            if len(got) == count:
                return got
    return got


async def test_a_paid_bill_is_told_to_funder_and_patient(desk: Desk) -> None:
    """The funder reads amount, time, kind of institution and user; the patient who paid, by masked name."""
    patient, funder = await desk.house.person(), await desk.house.person()
    event = settled(patient, funder)
    await desk.publish(event)
    (mine,) = await desk.until_told(funder, 1)
    assert mine.text_zh == "2026年11月21日00:05，您的个人账户为王*国在医院支付120.00元，账户余额0.02元。"
    assert (mine.topic, mine.amount_fen) == (notify_pb2.TOPIC_ACCOUNT_PAID, 120_00)
    assert (mine.setl_id, mine.message_no) == (event.bill_settled.setl_id, 1)
    messages = await desk.until_told(patient, 2)
    assert await desk.topics(patient) == ["ACCOUNT_PAID", "BILL_PAID"]
    assert "王*国支付120.00元" in messages[1].text_zh
    assert messages[1].text_en.endswith("30.00 yuan by your account, 120.00 yuan by 王*国, 50.00 yuan in cash.")


async def test_one_event_never_makes_two_messages(desk: Desk) -> None:
    """Published again after the broker lost its stream, an event adds nothing; the next one is numbered on."""
    person = await desk.house.person()
    events = [credited(person, amount_fen) for amount_fen in (1, 2, 3)]
    for event in events:
        await desk.publish(event)
    await desk.until_told(person, 3)
    await desk.house.bus.client.jetstream().delete_stream(f"{desk.house.bus.prefix}-settlement")
    for event in [*events, *events, credited(person, 4)]:
        await desk.publish(event)
    messages = await desk.until_told(person, 4)
    assert [message.message_no for message in messages] == [1, 2, 3, 4]
    assert [message.amount_fen for message in messages] == [1, 2, 3, 4]


async def test_messages_are_paged_newest_first(desk: Desk) -> None:
    """Pages follow each other without gap or repetition, and the last one says there are no more."""
    person = await desk.house.person()
    for amount_fen in range(1, 8):
        await desk.publish(credited(person, amount_fen))
    await desk.until_told(person, 7)
    numbers, before, more = [], 0, True
    while more:
        page = await desk.page(person, before=before, limit=3)
        numbers += [message.message_no for message in page.messages]
        before, more = page.messages[-1].message_no, page.more
    assert numbers == [7, 6, 5, 4, 3, 2, 1]
    assert list((await desk.page("99999999999")).messages) == []


async def test_a_family_is_told_of_itself(desk: Desk) -> None:
    """Founding, inviting, joining, binding, a new amount and the end each reach both sides."""
    house = desk.house
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    await desk.until_told(funder, 4)
    await desk.until_told(beneficiary, 3)
    assert sorted(await desk.topics(funder)) == ["BOUND", "INVITED", "MEMBER_JOINED", "MEMBER_JOINED"]
    assert sorted(await desk.topics(beneficiary)) == ["BOUND", "INVITED", "MEMBER_JOINED"]
    assert binding.funder_psn_no == funder
    bound = next(message for message in (await desk.page(funder)).messages if message.topic == notify_pb2.TOPIC_BOUND)
    assert bound.text_zh.endswith("您的个人账户已与王*国绑定共济，授权金额3,000.00元。")


async def test_an_inbox_follows_the_number_that_counts(desk: Desk) -> None:
    """What the double was told stands behind what the other was told, in its order, and what it is told later too."""
    keep, double = await desk.house.two_numbers()
    for person, amount_fen in ((keep, 1), (double, 2), (double, 3)):
        await desk.publish(credited(person, amount_fen))
    await desk.until_told(keep, 1)
    await desk.until_told(double, 2)
    await desk.house.merge(keep, double)
    messages = await desk.until_told(keep, 3)
    assert [(message.message_no, message.amount_fen) for message in messages] == [(1, 1), (2, 2), (3, 3)]
    assert list((await desk.page(double)).messages) == []
    await desk.publish(credited(double, 4))
    (*_, last) = await desk.until_told(keep, 4)
    assert (last.psn_no, last.message_no, last.amount_fen) == (keep, 4, 4)


async def test_a_watcher_hears_what_comes_by_a_merge(desk: Desk) -> None:
    """Whoever watches under the number that counts gets the double's messages as they come over."""
    keep, double = await desk.house.two_numbers()
    await desk.publish(credited(double, 7))
    await desk.until_told(double, 1)
    watching = asyncio.create_task(first(desk.notify, keep, 1))
    await desk.house.merge(keep, double)
    (message,) = await watching
    assert message.amount_fen == 7


async def test_a_sanction_is_told_once(desk: Desk) -> None:
    """Identity repeats a sanction in every later event of the person; the person is told once."""
    person = await desk.house.person()
    start, end = Timestamp(), Timestamp()
    start.GetCurrentTime()
    end.FromSeconds(start.seconds + 120 * 86_400)
    await desk.house.sanctions.ImposeSanction(
        sanctions_pb2.ImposeSanctionRequest(
            psn_no=person,
            from_time=start,
            to_time=end,
            basis_clause="条例 art. 41",
            decision_no=f"D{person[:20]}",
            organ="哈密市医疗保障局",
            opter="zhang01",
        )
    )
    await desk.until_told(person, 1)
    for status in ("2", "1"):
        await desk.house.status(person, status)
    await desk.publish(credited(person))
    await desk.until_told(person, 2)
    await asyncio.sleep(0.5)
    assert await desk.topics(person) == ["SANCTIONED", "ACCOUNT_CREDITED"]


async def test_unusual_use_is_told_to_the_person_alone(desk: Desk) -> None:
    """What identity raises about a person he reads, once; what is about a terminal, or of a new kind, nobody does."""
    person = await desk.house.person()
    unheard_of: Any = 99  # A later release may say more than we know.
    raised = [
        (person, risk_pb2.RISK_KIND_SMALL_PHARMACY_BUYS),
        (person, unheard_of),
        ("", risk_pb2.RISK_KIND_REFUSED_CODES),
    ]
    for n, (psn_no, kind) in enumerate(raised):
        event = identity_events.IdentityEvent(event_id=str(uuid4()), aggregate_id=f"risk:{person}{n}", version=1)
        event.occurred_time.GetCurrentTime()
        event.risk_event_raised.psn_no = psn_no
        event.risk_event_raised.kind = kind
        for _ in range(2):
            await say(desk.house.bus, event)
    (told,) = await desk.until_told(person, 1)
    assert told.topic == notify_pb2.TOPIC_UNUSUAL_USE
    assert "您的个人账户短时间内在药店多次支付小额费用" in told.text_zh
    await desk.publish(credited(person))
    await desk.until_told(person, 2)
    assert await desk.topics(person) == ["UNUSUAL_USE", "ACCOUNT_CREDITED"]


async def test_a_watcher_catches_up_and_then_lives(desk: Desk) -> None:
    """After a number, a watcher gets what is there already and then what comes, in order, nothing twice."""
    person = await desk.house.person()
    for amount_fen in (1, 2, 3):
        await desk.publish(credited(person, amount_fen))
    await desk.until_told(person, 3)
    watching = asyncio.create_task(first(desk.notify, person, 4, after=1))
    await asyncio.sleep(0.3)
    for amount_fen in (4, 5):
        await desk.publish(credited(person, amount_fen))
    assert [message.message_no for message in await watching] == [2, 3, 4, 5]


async def test_watchers_at_two_replicas_get_every_message(desk: Desk, second: StartSecond) -> None:
    """Whichever replica takes an event, a watcher at each of them gets the message."""
    person = await desk.house.person()
    other = await second()
    watching = [asyncio.create_task(first(notify, person, 20)) for notify in (desk.notify, other)]
    await asyncio.sleep(0.3)
    for amount_fen in range(1, 21):
        await desk.publish(credited(person, amount_fen))
    for messages in await asyncio.gather(*watching):
        assert [message.message_no for message in messages] == list(range(1, 21))
        assert sorted(message.amount_fen for message in messages) == list(range(1, 21))


async def test_live_streams_end_cleanly_when_the_process_stops(desk: Desk, second: StartSecond) -> None:
    """At a stop signal a watcher's stream ends without an error, long before the drain time is over."""
    person = await desk.house.person()
    other = await second(DRAIN_S="20")
    await desk.publish(credited(person))
    got: list[int] = []

    async def look() -> None:
        async for message in watch(other, person):
            got.append(message.message_no)  # noqa: PERF401  A stream that ends is what the test waits for.

    watching = asyncio.create_task(look())
    async with asyncio.timeout(60):
        while not got:  # noqa: ASYNC110  Another task fills it.
            await asyncio.sleep(0.02)
        await desk.house.world.stop_process("notify2")
        await watching
    assert got == [1]


async def test_one_watcher_too_many_is_refused(desk: Desk, second: StartSecond) -> None:
    """A process takes so many live streams and no more; a place that is left is free again."""
    person = await desk.house.person()
    await desk.publish(credited(person))
    other = await second(WATCHERS_MAX="2")
    watching = [watch(other, person) for _ in range(2)]
    for one in watching:
        await anext(one)
    with pytest.raises(Failure) as caught:
        await anext(watch(other, person))
    assert caught.value.reason == "WATCHERS_TOO_MANY"
    await watching[0].aclose()  # type: ignore[attr-defined]  # It is a generator.
    async with asyncio.timeout(60):
        while True:
            try:
                assert len(await first(other, person, 1)) == 1
            except Failure:
                await asyncio.sleep(0.05)
            else:
                break
    await watching[1].aclose()  # type: ignore[attr-defined]  # As above.


async def test_a_slow_watcher_keeps_nobody_waiting(desk: Desk) -> None:
    """A watcher that takes one message and stops holds one page; another gets all, and so does the slow one later."""
    person = await desk.house.person()
    for amount_fen in range(1, 151):
        await desk.publish(credited(person, amount_fen))
    await desk.until_told(person, 150)
    async with Database(desk.house.world.database_url("notify"), pool_size=2) as database:
        watchers = Watchers(database, poll_s=60, watchers_max=10)
        slow = watchers.watch(PsnNo(person), after_message_no=0)
        quick = watchers.watch(PsnNo(person), after_message_no=0)
        assert (await anext(slow)).message_no == 1
        async with asyncio.timeout(60):
            assert [(await anext(quick)).message_no for _ in range(150)] == list(range(1, 151))
            assert [(await anext(slow)).message_no for _ in range(149)] == list(range(2, 151))
        await slow.aclose()
        await quick.aclose()
        assert watchers.count == 0
