"""A funder moves to another city of the province; his money, binding and use follow, on real processes."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from gongji.family.v1 import binding_pb2, family_pb2
from gongji.identity.v1 import identity_pb2
from gongji.settlement.v1 import account_pb2
from ops import household
from tests.e2e.asking import revoke
from tests.e2e.town import HAMI, URUMQI, Town

MOVED_MAX_S = 20.0


async def test_a_funder_moves_and_pays_on_from_his_new_area(town: Town) -> None:
    """Until his account has moved the old area pays; a refund of that time waits there for an officer."""
    family = await town.pair()
    funder = family.funders[0]
    first = await town.paid(family, 5_000)
    await town.desks.identity.Enrol(
        identity_pb2.EnrolRequest(psn_no=funder.psn_no, insutype="310", insuplc_admdvs=URUMQI)
    )
    await town.told()
    second = await town.paid(family, 1_000)
    assert [line.area for line in second.funders] == [HAMI]
    await town.at_rest()

    await household.credit(town.desks, psn_no=funder.psn_no, area=URUMQI, past_fen=7)
    moved = await town.desks.accounts.MoveAccount(
        account_pb2.MoveAccountRequest(psn_no=funder.psn_no, from_area=HAMI, to_area=URUMQI, request_id=str(uuid4()))
    )
    assert (moved.past_fen, moved.closed) == (7_000, True)
    binding = await followed(town, funder.binding_id, family.patient.psn_no)
    used = "SELECT used_fen FROM authorisations WHERE authorisation_id = $1::text::uuid"
    assert await town.ledgers[URUMQI].fetchval(used, binding.authorisation_id) == 3_000

    await town.told()
    third = await town.paid(family, 2_000)
    assert [(line.area, line.past_fen) for line in third.funders] == [(URUMQI, 2_000)]
    await town.desks.settlement.RevokeSettle(revoke(first.setl_id))
    await town.at_rest()
    waiting = await town.ledgers[HAMI].fetch("SELECT psn_no, amount_fen FROM suspense_tasks WHERE done_at IS NULL")
    assert [tuple(row) for row in waiting] == [(funder.psn_no, 2_000)]
    # The amount is free again where it was used, which is closed: the new authorisation keeps its use (ADR 28).
    assert await town.ledgers[URUMQI].fetchval(used, binding.authorisation_id) == 3_000 + 2_000
    heard = await town.topics(funder)
    assert heard.count("ACCOUNT_ENDED") == heard.count("BINDING_SUSPENDED") == heard.count("BINDING_CHANGED") == 1
    assert (await town.report()).as_json()["violations"] == 0


async def followed(town: Town, binding_id: str, patient: str) -> binding_pb2.Binding:
    """The binding once it is active in Ürümqi."""
    async with asyncio.timeout(MOVED_MAX_S):
        while True:
            groups = await town.desks.family.ListGroups(family_pb2.ListGroupsRequest(psn_no=patient))
            for group in groups.groups:
                for binding in group.bindings:
                    is_there = (binding.state, binding.funder_area) == (binding_pb2.BINDING_STATE_ACTIVE, URUMQI)
                    if binding.binding_id == binding_id and is_there:
                        return binding
            await asyncio.sleep(0.1)
