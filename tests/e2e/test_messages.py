"""Who was told what after every change, in the list and in the live stream; and what nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.family.v1 import family_pb2
from gongji.identity.v1 import sanctions_pb2
from gongji.notify.v1 import notify_pb2 as pb
from kernel.money import yuan_text
from tests.e2e.asking import revoke
from tests.e2e.town import Family, Resident, Town

LIVE_MAX_S: Final = 60.0


async def new_topics(town: Town, family: Family, seen: dict[str, int]) -> list[list[str]]:
    """What each member was told since last time, by topic; ``seen`` is brought up to date."""
    await town.told()
    found = []
    for member in family.members:
        messages = await town.messages(member)
        fresh = messages[seen.get(member.psn_no, 0) :]
        seen[member.psn_no] = len(messages)
        found.append(sorted(pb.Topic.Name(message.topic).removeprefix("TOPIC_") for message in fresh))
    return found


async def test_everyone_concerned_is_told_of_every_change_and_nobody_else(town: Town) -> None:
    """Settle, revoke, freeze, unfreeze, amend, unbind and sanction reach exactly the people whose account it is."""
    family = await town.couple()
    first, second = family.funders
    seen: dict[str, int] = {}
    built = await new_topics(town, family, seen)
    assert [topics.count("BOUND") for topics in built] == [2, 1, 1]
    assert [topics.count("ACCOUNT_CREDITED") for topics in built] == [2, 1, 1]

    settled = await town.paid(family, 20_000)
    assert await new_topics(town, family, seen) == [["ACCOUNT_PAID", "BILL_PAID"], ["ACCOUNT_PAID"], ["ACCOUNT_PAID"]]
    await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))
    back = "ACCOUNT_REFUNDED"
    assert await new_topics(town, family, seen) == [[back, "BILL_REVOKED"], [back], [back]]
    await town.freeze(first)
    assert await new_topics(town, family, seen) == [[], ["ACCOUNT_FROZEN"], []]
    await town.freeze(first, frozen=False)
    assert await new_topics(town, family, seen) == [[], ["ACCOUNT_UNFROZEN"], []]
    await town.desks.family.AmendAuthorisedAmount(
        family_pb2.AmendAuthorisedAmountRequest(
            binding_id=second.binding_id, funder_psn_no=second.psn_no, authorised_fen=50_000
        )
    )
    assert await new_topics(town, family, seen) == [["BINDING_CHANGED"], [], ["BINDING_CHANGED"]]
    await town.desks.family.Unbind(
        family_pb2.UnbindRequest(binding_id=second.binding_id, by_psn_no=family.patient.psn_no)
    )
    assert await new_topics(town, family, seen) == [["UNBOUND"], [], ["UNBOUND"]]
    await sanction(town, second)
    assert await new_topics(town, family, seen) == [[], [], ["SANCTIONED"]]
    await town.check()


async def sanction(town: Town, resident: Resident) -> None:
    """Suspended from online settlement from now on, for five months."""
    from_time, to_time = Timestamp(), Timestamp()
    now = datetime.now(UTC)
    from_time.FromDatetime(now)
    to_time.FromDatetime(now + timedelta(days=150))
    await town.desks.sanctions.ImposeSanction(
        sanctions_pb2.ImposeSanctionRequest(
            psn_no=resident.psn_no,
            from_time=from_time,
            to_time=to_time,
            basis_clause="条例 art. 41",
            decision_no=f"D-{uuid4().hex[:12]}",
            organ="乌鲁木齐市医疗保障局",
            opter="zhang01",
        )
    )


async def test_a_funder_alone_reads_what_is_left_on_the_account(town: Town) -> None:
    """The funder's message tells amount and balance; the patient's tells the amount, never a relative's balance."""
    family = await town.couple()
    settled = await town.paid(family, 9_543)
    await town.told()
    funder = family.funders[0]
    (paid,) = [message for message in await town.messages(funder) if message.topic == pb.TOPIC_ACCOUNT_PAID]
    assert (paid.amount_fen, paid.setl_id) == (6_543, settled.setl_id)
    left = yuan_text(10_000 - 6_543)
    for text in (paid.text_zh, paid.text_en):
        assert yuan_text(6_543) in text
        assert left in text
    patients = [message for message in await town.messages(family.patient) if message.setl_id == settled.setl_id]
    (bill,) = [message for message in patients if message.topic == pb.TOPIC_BILL_PAID]
    assert yuan_text(6_543) in bill.text_zh
    for message in patients:
        assert left not in message.text_zh + message.text_en
    # No name in full, no ID number, in anything anybody is told.
    for member in family.members:
        told = "".join(message.text_zh + message.text_en for message in await town.messages(member))
        assert [secret for other in family.members for secret in (other.name, other.certno) if secret in told] == []
    await town.check()


async def test_the_live_stream_tells_each_message_once_and_goes_on_where_it_was_left(town: Town) -> None:
    """A watcher gets what comes while he watches; a second watch after the last number he saw repeats nothing."""
    family = await town.couple()
    await town.told()
    funder = family.funders[0]
    known = await town.messages(funder)
    seen_to = known[-1].message_no
    stream = town.desks.notify.WatchMessages(
        pb.WatchMessagesRequest(psn_no=funder.psn_no, after_message_no=seen_to), timeout=60.0
    )
    watching = aiter(stream)
    settled = await town.paid(family, 5_000)
    first = await next_message(watching)
    assert (first.topic, first.setl_id) == (pb.TOPIC_ACCOUNT_PAID, settled.setl_id)
    await watching.aclose()  # type: ignore[attr-defined]  # An async generator of our channel.

    revoked = (await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))).revocation
    again = aiter(
        town.desks.notify.WatchMessages(
            pb.WatchMessagesRequest(psn_no=funder.psn_no, after_message_no=first.message_no), timeout=60.0
        )
    )
    second = await next_message(again)
    assert (second.topic, second.setl_id) == (pb.TOPIC_ACCOUNT_REFUNDED, revoked.setl_id)
    await again.aclose()  # type: ignore[attr-defined]  # As above.
    listed = await town.messages(funder)
    assert [message.message_no for message in listed[len(known) :]] == [first.message_no, second.message_no]
    await town.check()


async def next_message(watching: AsyncIterator[pb.WatchMessagesResponse]) -> pb.Message:
    """The next one, within a bound."""
    return (await asyncio.wait_for(anext(watching), LIVE_MAX_S)).message
