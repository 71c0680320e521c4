"""At the counter an officer acts for people without a smartphone, and it is kept whose documents he saw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.db import Database
from gongji.family.v1 import binding_pb2, counter_pb2, family_pb2, groups_pb2
from gongji.identity.v1 import person_pb2
from tests.integration.family.house import GUANGZHOU, TEXT_SHA256, TEXT_VERSION, House
from tests.integration.family.test_bindings import refused

SIBLING, CHILD = person_pb2.RELATION_SIBLING, person_pb2.RELATION_CHILD
ID_CARD, REGISTER = counter_pb2.DOCUMENT_KIND_RESIDENT_ID, counter_pb2.DOCUMENT_KIND_HOUSEHOLD_REGISTER
_DEEDS = "SELECT deed, opter, second_opter, documents FROM counter_deeds WHERE subject = $1 ORDER BY deed_no"


def seen(
    psn_no: str, kind: counter_pb2.DocumentKind.ValueType = ID_CARD, *, ago: timedelta = timedelta()
) -> counter_pb2.SeenDocument:
    """A document that an officer saw."""
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC) - ago)
    return counter_pb2.SeenDocument(psn_no=psn_no, kind=kind, seen_time=at)


def counter(*people: str, second_opter: str = "") -> counter_pb2.Counter:
    """The officer, who saw the identity cards of these people."""
    return counter_pb2.Counter(opter="zhang01", second_opter=second_opter, documents=[seen(one) for one in people])


async def deeds(house: House, subject: str) -> list[tuple[str, str, str | None, list[Any]]]:
    """What is kept of what was done to it."""
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as connection,
    ):
        rows = await connection.fetch(_DEEDS, subject)
    return [(row["deed"], row["opter"], row["second_opter"], row["documents"]) for row in rows]


async def invited(house: House, group_id: str, inviter: str, invitee: str, at: counter_pb2.Counter) -> str:
    """An invitation sent at the counter; its id."""
    answer = await house.family.InviteMember(
        family_pb2.InviteMemberRequest(
            group_id=group_id,
            inviter_psn_no=inviter,
            invitee_psn_no=invitee,
            relation=SIBLING,
            request_id=str(uuid4()),
            counter=at,
        )
    )
    return str(answer.invitation.invitation_id)


async def test_two_old_people_do_everything_at_the_counter(house: House) -> None:
    """Pledge, group, invitation, acceptance without a face, binding and its end: each is kept with what was seen."""
    one, other = [await house.person(born="19450101") for _ in range(2)]
    await house.siblings(one, other)
    pledge = await house.family.SignPledge(
        family_pb2.SignPledgeRequest(
            psn_no=one, text_version=TEXT_VERSION, text_sha256=TEXT_SHA256, counter=counter(one)
        )
    )
    signed = (await house.groups.ListPledges(groups_pb2.ListPledgesRequest(psn_no=one))).pledges
    assert [(kept.pledge_id, kept.channel) for kept in signed] == [(pledge.pledge_id, counter_pb2.CHANNEL_COUNTER)]
    group = await house.family.CreateGroup(
        family_pb2.CreateGroupRequest(founder_psn_no=one, request_id=str(uuid4()), counter=counter(one))
    )
    group_id = group.group.group_id
    both = counter(one, other)
    invitation_id = await invited(house, group_id, one, other, both)
    await house.family.AcceptInvitation(
        family_pb2.AcceptInvitationRequest(invitation_id=invitation_id, invitee_psn_no=other, counter=both)
    )
    binding = (
        await house.family.Bind(
            family_pb2.BindRequest(
                group_id=group_id,
                funder_psn_no=one,
                beneficiary_psn_no=other,
                authorised_fen=100,
                request_id=str(uuid4()),
                counter=both,
            )
        )
    ).binding
    ended = await house.family.Unbind(
        family_pb2.UnbindRequest(binding_id=binding.binding_id, by_psn_no=other, counter=counter(other))
    )
    assert ended.binding.state == binding_pb2.BINDING_STATE_UNBOUND
    kept = await deeds(house, f"invitation:{invitation_id}")
    assert [(deed, opter, second) for deed, opter, second, _ in kept] == [
        ("INVITE", "zhang01", None),
        ("ACCEPT", "zhang01", None),
    ]
    assert [{document["psn_no"]: document["kind"] for document in documents} for *_, documents in kept] == [
        {one: "RESIDENT_ID", other: "RESIDENT_ID"}
    ] * 2
    assert [deed for deed, *_ in await deeds(house, f"binding:{binding.binding_id}")] == ["BIND", "UNBIND"]
    assert [deed for deed, *_ in await deeds(house, f"group:{group_id}")] == ["CREATE_GROUP"]
    assert [deed for deed, *_ in await deeds(house, f"pledge:{pledge.pledge_id}")] == ["SIGN_PLEDGE"]


async def test_an_officer_without_the_documents_of_both_sides_is_refused(house: House) -> None:
    """One side missing, a stranger's, an old one, a register instead of an adult's card; and nothing is kept of it."""
    one, other, stranger = [await house.person() for _ in range(3)]
    await house.siblings(one, other)
    group_id = await house.group(one)
    invitation = await house.invite(group_id, one, other, SIBLING)

    async def accepted(*documents: counter_pb2.SeenDocument, second_opter: str = "") -> str:
        at = counter_pb2.Counter(opter="zhang01", second_opter=second_opter, documents=documents)
        request = family_pb2.AcceptInvitationRequest(
            invitation_id=invitation.invitation_id, invitee_psn_no=other, counter=at
        )
        return (await refused(house.family.AcceptInvitation(request))).reason

    day = timedelta(days=1, minutes=1)
    assert await accepted(seen(other)) == "DOCUMENT_MISSING"
    assert await accepted(seen(one)) == "DOCUMENT_MISSING"
    assert await accepted(seen(one), seen(other, REGISTER)) == "DOCUMENT_MISSING"
    assert await accepted(seen(one), seen(other), seen(stranger)) == "DOCUMENT_OF_NO_PARTY"
    assert await accepted(seen(one), seen(other, ago=day)) == "DOCUMENT_NOT_SEEN_TODAY"
    assert await accepted(seen(one), seen(other, ago=-day)) == "DOCUMENT_NOT_SEEN_TODAY"
    assert await accepted(seen(one), seen(other), second_opter="zhang01") == "SECOND_OPTER_IS_THE_FIRST"
    assert await accepted() == "REQUEST_INVALID"
    assert await deeds(house, f"invitation:{invitation.invitation_id}") == []


async def test_four_eyes_where_the_area_says_so(house: House) -> None:
    """Guangzhou asks for a second officer; with him it is done, and both are kept."""
    one, other = [await house.person(GUANGZHOU, born="19550101") for _ in range(2)]
    await house.parent(one, child := await house.person(GUANGZHOU))
    await house.parent(other, child)
    group_id = await house.group(one)
    request = family_pb2.InviteMemberRequest(
        group_id=group_id,
        inviter_psn_no=one,
        invitee_psn_no=child,
        relation=CHILD,
        request_id=str(uuid4()),
        counter=counter(one, child),
    )
    assert (await refused(house.family.InviteMember(request))).reason == "SECOND_OPTER_MISSING"
    request.counter.second_opter = "li02"
    invitation = (await house.family.InviteMember(request)).invitation
    ((deed, opter, second, _),) = await deeds(house, f"invitation:{invitation.invitation_id}")
    assert (deed, opter, second) == ("INVITE", "zhang01", "li02")


async def test_a_child_is_brought_in_with_the_household_register(house: House) -> None:
    """What an adult shows a card for, a child of eight shows the register for."""
    mother, child = await house.person(), await house.person(born="20180301", insutype="390")
    await house.parent(mother, child)
    group_id = await house.group(mother)
    answer = await house.family.InviteMember(
        family_pb2.InviteMemberRequest(
            group_id=group_id,
            inviter_psn_no=mother,
            invitee_psn_no=child,
            relation=CHILD,
            request_id=str(uuid4()),
            counter=counter_pb2.Counter(opter="zhang01", documents=[seen(mother), seen(child, REGISTER)]),
        )
    )
    assert answer.invitation.state == binding_pb2.INVITATION_STATE_ACCEPTED


async def test_who_comes_with_the_other_side_shows_both_cards(house: House) -> None:
    """Raising an amount, ordering, unbinding, going: one card is needed, the other's is kept beside it."""
    funder, patient, group_id = await house.couple()
    binding = await house.bind(group_id, funder, patient, authorised_fen=100)
    both = counter(funder, patient)
    await house.family.AmendAuthorisedAmount(
        family_pb2.AmendAuthorisedAmountRequest(
            binding_id=binding.binding_id, funder_psn_no=funder, authorised_fen=200, counter=both
        )
    )
    await house.family.SetDeductOrder(
        family_pb2.SetDeductOrderRequest(beneficiary_psn_no=patient, funder_psn_nos=[funder], counter=both)
    )
    unbinding = family_pb2.UnbindRequest(binding_id=binding.binding_id, by_psn_no=patient, counter=counter(funder))
    assert (await refused(house.family.Unbind(unbinding))).reason == "DOCUMENT_MISSING"
    unbinding.counter.CopyFrom(both)
    await house.family.Unbind(unbinding)
    kept = await deeds(house, f"binding:{binding.binding_id}")
    assert [deed for deed, *_ in kept] == ["AMEND", "UNBIND"]
    assert all({seen["psn_no"] for seen in documents} == {funder, patient} for *_, documents in kept)
    await house.groups.RemoveMember(
        groups_pb2.RemoveMemberRequest(group_id=group_id, psn_no=patient, founder_psn_no=funder, counter=both)
    )


async def test_no_number_of_a_document_can_be_told() -> None:
    """The contract has a kind, a person and a time for a document, and nothing else."""
    assert set(counter_pb2.SeenDocument.DESCRIPTOR.fields_by_name) == {"psn_no", "kind", "seen_time"}
