"""Officers read what was done at the counter, for whom and with which documents; and who reads is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from chassis.rpc.client import channel
from gongji.family.v1 import counter_pb2, counter_pb2_grpc, family_pb2
from gongji.identity.v1 import person_pb2
from kernel.callers import Caller
from kernel.clock import business_date
from tests.integration.family.house import TEXT_SHA256, TEXT_VERSION, House
from tests.integration.family.test_bindings import refused
from tests.integration.family.test_counter import ID_CARD, counter, invited
from tests.patience import until

READER = Caller("operator:zhao09")


async def listed(house: House, **asked: Any) -> counter_pb2.ListCounterDeedsResponse:  # noqa: ANN401  Any field there is.
    """What the reader is shown."""
    async with channel(house.world.address("family"), caller=READER, call_timeout_s=60) as opened:
        return await counter_pb2_grpc.CounterServiceStub(opened).ListCounterDeeds(
            counter_pb2.ListCounterDeedsRequest(**asked)
        )


async def lookups(house: House, psn_no: str, **asked: Any) -> counter_pb2.ListDeedLookupsResponse:  # noqa: ANN401  As above.
    """Who has read of this person."""
    stub = counter_pb2_grpc.CounterServiceStub(house.family_channel)
    return await stub.ListDeedLookups(counter_pb2.ListDeedLookupsRequest(psn_no=psn_no, **asked))


async def signed_at_the_counter(house: House, psn_no: str, *, opter: str, second_opter: str = "") -> None:
    """A pledge before this officer."""
    at = counter(psn_no, second_opter=second_opter)
    at.opter = opter
    await house.family.SignPledge(
        family_pb2.SignPledgeRequest(psn_no=psn_no, text_version=TEXT_VERSION, text_sha256=TEXT_SHA256, counter=at)
    )


async def two_at_the_counter(house: House) -> tuple[str, str, str]:
    """Two siblings: the first has signed, founded and invited before an officer; the invitation's id."""
    one, other = await house.person(), await house.person()
    await house.siblings(one, other)
    await signed_at_the_counter(house, one, opter="zhang01")
    created = await house.family.CreateGroup(
        family_pb2.CreateGroupRequest(founder_psn_no=one, request_id=str(uuid4()), counter=counter(one))
    )
    return one, other, await invited(house, created.group.group_id, one, other, counter(one, other))


async def test_a_deed_says_who_acted_for_whom_with_which_documents_and_when(house: House) -> None:
    """Of one person, the latest first; of the other side only what concerned it."""
    one, other, invitation_id = await two_at_the_counter(house)
    before = datetime.now(UTC)
    deeds = (await listed(house, psn_no=one)).deeds
    assert [deed.deed for deed in deeds] == ["INVITE", "CREATE_GROUP", "SIGN_PLEDGE"]
    (invite,) = (await listed(house, psn_no=other)).deeds
    assert invite == deeds[0]
    assert (invite.subject, invite.opter, invite.second_opter) == (f"invitation:{invitation_id}", "zhang01", "")
    assert {(seen.psn_no, seen.kind) for seen in invite.documents} == {(one, ID_CARD), (other, ID_CARD)}
    assert before - timedelta(minutes=1) < invite.done_time.ToDatetime(tzinfo=UTC) < before


async def test_deeds_are_found_by_officer_kind_subject_and_day(house: House) -> None:
    """Also by the second officer; filters may be combined, and days are civil days of Shanghai."""
    one, _, invitation_id = await two_at_the_counter(house)
    officer, second = f"o{uuid4().hex[:12]}", f"s{uuid4().hex[:12]}"
    stranger = await house.person()
    await signed_at_the_counter(house, stranger, opter=officer, second_opter=second)
    (mine,) = (await listed(house, opter=officer)).deeds
    assert (await listed(house, opter=second)).deeds == [mine]
    (invite,) = (await listed(house, subject=f"invitation:{invitation_id}")).deeds
    assert [deed.deed for deed in (await listed(house, psn_no=one, deed="SIGN_PLEDGE")).deeds] == ["SIGN_PLEDGE"]
    today = business_date(datetime.now(UTC))
    within = {"from_date": (today - timedelta(days=1)).isoformat(), "to_date": today.isoformat()}
    assert invite in (await listed(house, psn_no=one, **within)).deeds
    assert not (await listed(house, psn_no=one, to_date=(today - timedelta(days=1)).isoformat())).deeds


async def test_pages_of_deeds_follow_each_other(house: House) -> None:
    """Without gap or repetition, and the last one says so."""
    one, _, _ = await two_at_the_counter(house)
    found, token = [], ""
    for _ in range(3):
        page = await listed(house, psn_no=one, page_size=1, page_token=token)
        found += [deed.deed for deed in page.deeds]
        token = page.next_page_token
    assert (found, token) == (["INVITE", "CREATE_GROUP", "SIGN_PLEDGE"], "")


async def test_who_reads_deeds_is_kept_for_everybody_shown(house: House) -> None:
    """For the one asked for, also if there is nothing, and for whose documents stood in what was shown."""
    one, other, _ = await two_at_the_counter(house)
    nobody = await house.person()
    assert not (await lookups(house, other)).lookups
    await listed(house, psn_no=one)
    await listed(house, psn_no=nobody)
    for person in (one, other, nobody):
        (kept,) = (await lookups(house, person)).lookups
        assert kept.asked_by == READER
    await listed(house, psn_no=nobody)
    first = await lookups(house, nobody, page_size=1)
    rest = await lookups(house, nobody, page_size=1, page_token=first.next_page_token)
    assert (len(first.lookups), len(rest.lookups), rest.next_page_token) == (1, 1, "")


async def test_who_reads_an_order_of_deduction_has_read_of_the_beneficiary(house: House) -> None:
    """A parent came for a child, whom the subject names and no document: kept for the child too, also of a bare try."""
    parent, child = await house.person(), await house.person(born="20190501", insutype="390")
    await house.parent(parent, child)
    group_id = await house.group(parent)
    await house.invite(group_id, parent, child, person_pb2.RELATION_CHILD)
    await house.bind(group_id, parent, child)
    await house.family.SetDeductOrder(
        family_pb2.SetDeductOrderRequest(
            beneficiary_psn_no=child, funder_psn_nos=[parent], by_psn_no=parent, counter=counter(parent)
        )
    )
    assert [deed.deed for deed in (await listed(house, psn_no=parent)).deeds] == ["ORDER"]
    assert [kept.asked_by for kept in (await lookups(house, child)).lookups] == [READER]
    stranger = await house.person()
    assert not (await listed(house, subject=f"beneficiary:{stranger}")).deeds
    assert [kept.asked_by for kept in (await lookups(house, stranger)).lookups] == [READER]


async def test_deeds_of_a_double_are_those_of_the_number_that_counts(house: House) -> None:
    """Its documents were his."""
    keep, double = await house.two_numbers()
    await signed_at_the_counter(house, double, opter="zhang01")
    await house.merge(keep, double)

    async def found() -> bool:
        return [deed.deed for deed in (await listed(house, psn_no=keep)).deeds] == ["SIGN_PLEDGE"]

    await until(found)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from_date": "2026-11-31"}, "DATE_MALFORMED"),
        ({"from_date": "2026-11-20", "to_date": "2026-11-19"}, "USES_PERIOD_REVERSED"),
        ({"page_token": "nonsense"}, "PAGE_TOKEN_MALFORMED"),
        ({"page_token": "LTE"}, "PAGE_TOKEN_MALFORMED"),
        ({"psn_no": "x"}, "REQUEST_INVALID"),
        ({"opter": "张 三"}, "REQUEST_INVALID"),
        ({"deed": "bind"}, "REQUEST_INVALID"),
        ({"page_size": 201}, "REQUEST_INVALID"),
    ],
)
async def test_what_cannot_be_asked_of_the_counter_is_refused_by_name(
    house: House, fields: dict[str, Any], reason: str
) -> None:
    """Days, tokens and bounds."""
    assert (await refused(listed(house, **fields))).reason == reason
