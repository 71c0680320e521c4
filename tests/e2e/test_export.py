"""`gongji identity export`: one file with everything the five rooms hold about a person."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.rpc.client import channel
from gongji.family.v1 import counter_pb2, counter_pb2_grpc, family_pb2, groups_pb2
from gongji.identity.v1 import attestations_pb2 as pb
from gongji.identity.v1 import rights_pb2
from gongji.identity.v1.attestations_pb2_grpc import AttestationServiceStub
from kernel.ids import PsnNo
from ops.identity.export import ROOMS
from ops.sandbox_verifier import SandboxKey
from tests.e2e.relatives import Pair
from tests.e2e.town import HAMI, HOSPITAL, TESTER, THEIR_PARENTS, Town, new_resident

GONGJI = "from ops.main import main; main()"


async def face_of(town: Town, psn_no: PsnNo) -> str:
    """The id of an attestation that a sandbox verifier gave for an export."""
    key = SandboxKey.new("export-sandbox")
    async with channel(town.world.address("identity"), caller=TESTER, call_timeout_s=60) as opened:
        stub = AttestationServiceStub(opened)
        await stub.RegisterVerifier(
            pb.RegisterVerifierRequest(
                verifier_no=key.verifier_no,
                kid=key.kid,
                public_key=key.public_key,
                name="sandbox",
                is_sandbox=True,
                opter="zhang01",
            )
        )
        answer = await stub.VerifyAttestation(
            pb.VerifyAttestationRequest(
                attestation=key.attestation(psn_no, "EXPORT_DATA", now=datetime.now(UTC)),
                psn_no=psn_no,
                purpose=pb.ATTESTATION_PURPOSE_EXPORT_DATA,
            )
        )
    return str(answer.attestation_id)


async def export(town: Town, psn_no: PsnNo, face: str, out: Path, **elsewhere: str) -> tuple[int | None, str]:
    """The command's exit code, and what it wrote on both streams."""
    addresses = {room: town.world.address(room) for room in ROOMS} | elsewhere
    places = [argument for room, address in addresses.items() for argument in (f"--{room}", address)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", GONGJI, "identity", "export", psn_no),
        *("--attestation", face, "--out", str(out), "--operator", "tester", *places),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode, (said + complained).decode()


def read(out: Path) -> dict[str, Any]:
    """The file's content."""
    content: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return content


async def test_one_file_holds_what_every_room_knows_of_a_person(town: Town, tmp_path: Path) -> None:
    """Certificate in clear, group and bindings, statement, messages, and who looked; his alone to read."""
    family = await town.couple()
    paid = await town.paid(family, 8_000)
    await town.at_rest()
    await town.told()
    me, out = family.funders[0], tmp_path / "me.json"
    face = await face_of(town, me.psn_no)
    code, said = await export(town, me.psn_no, face, out)
    assert (code, stat.S_IMODE(out.stat().st_mode)) == (0, 0o600), said
    file = read(out)
    assert (file["identity"]["person"]["certno"], file["identity"]["person"]["psn_name"]) == (me.certno, me.name)
    assert file["missing"] == []
    (binding,) = file["family"]["bindings"]
    assert (binding["funder_psn_no"], binding["state"]) == (me.psn_no, "BINDING_STATE_ACTIVE")
    assert [group["group_id"] for group in file["family"]["groups"]] == [binding["group_id"]]
    (account,) = file["accounts"]
    assert [line["setl_id"] for line in account["statement"] if line["kind"] == "PAYMENT"] == [paid.setl_id]
    assert [(bill["setl_id"], bill["role"]) for bill in file["identity"]["funded_bills"]] == [(paid.setl_id, "FUNDER")]
    assert account["balance"]["past_fen"] == account["statement"][-1]["balance_after_fen"]
    assert "TOPIC_ACCOUNT_PAID" in {message["topic"] for message in file["messages"]}
    looked = {row["asked_by"] for row in file["identity"]["lookups"]}
    assert {"service:family", "operator:tester"} <= looked
    others = (family.patient, family.funders[1])
    assert not any(secret in out.read_text() for other in others for secret in (other.certno, other.name))


async def test_the_file_holds_what_the_family_room_keeps_also_of_a_group_that_was_left(
    town: Town, tmp_path: Path
) -> None:
    """Pledge, invitation, binding with its amounts, departure, uses, an officer's deed, and who read of it."""
    family = await town.couple()
    paid = await town.paid(family, 8_000)
    await town.at_rest()
    await town.told()
    me, out = family.funders[0], tmp_path / "me.json"
    seen = Timestamp()
    seen.GetCurrentTime()
    card = counter_pb2.SeenDocument(psn_no=me.psn_no, kind=counter_pb2.DOCUMENT_KIND_RESIDENT_ID, seen_time=seen)
    await town.desks.family.AmendAuthorisedAmount(
        family_pb2.AmendAuthorisedAmountRequest(
            binding_id=me.binding_id,
            funder_psn_no=me.psn_no,
            authorised_fen=9_900_00,
            counter=counter_pb2.Counter(opter="zhang01", documents=[card]),
        )
    )
    async with channel(town.world.address("family"), caller=TESTER, call_timeout_s=60) as opened:
        await counter_pb2_grpc.CounterServiceStub(opened).ListCounterDeeds(
            counter_pb2.ListCounterDeedsRequest(psn_no=me.psn_no)
        )
    (group,) = (await town.desks.family.ListGroups(family_pb2.ListGroupsRequest(psn_no=me.psn_no))).groups
    await town.desks.groups.LeaveGroup(groups_pb2.LeaveGroupRequest(group_id=group.group_id, psn_no=me.psn_no))
    code, said = await export(town, me.psn_no, await face_of(town, me.psn_no), out)
    assert code == 0, said
    kept = read(out)["family"]
    assert kept["groups"] == []
    assert [(each["text_version"], each["channel"]) for each in kept["pledges"]] == [
        (kept["pledges"][0]["text_version"], "CHANNEL_APP")
    ]
    assert [(each["invitee_psn_no"], each["state"]) for each in kept["invitations"]] == [
        (me.psn_no, "INVITATION_STATE_ACCEPTED")
    ]
    (binding,) = kept["bindings"]
    assert (binding["binding_id"], binding["state"]) == (me.binding_id, "BINDING_STATE_UNBOUND")
    assert (binding["authorised_fen"], binding["per_payment_fen"], binding["per_month_fen"]) == (9_900_00, None, None)
    (departure,) = kept["departures"]
    assert (departure["group_id"], departure["cause"]) == (group.group_id, "DEPARTURE_CAUSE_LEFT")
    (use,) = kept["uses"]
    assert (use["setl_id"], use["funder_psn_no"], use["institution_kind"]) == (
        paid.setl_id,
        me.psn_no,
        "INSTITUTION_KIND_HOSPITAL",
    )
    (deed,) = kept["counter_deeds"]
    assert (deed["deed"], deed["opter"], deed["documents"][0]["kind"]) == (
        "AMEND",
        "zhang01",
        "DOCUMENT_KIND_RESIDENT_ID",
    )
    assert [each["asked_by"] for each in kept["counter_lookups"]] == [TESTER]


async def test_the_file_holds_a_wallet_with_what_is_under_way(town: Town, tmp_path: Path) -> None:
    """The transfer that waits for the son stands in his list, and its amount under way."""
    pair = await Pair.living(
        town, mother=new_resident(past_fen=10_000, generation=THEIR_PARENTS), son=new_resident(HAMI)
    )
    await pair.opened(pair.son)
    given = await pair.given(3_000)
    me, out = pair.son, tmp_path / "me.json"
    code, said = await export(town, me.psn_no, await face_of(town, me.psn_no), out)
    assert code == 0, said
    (wallet,) = read(out)["wallets"]
    assert (wallet["wallet"]["area"], wallet["under_way"]["incoming_fen"]) == (HAMI, 3_000)
    assert [(each["state"], each["amount_fen"]) for each in wallet["transfers"]] == [
        ("TRANSFER_STATE_PENDING_ACCEPT", 3_000)
    ]
    await pair.accepted(given)


async def test_everybody_of_ours_says_who_looks_somebody_up(town: Town) -> None:
    """Rooms, terminals and who runs a tool: of a family that was bound and paid a bill, no look-up is of nobody."""
    family = await town.couple()
    await town.paid(family, 8_000)
    await town.at_rest()
    await town.told()
    asked = {
        str(each.asked_by)
        for member in family.members
        for each in (await town.desks.rights.ListLookups(rights_pb2.ListLookupsRequest(psn_no=member.psn_no))).lookups
    }
    asked.discard("service:notify")  # It asks only for names of which it has not been told.
    assert asked == {"service:family", f"terminal:{HOSPITAL}/T01", "operator:tester"}


async def test_a_face_counts_for_one_file_and_no_file_is_overwritten(town: Town, tmp_path: Path) -> None:
    """A file that is there costs no face; a face that was used gives no second file."""
    family = await town.couple()
    me, out, other = family.patient, tmp_path / "me.json", tmp_path / "again.json"
    face = await face_of(town, me.psn_no)
    out.write_text("kept")
    code, said = await export(town, me.psn_no, face, out)
    assert (code, out.read_text()) == (2, "kept")
    assert "exists already" in said
    assert (await export(town, me.psn_no, face, other))[0] == 0
    other.unlink()
    code, said = await export(town, me.psn_no, face, other)
    assert (code, other.exists()) == (2, False)
    assert "ATTESTATION_USED" in said


async def test_a_room_that_is_away_is_named_in_the_file(town: Town, tmp_path: Path) -> None:
    """Identity's part is written all the same, for the face is spent; the exit code says that something is missing."""
    family = await town.couple()
    me, out = family.patient, tmp_path / "me.json"
    code, said = await export(town, me.psn_no, await face_of(town, me.psn_no), out, notify="127.0.0.1:1")
    assert (code, read(out)["missing"]) == (1, ["messages: SERVICE_UNAVAILABLE"])
    assert "missing: messages: SERVICE_UNAVAILABLE" in said
    assert read(out)["accounts"] != []
