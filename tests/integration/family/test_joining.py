"""What is signed, and how an invitation ends: with a face, with a no, taken back, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from chassis.db import Database
from gongji.family.v1 import binding_pb2, counter_pb2, family_pb2, groups_pb2
from gongji.identity.v1 import attestations_pb2, person_pb2
from kernel.failures import Failure
from ops import faces
from ops.main import app
from tests.integration.family.house import GUANGZHOU, TEXT, TEXT_SHA256, TEXT_VERSION, House
from tests.integration.family.test_bindings import refused

SIBLING = person_pb2.RELATION_SIBLING
DECLINED, WITHDRAWN = binding_pb2.INVITATION_STATE_DECLINED, binding_pb2.INVITATION_STATE_WITHDRAWN
_OVER = "UPDATE invitations SET expires_at = now() WHERE invitation_id = $1"


async def siblings(house: House) -> tuple[str, str, str]:
    """A founder, a sibling who is not invited yet, and the group."""
    founder, sibling = await house.person(), await house.person()
    await house.siblings(founder, sibling)
    return founder, sibling, await house.group(founder)


def acceptance(invitation: binding_pb2.Invitation, attestation_id: str = "") -> family_pb2.AcceptInvitationRequest:
    """The invited person says yes."""
    return family_pb2.AcceptInvitationRequest(
        invitation_id=invitation.invitation_id,
        invitee_psn_no=invitation.invitee_psn_no,
        attestation_id=attestation_id,
    )


async def decline(house: House, invitation: binding_pb2.Invitation, *, by: str) -> binding_pb2.Invitation:
    """Somebody says no."""
    request = groups_pb2.DeclineInvitationRequest(invitation_id=invitation.invitation_id, invitee_psn_no=by)
    return (await house.groups.DeclineInvitation(request)).invitation


async def withdraw(house: House, invitation: binding_pb2.Invitation, *, by: str) -> binding_pb2.Invitation:
    """Somebody takes it back."""
    request = groups_pb2.WithdrawInvitationRequest(invitation_id=invitation.invitation_id, inviter_psn_no=by)
    return (await house.groups.WithdrawInvitation(request)).invitation


async def test_nobody_joins_without_his_own_face(house: House) -> None:
    """No face, another's, one shown for something else, one used for another invitation: each has its refusal."""
    founder, sibling, group_id = await siblings(house)
    other_group = await house.group(founder)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    accept = house.family.AcceptInvitation
    wallet = await faces.shown(house.attestations, sibling, attestations_pb2.ATTESTATION_PURPOSE_OPEN_WALLET)
    assert (await refused(accept(acceptance(invitation)))).reason == "FACE_NOT_SHOWN"
    founders = acceptance(invitation, await house.face(founder))
    assert (await refused(accept(founders))).reason == "ATTESTATION_OF_ANOTHER_PERSON"
    assert (await refused(accept(acceptance(invitation, wallet)))).reason == "ATTESTATION_OF_ANOTHER_PURPOSE"
    assert (await refused(accept(acceptance(invitation, str(uuid4()))))).reason == "ATTESTATION_UNKNOWN"
    face = await house.face(sibling)
    await accept(acceptance(await house.invite(other_group, founder, sibling, SIBLING), face))
    assert (await refused(accept(acceptance(invitation, face)))).reason == "ATTESTATION_USED"
    assert {member.psn_no for member in (await house.see_group(group_id, founder)).members} == {founder}


async def test_a_refusal_does_not_spend_the_face(house: House) -> None:
    """Paused when he says yes, insured again a moment later: the same face does."""
    founder, sibling, group_id = await siblings(house)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    request = acceptance(invitation, await house.face(sibling))
    await house.status(sibling, "2")
    await house.until_projected(sibling, "2")
    assert (await refused(house.family.AcceptInvitation(request))).reason == "INVITEE_NOT_INSURED"
    await house.status(sibling, "1")
    assert len((await house.family.AcceptInvitation(request)).group.members) == 2


async def test_of_many_acceptances_at_once_one_joins(house: House) -> None:
    """The same face, sent five times: one joins, the others hear that it is done."""
    founder, sibling, group_id = await siblings(house)
    request = acceptance(await house.invite(group_id, founder, sibling, SIBLING), await house.face(sibling))
    answers = await asyncio.gather(*(house.family.AcceptInvitation(request) for _ in range(5)), return_exceptions=True)
    refusals = [answer.reason for answer in answers if isinstance(answer, Failure)]
    assert refusals == ["INVITATION_ALREADY_ACCEPTED"] * 4


async def test_an_invitation_is_declined_by_the_invited_alone_and_stays_so(house: House) -> None:
    """Another's no is refused; after a no it is neither accepted nor taken back, and he can be invited again."""
    founder, sibling, group_id = await siblings(house)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    assert (await refused(decline(house, invitation, by=founder))).reason == "NOT_THE_INVITEE"
    assert (await decline(house, invitation, by=sibling)).state == DECLINED
    assert (await decline(house, invitation, by=sibling)).state == DECLINED
    assert (await refused(house.accept(invitation))).reason == "INVITATION_DECLINED"
    assert (await refused(withdraw(house, invitation, by=founder))).reason == "INVITATION_DECLINED"
    await house.bring_in(group_id, founder, sibling, SIBLING)


async def test_an_invitation_is_taken_back_by_its_inviter_alone(house: House) -> None:
    """After that it is neither accepted nor declined; an accepted one is not taken back, nor one that nobody knows."""
    founder, sibling, group_id = await siblings(house)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    assert (await refused(withdraw(house, invitation, by=sibling))).reason == "NOT_THE_INVITER"
    assert (await withdraw(house, invitation, by=founder)).state == WITHDRAWN
    assert (await withdraw(house, invitation, by=founder)).state == WITHDRAWN
    assert (await refused(house.accept(invitation))).reason == "INVITATION_WITHDRAWN"
    assert (await refused(decline(house, invitation, by=sibling))).reason == "INVITATION_WITHDRAWN"
    again = await house.invite(group_id, founder, sibling, SIBLING)
    await house.accept(again)
    assert (await refused(withdraw(house, again, by=founder))).reason == "INVITATION_ALREADY_ACCEPTED"
    again.invitation_id = str(uuid4())
    assert (await refused(decline(house, again, by=sibling))).reason == "INVITATION_UNKNOWN"


async def test_a_relation_that_fell_since_the_invitation_is_asked_about_again(house: House) -> None:
    """The document behind it was withdrawn: the invitation is not accepted any more."""
    founder, sibling = await house.person(), await house.person()
    fact = await house.siblings(founder, sibling)
    invitation = await house.invite(await house.group(founder), founder, sibling, SIBLING)
    await house.revoke(fact)
    assert (await refused(house.accept(invitation))).reason == "KINSHIP_NOT_PROVEN"


async def test_an_in_law_is_not_invited(house: House) -> None:
    """The husband of a daughter is no relative, whatever the invitation says he is."""
    mother, daughter, husband = await house.person(born="19550101"), await house.person(), await house.person()
    await house.parent(mother, daughter)
    await house.married(daughter, husband)
    group_id = await house.group(mother)
    for relation in (person_pb2.RELATION_CHILD, person_pb2.RELATION_SPOUSE, SIBLING):
        unproven = await refused(house.invite(group_id, mother, husband, relation))
        assert (unproven.reason, unproven.metadata["because"]) == ("KINSHIP_NOT_PROVEN", "IN_LAW_ONLY")


async def test_what_has_expired_is_not_accepted(house: House) -> None:
    """Whether or not the sweep has come by: neither yes nor no, and nothing is taken back."""
    founder, sibling, group_id = await siblings(house)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as connection,
    ):
        await connection.execute(_OVER, UUID(invitation.invitation_id))
    for call in (house.accept(invitation), decline(house, invitation, by=sibling)):
        assert (await refused(call)).reason == "INVITATION_EXPIRED"
    assert (await refused(withdraw(house, invitation, by=founder))).reason == "INVITATION_EXPIRED"
    await house.bring_in(group_id, founder, sibling, SIBLING)


async def test_somebody_of_another_province_is_not_invited(house: House) -> None:
    """A sister in Guangzhou gets money by her wallet, for which nobody needs a group."""
    founder, sister = await house.person(), await house.person(GUANGZHOU)
    await house.siblings(founder, sister)
    group_id = await house.group(founder)
    abroad = await refused(house.invite(group_id, founder, sister, SIBLING))
    assert abroad.reason == "INVITEE_IN_ANOTHER_PROVINCE"


async def test_what_is_signed_is_a_text_on_record(house: House) -> None:
    """An unknown version, another language, another text than the registered one: none of them is a pledge."""
    person = await house.person()
    for changed, reason in (
        ({"text_version": "1999-01"}, "PLEDGE_TEXT_UNKNOWN"),
        ({"language": "ug"}, "PLEDGE_TEXT_UNKNOWN"),
        ({"text_sha256": bytes(32)}, "PLEDGE_TEXT_ALTERED"),
        ({"text_sha256": b"short"}, "REQUEST_INVALID"),
        ({"language": "Chinese"}, "REQUEST_INVALID"),
    ):
        fields = {"psn_no": person, "text_version": TEXT_VERSION, "text_sha256": TEXT_SHA256, **changed}
        request = family_pb2.SignPledgeRequest(**fields)  # type: ignore[arg-type]  # A table row.
        assert (await refused(house.family.SignPledge(request))).reason == reason
    assert list((await house.groups.ListPledges(groups_pb2.ListPledgesRequest(psn_no=person))).pledges) == []
    await house.sign(person)
    (pledge,) = (await house.groups.ListPledges(groups_pb2.ListPledgesRequest(psn_no=person))).pledges
    assert (pledge.text_version, pledge.language, pledge.text_sha256, pledge.channel) == (
        TEXT_VERSION,
        "zh-CN",
        TEXT_SHA256,
        counter_pb2.CHANNEL_APP,
    )


async def test_an_operator_registers_a_text_from_a_file(house: House, tmp_path: Path) -> None:
    """The command prints the hash that is signed, the same again too; another text of that name ends it with 2."""
    file, version = tmp_path / "pledge.txt", uuid4().hex
    asked = ["pledge-text", "register", str(file), "--version", version, "--operator", "wang"]
    asked += ["--address", house.world.address("family")]

    async def run() -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, asked)

    file.write_text(TEXT, encoding="utf-8")
    assert [(await run()).stdout for _ in range(2)] == [TEXT_SHA256.hex() + "\n"] * 2
    file.write_text("另一个承诺书", encoding="utf-8")
    refusal = await run()
    assert (refusal.exit_code, "PLEDGE_TEXT_DIFFERS" in refusal.stderr) == (2, True)
    file.write_bytes(TEXT.encode("gb18030"))
    assert (await run()).exit_code == 2


async def test_a_registered_text_never_changes(house: House) -> None:
    """The same again is the same; another under its version and language is refused; another language is another."""
    version = uuid4().hex
    first = groups_pb2.RegisterPledgeTextRequest(
        text_version=version, language="en", text="I lend my account.", opter="zhang01"
    )
    registered = await house.groups.RegisterPledgeText(first)
    assert registered.is_new
    assert registered.registered.text_sha256 == hashlib.sha256(b"I lend my account.").digest()
    assert not (await house.groups.RegisterPledgeText(first)).is_new
    other = groups_pb2.RegisterPledgeTextRequest()
    other.CopyFrom(first)
    other.text = "I lend nothing."
    assert (await refused(house.groups.RegisterPledgeText(other))).reason == "PLEDGE_TEXT_DIFFERS"
    shown = await house.groups.GetPledgeText(groups_pb2.GetPledgeTextRequest(text_version=version, language="en"))
    assert shown.text == "I lend my account."
    newest = await house.groups.GetPledgeText(groups_pb2.GetPledgeTextRequest(language="en"))
    assert (newest.registered.text_version, newest.text) == (version, "I lend my account.")
    with pytest.raises(Failure, match="PLEDGE_TEXT_UNKNOWN"):
        await house.groups.GetPledgeText(groups_pb2.GetPledgeTextRequest(text_version="none", language="en"))
