"""The Hami story: a father opens a wallet and founds a group; from then on his children's accounts pay his bills.

Every step is a call to real processes; the amounts are in fen.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

from gongji.family.v1 import binding_pb2, family_pb2, uses_pb2
from gongji.identity.v1 import attestations_pb2, person_pb2
from ops import faces, household
from tests.e2e.asking import refusal
from tests.e2e.town import HAMI, OTHER_HOSPITAL, THEIR_PARENTS, URUMQI, Family, Resident, Town, new_resident


async def joins(town: Town, child: Resident, *, group_id: str, invited_by: Resident) -> None:
    """Identity knows the father's child; the father invites, and the child's Yes counts with the child's face alone."""
    await household.prove_relation(town.desks, person=child.psn_no, other=invited_by.psn_no, relation="CHILD")
    sent = await town.desks.family.InviteMember(
        family_pb2.InviteMemberRequest(
            group_id=group_id,
            inviter_psn_no=invited_by.psn_no,
            invitee_psn_no=child.psn_no,
            relation=person_pb2.RELATION_CHILD,
            request_id=str(uuid4()),
        )
    )
    assert sent.invitation.state == binding_pb2.INVITATION_STATE_PENDING
    answer = family_pb2.AcceptInvitationRequest(
        invitation_id=sent.invitation.invitation_id, invitee_psn_no=child.psn_no
    )
    assert (await refusal(town.desks.family.AcceptInvitation(answer))).reason == "FACE_NOT_SHOWN"
    purpose = attestations_pb2.ATTESTATION_PURPOSE_JOIN_GROUP
    answer.attestation_id = await faces.shown(town.desks.attestations, child.psn_no, purpose)
    group = (await town.desks.family.AcceptInvitation(answer)).group
    assert child.psn_no in [member.psn_no for member in group.members]


async def binds(town: Town, child: Resident, *, group_id: str, for_whom: Resident, authorised_fen: int) -> None:
    """The child lets the account pay up to this much, once the pledge is signed."""
    request = family_pb2.BindRequest(
        group_id=group_id,
        funder_psn_no=child.psn_no,
        beneficiary_psn_no=for_whom.psn_no,
        authorised_fen=authorised_fen,
        request_id=str(uuid4()),
    )
    assert (await refusal(town.desks.family.Bind(request))).reason == "PLEDGE_NOT_SIGNED"
    await household.sign_pledge(town.desks, psn_no=child.psn_no)
    binding = (await town.desks.family.Bind(request)).binding
    assert (binding.state, binding.relation) == (binding_pb2.BINDING_STATE_ACTIVE, person_pb2.RELATION_CHILD)


async def ordered(town: Town, father: Resident, *children: Resident) -> list[str]:
    """The father says who pays first; the order as it stands now."""
    request = family_pb2.SetDeductOrderRequest(
        beneficiary_psn_no=father.psn_no, funder_psn_nos=[child.psn_no for child in children]
    )
    return [binding.funder_psn_no for binding in (await town.desks.family.SetDeductOrder(request)).bindings]


async def test_a_father_in_hami_is_treated_on_his_childrens_accounts(town: Town) -> None:
    """Own past years, this year, the wallet, then the son and the daughter within their words; cash is what is left."""
    father = new_resident(HAMI, past_fen=1_000, current_fen=2_000, generation=THEIR_PARENTS)
    daughter, son = new_resident(HAMI, past_fen=10_000), new_resident(URUMQI, current_fen=4_000)
    everybody = (father, daughter, son)
    await asyncio.gather(*map(town.moves_in, everybody))
    await town.told()
    await asyncio.gather(*map(town.credited, everybody))

    # He opens a wallet with his own face.
    opening = await household.wallet_opening(town.desks, psn_no=father.psn_no, area=HAMI)
    assert (await town.desks.wallets.OpenWallet(opening)).wallet.area == HAMI
    await household.credit(town.desks, psn_no=father.psn_no, area=HAMI, wallet_fen=500)

    # No group without the pledge; then the children join, and bind. The father wants the son's money first.
    founding = family_pb2.CreateGroupRequest(founder_psn_no=father.psn_no, request_id=str(uuid4()))
    assert (await refusal(town.desks.family.CreateGroup(founding))).reason == "PLEDGE_NOT_SIGNED"
    await household.sign_pledge(town.desks, psn_no=father.psn_no)
    group_id = (await town.desks.family.CreateGroup(founding)).group.group_id
    for child, authorised_fen in ((daughter, 3_000), (son, 5_000)):
        await joins(town, child, group_id=group_id, invited_by=father)
        await binds(town, child, group_id=group_id, for_whom=father, authorised_fen=authorised_fen)
    assert await ordered(town, father, son, daughter) == [son.psn_no, daughter.psn_no]
    await town.told()

    # A small bill takes of his past years alone; the next one takes everything in its order.
    small = await town.paid(Family(father), 400, at=OTHER_HOSPITAL)
    assert (small.amounts.own_past_fen, small.amounts.own_current_fen, small.amounts.psn_cash_pay) == (400, 0, 0)
    large = await town.paid(Family(father), 12_000, at=OTHER_HOSPITAL)
    amounts = large.amounts
    assert (amounts.own_past_fen, amounts.own_current_fen, amounts.wallet_pay) == (600, 2_000, 500)
    assert [(it.psn_no, it.relation, it.past_fen, it.current_fen) for it in large.funders] == [
        (son.psn_no, "CHILD", 0, 4_000),
        (daughter.psn_no, "CHILD", 3_000, 0),
    ]
    assert (amounts.acct_mulaid_pay, amounts.psn_cash_pay) == (7_000, 1_900)

    # Everybody is told of what concerns him.
    assert {"WALLET_CHANGED", "MEMBER_JOINED", "BOUND", "BINDING_CHANGED", "BILL_PAID"} <= set(
        await town.topics(father)
    )
    for child in (daughter, son):
        topics = await town.topics(child)
        assert {"INVITED", "BOUND", "ACCOUNT_PAID"} <= set(topics)
        assert topics.count("ACCOUNT_PAID") == 1
        assert "BILL_PAID" not in topics

    # The family sees who gave how much, and not what for.
    seen = await town.desks.uses.ListUses(uses_pb2.ListUsesRequest(by_psn_no=daughter.psn_no, group_id=group_id))
    assert {(use.funder_psn_no, use.beneficiary_psn_no, use.amount_fen) for use in seen.uses} == {
        (son.psn_no, father.psn_no, 4_000),
        (daughter.psn_no, father.psn_no, 3_000),
    }
    assert {use.institution_kind for use in seen.uses} == {uses_pb2.INSTITUTION_KIND_HOSPITAL}
    assert (seen.sums.used_fen, seen.sums.given_fen) == (7_000, 3_000)

    # The daughter keeps what she has not authorised.
    await town.at_rest()
    [left] = await town.balances(Family(daughter))
    assert (left.past_fen, left.held_fen) == (7_000, 0)
    await town.check()
