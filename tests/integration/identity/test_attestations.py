"""Faces through gRPC: verifiers registered and ended, attestations verified once and used once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC
from typing import Any
from uuid import uuid4

import pytest

from gongji.identity.v1 import attestations_pb2 as pb
from gongji.identity.v1 import identity_pb2
from ops.sandbox_verifier import SandboxKey
from tests.integration.identity.conftest import LI, START, WANG, Identity, SetClock, StartIdentity, refusal

FACES = SandboxKey("face-house", "f1", bytes(range(32)))
NEXT = SandboxKey("face-house", "f2", bytes(range(1, 33)))
STRANGER = SandboxKey("stranger", "f1", bytes(range(2, 34)))
REAL_NAME = pb.ATTESTATION_PURPOSE_REAL_NAME
JOIN_GROUP = pb.ATTESTATION_PURPOSE_JOIN_GROUP


async def register(identity: Identity, key: SandboxKey = FACES, **fields: Any) -> bool:  # noqa: ANN401  Any field.
    """Registers a verifier and its key; whether anything was new."""
    standard = {
        "verifier_no": key.verifier_no,
        "kid": key.kid,
        "public_key": key.public_key,
        "name": "核身服务",
        "opter": "zhang01",
    }
    request = pb.RegisterVerifierRequest(**(standard | fields))
    return (await identity.attestations.RegisterVerifier(request)).is_new


async def end(identity: Identity, **fields: Any) -> None:  # noqa: ANN401  As above.
    """Ends the verifier, or a key of it."""
    standard = {"verifier_no": "face-house", "opter": "zhang01", "cause": "合同到期"}
    await identity.attestations.EndVerifier(pb.EndVerifierRequest(**(standard | fields)))


async def verify(
    identity: Identity,
    *,
    key: SandboxKey = FACES,
    psn_no: str = WANG["psn_no"],
    purpose: Any = JOIN_GROUP,  # noqa: ANN401  An enum's number.
    token: str = "",
    **changed: object,
) -> str:
    """The id of an attestation of WANG's face, unless something says otherwise."""
    name = pb.AttestationPurpose.Name(purpose).removeprefix("ATTESTATION_PURPOSE_")
    attestation = token or key.attestation(WANG["psn_no"], name, now=identity.clock.now(), **changed)
    request = pb.VerifyAttestationRequest(attestation=attestation, psn_no=psn_no, purpose=purpose)
    return (await identity.attestations.VerifyAttestation(request)).attestation_id


async def use(identity: Identity, attestation_id: str, **fields: Any) -> pb.UseAttestationResponse:  # noqa: ANN401  As above.
    """Family uses it for a group."""
    standard: dict[str, Any] = {"psn_no": WANG["psn_no"], "purpose": JOIN_GROUP, "used_for": "group:1"}
    request = pb.UseAttestationRequest(attestation_id=attestation_id, **(standard | fields))
    return await identity.attestations.UseAttestation(request)


@pytest.fixture
async def faces(identity: Identity) -> Identity:
    """A room with two people and a verifier."""
    await identity.register(**WANG)
    await identity.register(**LI)
    assert await register(identity)
    return identity


async def test_a_verified_face_is_a_real_name_and_is_told(faces: Identity) -> None:
    """REAL_NAME counts at once: the person says since when, and everybody hears of it."""
    await verify(faces, purpose=REAL_NAME)
    person = await faces.person(WANG["psn_no"])
    assert person.real_name_time.ToDatetime(tzinfo=UTC) == START
    events = await faces.told(f"person:{WANG['psn_no']}", 2)
    assert events[-1].person_changed.person.real_name_time.ToDatetime(tzinfo=UTC) == START


async def test_an_attestation_is_used_once_for_what_it_was_given_for(faces: Identity) -> None:
    """The same use again is no second one; another use, another person, another purpose are refused."""
    attestation_id = await verify(faces)
    assert (await refusal(use(faces, attestation_id, psn_no=LI["psn_no"])))[1] == "ATTESTATION_OF_ANOTHER_PERSON"
    wallet = pb.ATTESTATION_PURPOSE_OPEN_WALLET
    assert (await refusal(use(faces, attestation_id, purpose=wallet)))[1] == "ATTESTATION_OF_ANOTHER_PURPOSE"
    assert not (await use(faces, attestation_id)).used_before
    assert (await use(faces, attestation_id)).used_before
    assert (await refusal(use(faces, attestation_id, used_for="group:2")))[1] == "ATTESTATION_USED"
    assert (await refusal(use(faces, str(uuid4()))))[1] == "ATTESTATION_UNKNOWN"
    late = await verify(faces)
    faces.clock.advance(minutes=31)
    assert (await refusal(use(faces, late)))[1] == "ATTESTATION_TOO_OLD"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"token": "a.b.c"}, "ATTESTATION_MALFORMED"),
        ({"key": STRANGER}, "VERIFIER_UNKNOWN"),
        ({"key": NEXT}, "ATTESTATION_FORGED"),
        ({"key": SandboxKey("face-house", "f1", bytes(32))}, "ATTESTATION_FORGED"),
        ({"aud": "somebody-else"}, "ATTESTATION_FOR_ANOTHER_AUDIENCE"),
        ({"purpose": REAL_NAME, "token": FACES.attestation(WANG["psn_no"], "JOIN_GROUP", now=START)},
         "ATTESTATION_OF_ANOTHER_PURPOSE"),
        ({"psn_no": LI["psn_no"]}, "ATTESTATION_OF_ANOTHER_PERSON"),
        ({"iat": int(START.timestamp()) + 60}, "ATTESTATION_FROM_FUTURE"),
        ({"iat": int(START.timestamp()) - 301}, "ATTESTATION_TOO_OLD"),
        ({"sub": "650100000000099", "psn_no": "650100000000099"}, "PERSON_UNKNOWN"),
    ],
)  # fmt: skip
async def test_each_wrong_attestation_has_its_own_refusal(faces: Identity, changed: Any, reason: str) -> None:  # noqa: ANN401  Any argument.
    """What is refused leaves no attestation behind, so its number can be presented rightly."""
    assert (await refusal(verify(faces, **changed)))[1] == reason
    async with faces.database.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM attestations") == 0


async def test_an_out_biz_no_is_presented_once_for_ever(start_identity: StartIdentity) -> None:
    """Twenty presentations of one attestation over two replicas: one counts. A year later it still does not."""
    clock = SetClock()
    replicas = [await start_identity(clock), await start_identity(clock)]
    await replicas[0].register(**WANG)
    await register(replicas[0])
    token = FACES.attestation(WANG["psn_no"], "JOIN_GROUP", now=clock.now(), outBizNo="B1")
    answers = await asyncio.gather(*(verify(replicas[n % 2], token=token) for n in range(20)), return_exceptions=True)
    assert Counter(getattr(answer, "reason", "") for answer in answers) == {
        "": 1,
        "ATTESTATION_ALREADY_PRESENTED": 19,
    }
    clock.advance(days=365)
    assert (await refusal(verify(replicas[0], outBizNo="B1")))[1] == "ATTESTATION_ALREADY_PRESENTED"
    other = SandboxKey("other-house", "f1", bytes(range(32)))
    await register(replicas[0], other)
    assert await verify(replicas[0], key=other, outBizNo="B1")


async def test_of_many_uses_at_once_one_counts(start_identity: StartIdentity) -> None:
    """Ten uses for ten different groups over two replicas: one group has it."""
    clock = SetClock()
    replicas = [await start_identity(clock), await start_identity(clock)]
    await replicas[0].register(**WANG)
    await register(replicas[0])
    attestation_id = await verify(replicas[0])
    answers = await asyncio.gather(
        *(use(replicas[n % 2], attestation_id, used_for=f"group:{n}") for n in range(10)), return_exceptions=True
    )
    assert Counter(getattr(answer, "reason", "") for answer in answers) == {"": 1, "ATTESTATION_USED": 9}


async def test_a_verifier_or_a_key_that_was_ended_vouches_for_nobody(faces: Identity) -> None:
    """One key ends by itself, the other goes on; then the whole verifier ends, for good."""
    assert await register(faces, NEXT)
    await end(faces, kid="f1")
    assert (await refusal(verify(faces)))[1] == "VERIFIER_ENDED"
    assert await verify(faces, key=NEXT)
    await end(faces)
    await end(faces)
    assert (await refusal(verify(faces, key=NEXT)))[1] == "VERIFIER_ENDED"
    assert (await refusal(register(faces, NEXT)))[1] == "VERIFIER_ENDED"
    assert await refusal(end(faces, verifier_no="nobody")) == ("NOT_FOUND", "VERIFIER_UNKNOWN", "verifier_no")
    assert await refusal(end(faces, kid="f9")) == ("NOT_FOUND", "VERIFIER_UNKNOWN", "kid")


async def test_an_unused_attestation_ends_with_its_verifier_or_its_key(faces: Identity) -> None:
    """A verifier is ended because it is found wanting, so nobody rests on a face that it vouched for just before."""
    assert await register(faces, NEXT)
    by_first, by_next = await verify(faces), await verify(faces, key=NEXT)
    used = await verify(faces)
    await use(faces, used)
    await end(faces, kid="f1")
    assert await refusal(use(faces, by_first)) == ("FAILED_PRECONDITION", "VERIFIER_ENDED", "attestation_id")
    assert not (await use(faces, by_next, used_for="group:2")).used_before
    late = await verify(faces, key=NEXT)
    await end(faces)
    assert await refusal(use(faces, late)) == ("FAILED_PRECONDITION", "VERIFIER_ENDED", "attestation_id")
    for attestation_id, used_for in ((used, "group:1"), (by_next, "group:2")):  # What was done was done.
        assert (await use(faces, attestation_id, used_for=used_for)).used_before


async def test_an_attestation_of_the_release_before_ends_with_its_verifier(faces: Identity) -> None:
    """Which key signed it was not kept then: no key's end takes it along."""
    assert await register(faces, NEXT)
    kept = [await verify(faces), await verify(faces)]
    async with faces.database.driver_connection() as connection:
        await connection.execute("UPDATE attestations SET kid = ''")
    await end(faces, kid="f1")
    await use(faces, kept[0])
    await end(faces)
    assert (await refusal(use(faces, kept[1])))[1] == "VERIFIER_ENDED"


async def test_a_registration_that_says_something_else_is_refused(faces: Identity) -> None:
    """The same again is not new; another name, another key under the same kid are refused."""
    assert not await register(faces)
    assert await refusal(register(faces, name="别家")) == ("ALREADY_EXISTS", "VERIFIER_DIFFERS", "verifier_no")
    assert await refusal(register(faces, public_key=NEXT.public_key)) == ("ALREADY_EXISTS", "VERIFIER_DIFFERS", "kid")
    weak = ("INVALID_ARGUMENT", "VERIFIER_KEY_WEAK", "public_key")
    assert await refusal(register(faces, public_key=bytes(32))) == weak
    await end(faces, kid="f1")
    assert await refusal(register(faces)) == ("FAILED_PRECONDITION", "VERIFIER_ENDED", "kid")


async def test_a_sandbox_is_refused_unless_it_is_allowed(start_identity: StartIdentity) -> None:
    """It cannot be registered, and one that was registered where it is allowed does not count elsewhere."""
    strict = await start_identity()
    await strict.register(**WANG)
    refused = ("PERMISSION_DENIED", "SANDBOX_VERIFIER_REFUSED", "")
    assert await refusal(register(strict, is_sandbox=True)) == refused
    development = await start_identity(sandbox_verifiers=True)
    await register(development, is_sandbox=True)
    assert await verify(development)
    assert await refusal(verify(strict)) == refused


async def test_verifiers_are_listed_page_by_page(faces: Identity) -> None:
    """In the order of their numbers, with the keys that were not ended by themselves."""
    await register(faces, NEXT)
    await register(faces, STRANGER)
    await end(faces, kid="f1")
    listed: list[pb.Verifier] = []
    token = ""
    while True:
        page = await faces.attestations.ListVerifiers(pb.ListVerifiersRequest(page_size=1, page_token=token))
        listed += page.verifiers
        token = page.next_page_token
        if not token:
            break
    assert [(each.verifier_no, list(each.kids), each.ended) for each in listed] == [
        ("face-house", ["f2"], False),
        ("stranger", ["f1"], False),
    ]


async def test_the_face_of_a_dead_person_is_refused(faces: Identity) -> None:
    """A verifier that vouches for somebody after his death is not believed."""
    await faces.stub.ReportDeath(
        identity_pb2.ReportDeathRequest(
            psn_no=WANG["psn_no"],
            death_date="2026-06-30",
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        )
    )
    assert await refusal(verify(faces)) == ("FAILED_PRECONDITION", "PERSON_DECEASED", "psn_no")


async def test_nothing_of_an_attestation_but_its_facts_is_kept(faces: Identity) -> None:
    """In no table of the room does the signature stand, be it as text or as bytes; the facts do."""
    token = FACES.attestation(WANG["psn_no"], "JOIN_GROUP", now=START)
    await verify(faces, token=token)
    async with faces.database.driver_connection() as connection:
        (row,) = await connection.fetch("SELECT * FROM attestations")
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        kept = {
            table: str(await connection.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t"))  # noqa: S608  Our own.
            for (table,) in tables
        }
    signature = token.rpartition(".")[2]
    assert "face-house" in kept["attestations"]
    assert [name for name, text in kept.items() if signature in text or signature.encode().hex() in text] == []
    assert (row["verifier_no"], row["psn_no"], row["purpose"]) == ("face-house", WANG["psn_no"], "JOIN_GROUP")
