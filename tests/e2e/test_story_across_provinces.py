"""The story across provinces: a mother in Lanzhou, whom no binding can join to her son in Hami, fills his wallet.

Real processes with ledgers of both provinces. No test waits for the morning: the deadline of a transfer is asserted to
the second, and then brought forward where it is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from gongji.family.v1 import family_pb2
from gongji.identity.v1 import person_pb2
from gongji.settlement.v1 import wallets_pb2 as pb
from kernel.clock import SHANGHAI, business_date
from ops import household
from tests.conftest import MakeWorld
from tests.e2e.asking import refusal
from tests.e2e.relatives import Pair
from tests.e2e.town import (
    HAMI,
    LANZHOU,
    OTHER_HOSPITAL,
    THEIR_PARENTS,
    URUMQI,
    Family,
    Town,
    new_resident,
    town_in,
    written_policies,
)
from tests.servers import new_folder


@pytest.fixture
async def pair(module_world: MakeWorld) -> AsyncIterator[Pair]:
    """The mother with 1,000.00 in Lanzhou, the son in Hami with a wallet of his own and nothing in it."""
    folder = written_policies(new_folder("provinces"), LANZHOU)
    world = await module_world(areas=(URUMQI, HAMI, LANZHOU), policies=folder)
    async with town_in(world) as town:
        mother = new_resident(LANZHOU, past_fen=100_000, generation=THEIR_PARENTS)
        pair = await Pair.living(town, mother=mother, son=new_resident(HAMI))
        assert (await pair.opened(pair.son)).area == HAMI
        yield pair
        assert town.personal_in_logs() == {}


async def why_not_invited(town: Town, pair: Pair) -> str:
    """The mother would rather bind her account; why her son cannot be in her group."""
    request = family_pb2.InviteMemberRequest(
        group_id=await household.found_group(town.desks, founder=pair.mother.psn_no),
        inviter_psn_no=pair.mother.psn_no,
        invitee_psn_no=pair.son.psn_no,
        relation=person_pb2.RELATION_CHILD,
        request_id=str(uuid4()),
    )
    return (await refusal(town.desks.family.InviteMember(request))).reason


def six_on_the_morning_after(begun: pb.WalletTransfer) -> datetime:
    """Until when a transfer that began then is to be accepted."""
    day = business_date(begun.begun_time.ToDatetime(UTC)) + timedelta(days=1)
    return datetime(day.year, day.month, day.day, 6, tzinfo=SHANGHAI)


async def test_lanzhou_pays_in_hami_what_is_accepted_and_keeps_what_is_not(pair: Pair) -> None:
    """The first transfer pays a bill of the son; the second is the mother's again at six in the morning."""
    town = pair.town
    assert await why_not_invited(town, pair) == "INVITEE_IN_ANOTHER_PROVINCE"

    # Lanzhou holds the money until the son says yes; then it lies in Hami, and pays there.
    first = await pair.given(30_000)
    assert (first.state, first.relation) == (pb.TRANSFER_STATE_PENDING_ACCEPT, person_pb2.RELATION_PARENT)
    assert await pair.money() == (100_000, 0)
    assert (await pair.accepted(first)).state == pb.TRANSFER_STATE_ACCEPTED
    assert await pair.money() == (70_000, 30_000)
    settled = await town.paid(Family(pair.son), 50_000, at=OTHER_HOSPITAL)
    assert (settled.amounts.wallet_pay, settled.amounts.psn_cash_pay) == (30_000, 20_000)
    assert list(settled.funders) == []

    # The son does not look at his phone: the second one returns at its deadline, and a Yes after that is too late.
    second = await pair.given(20_000)
    assert second.accept_by_time.ToDatetime(UTC) == six_on_the_morning_after(second)
    await pair.morning_comes(second)
    late = pb.AcceptTransferRequest(transfer_id=second.transfer_id, receiver_psn_no=pair.son.psn_no)
    assert (await refusal(town.desks.wallets.AcceptTransfer(late))).reason == "TRANSFER_NOT_ACCEPTED_IN_TIME"
    assert await pair.money() == (70_000, 0)
    listed = await town.desks.wallets.ListTransfers(pb.ListTransfersRequest(psn_no=pair.mother.psn_no))
    assert [(it.amount_fen, it.state) for it in listed.transfers] == [
        (20_000, pb.TRANSFER_STATE_RETURNED),
        (30_000, pb.TRANSFER_STATE_ACCEPTED),
    ]

    # Both know of both.
    of_transfers = ["TRANSFER_AWAITS", "TRANSFER_ACCEPTED", "TRANSFER_AWAITS", "TRANSFER_RETURNED"]
    for one in (pair.mother, pair.son):
        assert [topic for topic in await town.topics(one) if topic.startswith("TRANSFER_")] == of_transfers
    await town.check()
