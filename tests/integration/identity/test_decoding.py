"""Decoding many at once, what is kept of each, what is kept of refusals, and keys that change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.event import listen

from gongji.identity.v1 import credentials_pb2, identity_pb2, person_pb2
from services.identity.domain.decoding import agent_place
from services.identity.domain.sealing import Sealed, Seals
from services.identity.operations.secrets_file import read_secrets
from tests.integration.identity.conftest import (
    CHILD,
    HOSPITAL,
    LI,
    START,
    WANG,
    Identity,
    SetClock,
    StartIdentity,
    refusal,
)
from tests.integration.identity.test_credentials import kid_of

Decoded = credentials_pb2.DecodeCredentialResponse


@pytest.fixture
async def desk(identity: Identity) -> Identity:
    """A room with three people and a hospital with two terminals."""
    for person in (WANG, LI, CHILD):
        await identity.register(**person)
    await identity.hospital()
    await identity.signed_in("T2")
    return identity


async def rows(identity: Identity, statement: str) -> list[tuple[Any, ...]]:
    """What a statement finds."""
    async with identity.database.driver_connection() as connection:
        return [tuple(row) for row in await connection.fetch(statement)]


def certificate(person: dict[str, str], **changed: Any) -> credentials_pb2.CertificateShown:  # noqa: ANN401  Any field.
    """A person's identity card."""
    fields: dict[str, Any] = {
        "psn_cert_type": person_pb2.CERTIFICATE_TYPE_RESIDENT_ID,
        "certno": person["certno"],
        "psn_name": person["psn_name"],
    }
    return credentials_pb2.CertificateShown(**(fields | changed))


async def test_a_hundred_codes_of_three_people_at_once_give_each_his_own_token(desk: Identity) -> None:
    """Whoever's code is decoded in whatever batch, the answer is his, and every decoding is on record once."""
    people = [(WANG, LI, CHILD)[n % 3]["psn_no"] for n in range(100)]
    codes = [await desk.code(psn_no) for psn_no in people]
    answers = await asyncio.gather(*(desk.decode(code, mdtrt_id=f"M{n}") for n, code in enumerate(codes)))
    assert [answer.person.psn_no for answer in answers] == people
    assert len({answer.ec_token for answer in answers}) == 100
    kept = await rows(desk, "SELECT psn_no, mdtrt_id FROM used_codes")
    assert sorted(kept) == sorted((psn_no, f"M{n}") for n, psn_no in enumerate(people))
    assert await rows(desk, "SELECT count(*) FROM lookups WHERE purpose = 'CREDENTIAL_DECODED'") == [(100,)]


async def test_in_one_batch_the_good_are_taken_and_each_bad_one_has_its_own_name(desk: Identity) -> None:
    """A code twice, an unknown terminal, an unknown hospital and a dead person do not spoil the rest."""
    await desk.stub.ReportDeath(
        identity_pb2.ReportDeathRequest(
            psn_no=CHILD["psn_no"],
            death_date="2026-06-30",
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        )
    )
    assert (await refusal(desk.code(CHILD["psn_no"])))[1] == "PERSON_DECEASED"
    twice, elsewhere, nowhere, good = [await desk.code(WANG["psn_no"]) for _ in range(4)]
    answers = await asyncio.gather(
        desk.decode(twice),
        desk.decode(twice, terminal_no="T2"),
        desk.decode(elsewhere, terminal_no="T9"),
        desk.decode(nowhere, fixmedins_code="H65010000099"),
        desk.decode(good),
        return_exceptions=True,
    )
    told = [each.person.psn_no if isinstance(each, Decoded) else getattr(each, "reason", each) for each in answers]
    assert set(told[:2]) == {WANG["psn_no"], "CODE_ALREADY_USED"}
    assert told[2:] == ["TERMINAL_UNKNOWN", "INSTITUTION_UNKNOWN", WANG["psn_no"]]
    # What was refused for the desk's sake is still good.
    await desk.decode(elsewhere)
    await desk.decode(nowhere)


async def test_a_code_issued_before_a_death_or_a_merging_is_refused_afterwards(desk: Identity) -> None:
    """The database's word counts, not that the code was good when it was signed."""
    of_dead, of_double = await desk.code(CHILD["psn_no"]), await desk.code(LI["psn_no"])
    async with desk.database.driver_connection() as connection:
        await connection.execute(
            "UPDATE persons SET death_date = '2026-06-30', death_evidence = 'MEDICAL_CERTIFICATE' WHERE psn_no = $1",
            CHILD["psn_no"],
        )
        await connection.execute(
            "UPDATE persons SET merged_into = $1, certno_index = NULL WHERE psn_no = $2", WANG["psn_no"], LI["psn_no"]
        )
    assert await refusal(desk.decode(of_dead)) == ("FAILED_PRECONDITION", "PERSON_DECEASED", "code")
    assert await refusal(desk.decode(of_double)) == ("FAILED_PRECONDITION", "PERSON_MERGED", "code")
    assert await rows(desk, "SELECT 1 FROM used_codes") == []


async def test_a_terminal_that_is_not_signed_in_decodes_nothing(desk: Identity) -> None:
    """Neither a code, nor a card, nor an identity card; nobody tries out PINs or names from there."""
    code = await desk.code(WANG["psn_no"])
    desk.clock.advance(days=3)
    code = await desk.code(WANG["psn_no"])
    card = credentials_pb2.CardShown(card_no="A12345678", pin="204857")
    for shown in ({"code": code}, {"card": card}, {"identity_card": certificate(WANG)}):
        assert (await refusal(desk.decode(**shown)))[1] == "TERMINAL_NOT_SIGNED_IN"
    await desk.signed_in()
    assert (await desk.decode(code)).person.psn_no == WANG["psn_no"]


async def test_an_identity_card_counts_with_the_name_that_stands_on_it(desk: Identity) -> None:
    """mdtrt_cert_type 02; with another's name, or unknown, it is refused the same way; it may be shown again."""
    shown = await desk.decode(identity_card=certificate(WANG))
    assert (shown.person.psn_no, shown.mdtrt_cert_type) == (WANG["psn_no"], "02")
    await desk.decode(identity_card=certificate(WANG))
    unknown = ("NOT_FOUND", "IDENTITY_CARD_UNKNOWN", "identity_card")
    assert await refusal(desk.decode(identity_card=certificate(WANG, psn_name="李秀英"))) == unknown
    stranger = certificate(WANG, certno="650103196001010019")
    assert (await refusal(desk.decode(identity_card=stranger)))[1] in {unknown[1], "CERTIFICATE_CHECKSUM_WRONG"}
    assert (await refusal(desk.decode(identity_card=certificate(WANG, certno="1"))))[1] == "CERTIFICATE_MALFORMED"


async def test_the_same_is_asked_about_a_number_on_record_and_one_that_is_not(desk: Identity) -> None:
    """Neither the answer nor the statements that it takes tell a wrong name from a number that nobody has."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    listen(desk.database.engine.sync_engine, "before_cursor_execute", note)
    told = []
    for shown in (certificate(WANG, psn_name="李秀英"), certificate(WANG, certno="11010519491231002X")):
        sent.clear()
        told.append((await refusal(desk.decode(identity_card=shown)), list(sent)))
    assert told[0] == told[1]
    assert told[0][1] != []


async def test_who_fetches_the_medicine_is_on_record_and_sealed(desk: Identity, secrets_file: Any) -> None:  # noqa: ANN401  A path.
    """代买药: the agent's certificate opens with our keys alone, and the token does not speak of him."""
    decoded = await desk.decode(await desk.code(WANG["psn_no"]), agent=certificate(LI))
    ((token_jti, key_id, content),) = await rows(desk, "SELECT token_jti, agent_key_id, agent_sealed FROM used_codes")
    opened = Seals(read_secrets(secrets_file)).open(Sealed(key_id, content), place=agent_place(token_jti))
    assert LI["certno"].encode() in opened
    assert LI["psn_name"].encode() in opened
    assert LI["certno"].encode() not in content
    assert decoded.person.psn_no == WANG["psn_no"]
    malformed = certificate(LI, certno="652201198707250028")
    assert (await refusal(desk.decode(await desk.code(WANG["psn_no"]), agent=malformed)))[1] == (
        "CERTIFICATE_CHECKSUM_WRONG"
    )


async def test_refused_decodings_are_counted_by_minute_desk_reason_and_person(desk: Identity) -> None:
    """A replay at a second terminal, an expired code, rubbish: each with what is known of it, a flood in one row."""
    code = await desk.code(WANG["psn_no"])
    await desk.decode(code)
    await asyncio.gather(*(refusal(desk.decode(code, terminal_no="T2")) for _ in range(20)))
    await asyncio.gather(*(refusal(desk.decode("rubbish", terminal_no=f"T{n}")) for n in range(3, 40)))
    await refusal(desk.decode("rubbish", fixmedins_code="H65010000099"))
    expired = await desk.code(LI["psn_no"])
    desk.clock.advance(seconds=61)
    await refusal(desk.decode(expired))
    await refusal(desk.decode(expired, business_type="09999"))
    found = await rows(
        desk,
        "SELECT fixmedins_code, terminal_no, reason, psn_no, refusals, jti IS NOT NULL, minute FROM refused_decodings"
        " ORDER BY minute, reason, terminal_no, fixmedins_code",
    )
    first, second = START.replace(second=0), START.replace(second=0) + timedelta(minutes=1)
    assert found == [
        (HOSPITAL, "T2", "CODE_ALREADY_USED", WANG["psn_no"], 20, True, first),
        ("", "", "CODE_MALFORMED", "", 1, False, first),
        (HOSPITAL, "", "CODE_MALFORMED", "", 37, False, first),
        (HOSPITAL, "T1", "CODE_EXPIRED", LI["psn_no"], 1, True, second),
    ]


async def test_refusals_are_counted_exactly_over_two_replicas(start_identity: StartIdentity) -> None:
    """Fifty refusals at two replicas at once are fifty."""
    clock = SetClock()
    replicas: Sequence[Identity] = [await start_identity(clock), await start_identity(clock)]
    await replicas[0].hospital()
    await asyncio.gather(*(refusal(replicas[n % 2].decode("rubbish")) for n in range(50)))
    assert await rows(replicas[0], "SELECT sum(refusals), count(*) FROM refused_decodings") == [(50, 1)]


async def test_keys_change_under_load_and_no_code_is_lost(start_identity: StartIdentity) -> None:
    """While codes are issued and decoded at two replicas, the key is succeeded: each decodes, by both keys in turn."""
    clock = SetClock()
    one, other = await start_identity(clock), await start_identity(clock)
    await one.register(**WANG)
    await one.hospital()
    clock.advance(days=88)
    await one.signed_in()
    (first,) = one.keys.ring.kids
    before = await one.code(WANG["psn_no"])
    await asyncio.gather(one.keys.refresh(), other.keys.refresh())
    (second,) = one.keys.ring.kids - {first}
    assert other.keys.ring.kids == {first, second}

    left = iter(range(320))

    async def visits(issuer: Identity, desk: Identity) -> set[str]:
        kids = set()
        for n in left:
            code = await issuer.code(WANG["psn_no"])
            await desk.decode(code, mdtrt_id=f"M{n}")
            kids.add(kid_of(code))
            clock.advance(seconds=2)  # Ten minutes in all, none of them between a code and its decoding.
        return kids

    workers = [visits(*((one, other) if n % 2 else (other, one))) for n in range(8)]
    assert set().union(*await asyncio.gather(*workers)) == {first, second}
    assert kid_of(await one.code(WANG["psn_no"])) == second
    # Signed by the previous key, ten minutes ago: told apart from a forgery though its time is over.
    assert await refusal(one.decode(before)) == ("UNAUTHENTICATED", "CODE_EXPIRED", "code")


async def test_a_code_of_the_previous_key_decodes_while_it_lives(start_identity: StartIdentity) -> None:
    """A code signed a moment before the successor signs is decoded after it does."""
    clock = SetClock()
    identity = await start_identity(clock)
    await identity.register(**WANG)
    clock.advance(days=88)
    await identity.hospital()
    (first,) = identity.keys.ring.kids
    await identity.keys.refresh()
    clock.advance(minutes=9, seconds=50)
    code = await identity.code(WANG["psn_no"])
    clock.advance(seconds=20)
    decoded = await identity.decode(code)
    assert kid_of(code) == first != kid_of(decoded.ec_token)


async def test_the_public_keys_are_served_with_their_times(desk: Identity) -> None:
    """Those whose time is not over, oldest first; the private half is nowhere."""
    desk.clock.advance(days=88)
    await desk.keys.refresh()
    keys = (await desk.credentials.ListSigningKeys(credentials_pb2.ListSigningKeysRequest())).keys
    assert {key.kid for key in keys} == desk.keys.ring.kids
    begins = [key.not_before_time.ToSeconds() for key in keys]
    assert (len(keys), sorted(begins)) == (2, begins)
    for key in keys:
        (event,) = await desk.told(f"key:{key.kid}", 1)
        assert event.signing_key_activated.public_key == key.public_key
    desk.clock.advance(days=2, seconds=1)
    left = (await desk.credentials.ListSigningKeys(credentials_pb2.ListSigningKeysRequest())).keys
    assert [key.kid for key in left] == [keys[1].kid]


async def test_a_decoding_is_kept_with_all_that_it_was_for(desk: Identity) -> None:
    """Business, visit, what was shown, on whose phone, and the token's own id."""
    await desk.decode(await desk.code(WANG["psn_no"]), business_type="01101", mdtrt_id="M7")
    await desk.decode(identity_card=certificate(LI))
    found = await rows(
        desk,
        "SELECT psn_no, mdtrt_cert_type, business_type, mdtrt_id, shown_by, jti = token_jti FROM used_codes"
        " ORDER BY mdtrt_cert_type",
    )
    assert found == [
        (WANG["psn_no"], "01", "01101", "M7", None, False),
        (LI["psn_no"], "02", "01301", "M1", None, True),
    ]
    assert all(isinstance(jti, UUID) for (jti,) in await rows(desk, "SELECT token_jti FROM used_codes"))


async def test_without_a_key_that_signs_nothing_is_used_up(desk: Identity) -> None:
    """Until a key signs, a code stays unused and a PIN untried; afterwards both count as if they had not been shown."""
    code = await desk.code(WANG["psn_no"])
    await signs_from(desk, START + timedelta(hours=1))
    card = credentials_pb2.CardShown(card_no="A12345678", pin="204857")
    for shown in ({"code": code}, {"card": card}, {"identity_card": certificate(WANG)}):
        assert await refusal(desk.decode(**shown)) == ("UNAVAILABLE", "SIGNING_KEY_MISSING", "")
    assert await rows(desk, "SELECT 1 FROM used_codes UNION ALL SELECT 1 FROM refused_decodings") == []
    await signs_from(desk, START)
    assert (await desk.decode(code)).person.psn_no == WANG["psn_no"]


async def signs_from(identity: Identity, instant: datetime) -> None:
    """The keys sign from then on."""
    async with identity.database.driver_connection() as connection:
        await connection.execute("UPDATE signing_keys SET not_before = $1", instant)
    await identity.keys.refresh()
