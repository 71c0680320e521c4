"""Codes through gRPC: issued, decoded once, and verified by others with what was told of the key."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, timedelta
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64encode

from gongji.identity.v1 import credentials_pb2, events_pb2
from services.identity.operations.signing_keys import UNKNOWN_KEY_PAUSE_S
from tests.integration.identity.conftest import HOSPITAL, START, WANG, Identity, SetClock, StartIdentity, refusal

PHARMACY = "P65010000002"
USED = ("UNAUTHENTICATED", "CODE_ALREADY_USED", "code")


@pytest.fixture
async def desk(identity: Identity) -> Identity:
    """A room with a person and a hospital with two terminals."""
    await identity.register(**WANG)
    await identity.hospital()
    await identity.signed_in("T2")
    return identity


async def key_told(identity: Identity) -> events_pb2.SigningKeyActivated:
    """The one key that was told."""
    (kid,) = identity.keys.ring.kids
    (event,) = await identity.told(f"key:{kid}", 1)
    return event.signing_key_activated


async def test_a_code_is_decoded_to_a_token_that_others_can_verify(desk: Identity) -> None:
    """The ecToken is signed by the key that was told, and says who, where, which terminal and until when."""
    decoded = await desk.decode(await desk.code(WANG["psn_no"]))
    told = await key_told(desk)
    public_key = OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "x": urlsafe_b64encode(told.public_key).decode("ascii")}
    )
    token = jws.deserialize_compact(decoded.ec_token, public_key, algorithms=["Ed25519"])
    claims = json.loads(token.payload)
    assert token.headers() == {"alg": "Ed25519", "kid": told.kid, "typ": "gongji-ectoken"}
    assert {name: claims[name] for name in claims if name != "jti"} == {
        "iss": "gongji-identity",
        "sub": WANG["psn_no"],
        "aud": HOSPITAL,
        "trm": "T1",
        "mct": "01",
        "biz": "01301",
        "vis": "M1",
        "gnd": "1",
        "iat": int(START.timestamp()),
        "exp": int((START + timedelta(hours=24)).timestamp()),
    }
    assert decoded.expires_time.ToDatetime(tzinfo=UTC) == START + timedelta(hours=24)
    assert decoded.person == await desk.person(WANG["psn_no"])
    assert decoded.mdtrt_cert_type == "01"
    assert told.not_before_time.ToDatetime(tzinfo=UTC) == START
    assert told.not_after_time.ToDatetime(tzinfo=UTC) == START + timedelta(days=90)


async def test_a_code_is_decoded_once_wherever_it_is_shown(desk: Identity) -> None:
    """A second decoding is refused at the same terminal and at another."""
    await desk.hospital(fixmedins_code=PHARMACY, fixmedins_name="共济药店")
    code = await desk.code(WANG["psn_no"])
    await desk.decode(code)
    assert await refusal(desk.decode(code)) == USED
    assert await refusal(desk.decode(code, fixmedins_code=PHARMACY, terminal_no="T1")) == USED


async def test_of_many_terminals_at_once_exactly_one_decodes_a_code(start_identity: StartIdentity) -> None:
    """Twenty decodings of one code over two replicas at once: one token, nineteen refusals."""
    clock = SetClock()
    replicas = [await start_identity(clock), await start_identity(clock)]
    await replicas[0].register(**WANG)
    await replicas[0].hospital()
    await replicas[0].signed_in("T2")
    code = await replicas[0].code(WANG["psn_no"])
    answers = await asyncio.gather(
        *(replicas[n % 2].decode(code, terminal_no=f"T{n % 3 % 2 + 1}") for n in range(20)), return_exceptions=True
    )
    refusals = [str(answer) for answer in answers if isinstance(answer, BaseException)]
    assert refusals == ["CODE_ALREADY_USED (field=code)"] * 19


async def test_a_code_ends_after_its_sixty_seconds(desk: Identity) -> None:
    """It decodes in the last moment and not at its end."""
    first, second = await desk.code(WANG["psn_no"]), await desk.code(WANG["psn_no"])
    desk.clock.advance(seconds=59.9)
    await desk.decode(first)
    desk.clock.advance(seconds=0.1)
    assert await refusal(desk.decode(second)) == ("UNAUTHENTICATED", "CODE_EXPIRED", "code")


async def test_a_token_or_anything_forged_is_no_code(desk: Identity) -> None:
    """An ecToken shown as a code, another's signature, garbage: each is refused by its name."""
    code = await desk.code(WANG["psn_no"])
    header, payload, signature = code.split(".")
    other_payload = (await desk.code(WANG["psn_no"])).split(".")[1]
    token = (await desk.decode(code)).ec_token
    wrong_way = {
        token: "CODE_OF_OTHER_KIND",
        f"{header}.{other_payload}.{signature}": "CODE_FORGED",
        f"{header}.{payload}": "CODE_MALFORMED",
        "医保码": "CODE_MALFORMED",
        "\x00": "CODE_MALFORMED",
    }
    assert {shown: (await refusal(desk.decode(shown)))[1] for shown in wrong_way} == wrong_way


async def test_a_code_refused_for_the_institutions_sake_stays_good(desk: Identity) -> None:
    """An unknown or suspended institution decodes nothing and uses nothing up."""
    code = await desk.code(WANG["psn_no"])
    unknown = ("NOT_FOUND", "INSTITUTION_UNKNOWN", "fixmedins_code")
    assert await refusal(desk.decode(code, fixmedins_code=PHARMACY)) == unknown
    await desk.hospital("SUSPENDED")
    assert (await refusal(desk.decode(code)))[1] == "INSTITUTION_NOT_DESIGNATED"
    await desk.hospital()
    assert (await desk.decode(code)).person.psn_no == WANG["psn_no"]


async def test_nobody_unknown_gets_a_code(desk: Identity) -> None:
    """A code is issued to a registered person alone."""
    assert await refusal(desk.code("650100000000099")) == ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")


async def test_every_decoding_is_on_record(desk: Identity) -> None:
    """The audit names the institution and the terminal; a refused decoding has looked nobody up."""
    code = await desk.code(WANG["psn_no"])
    await desk.decode(code)
    await refusal(desk.decode(code, terminal_no="T2"))
    async with desk.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT psn_no, purpose, asked_by, looked_up_at FROM lookups")
    assert [tuple(row) for row in rows] == [(WANG["psn_no"], "CREDENTIAL_DECODED", f"terminal:{HOSPITAL}/T1", START)]


async def test_two_replicas_that_start_at_once_share_one_key(start_identity: StartIdentity) -> None:
    """One key is made and told, and each replica decodes the other's codes."""
    clock = SetClock()
    one, other = await asyncio.gather(start_identity(clock), start_identity(clock))
    assert one.keys.ring.kids == other.keys.ring.kids
    assert len(one.keys.ring.kids) == 1
    await one.register(**WANG)
    await one.hospital()
    assert (await other.decode(await one.code(WANG["psn_no"]))).ec_token


async def test_a_new_key_follows_before_the_old_one_is_over(start_identity: StartIdentity) -> None:
    """Near the end of the first key its successor is made, told, and signs later; both are good meanwhile."""
    clock = SetClock()
    one, other = await start_identity(clock), await start_identity(clock)
    await one.register(**WANG)
    await one.hospital()
    (first,) = one.keys.ring.kids
    clock.advance(days=88)
    await one.signed_in()
    await one.keys.refresh()
    (second,) = one.keys.ring.kids - {first}
    assert kid_of(await one.code(WANG["psn_no"])) == first
    clock.advance(minutes=10)
    code = await one.code(WANG["psn_no"])
    assert kid_of(code) == second
    # The other replica has not looked since; it looks when it meets a key that it does not know.
    await asyncio.sleep(UNKNOWN_KEY_PAUSE_S)
    assert kid_of((await other.decode(code)).ec_token) == second
    events = await one.told(f"key:{second}", 1)
    assert events[0].signing_key_activated.not_before_time.ToDatetime(tzinfo=UTC) == clock.now()
    clock.advance(days=2)
    await one.keys.refresh()
    assert one.keys.ring.kids == {second}


def kid_of(token: str) -> str:
    """The key that a token names."""
    return str(jws.extract_compact(token.encode()).headers()["kid"])


async def test_a_wrong_request_is_refused_before_anything(desk: Identity) -> None:
    """The contract's own rules hold for every field; nothing shown, or no visit, is no request."""
    card = credentials_pb2.CardShown(card_no="A12345678", pin="12345")
    wrong: dict[str, dict[str, Any]] = {
        "code": {"code": "x" * 1025},
        "fixmedins_code": {"code": "x", "fixmedins_code": "X1"},
        "terminal_no": {"code": "x", "terminal_no": "T 1"},
        "business_type": {"code": "x", "business_type": "1301"},
        "mdtrt_id": {"code": "x", "mdtrt_id": ""},
        "card.pin": {"card": card},
        "credential": {},
    }
    for field, request in wrong.items():
        assert await refusal(desk.decode(**request)) == ("INVALID_ARGUMENT", "REQUEST_INVALID", field)
    unknown = ("INVALID_ARGUMENT", "BUSINESS_TYPE_UNKNOWN", "business_type")
    assert await refusal(desk.decode(await desk.code(WANG["psn_no"]), business_type="09999")) == unknown
