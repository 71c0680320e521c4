"""A family sees what it used: real bills, through settlement's events, in family's list."""

from __future__ import annotations

from gongji.family.v1 import family_pb2, uses_pb2
from tests.e2e.asking import revoke
from tests.e2e.town import PHARMACY, Resident, Town

HOSPITAL_KIND, PHARMACY_KIND = uses_pb2.INSTITUTION_KIND_HOSPITAL, uses_pb2.INSTITUTION_KIND_PHARMACY


async def used(town: Town, by: Resident, *, group_id: str = "") -> uses_pb2.ListUsesResponse:
    """What this person sees once every room has heard the others."""
    await town.told()
    return await town.desks.uses.ListUses(uses_pb2.ListUsesRequest(by_psn_no=by.psn_no, group_id=group_id))


async def test_a_family_sees_what_was_used_by_whom(town: Town) -> None:
    """A hospital's bill, a pharmacy's, and the first taken back: each funder's share to the fen, under their group."""
    family = await town.couple()
    first, second = family.funders
    hospital = await town.paid(family, 20_000)  # 30.00 of his own, all that the first has, 70.00 of the second's.
    pharmacy = await town.paid(family, 1_000, at=PHARMACY)
    await town.desks.settlement.RevokeSettle(revoke(hospital.setl_id))
    await town.at_rest()
    groups = await town.desks.family.ListGroups(family_pb2.ListGroupsRequest(psn_no=family.patient.psn_no))
    (group,) = groups.groups

    seen = await used(town, family.patient, group_id=group.group_id)
    assert {use.group_id for use in seen.uses} == {group.group_id}
    assert {(use.funder_psn_no, use.amount_fen, use.setl_id, use.institution_kind) for use in seen.uses[2:]} == {
        (second.psn_no, 1_000, pharmacy.setl_id, PHARMACY_KIND),
        (first.psn_no, 10_000, hospital.setl_id, HOSPITAL_KIND),
        (second.psn_no, 7_000, hospital.setl_id, HOSPITAL_KIND),
    }
    assert {(use.funder_psn_no, use.amount_fen, use.original_setl_id) for use in seen.uses[:2]} == {
        (first.psn_no, -10_000, hospital.setl_id),
        (second.psn_no, -7_000, hospital.setl_id),
    }
    assert seen.sums == uses_pb2.UseSums(used_fen=18_000, returned_fen=17_000, received_fen=1_000)
    assert not any(member.name in str(seen) for member in family.members)
    for funder in family.funders:
        alone = await used(town, funder)
        assert list(alone.uses) == [use for use in seen.uses if use.funder_psn_no == funder.psn_no]
