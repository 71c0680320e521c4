"""The story of an area that begins with care: what ``intra-province-strict`` refuses, and what it leaves with funders.

The policies are those that ship, with the preset above them; the amounts are in fen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import pytest

from gongji.family.v1 import family_pb2
from gongji.identity.v1 import person_pb2
from kernel.failures import Failure
from ops import household
from ops.embedded.world import DEFAULT_POLICIES
from services.settlement.domain.bill import Bill
from tests.conftest import MakeWorld
from tests.e2e.asking import refusal
from tests.e2e.town import AREAS, HAMI, THEIR_GRANDPARENTS, THEIR_PARENTS, Resident, Town, new_resident, town_in

PRESET: Final = {"GONGJI_POLICIES_PRESET": "intra-province-strict"}
FLOOR_FEN: Final = 200_000
AMOUNT_FEN: Final = 500_000


@pytest.fixture(scope="module")
async def strict(module_world: MakeWorld) -> AsyncIterator[Town]:
    """A town under the preset."""
    world = await module_world(areas=AREAS, policies=DEFAULT_POLICIES, environment=PRESET)
    async with town_in(world) as town:
        yield town
        assert town.personal_in_logs() == {}


async def invites(town: Town, group_id: str, one: Resident, other: Resident, relation: str) -> str:
    """The first one invites the other as his ``relation``; the reason if he may not."""
    await household.prove_relation(town.desks, person=other.psn_no, other=one.psn_no, relation=relation)
    request = family_pb2.InviteMemberRequest(
        group_id=group_id,
        inviter_psn_no=one.psn_no,
        invitee_psn_no=other.psn_no,
        relation=person_pb2.Relation.Value(f"RELATION_{relation}"),
        request_id=str(uuid4()),
    )
    try:
        await town.desks.family.InviteMember(request)
    except Failure as refused:
        return refused.reason
    return ""


async def binds(town: Town, group_id: str, funder: Resident, patient: Resident, authorised_fen: int | None) -> str:
    """The funder binds his account for the patient; the binding's id."""
    request = family_pb2.BindRequest(
        group_id=group_id,
        funder_psn_no=funder.psn_no,
        beneficiary_psn_no=patient.psn_no,
        authorised_fen=authorised_fen,
        request_id=str(uuid4()),
    )
    return str((await town.desks.family.Bind(request)).binding.binding_id)


async def test_a_family_is_spouse_parents_and_children_and_five_at_most(strict: Town) -> None:
    """A brother is no relation here, and the sixth person finds the group full, invitations counted."""
    founder, brother, spouse = (new_resident(generation=THEIR_PARENTS) for _ in range(3))
    sixth = new_resident(generation=THEIR_GRANDPARENTS)
    children = [new_resident() for _ in range(3)]
    await asyncio.gather(*map(strict.moves_in, (founder, brother, spouse, sixth, *children)))
    await strict.told()
    group_id = await household.found_group(strict.desks, founder=founder.psn_no)
    assert await invites(strict, group_id, founder, brother, "SIBLING") == "RELATION_NOT_ALLOWED"
    assert await invites(strict, group_id, founder, spouse, "SPOUSE") == ""
    assert [await invites(strict, group_id, founder, child, "CHILD") for child in children] == [""] * 3
    assert await invites(strict, group_id, founder, sixth, "PARENT") == "GROUP_FULL"


async def test_funders_keep_their_floor_and_give_seventy_per_cent_of_what_the_catalogue_knows(strict: Town) -> None:
    """2,000.00 stay with the mother, and what is wholly the patient's own is paid by nobody else."""
    family = await strict.family(
        new_resident(),
        new_resident(HAMI, past_fen=FLOOR_FEN + 100_000, generation=THEIR_PARENTS),
        authorised_fen=AMOUNT_FEN,
        relation="PARENT",
    )
    first = await strict.planned_for(family, Bill(70_000, 3_333, 0, 0, 66_667))
    assert (first.amounts.acct_mulaid_pay, first.amounts.psn_cash_pay) == (46_666, 70_000 - 46_666)
    outside = await strict.planned_for(family, Bill(40_000, 20_000, 20_000, 0, 0))
    assert (outside.amounts.acct_mulaid_pay, outside.amounts.psn_cash_pay) == (0, 40_000)
    large = await strict.paid(family, 500_000)
    assert (large.amounts.acct_mulaid_pay, large.amounts.psn_cash_pay) == (100_000, 400_000)
    assert await strict.money(family) == [(0, 0), (FLOOR_FEN, 0)]
    again = await strict.planned(family, 1_000)
    assert list(again.funders) == []
    await strict.check()


async def test_who_has_changed_his_mind_twice_waits_for_the_next_year(strict: Town) -> None:
    """A binding needs an amount; the same two bind anew once in a year, and not a second time."""
    family = await strict.family(
        new_resident(), new_resident(HAMI, generation=THEIR_PARENTS), authorised_fen=100, relation="PARENT"
    )
    patient, [mother] = family.patient, family.funders
    group_id = await household.found_group(strict.desks, founder=patient.psn_no)
    await unbinds(strict, mother.binding_id, mother)
    assert (await refusal(binds(strict, group_id, mother, patient, None))).reason == "AUTHORISED_AMOUNT_REQUIRED"
    await unbinds(strict, await binds(strict, group_id, mother, patient, 100), mother)
    assert (await refusal(binds(strict, group_id, mother, patient, 100))).reason == "REBINDS_TOO_MANY"


async def test_no_wallet_is_opened_here(strict: Town) -> None:
    """Not even with one's own face."""
    somebody = await strict.moves_in(new_resident())
    await strict.told()
    opening = await household.wallet_opening(strict.desks, psn_no=somebody.psn_no, area=somebody.area)
    assert (await refusal(strict.desks.wallets.OpenWallet(opening))).reason == "WALLET_NOT_IN_AREA"


async def unbinds(town: Town, binding_id: str, funder: Resident) -> None:
    """The funder ends it."""
    await town.desks.family.Unbind(family_pb2.UnbindRequest(binding_id=binding_id, by_psn_no=funder.psn_no))
