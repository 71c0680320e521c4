"""Sanctions, through gRPC."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gongji.identity.v1 import person_pb2, sanctions_pb2
from tests.integration.identity.conftest import LI, START, WANG, Identity, refusal

UNKNOWN = "650100000000099"


def timestamp(instant: datetime) -> Timestamp:
    """As protobuf has it."""
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp


async def sanction(identity: Identity, **fields: Any) -> sanctions_pb2.ImposeSanctionResponse:  # noqa: ANN401  Any field.
    """Imposes a sanction of four months."""
    request: dict[str, Any] = {
        "psn_no": WANG["psn_no"],
        "from_time": timestamp(START),
        "to_time": timestamp(START + timedelta(days=125)),
        "basis_clause": "第四十一条",
        "decision_no": "疆医保罚〔2026〕3号",
        "organ": "乌鲁木齐市医疗保障局",
    }
    return await identity.sanctions.ImposeSanction(sanctions_pb2.ImposeSanctionRequest(**(request | fields)))


async def lift(identity: Identity, sanction_id: str) -> person_pb2.Person:
    """Lifts a sanction."""
    request = sanctions_pb2.LiftSanctionRequest(sanction_id=sanction_id, cause="复议撤销")
    return (await identity.sanctions.LiftSanction(request)).person


async def test_a_sanction_is_imposed_once_and_lifted(identity: Identity) -> None:
    """The same decision again changes nothing; lifting takes the sanction from what others see, once."""
    psn_no = (await identity.register(**WANG)).psn_no
    imposed = await sanction(identity)
    again = await sanction(identity)
    assert imposed == again
    assert imposed.person.sanctions == [
        person_pb2.Sanction(
            sanction_id=imposed.sanction_id,
            from_time=timestamp(START),
            to_time=timestamp(START + timedelta(days=125)),
        )
    ]
    assert not (await lift(identity, imposed.sanction_id)).sanctions
    assert not (await lift(identity, imposed.sanction_id)).sanctions
    events = await identity.told(f"person:{psn_no}", 3)
    assert [(event.version, len(event.person_changed.person.sanctions)) for event in events] == [(1, 0), (2, 1), (3, 0)]


async def test_a_sanction_that_ran_out_is_seen_no_more(identity: Identity) -> None:
    """After its end a sanction is neither shown nor lifted."""
    await identity.register(**WANG)
    imposed = await sanction(identity)
    identity.clock.advance(days=125)
    assert not (await identity.person(WANG["psn_no"])).sanctions
    assert (await refusal(lift(identity, imposed.sanction_id)))[1] == "SANCTION_OVER"


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        (
            {"to_time": timestamp(START + timedelta(days=80))},
            ("INVALID_ARGUMENT", "SANCTION_TERM_OUT_OF_RANGE", "to_time"),
        ),
        (
            {"to_time": timestamp(START - timedelta(days=1))},
            ("INVALID_ARGUMENT", "SANCTION_TERM_OUT_OF_RANGE", "to_time"),
        ),
        (
            {"to_time": timestamp(datetime(9999, 1, 1, tzinfo=UTC))},
            ("INVALID_ARGUMENT", "TIME_OUT_OF_RANGE", "to_time"),
        ),
        ({"from_time": Timestamp(seconds=2**62)}, ("INVALID_ARGUMENT", "TIME_OUT_OF_RANGE", "from_time")),
        (
            # Between two changes of Shanghai's clocks, where three months are not three months on them.
            {"from_time": timestamp(datetime(1990, 6, 30, 16, tzinfo=UTC))},
            ("INVALID_ARGUMENT", "TIME_OUT_OF_RANGE", "from_time"),
        ),
        ({"from_time": None}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "from_time")),
        ({"organ": "局\x00"}, ("INVALID_ARGUMENT", "TEXT_MALFORMED", "organ")),
        ({"decision_no": "  "}, ("INVALID_ARGUMENT", "TEXT_MALFORMED", "decision_no")),
        ({"psn_no": UNKNOWN}, ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")),
        ({"psn_no": LI["psn_no"]}, ("ALREADY_EXISTS", "SANCTION_DECISION_DIFFERS", "decision_no")),
        ({"basis_clause": "第四十条"}, ("ALREADY_EXISTS", "SANCTION_DECISION_DIFFERS", "decision_no")),
    ],
)
async def test_a_wrong_sanction_is_refused(
    identity: Identity, fields: dict[str, Any], refused: tuple[str, str, str]
) -> None:
    """Each refusal has its name, and the person keeps the one sanction from before."""
    await identity.register(**WANG)
    await identity.register(**LI)
    await sanction(identity)
    assert await refusal(sanction(identity, **fields)) == refused
    assert len((await identity.person(WANG["psn_no"])).sanctions) == 1
    assert not (await identity.person(LI["psn_no"])).sanctions


async def test_an_unknown_sanction_is_not_lifted(identity: Identity) -> None:
    """Lifting names a sanction that exists."""
    unknown = "00000000-0000-7000-8000-000000000001"
    assert await refusal(lift(identity, unknown)) == ("NOT_FOUND", "SANCTION_UNKNOWN", "sanction_id")


async def test_one_decision_imposed_on_two_people_at_once_hits_one(identity: Identity) -> None:
    """A decision number belongs to one person, whoever comes first."""
    await identity.register(**WANG)
    await identity.register(**LI)
    answers = await asyncio.gather(sanction(identity), sanction(identity, psn_no=LI["psn_no"]), return_exceptions=True)
    refusals = [str(answer) for answer in answers if isinstance(answer, BaseException)]
    assert refusals == ["SANCTION_DECISION_DIFFERS (field=decision_no)"]
