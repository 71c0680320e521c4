"""Many registrations in one call, through gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from chassis.db import Database
from gongji.identity.v1 import identity_pb2, person_pb2
from tests.integration.identity.conftest import LI, WANG, Identity, StartIdentity, refusal
from tests.integration.identity.test_people import HAMI, NEWBORN, URUMQI, count, enrol
from tests.integration.identity.test_people_deaths import died

RESIDENT = person_pb2.CERTIFICATE_TYPE_RESIDENT_ID
EMPLOYED = {"insutype": "310", "insuplc_admdvs": URUMQI}


def baby(number: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401  Any field of a row.
    """A row of a newborn by this birth certificate."""
    return NEWBORN | {"certno": f"S65{number:07}"} | fields


async def register_all(identity: Identity, *rows: dict[str, Any]) -> list[tuple[str, bool, str, str]]:
    """What became of each row."""
    request = identity_pb2.RegisterPeopleRequest(
        rows=[identity_pb2.PersonRow(**({"psn_cert_type": RESIDENT} | row)) for row in rows]
    )
    answers = (await identity.stub.RegisterPeople(request)).answers
    return [(each.psn_no, each.existed, each.reason, each.field) for each in answers]


async def test_rows_are_registered_and_enrolled_with_one_event_each(identity: Identity) -> None:
    """Each new person is told once, with the enrolment that came with the row; again changes nothing."""
    rows = [WANG | EMPLOYED, LI, baby(1, insutype="390", insuplc_admdvs=HAMI)]
    first = await register_all(identity, *rows)
    assert [(existed, reason) for _, existed, reason, _ in first] == [(False, "")] * 3
    again = await register_all(identity, *rows)
    assert [(psn_no, existed) for psn_no, existed, _, _ in again] == [(psn_no, True) for psn_no, *_ in first]
    for psn_no, *_ in first:
        [event] = await identity.told(f"person:{psn_no}", 1)
        assert event.person_changed.person == await identity.person(psn_no)
    assert [each.insuplc_admdvs for each in (await identity.person(first[2][0])).enrolments] == [HAMI]
    assert await count(identity, "enrolment_changes") == 2


async def test_a_known_person_is_enrolled_and_a_dead_one_is_not(identity: Identity) -> None:
    """A move is a new version; nobody dead is insured by a file; the other rows of the batch are taken."""
    await identity.register(**WANG)
    await enrol(identity, WANG["psn_no"])
    await identity.register(**LI)
    await died(identity, LI["psn_no"])
    answers = await register_all(identity, WANG | EMPLOYED, LI | EMPLOYED, WANG | EMPLOYED | {"insuplc_admdvs": HAMI})
    assert answers == [
        (WANG["psn_no"], True, "", ""),
        ("", False, "PERSON_DECEASED", "psn_no"),
        (WANG["psn_no"], True, "", ""),
    ]
    events = await identity.told(f"person:{WANG['psn_no']}", 3)
    assert [event.version for event in events] == [1, 2, 3]
    assert events[-1].person_changed.person.enrolments[0].insuplc_admdvs == HAMI
    assert events[-1].person_changed.person == await identity.person(WANG["psn_no"])


ROWS: list[dict[str, Any]] = [
    WANG,
    WANG | {"certno": "650103198503124517"},
    WANG | {"certno": "650103850312451"},
    WANG | {"psn_name": "王1"},
    WANG | {"psn_name": ""},
    WANG | {"brdy": "1985-03-13"},
    WANG | {"brdy": "2026-02-30"},
    WANG | {"gend": "2"},
    WANG | {"gend": "3"},
    WANG | {"psn_no": WANG["certno"]},
    WANG | {"psn_no": "12"},
    WANG | {"psn_no": "650100000000009"},
    WANG | {"psn_name": "王建军"},
    WANG | {"certno": "X" * 31},
    WANG | {"psn_cert_type": 99},
    LI | {"psn_no": WANG["psn_no"]},
    baby(1, brdy=""),
    baby(1, gend=""),
    baby(1, brdy="2026-07-02"),
]


async def test_a_row_is_answered_as_a_single_call(start_identity: StartIdentity) -> None:
    """Each row's answer is what RegisterPerson says of the same fields, refusal, reason and field alike."""
    identity = await start_identity()
    await identity.register(**WANG)
    singly = []
    for fields in ROWS:
        if fields is WANG:
            singly.append(("", ""))
        else:
            singly.append((await refusal(identity.register(**fields)))[1:])
    assert [(reason, field) for _, _, reason, field in await register_all(identity, *ROWS)] == singly


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"insutype": "310"}, ("ENROLMENT_INCOMPLETE", "insuplc_admdvs")),
        (
            {"insutype": "310", "insuplc_admdvs": URUMQI, "psn_type": "14"},
            ("PSN_TYPE_NOT_OF_INSUTYPE", "psn_type"),
        ),
        ({"insutype": "310", "insuplc_admdvs": URUMQI, "psn_type": "1"}, ("REQUEST_INVALID", "psn_type")),
        ({"insuplc_admdvs": URUMQI}, ("ENROLMENT_INCOMPLETE", "insutype")),
        (EMPLOYED | {"insutype": "320"}, ("REQUEST_INVALID", "insutype")),
        (EMPLOYED | {"insuplc_admdvs": "65010"}, ("REQUEST_INVALID", "insuplc_admdvs")),
        (EMPLOYED | {"insuplc_admdvs": "990100"}, ("POLICY_AREA_UNKNOWN", "insuplc_admdvs")),
    ],
)
async def test_a_wrong_enrolment_refuses_its_row_alone(
    identity: Identity, fields: dict[str, str], refused: tuple[str, str]
) -> None:
    """Nothing of the row is written, and its neighbour is taken."""
    answers = await register_all(identity, WANG | fields, LI)
    assert [each[2:] for each in answers] == [refused, ("", "")]
    assert await count(identity, "persons") == 1


async def test_doubles_within_a_batch_are_one_person(identity: Identity) -> None:
    """The same certificate in many rows is one person and one event, the last enrolment counting."""
    rows = [baby(1, **EMPLOYED), baby(1), baby(1, **(EMPLOYED | {"insuplc_admdvs": HAMI})), baby(2, psn_name="李小宝")]
    answers = await register_all(identity, *rows)
    assert [existed for _, existed, _, _ in answers] == [False, True, True, False]
    assert len({psn_no for psn_no, *_ in answers}) == 2
    [event] = await identity.told(f"person:{answers[0][0]}", 1)
    assert event.person_changed.person.enrolments[0].insuplc_admdvs == HAMI


async def test_a_batch_has_its_limits(identity: Identity) -> None:
    """No row, or one more than 500, is refused as a whole."""
    assert await refusal(register_all(identity)) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "rows")
    too_many = [{"certno": "x", "psn_name": "y"}] * 501
    assert await refusal(register_all(identity, *too_many)) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "rows")


async def test_the_same_batch_many_times_at_once_is_registered_once(start_identity: StartIdentity) -> None:
    """Over two replicas, in two orders, with single calls between: each certificate is one person in the end."""
    replicas = [await start_identity(), await start_identity()]
    rows = [baby(number, **EMPLOYED) for number in range(40)]
    batches = [register_all(replicas[n % 2], *(rows if n % 3 else reversed(rows))) for n in range(8)]
    singles = [replicas[n % 2].register(**baby(n)) for n in range(10)]
    answers = await asyncio.gather(*batches, *singles)
    assert await count(replicas[0], "persons") == 40
    found = {psn_no for batch in answers[:8] if isinstance(batch, list) for psn_no, _, reason, _ in batch if not reason}
    assert len(found) == 40
    assert await count(replicas[0], "enrolments") == 40
    async with replicas[0].database.driver_connection() as connection:
        told = await connection.fetch(
            "SELECT aggregate, count(*) AS events, max(version) AS version FROM outbox"
            " WHERE aggregate LIKE 'person:%' GROUP BY aggregate"
        )
    assert all(row["events"] == row["version"] for row in told)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Every statement of SQLAlchemy while this lasts; the outbox's own go past it."""
    statements: list[str] = []

    def executed(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", executed)
    try:
        yield statements
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", executed)


async def test_a_batch_costs_a_handful_of_statements(identity: Identity) -> None:
    """Two rows and two hundred take as many statements: new, then known and enrolled elsewhere."""
    costs = []
    for first, rows in ((0, 2), (1000, 200)):
        for area in (URUMQI, HAMI):
            batch = [baby(first + number, insutype="310", insuplc_admdvs=area) for number in range(rows)]
            with counted(identity.database) as statements:
                assert {reason for _, _, reason, _ in await register_all(identity, *batch)} == {""}
            costs.append(len(statements))
    assert costs[:2] == costs[2:]
    assert max(costs) <= 12
