"""Terminals through gRPC: registered, retired, signed in (9001) and out (9002)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gongji.identity.v1 import institutions_pb2, person_pb2
from kernel.clock import SHANGHAI
from tests.integration.identity.conftest import HOSPITAL, START, WANG, Identity, StartIdentity, refusal

AGGREGATE = f"terminal:{HOSPITAL}/T1"
UNKNOWN = ("NOT_FOUND", "TERMINAL_UNKNOWN", "terminal_no")
PLACE = person_pb2.Place(longitude_udeg=87_617_733, latitude_udeg=43_792_818)


@pytest.fixture
async def room(identity: Identity) -> Identity:
    """A room with a hospital, whose T1 is signed in by li01."""
    await identity.hospital()
    return identity


async def sign_in(
    identity: Identity, opter: str = "li01", *, terminal_no: str = "T1", fixmedins_code: str = HOSPITAL
) -> institutions_pb2.SignInResponse:
    """A cashier begins work."""
    return await identity.institutions.SignIn(
        institutions_pb2.SignInRequest(fixmedins_code=fixmedins_code, terminal_no=terminal_no, opter=opter)
    )


async def sign_out(identity: Identity, sign_no: str, *, fixmedins_code: str = HOSPITAL) -> datetime:
    """The cashier goes; when that was."""
    answer = await identity.institutions.SignOut(
        institutions_pb2.SignOutRequest(fixmedins_code=fixmedins_code, sign_no=sign_no)
    )
    return answer.sign_time.ToDatetime(tzinfo=UTC)


async def register(identity: Identity, **fields: object) -> person_pb2.Terminal:
    """Registers T1, described so."""
    standard = {"fixmedins_code": HOSPITAL, "terminal_no": "T1", "terminal_name": "收费一窗口", "opter": "zhang01"}
    request = institutions_pb2.RegisterTerminalRequest(**(standard | fields))  # type: ignore[arg-type]  # Any field.
    return (await identity.institutions.RegisterTerminal(request)).terminal


async def retire(identity: Identity, terminal_no: str = "T1") -> person_pb2.Terminal:
    """Takes a terminal out of service."""
    request = institutions_pb2.RetireTerminalRequest(
        fixmedins_code=HOSPITAL, terminal_no=terminal_no, opter="zhang01", cause="报废"
    )
    return (await identity.institutions.RetireTerminal(request)).terminal


async def history(identity: Identity) -> list[tuple[str, str | None]]:
    """Who worked at which time, oldest first: (cashier, how it ended)."""
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT opter, ended_by FROM sign_ins ORDER BY signed_in_at, sign_no")
    return [(row["opter"], row["ended_by"]) for row in rows]


async def test_the_same_cashier_gets_the_same_sign_in(room: Identity) -> None:
    """However often he asks while it counts; it tells when it ends by itself."""
    first = await sign_in(room)
    room.clock.advance(hours=10)
    again = await sign_in(room)
    assert again == first
    assert first.sign_time.ToDatetime(tzinfo=UTC) == START
    assert first.ends_time.ToDatetime(tzinfo=UTC) == datetime(2026, 7, 3, tzinfo=SHANGHAI)
    assert await history(room) == [("li01", None)]


async def test_another_cashier_ends_the_sign_in_that_stands(room: Identity) -> None:
    """Both are on record; the number of the first then changes nothing."""
    first = await sign_in(room)
    room.clock.advance(hours=1)
    second = await sign_in(room, "ma02")
    assert second.sign_no != first.sign_no
    assert await sign_out(room, first.sign_no) == START + timedelta(hours=1)
    assert (await sign_in(room, "ma02")).sign_no == second.sign_no
    assert await history(room) == [("li01", "REPLACED"), ("ma02", None)]


async def test_signing_out_twice_is_signing_out_once(room: Identity) -> None:
    """The second answer names the time of the first."""
    sign_no = (await sign_in(room)).sign_no
    room.clock.advance(hours=8)
    assert await sign_out(room, sign_no) == START + timedelta(hours=8)
    room.clock.advance(hours=1)
    assert await sign_out(room, sign_no) == START + timedelta(hours=8)
    assert (await sign_in(room)).sign_no != sign_no
    assert await history(room) == [("li01", "SIGNED_OUT"), ("li01", None)]


async def test_a_sign_in_is_over_at_the_end_of_the_next_day(room: Identity) -> None:
    """The same cashier then gets a new number, and signing out of the old one names its end."""
    first = await sign_in(room)
    room.clock.instant = first.ends_time.ToDatetime(tzinfo=UTC)
    assert (await sign_in(room)).sign_no != first.sign_no
    assert await sign_out(room, first.sign_no) == datetime(2026, 7, 3, tzinfo=SHANGHAI)
    assert await history(room) == [("li01", None), ("li01", None)]


async def test_everyone_is_told_of_a_terminal_and_nobody_of_its_cashier(room: Identity) -> None:
    """Registered, signed in, out, retired: one event each with the whole terminal."""
    await register(room, place=PLACE)
    sign_no = (await sign_in(room)).sign_no
    await sign_out(room, sign_no)
    await retire(room)
    told = await room.told(AGGREGATE, 5)
    terminals = [event.terminal_changed.terminal for event in told]
    assert [(each.sign_no, each.state, each.place.longitude_udeg) for each in terminals] == [
        ("", person_pb2.TERMINAL_STATE_ACTIVE, 0),
        (sign_no, person_pb2.TERMINAL_STATE_ACTIVE, 0),
        (sign_no, person_pb2.TERMINAL_STATE_ACTIVE, 87_617_733),
        ("", person_pb2.TERMINAL_STATE_ACTIVE, 87_617_733),
        ("", person_pb2.TERMINAL_STATE_RETIRED, 87_617_733),
    ]
    assert all(b"li01" not in event.SerializeToString() for event in told)


async def test_a_retired_terminal_takes_nobody_in_until_it_is_registered_again(room: Identity) -> None:
    """Its sign-in is ended with it; retiring it again changes nothing."""
    assert await retire(room) == await retire(room)
    assert await history(room) == [("li01", "RETIRED")]
    assert await refusal(sign_in(room)) == UNKNOWN
    assert (await register(room)).state == person_pb2.TERMINAL_STATE_ACTIVE
    await sign_in(room)


async def test_only_what_is_there_can_be_worked_at(room: Identity) -> None:
    """Unknown institutions, terminals and sign-ins, each by its name; another institution's number is unknown too."""
    other = "H65010000002"
    await room.hospital(fixmedins_code=other)
    sign_no = (await sign_in(room)).sign_no
    told = [
        await refusal(work)
        for work in (
            sign_in(room, fixmedins_code="H65010000009"),
            sign_in(room, terminal_no="T9"),
            retire(room, "T9"),
            register(room, fixmedins_code="H65010000009"),
            sign_out(room, "20260701ffffffffffffffff"),
            sign_out(room, sign_no, fixmedins_code=other),
        )
    ]
    no_institution = ("NOT_FOUND", "INSTITUTION_UNKNOWN", "fixmedins_code")
    no_sign_in = ("NOT_FOUND", "SIGN_NO_UNKNOWN", "sign_no")
    assert told == [no_institution, UNKNOWN, UNKNOWN, no_institution, no_sign_in, no_sign_in]


async def test_at_a_suspended_institution_one_may_work_at_an_ended_one_not(room: Identity) -> None:
    """Refunds go on while it is suspended; after the end there is no terminal to register or sign in at."""
    await room.decide("SUSPENDED")
    await sign_in(room, "ma02")
    await room.decide("ENDED")
    for work in (sign_in(room), register(room, terminal_no="T2")):
        assert (await refusal(work))[:2] == ("FAILED_PRECONDITION", "INSTITUTION_ENDED")


async def test_terminals_are_listed_page_by_page(room: Identity) -> None:
    """By number, each once, retired ones too."""
    for number in range(2, 6):
        await register(room, terminal_no=f"T{number}")
    await retire(room, "T3")
    found, token = [], ""
    while True:
        request = institutions_pb2.ListTerminalsRequest(fixmedins_code=HOSPITAL, page_size=2, page_token=token)
        answer = await room.institutions.ListTerminals(request)
        found += [(each.terminal_no, each.state == person_pb2.TERMINAL_STATE_RETIRED) for each in answer.terminals]
        token = answer.next_page_token
        if not token:
            break
    assert found == [("T1", False), ("T2", False), ("T3", True), ("T4", False), ("T5", False)]
    unknown = institutions_pb2.ListTerminalsRequest(fixmedins_code="H65010000009")
    assert (await refusal(room.institutions.ListTerminals(unknown)))[1] == "INSTITUTION_UNKNOWN"


async def test_two_cashiers_at_one_terminal_at_once_leave_one_of_them(start_identity: StartIdentity) -> None:
    """At two replicas, twenty times: one sign-in stands, every other is ended by the next, versions stand in a row."""
    replicas = [await start_identity(), await start_identity()]
    await replicas[0].hospital()
    await asyncio.gather(*(sign_in(replicas[n % 2], f"opter{n % 5}") for n in range(20)))
    ends = [ended_by for _, ended_by in await history(replicas[0])]
    assert ends.count(None) == 1
    assert set(ends) <= {None, "REPLACED"}
    latest = (await replicas[0].snapshot())[AGGREGATE]
    told = await replicas[0].told(AGGREGATE, latest.version)
    assert sorted(event.version for event in told) == list(range(1, latest.version + 1))
    assert latest.version == 1 + len(ends)


async def test_a_code_is_decoded_where_somebody_is_signed_in_and_nowhere_else(room: Identity) -> None:
    """A terminal that is unknown, signed out, or whose day is over, leaves the code unused."""
    await room.register(**WANG)
    code = await room.code(WANG["psn_no"])
    sign_no = (await sign_in(room)).sign_no
    assert (await refusal(room.decode(code, terminal_no="T9")))[1] == "TERMINAL_UNKNOWN"
    await sign_out(room, sign_no)
    assert (await refusal(room.decode(code)))[1] == "TERMINAL_NOT_SIGNED_IN"
    await sign_in(room)
    assert (await room.decode(code)).person.psn_no == WANG["psn_no"]
    room.clock.advance(days=2)
    assert (await refusal(room.decode(await room.code(WANG["psn_no"]))))[1] == "TERMINAL_NOT_SIGNED_IN"
