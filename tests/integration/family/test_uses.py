"""What was used of whose account: heard from settlement, each event once, and shown to those whom it concerns alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from chassis.db import Database
from gongji.family.v1 import binding_pb2, uses_pb2, uses_pb2_grpc
from gongji.identity.v1 import person_pb2
from gongji.settlement.v1 import events_pb2, settlement_pb2
from kernel.failures import Kind
from tests import patience
from tests.integration.family.house import HAMI, House
from tests.integration.family.test_bindings import refused, unbind
from tests.patience import until

FUNDER, OWN, WALLET = (
    settlement_pb2.SOURCE_ROLE_FUNDER,
    settlement_pb2.SOURCE_ROLE_OWN,
    settlement_pb2.SOURCE_ROLE_WALLET,
)
GIVEN, RECEIVED = uses_pb2.USE_SIDE_GIVEN, uses_pb2.USE_SIDE_RECEIVED
HOSPITAL, PHARMACY = "H65050000018", "P65010000019"
NOON: Final = datetime(2026, 11, 20, 4, tzinfo=UTC)
_HEARD: Final = "SELECT count(*) FROM inbox WHERE consumer = 'family-uses' AND event_id = ANY($1)"
_BURIED: Final = "SELECT count(*) FROM inbox_dead WHERE consumer = 'family-uses'"


@dataclass(frozen=True, slots=True)
class Shared:
    """Two siblings in a group and the binding of the one for the other."""

    house: House
    funder: str
    beneficiary: str
    binding: binding_pb2.Binding

    async def list(self, by: str, **asked: Any) -> uses_pb2.ListUsesResponse:  # noqa: ANN401  Any field there is.
        """What this person sees."""
        return await uses_of(self.house).ListUses(uses_pb2.ListUsesRequest(by_psn_no=by, **asked))

    def bill(self, fen: int = 3_000, *, at: datetime = NOON, where: str = HOSPITAL) -> events_pb2.SettlementEvent:
        """A bill of the beneficiary's of which the funder's account paid so much, beside others."""
        return bill(self.beneficiary, [(self.binding, fen)], at=at, where=where)


def uses_of(house: House) -> uses_pb2_grpc.UseServiceAsyncStub:
    """The stub."""
    return uses_pb2_grpc.UseServiceStub(house.family_channel)


def bill(
    patient: str,
    given: list[tuple[binding_pb2.Binding, int]],
    *,
    at: datetime = NOON,
    where: str = HOSPITAL,
) -> events_pb2.SettlementEvent:
    """A bill as settlement tells it: the patient's own account and wallet first, then the funders in two parts."""
    setl_id = uuid4()
    event = _event(setl_id, at)
    fact = event.bill_settled
    fact.setl_id, fact.patient_psn_no, fact.fixmedins_code = str(setl_id), patient, where
    fact.patient_name_masked, fact.psn_part_amt, fact.psn_cash_pay = "王*", 99_999, 777
    fact.changes.add(psn_no=patient, role=OWN, area=HAMI, past_fen=11_111, balance_after_fen=5)
    fact.changes.add(psn_no=patient, role=WALLET, area=HAMI, past_fen=22_222, balance_after_fen=6)
    for binding, fen in given:
        fact.changes.add(
            psn_no=binding.funder_psn_no,
            role=FUNDER,
            area=HAMI,
            past_fen=fen - 1,
            current_fen=1,
            balance_after_fen=88_888,
            authorisation_id=binding.authorisation_id,
        )
    return event


def refund(original: events_pb2.SettlementEvent, *, at: datetime = NOON) -> events_pb2.SettlementEvent:
    """All of the bill's money goes back."""
    setl_id, paid = uuid4(), original.bill_settled
    event = _event(setl_id, at)
    fact = event.bill_refunded
    fact.setl_id, fact.original_setl_id = str(setl_id), paid.setl_id
    fact.patient_psn_no, fact.fixmedins_code = paid.patient_psn_no, paid.fixmedins_code
    fact.changes.extend(paid.changes)
    return event


def _event(setl_id: UUID, at: datetime) -> events_pb2.SettlementEvent:
    event = events_pb2.SettlementEvent(event_id=str(uuid4()), aggregate_id=f"payment:{setl_id}", version=1)
    event.occurred_time.FromDatetime(at)
    return event


async def say(house: House, *events: events_pb2.SettlementEvent, again: bool = False) -> None:
    """Publishes them as settlement does; ``again`` so that the broker does not know them for the same."""
    for event in events:
        await patience.say(house.bus, event, again=again)


async def hear(house: House, *events: events_pb2.SettlementEvent) -> None:
    """Says them, and returns once family has taken them all in."""
    await say(house, *events)
    await heard(house, *events)


async def heard(house: House, *events: events_pb2.SettlementEvent) -> None:
    """Returns once family has taken them all in."""
    ids = [UUID(event.event_id) for event in events]
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as connection,
    ):

        async def all_heard() -> bool:
            return bool(await connection.fetchval(_HEARD, ids) == len(ids))

        await until(all_heard)


@pytest.fixture
async def shared(house: House) -> Shared:
    """A funder bound for a beneficiary."""
    funder, beneficiary, group_id = await house.couple()
    return Shared(house, funder, beneficiary, await house.bind(group_id, funder, beneficiary))


async def test_both_see_what_one_gave_for_the_other_and_nothing_else_of_the_bill(shared: Shared) -> None:
    """Who, whose, when, which kind of institution in which area, how much; nothing of own money, cash or balances."""
    event = shared.bill(3_000)
    await hear(shared.house, event)
    given = await shared.list(shared.funder)
    (use,) = given.uses
    assert use == uses_pb2.Use(
        funder_psn_no=shared.funder,
        funder_name_masked=use.funder_name_masked,
        beneficiary_psn_no=shared.beneficiary,
        beneficiary_name_masked=use.beneficiary_name_masked,
        used_time=event.occurred_time,
        institution_kind=uses_pb2.INSTITUTION_KIND_HOSPITAL,
        institution_area="650500",
        amount_fen=3_000,
        setl_id=event.bill_settled.setl_id,
        group_id=shared.binding.group_id,
    )
    assert "*" in use.funder_name_masked
    assert "王建国" not in str(given)
    assert given.sums == uses_pb2.UseSums(used_fen=3_000, given_fen=3_000)
    received = await shared.list(shared.beneficiary)
    assert list(received.uses) == [use]
    assert received.sums == uses_pb2.UseSums(used_fen=3_000, received_fen=3_000)


async def test_a_refund_is_a_line_of_its_own_whichever_is_heard_first(shared: Shared) -> None:
    """Negative, naming what it takes back, also when the bill itself is heard after it."""
    event = shared.bill(4_000, where=PHARMACY)
    back = refund(event, at=NOON + timedelta(hours=1))
    await hear(shared.house, back)
    (line,) = (await shared.list(shared.funder)).uses
    assert (line.amount_fen, line.original_setl_id) == (-4_000, event.bill_settled.setl_id)
    await hear(shared.house, event)
    answer = await shared.list(shared.funder)
    assert [(use.amount_fen, use.institution_kind, use.institution_area) for use in answer.uses] == [
        (-4_000, uses_pb2.INSTITUTION_KIND_PHARMACY, "650100"),
        (4_000, uses_pb2.INSTITUTION_KIND_PHARMACY, "650100"),
    ]
    assert answer.sums == uses_pb2.UseSums(used_fen=4_000, returned_fen=4_000)


async def test_an_event_told_again_counts_once(shared: Shared) -> None:
    """By the inbox, and by the payment itself once the inbox has forgotten."""
    event, after = shared.bill(1_000), shared.bill(50)
    await hear(shared.house, event)
    await say(shared.house, event, again=True)
    forgotten = events_pb2.SettlementEvent()
    forgotten.CopyFrom(event)
    forgotten.event_id = str(uuid4())
    await hear(shared.house, forgotten, after)
    assert sorted(use.amount_fen for use in (await shared.list(shared.funder)).uses) == [50, 1_000]


async def test_what_is_told_while_family_is_dead_is_kept_once_it_lives(shared: Shared) -> None:
    """Killed between the events: none is lost and none counts twice."""
    events = [shared.bill(100 + number) for number in range(40)]
    await say(shared.house, *events[:20])
    await shared.house.kill_family()
    await say(shared.house, *events[20:])
    await shared.house.start_family()
    await heard(shared.house, *events)
    answer = await shared.list(shared.funder, page_size=200)
    assert sorted(use.amount_fen for use in answer.uses) == [100 + number for number in range(40)]
    assert answer.sums.given_fen == sum(100 + number for number in range(40))


async def test_members_see_who_used_how_much_but_not_which_bill(shared: Shared) -> None:
    """A third member sees the group's uses without their settlements; who is in no group of theirs sees nothing."""
    house, group_id = shared.house, shared.binding.group_id
    third = await house.person()
    await house.siblings(shared.funder, third)
    await house.bring_in(group_id, shared.funder, third, person_pb2.RELATION_SIBLING)
    event = shared.bill(2_500)
    await hear(house, event, refund(event))
    answer = await shared.list(third, group_id=group_id)
    assert {(use.funder_psn_no, use.beneficiary_psn_no) for use in answer.uses} == {(shared.funder, shared.beneficiary)}
    assert sorted(use.amount_fen for use in answer.uses) == [-2_500, 2_500]
    assert {(use.setl_id, use.original_setl_id) for use in answer.uses} == {("", "")}
    assert answer.sums == uses_pb2.UseSums(used_fen=2_500, returned_fen=2_500)
    assert all(use.setl_id for use in (await shared.list(shared.funder, group_id=group_id)).uses)
    assert (await shared.list(third)).uses == []
    stranger = await house.person()
    refusal = await refused(shared.list(stranger, group_id=group_id))
    assert (refusal.kind, refusal.reason) == (Kind.FORBIDDEN, "NOT_A_MEMBER")
    assert (await shared.list(stranger, other_psn_no=shared.funder)).uses == []
    assert (await refused(shared.list(shared.funder, group_id=str(uuid4())))).reason == "GROUP_UNKNOWN"


async def test_who_is_only_invited_sees_nothing_of_the_group(shared: Shared) -> None:
    """NOT_A_MEMBER until he has accepted."""
    house, invited = shared.house, await shared.house.person()
    await house.siblings(shared.funder, invited)
    await house.invite(shared.binding.group_id, shared.funder, invited, person_pb2.RELATION_SIBLING)
    assert (await refused(shared.list(invited, group_id=shared.binding.group_id))).reason == "NOT_A_MEMBER"


async def test_each_group_has_the_uses_under_its_own_bindings(shared: Shared) -> None:
    """Bound anew in another group, the same two have their uses there; a late refund stays where it was paid."""
    house = shared.house
    first = shared.bill(1_000)
    await hear(house, first)
    await unbind(house, shared.binding, shared.funder)
    other_group = await house.group(shared.funder)
    await house.bring_in(other_group, shared.funder, shared.beneficiary, person_pb2.RELATION_SIBLING)
    again = replace(shared, binding=await house.bind(other_group, shared.funder, shared.beneficiary))
    await hear(house, again.bill(7), refund(first, at=NOON + timedelta(days=1)))
    seen = {
        group_id: sorted(use.amount_fen for use in (await shared.list(shared.funder, group_id=group_id)).uses)
        for group_id in (shared.binding.group_id, other_group)
    }
    assert seen == {shared.binding.group_id: [-1_000, 1_000], other_group: [7]}
    assert len((await shared.list(shared.funder)).uses) == 3


async def test_what_settlement_told_without_a_binding_is_seen_by_the_two_alone(shared: Shared) -> None:
    """An event of before names no authorisation: no group is guessed."""
    event = shared.bill(900)
    for change in event.bill_settled.changes:
        change.authorisation_id = ""
    await hear(shared.house, event)
    (use,) = (await shared.list(shared.beneficiary)).uses
    assert (use.amount_fen, use.group_id) == (900, "")
    assert (await shared.list(shared.funder, group_id=shared.binding.group_id)).uses == []


async def test_a_period_is_of_civil_days_in_shanghai(shared: Shared) -> None:
    """From the first midnight to before the one after the last day; the sums are those of the period."""
    midnight = datetime(2026, 11, 20, 16, tzinfo=UTC)  # The 21st begins in Shanghai.
    second = timedelta(seconds=1)
    await hear(
        shared.house,
        shared.bill(1, at=midnight - second),
        shared.bill(2, at=midnight),
        shared.bill(3, at=midnight + timedelta(days=1) - second),
        shared.bill(4, at=midnight + timedelta(days=1)),
    )
    asked = {
        ("2026-11-21", "2026-11-21"): [3, 2],
        ("2026-11-22", ""): [4],
        ("", "2026-11-20"): [1],
        ("2026-11-23", "2026-11-30"): [],
    }
    for (first, last), amounts in asked.items():
        answer = await shared.list(shared.funder, from_date=first, to_date=last)
        assert [use.amount_fen for use in answer.uses] == amounts
        assert answer.sums.used_fen == sum(amounts)


async def test_uses_are_filtered_by_side_and_other_person(shared: Shared) -> None:
    """What he gave, what was given for him, and of either what one other person has to do with it."""
    house, group_id = shared.house, shared.binding.group_id
    third = await house.person()
    await house.siblings(shared.funder, third)
    await house.bring_in(group_id, shared.funder, third, person_pb2.RELATION_SIBLING)
    for_third = await house.bind(group_id, shared.funder, third)
    by_third = await house.bind(group_id, third, shared.funder)
    await hear(
        house,
        shared.bill(1),
        bill(third, [(for_third, 20)]),
        bill(shared.funder, [(by_third, 300)]),
    )
    asked: list[tuple[dict[str, Any], set[int]]] = [
        ({}, {1, 20, 300}),
        ({"side": GIVEN}, {1, 20}),
        ({"side": RECEIVED}, {300}),
        ({"other_psn_no": third}, {20, 300}),
        ({"other_psn_no": third, "side": GIVEN}, {20}),
        ({"other_psn_no": shared.beneficiary, "side": RECEIVED}, set()),
        ({"group_id": group_id, "other_psn_no": shared.beneficiary}, {1}),
    ]
    for fields, amounts in asked:
        answer = await shared.list(shared.funder, **fields)
        assert {use.amount_fen for use in answer.uses} == amounts, fields
        assert answer.sums.used_fen == sum(amounts), fields
    seen = await shared.list(third, group_id=group_id)
    assert seen.sums == uses_pb2.UseSums(used_fen=321, given_fen=300, received_fen=20)


async def test_pages_follow_each_other_without_a_gap(shared: Shared) -> None:
    """Uses of one instant are neither lost nor doubled between pages, and every page has the sums of all."""
    await hear(shared.house, *(shared.bill(1 + number, at=NOON + timedelta(days=number // 3)) for number in range(8)))
    amounts: list[int] = []
    token = ""
    for size in (3, 3, 2):
        answer = await shared.list(shared.funder, page_size=3, page_token=token)
        assert (len(answer.uses), answer.sums.used_fen) == (size, 36)
        amounts += [use.amount_fen for use in answer.uses]
        token = answer.next_page_token
    assert token == ""
    assert sorted(amounts) == list(range(1, 9))
    assert len((await shared.list(shared.funder)).uses) == 8


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"by_psn_no": ""}, "REQUEST_INVALID"),
        ({"by_psn_no": "650100' OR 1=1"}, "REQUEST_INVALID"),
        ({"group_id": "mine"}, "REQUEST_INVALID"),
        ({"side": 3}, "REQUEST_INVALID"),
        ({"other_psn_no": "x"}, "REQUEST_INVALID"),
        ({"from_date": "2026-11-2"}, "REQUEST_INVALID"),
        ({"from_date": "2026-02-29"}, "DATE_MALFORMED"),
        ({"to_date": "9999-12-31"}, "DATE_MALFORMED"),
        ({"from_date": "2026-11-21", "to_date": "2026-11-20"}, "USES_PERIOD_REVERSED"),
        ({"page_size": 201}, "REQUEST_INVALID"),
        ({"page_token": "x" * 129}, "REQUEST_INVALID"),
        ({"page_token": "nonsense"}, "PAGE_TOKEN_MALFORMED"),
        ({"page_token": "MS4w"}, "PAGE_TOKEN_MALFORMED"),  # 1.0: no use has that number.
        ({"page_token": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OS4x"}, "PAGE_TOKEN_MALFORMED"),  # An instant that is none.
        ({"page_token": "令"}, "PAGE_TOKEN_MALFORMED"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(house: House, fields: dict[str, Any], reason: str) -> None:
    """Every field has its bounds, and no page token of ours looks like these."""
    request = uses_pb2.ListUsesRequest(**({"by_psn_no": "6501000000001"} | fields))
    assert (await refused(uses_of(house).ListUses(request))).reason == reason


async def test_no_event_was_buried(house: House) -> None:
    """Whatever was said above, family could make something of it."""
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as connection,
    ):
        assert await connection.fetchval(_BURIED) == 0
