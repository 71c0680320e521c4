"""A refusal tells something of people too: who was asked about finds it among his look-ups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from chassis.rpc.client import CALLER
from gongji.identity.v1 import (
    cards_pb2,
    credentials_pb2,
    identity_pb2,
    kinship_pb2,
    person_pb2,
    rights_pb2,
    risk_pb2,
    sanctions_pb2,
)
from services.identity.domain.attestation import Purpose
from tests.integration.identity.attesting import attested
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, refusal
from tests.integration.identity.test_lookups import DEATH, DOUBLE, NOWHERE, OFFICER, RISK_EVENT, C, L, Scene, W

ASKED = ((CALLER, OFFICER),)
DECIDED: dict[str, Any] = {"opter": "zhang01", "cause": "核对"}


Calls = dict[str, tuple[Callable[..., Awaitable[object]], Message]]
"""By the reason of its refusal, a method and what it is asked."""


def about_wang(scene: Scene) -> Calls:
    """Calls that meet WANG alone."""
    room = scene.identity
    wang: dict[str, Any] = {"psn_cert_type": person_pb2.CERTIFICATE_TYPE_RESIDENT_ID, **WANG}
    male: dict[str, Any] = {"field": rights_pb2.CORRECTION_FIELD_SEX, "value": "1"}
    granted: dict[str, Any] = {"state": rights_pb2.CORRECTION_STATE_GRANTED, "value_on_evidence": "王建民"}
    return {
        "PERSON_DIFFERS": (
            room.stub.RegisterPerson,
            identity_pb2.RegisterPersonRequest(**(wang | {"psn_name": "王建民"})),
        ),
        "CORRECTION_VALUE_DIFFERS": (
            room.rights.DecideCorrection,
            rights_pb2.DecideCorrectionRequest(correction_id=scene.correction_id, **granted, **DECIDED),
        ),
        "CORRECTION_WAITING": (room.rights.RequestCorrection, scene.correction("王建民")),
        "CORRECTION_CHANGES_NOTHING": (
            room.rights.RequestCorrection,
            rights_pb2.RequestCorrectionRequest(
                psn_no=W, evidence=rights_pb2.CORRECTION_EVIDENCE_POLICE_STATEMENT, **male
            ),
        ),
        "CARD_ALREADY_HELD": (
            room.cards.IssueCard,
            cards_pb2.IssueCardRequest(psn_no=W, card_no="B12345678", opter="zhang01"),
        ),
        "SANCTION_OVER": (
            room.sanctions.LiftSanction,
            sanctions_pb2.LiftSanctionRequest(sanction_id=scene.sanction_id, **DECIDED),
        ),
        "RISK_EVENT_DECIDED": (
            room.risk.DecideRiskEvent,
            risk_pb2.DecideRiskEventRequest(risk_event_id=RISK_EVENT, state=risk_pb2.RISK_STATE_CONFIRMED, **DECIDED),
        ),
    }


def about_relatives(scene: Scene, face: str) -> Calls:
    """Calls that meet several people, or somebody else."""
    room = scene.identity
    wedding = kinship_pb2.SubmitKinshipFactRequest(
        kind=person_pb2.KINSHIP_FACT_KIND_MARRIED_TO,
        psn_no=W,
        other_psn_no=C,
        evidence=kinship_pb2.EVIDENCE_MARRIAGE_CERTIFICATE,
        from_date="2020-05-20",
    )
    rejected = kinship_pb2.ReviewKinshipFactRequest(
        fact_id=scene.fact_id, state=person_pb2.KINSHIP_FACT_STATE_REJECTED, **DECIDED
    )
    return {
        "SPOUSE_ALREADY": (room.kinship.SubmitKinshipFact, wedding),
        "FACT_NOT_REVIEWABLE": (room.kinship.ReviewKinshipFact, rejected),
        "MERGE_DIFFERS": (
            room.stub.MergePersons,
            identity_pb2.MergePersonsRequest(keep_psn_no=W, double_psn_no=L, **DECIDED),
        ),
        "WARD_NOT_RELATED": (
            room.credentials.AddWard,
            credentials_pb2.AddWardRequest(guardian_psn_no=W, ward_psn_no=L, guardian_attestation_id=face),
        ),
    }


async def refused_rows(
    identity: Identity, method: Callable[..., Awaitable[object]], request: Message
) -> tuple[str, set[str]]:
    """The reason of a call's refusal, and whom it left a refused look-up by the officer; no other row is left."""
    async with identity.database.driver_connection() as connection:
        last = await connection.fetchval("SELECT coalesce(max(id), 0) FROM lookups")
        _, reason, _ = await refusal(method(request, metadata=ASKED))
        rows = await connection.fetch("SELECT * FROM lookups WHERE id > $1", last)
    assert all((row["asked_by"], row["purpose"][-8:]) == (OFFICER, "_REFUSED") for row in rows), reason
    return reason, {row["psn_no"] for row in rows}


async def test_whom_a_refusal_tells_of_was_looked_up(identity: Identity) -> None:
    """That a name is wrong, a card held, a fact decided or a relation missing is on record for whom it is about."""
    scene = Scene(identity)
    await scene.begin()
    married = kinship_pb2.ReviewKinshipFactRequest(
        fact_id=scene.fact_id, state=person_pb2.KINSHIP_FACT_STATE_VERIFIED, opter="zhang01"
    )
    await identity.kinship.ReviewKinshipFact(married)
    identity.clock.advance(days=200)
    await identity.risk.DecideRiskEvent(
        risk_pb2.DecideRiskEventRequest(risk_event_id=RISK_EVENT, state=risk_pb2.RISK_STATE_DISMISSED, **DECIDED)
    )
    face = await attested(identity, W, Purpose.ADD_WARD)
    asked = about_wang(scene) | about_relatives(scene, face)
    found = {reason: await refused_rows(identity, *call) for reason, call in asked.items()}
    whom = {reason: {W} for reason in asked} | {
        "SPOUSE_ALREADY": {W, C},
        "FACT_NOT_REVIEWABLE": {W, L},
        "MERGE_DIFFERS": {W, L},
        "WARD_NOT_RELATED": {L},
    }
    assert found == {reason: (reason, expected) for reason, expected in whom.items()}


async def test_the_dead_the_merged_and_whose_export_was_tried_find_it_too(identity: Identity) -> None:
    """Nobody learns without a trace that somebody has died, is a double or whose face is missing."""
    scene = Scene(identity)
    await scene.begin()
    await identity.stub.MergePersons(identity_pb2.MergePersonsRequest(keep_psn_no=W, double_psn_no=DOUBLE, **DECIDED))
    export = rights_pb2.ExportPersonRequest(psn_no=W, attestation_id=NOWHERE)

    async def exported(request: Any, **said: Any) -> None:  # noqa: ANN401  As the stub takes it.
        async for _ in identity.rights.ExportPerson(request, **said):
            pass

    assert await refused_rows(identity, exported, export) == ("ATTESTATION_UNKNOWN", {W})
    renamed = identity_pb2.UpdatePersonRequest(psn_no=DOUBLE, psn_name="王建军", **DECIDED)
    assert await refused_rows(identity, identity.stub.UpdatePerson, renamed) == (
        "PERSON_MERGED",
        {DOUBLE},
    )
    await identity.stub.ReportDeath(DEATH)
    enrol = identity_pb2.EnrolRequest(psn_no=W, insutype="390", insuplc_admdvs="650100")
    issue = credentials_pb2.IssueCodeRequest(psn_no=W)
    calls: list[tuple[Any, Message]] = [(identity.stub.Enrol, enrol), (identity.credentials.IssueCode, issue)]
    for method, request in calls:
        assert await refused_rows(identity, method, request) == ("PERSON_DECEASED", {W})


async def test_a_batch_puts_the_rows_that_it_refused_on_record_as_well(identity: Identity) -> None:
    """Of two known people in one batch the one whose name was wrong has a refused look-up, the other a sound one."""
    await identity.register(**WANG)
    await identity.register(**LI)
    kind = person_pb2.CERTIFICATE_TYPE_RESIDENT_ID
    rows = [
        identity_pb2.PersonRow(psn_cert_type=kind, **(WANG | {"psn_name": "王建民"})),
        identity_pb2.PersonRow(psn_cert_type=kind, **LI),
        identity_pb2.PersonRow(psn_cert_type=kind, **CHILD),
    ]
    await identity.stub.RegisterPeople(identity_pb2.RegisterPeopleRequest(rows=rows))
    async with identity.database.driver_connection() as connection:
        found = {tuple(row) for row in await connection.fetch("SELECT psn_no, purpose FROM lookups")}
    assert found == {(W, "REGISTRATION_REFUSED"), (L, "REGISTRATION")}


async def test_a_refusal_about_nobody_on_record_leaves_no_look_up(identity: Identity) -> None:
    """Numbers that nobody has fill no table."""
    await identity.register(**WANG)
    unknown = identity_pb2.EnrolRequest(psn_no="999900000000001", insutype="390", insuplc_admdvs="650100")
    reason, whom = await refused_rows(identity, identity.stub.Enrol, unknown)
    assert (reason, whom) == ("PERSON_UNKNOWN", set())


async def test_a_list_that_is_empty_tells_something_too(identity: Identity) -> None:
    """Whose facts, corrections or risk events were asked for was looked up, though there are none."""
    await identity.register(**WANG)
    await identity.kinship.ListKinshipFacts(kinship_pb2.ListKinshipFactsRequest(psn_no=W))
    await identity.rights.ListCorrections(rights_pb2.ListCorrectionsRequest(psn_no=W))
    await identity.risk.ListRiskEvents(risk_pb2.ListRiskEventsRequest(psn_no=W))
    async with identity.database.driver_connection() as connection:
        found = await connection.fetch("SELECT psn_no, purpose FROM lookups ORDER BY id")
    assert [tuple(row) for row in found] == [
        (W, "KINSHIP_REVIEW"),
        (W, "CORRECTIONS_LISTED"),
        (W, "RISK_EVENT"),
    ]
