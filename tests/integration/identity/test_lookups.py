"""Who looked whom up: every path that shows somebody leaves its mark, and the person can read who it was."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message

from gongji.identity.v1 import (
    attestations_pb2,
    cards_pb2,
    credentials_pb2,
    eligibility_pb2,
    identity_pb2,
    institutions_pb2,
    kinship_pb2,
    person_pb2,
    rights_pb2,
    risk_pb2,
    sanctions_pb2,
)
from services.identity.domain.attestation import Purpose
from tests.integration.identity.attesting import attested
from tests.integration.identity.conftest import CHILD, HOSPITAL, LI, START, WANG, Identity, refusal
from tests.integration.identity.sound_sanctions import sound_sanctions

CONTRACT: tuple[ModuleType, ...] = (
    attestations_pb2,
    cards_pb2,
    credentials_pb2,
    identity_pb2,
    institutions_pb2,
    kinship_pb2,
    rights_pb2,
    risk_pb2,
    sanctions_pb2,
)
SHOWING = {
    *("name_masked", "brdy", "certno_masked", "card_no_masked", "value_masked", "psn_insu_stas"),
    *("relation", "finding", "hindrances", "basis_clause", "evidence_count", "asked_by", "content", "existed"),
}
"""A field of this name in an answer tells something of a person."""
EXCUSED = {
    "StreamSnapshot": "the read model of the other rooms: everybody, for nobody's eyes",
    "StreamChanges": "as StreamSnapshot",
    "ActivateCard": "the card that was just presented; card_changes names the terminal",
    "ReportCardLost": "the card that is no more; card_changes names the officer",
    "UnlockPin": "the card whose PIN was just set; card_changes names the officer",
}
"""Methods that answer with such a field and record no look-up, with the reason."""
OFFICER = "officer:650100/zhang01"
DOUBLE = "650100000000077"
CARD_NO = "A12345678"
NOWHERE = "00000000-0000-7000-8000-000000000001"
RISK_EVENT = "00000000-0000-0000-0000-000000000001"
DEATH = identity_pb2.ReportDeathRequest(
    psn_no=WANG["psn_no"],
    death_date="2026-06-30",
    evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
    opter="zhang01",
)
W, L, C = WANG["psn_no"], LI["psn_no"], CHILD["psn_no"]


def fields_of(message: Descriptor, seen: set[str]) -> Iterator[str]:
    """The names of all fields of an answer and of the messages of ours inside it."""
    for field in message.fields:
        yield field.name
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("gongji.") and inner.full_name not in seen:
            seen.add(inner.full_name)
            yield from fields_of(inner, seen)


def methods() -> list[MethodDescriptor]:
    """Every method of the room."""
    return [
        method
        for module in CONTRACT
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


def showing_methods() -> set[str]:
    """Every method of the room whose answer tells something of a person."""
    return {method.name for method in methods() if SHOWING & set(fields_of(method.output_type, set()))}


def called(room: Identity, method: str, request: Message, caller: str) -> Any:  # noqa: ANN401  A message, or many.
    """The answer to come, to somebody who says that he is this caller."""
    stubs = (room.stub, room.credentials, room.cards, room.attestations, room.kinship, room.sanctions, room.rights)
    stub = next(stub for stub in (*stubs, room.risk, room.institutions) if hasattr(stub, method))
    return getattr(stub, method)(request, metadata=(("gongji-caller", caller),))


def marriage() -> kinship_pb2.SubmitKinshipFactRequest:
    """WANG and LI are married."""
    return kinship_pb2.SubmitKinshipFactRequest(
        kind=person_pb2.KINSHIP_FACT_KIND_MARRIED_TO,
        psn_no=W,
        other_psn_no=L,
        evidence=kinship_pb2.EVIDENCE_HOUSEHOLD_REGISTER,
        from_date="2012-05-20",
    )


class Scene:
    """A family of whom every part of the room knows something, and the ids of what it knows."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.fact_id = self.sanction_id = self.appeal_id = self.correction_id = ""

    async def begin(self) -> None:
        """Registers, enrols, relates, sanctions and suspects them."""
        identity = self.identity
        for person in (WANG, LI, CHILD):
            await identity.register(**person)
        await identity.register(
            psn_cert_type=person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
            certno="S650123456",
            psn_name=WANG["psn_name"],
            brdy="1985-03-12",
            gend="1",
            psn_no=DOUBLE,
        )
        await identity.hospital()
        await identity.stub.Enrol(identity_pb2.EnrolRequest(psn_no=W, insutype="310", insuplc_admdvs="650100"))
        self.fact_id = await self._fact(marriage())
        parent = await self._fact(
            kinship_pb2.SubmitKinshipFactRequest(
                kind=person_pb2.KINSHIP_FACT_KIND_PARENT_OF,
                psn_no=W,
                other_psn_no=C,
                evidence=kinship_pb2.EVIDENCE_HOUSEHOLD_REGISTER,
            )
        )
        await identity.kinship.ReviewKinshipFact(
            kinship_pb2.ReviewKinshipFactRequest(
                fact_id=parent, state=person_pb2.KINSHIP_FACT_STATE_VERIFIED, opter="zhang01"
            )
        )
        imposing: Any = sound_sanctions()["ImposeSanction"]
        imposed = await identity.sanctions.ImposeSanction(imposing)
        self.sanction_id = imposed.sanction_id
        filed = await identity.sanctions.FileAppeal(
            sanctions_pb2.FileAppealRequest(
                sanction_id=self.sanction_id, appeal_no="复议7号", filed_date="2026-07-01", opter="zhang01"
            )
        )
        self.appeal_id = filed.appeal.appeal_id
        requested = await identity.rights.RequestCorrection(self.correction("王建军"))
        self.correction_id = requested.correction.correction_id
        await identity.cards.IssueCard(cards_pb2.IssueCardRequest(psn_no=W, card_no=CARD_NO, opter="zhang01"))
        async with identity.database.driver_connection() as connection:
            await connection.execute(
                "INSERT INTO risk_events (risk_event_id, kind, subject, psn_no, terminal_no, day, state, raised_at,"
                " evidence_at, evidence_count)"
                " VALUES ($1, 'REFUSED_CODES', 'person:' || $2::text, $2, '', '2026-07-01', 'OPEN', $3, $3, 1)",
                RISK_EVENT,
                W,
                START,
            )
            await connection.execute(
                "INSERT INTO funded_bills (setl_id, psn_no, patient_psn_no, fixmedins_code, settled_at)"
                " VALUES ($1, $2, $3, $4, $5)",
                NOWHERE,
                W,
                C,
                HOSPITAL,
                START,
            )

    async def _fact(self, fact: kinship_pb2.SubmitKinshipFactRequest) -> str:
        return str((await self.identity.kinship.SubmitKinshipFact(fact)).fact_id)

    def correction(self, name: str) -> rights_pb2.RequestCorrectionRequest:
        """WANG wants to be called otherwise."""
        return rights_pb2.RequestCorrectionRequest(
            psn_no=W,
            field=rights_pb2.CORRECTION_FIELD_NAME,
            value=name,
            evidence=rights_pb2.CORRECTION_EVIDENCE_POLICE_STATEMENT,
        )

    async def add_ward(self) -> credentials_pb2.AddWardRequest:
        """WANG shows his face, to show his child's code from now on."""
        face = await attested(self.identity, W, Purpose.ADD_WARD)
        return credentials_pb2.AddWardRequest(guardian_psn_no=W, ward_psn_no=C, guardian_attestation_id=face)

    async def call(self, method: str, request: Message) -> None:
        """The call, by an officer who says who he is."""
        answer = called(self.identity, method, request, OFFICER)
        if hasattr(answer, "__aiter__"):
            async for _ in answer:
                pass
        else:
            await answer

    async def asked_about(self, method: str) -> tuple[Message, set[str]]:
        """A request that this scene answers, and whom the answer shows."""
        match method:
            case "AddWard":
                return await self.add_ward(), {C}
            case "ListWards":
                await self.identity.credentials.AddWard(await self.add_ward())
            case "ExportPerson":
                face = await attested(self.identity, W, Purpose.EXPORT_DATA)
                return rights_pb2.ExportPersonRequest(psn_no=W, attestation_id=face), {W}
            case "WithdrawDeath":
                await self.identity.stub.ReportDeath(DEATH)
            case _:
                pass
        return (self._about_people() | self._about_relations() | self._about_decisions())[method]

    def _about_relations(self) -> dict[str, tuple[Message, set[str]]]:
        shown = credentials_pb2.CertificateShown(
            psn_cert_type=person_pb2.CERTIFICATE_TYPE_RESIDENT_ID, certno=LI["certno"], psn_name=LI["psn_name"]
        )
        desk: dict[str, Any] = {"fixmedins_code": HOSPITAL, "terminal_no": "T1"}
        return {
            "DecodeCredential": (
                credentials_pb2.DecodeCredentialRequest(
                    identity_card=shown, business_type="01301", mdtrt_id="M1", **desk
                ),
                {L},
            ),
            "BeginActivation": (cards_pb2.BeginActivationRequest(card_no=CARD_NO, **desk), {W}),
            "IssueCard": (cards_pb2.IssueCardRequest(psn_no=W, card_no=CARD_NO, opter="zhang01"), {W}),
            "SubmitKinshipFact": (marriage(), {W, L}),
            "CheckWithRegistry": (kinship_pb2.CheckWithRegistryRequest(fact_id=self.fact_id), {W, L}),
            "ListCards": (cards_pb2.ListCardsRequest(psn_no=W), {W}),
            "ListWards": (credentials_pb2.ListWardsRequest(guardian_psn_no=W), {W, C}),
            "ListReviews": (kinship_pb2.ListReviewsRequest(), {W, L}),
            "GetKinshipFact": (kinship_pb2.GetKinshipFactRequest(fact_id=self.fact_id), {W, L}),
            "ListKinshipFacts": (kinship_pb2.ListKinshipFactsRequest(psn_no=C), {W, C}),
            "VerifyKinship": (kinship_pb2.VerifyKinshipRequest(psn_no=W, other_psn_no=C), {W, C}),
        }

    def _about_people(self) -> dict[str, tuple[Message, set[str]]]:
        wang: dict[str, Any] = {"psn_cert_type": person_pb2.CERTIFICATE_TYPE_RESIDENT_ID, **WANG}
        officer = {"opter": "zhang01", "cause": "更正"}
        return {
            "RegisterPerson": (identity_pb2.RegisterPersonRequest(**wang), {W}),
            "RegisterPeople": (identity_pb2.RegisterPeopleRequest(rows=[identity_pb2.PersonRow(**wang)]), {W}),
            "GetPerson": (identity_pb2.GetPersonRequest(psn_no=W, purpose="TEST"), {W}),
            "Enrol": (identity_pb2.EnrolRequest(psn_no=W, insutype="390", insuplc_admdvs="650100"), {W}),
            "ChangeInsuranceStatus": (
                identity_pb2.ChangeInsuranceStatusRequest(psn_no=W, insutype="310", psn_insu_stas="2"),
                {W},
            ),
            "UpdatePerson": (identity_pb2.UpdatePersonRequest(psn_no=W, psn_name="王建军", **officer), {W}),
            "ChangeCertificate": (
                identity_pb2.ChangeCertificateRequest(
                    psn_no=W,
                    psn_cert_type=person_pb2.CERTIFICATE_TYPE_TAIWAN_PERMIT,
                    certno="01234567",
                    **officer,
                ),
                {W},
            ),
            "ReportDeath": (DEATH, {W}),
            "WithdrawDeath": (identity_pb2.WithdrawDeathRequest(psn_no=W, **officer), {W}),
            "MergePersons": (
                identity_pb2.MergePersonsRequest(keep_psn_no=W, double_psn_no=DOUBLE, **officer),
                {W, DOUBLE},
            ),
            "CheckEligibility": (eligibility_pb2.CheckEligibilityRequest(psn_no=W), {W}),
        }

    def _about_decisions(self) -> dict[str, tuple[Message, set[str]]]:
        officer = {"opter": "zhang01", "cause": "证据不足"}
        requests: dict[str, Message] = {
            "ImposeSanction": sound_sanctions()["ImposeSanction"],
            "LiftSanction": sanctions_pb2.LiftSanctionRequest(sanction_id=self.sanction_id, **officer),
            "ListSanctions": sanctions_pb2.ListSanctionsRequest(psn_no=W),
            "DecideAppeal": sanctions_pb2.DecideAppealRequest(
                appeal_id=self.appeal_id,
                state=sanctions_pb2.APPEAL_STATE_GRANTED,
                decision_no="复议决7号",
                **officer,
            ),
            "ListRiskEvents": risk_pb2.ListRiskEventsRequest(),
            "GetRiskEvent": risk_pb2.GetRiskEventRequest(risk_event_id=RISK_EVENT),
            "DecideRiskEvent": risk_pb2.DecideRiskEventRequest(
                risk_event_id=RISK_EVENT, state=risk_pb2.RISK_STATE_DISMISSED, **officer
            ),
            "ObjectToUse": risk_pb2.ObjectToUseRequest(
                psn_no=W, setl_id=NOWHERE, ground=risk_pb2.OBJECTION_GROUND_NOT_CONSENTED
            ),
            "ListLookups": rights_pb2.ListLookupsRequest(psn_no=W),
            "RequestCorrection": self.correction("王建军"),
            "ListCorrections": rights_pb2.ListCorrectionsRequest(state=rights_pb2.CORRECTION_STATE_REQUESTED),
            "DecideCorrection": rights_pb2.DecideCorrectionRequest(
                correction_id=self.correction_id, state=rights_pb2.CORRECTION_STATE_REFUSED, **officer
            ),
        }
        return {method: (request, {W}) for method, request in requests.items()}


def in_order(methods: set[str]) -> list[str]:
    """Those that only look before those that decide, and these before those that leave another person behind."""
    last = ("UpdatePerson", "ChangeCertificate", "MergePersons", "ReportDeath", "WithdrawDeath")
    looking = ("List", "Get", "Check", "Verify", "Export", "Begin")
    return sorted(methods, key=lambda name: (last.index(name) + 1 if name in last else 0, not name.startswith(looking)))


async def test_whom_an_answer_shows_was_looked_up_by_the_one_who_asked(identity: Identity) -> None:
    """Each method of the contract that tells something of a person leaves a row for him, with the caller's name."""
    scene = Scene(identity)
    await scene.begin()
    at_a_desk = dict.fromkeys(("DecodeCredential", "BeginActivation"), f"terminal:{HOSPITAL}/T1")
    wrong = {}
    for method in in_order(showing_methods() - EXCUSED.keys()):
        request, shown = await scene.asked_about(method)
        async with identity.database.driver_connection() as connection:
            last = await connection.fetchval("SELECT max(id) FROM lookups")
            await scene.call(method, request)
            rows = await connection.fetch("SELECT * FROM lookups WHERE id > $1", last)
        expected = {(psn_no, at_a_desk.get(method, OFFICER), True, True) for psn_no in shown}
        found = {(row["psn_no"], row["asked_by"], row["declared"], bool(row["purpose"])) for row in rows}
        if found != expected:
            wrong[method] = found ^ expected
    assert wrong == {}


def test_nothing_is_excused_that_shows_nothing() -> None:
    """An excuse that has no method any more, or whose method shows nobody, is taken out."""
    assert EXCUSED.keys() <= showing_methods()


async def test_a_caller_of_no_known_form_gets_no_answer(identity: Identity) -> None:
    """What cannot be kept as a name is refused before anybody is looked up; so is an ID number in its place."""
    await identity.register(**WANG)
    request = identity_pb2.GetPersonRequest(psn_no=W, purpose="TEST")
    for caller in ("zhang01", "admin:root", f"person:{WANG['certno']}", f"officer:650100/{WANG['certno']}"):
        asked = identity.stub.GetPerson(request, metadata=(("gongji-caller", caller),))
        assert await refusal(asked) == ("INVALID_ARGUMENT", "CALLER_MALFORMED", "gongji-caller")
    async with identity.database.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM lookups") == 0


async def test_a_caller_of_no_known_form_is_refused_by_every_method(identity: Identity) -> None:
    """Whether or not a method keeps who asks, and before it looks at the request."""
    heard = {}
    for method in methods():
        request = message_factory.GetMessageClass(method.input_type)()
        answer = called(identity, method.name, request, "institution:H65010000001/T1")
        heard[method.name] = (await refusal(anext(aiter(answer)) if hasattr(answer, "__aiter__") else answer))[1]
    assert showing_methods() < heard.keys()
    assert set(heard.values()) == {"CALLER_MALFORMED"}


async def test_a_person_reads_page_by_page_who_looked_him_up(identity: Identity) -> None:
    """Newest first, nobody twice and nobody left out, though his own reading is put on record in between."""
    await identity.register(**WANG)
    for n in range(7):
        identity.clock.advance(minutes=1)
        request = identity_pb2.GetPersonRequest(psn_no=W, purpose=f"REASON_{n}")
        await identity.stub.GetPerson(request, metadata=(("gongji-caller", "service:family"),))
    found: list[rights_pb2.Lookup] = []
    token = ""
    while True:
        page = await identity.rights.ListLookups(
            rights_pb2.ListLookupsRequest(psn_no=W, page_size=3, page_token=token),
            metadata=(("gongji-caller", f"person:{W}"),),
        )
        found += page.lookups
        token = page.next_page_token
        if not token:
            break
    assert [each.purpose for each in found] == [f"REASON_{n}" for n in reversed(range(7))]
    assert {(each.asked_by, each.declared) for each in found} == {("service:family", True)}
    again = (await identity.rights.ListLookups(rights_pb2.ListLookupsRequest(psn_no=W))).lookups
    assert [(each.purpose, each.asked_by) for each in again[:3]] == [("LOOKUPS_LISTED", f"person:{W}")] * 3


async def test_lists_of_nobody_and_tokens_of_nowhere_are_refused(identity: Identity) -> None:
    """PERSON_UNKNOWN, and PAGE_TOKEN_MALFORMED for a token that we never gave."""
    await identity.register(**WANG)
    unknown = rights_pb2.ListLookupsRequest(psn_no="999900000000001")
    assert await refusal(identity.rights.ListLookups(unknown)) == ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")
    for token in ("nonsense", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ"):
        listing = rights_pb2.ListLookupsRequest(psn_no=W, page_token=token)
        assert await refusal(identity.rights.ListLookups(listing)) == (
            "INVALID_ARGUMENT",
            "PAGE_TOKEN_MALFORMED",
            "page_token",
        )
