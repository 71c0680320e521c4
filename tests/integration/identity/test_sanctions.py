"""Sanctions, through gRPC."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gongji.identity.v1 import person_pb2, sanctions_pb2
from tests.integration.identity.conftest import HOSPITAL, LI, START, WANG, Identity, StartIdentity, refusal

UNKNOWN = "650100000000099"
NOWHERE = "00000000-0000-7000-8000-000000000001"


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
        "opter": "zhang01",
    }
    return await identity.sanctions.ImposeSanction(sanctions_pb2.ImposeSanctionRequest(**(request | fields)))


async def institution_sanction(identity: Identity, **fields: Any) -> sanctions_pb2.ImposeSanctionResponse:  # noqa: ANN401  As above.
    """The same on the hospital."""
    return await sanction(identity, **({"psn_no": "", "fixmedins_code": HOSPITAL} | fields))


async def lift(identity: Identity, sanction_id: str) -> person_pb2.Person:
    """Lifts a person's sanction."""
    return (await lifting(identity, sanction_id)).person


async def lifting(identity: Identity, sanction_id: str) -> sanctions_pb2.LiftSanctionResponse:
    """Lifts a sanction."""
    request = sanctions_pb2.LiftSanctionRequest(sanction_id=sanction_id, cause="复议撤销", opter="li02")
    return await identity.sanctions.LiftSanction(request)


async def listed(identity: Identity, **fields: Any) -> list[sanctions_pb2.SanctionRecord]:  # noqa: ANN401  As above.
    """The person's sanctions, unless the fields say otherwise."""
    request: dict[str, Any] = {} if "fixmedins_code" in fields else {"psn_no": WANG["psn_no"]}
    answer = await identity.sanctions.ListSanctions(sanctions_pb2.ListSanctionsRequest(**(request | fields)))
    return list(answer.sanctions)


async def file(identity: Identity, sanction_id: str, **fields: Any) -> sanctions_pb2.Appeal:  # noqa: ANN401  As above.
    """Files an appeal against a sanction."""
    request: dict[str, Any] = {
        "sanction_id": sanction_id,
        "appeal_no": "乌府复〔2026〕7号",
        "filed_date": "2026-07-01",
        "opter": "zhang01",
    }
    return (await identity.sanctions.FileAppeal(sanctions_pb2.FileAppealRequest(**(request | fields)))).appeal


async def decide(identity: Identity, appeal_id: str, state: str, **fields: Any) -> sanctions_pb2.SanctionRecord:  # noqa: ANN401  As above.
    """Decides an appeal."""
    request: dict[str, Any] = {
        "appeal_id": appeal_id,
        "state": sanctions_pb2.AppealState.Value(f"APPEAL_STATE_{state}"),
        "decision_no": "乌府复决〔2026〕7号",
        "cause": "证据不足",
        "opter": "li02",
    }
    return (await identity.sanctions.DecideAppeal(sanctions_pb2.DecideAppealRequest(**(request | fields)))).sanction


async def waiting(identity: Identity) -> list[str]:
    """The numbers of the appeals that wait for a decision."""
    return [
        each.appeal_no for each in (await identity.sanctions.ListAppeals(sanctions_pb2.ListAppealsRequest())).appeals
    ]


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
        (
            {"from_time": timestamp(START - timedelta(days=31)), "decision_no": "4号"},
            ("INVALID_ARGUMENT", "SANCTION_FROM_OUT_OF_RANGE", "from_time"),
        ),
        (
            {
                "from_time": timestamp(START + timedelta(days=367)),
                "to_time": timestamp(START + timedelta(days=500)),
                "decision_no": "4号",
            },
            ("INVALID_ARGUMENT", "SANCTION_FROM_OUT_OF_RANGE", "from_time"),
        ),
        ({"opter": ""}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "opter")),
        ({"opter": "张三"}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "opter")),
        ({"psn_no": ""}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "")),
        ({"fixmedins_code": HOSPITAL}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "")),
        ({"psn_no": "", "fixmedins_code": HOSPITAL}, ("NOT_FOUND", "INSTITUTION_UNKNOWN", "fixmedins_code")),
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
    assert await refusal(lift(identity, NOWHERE)) == ("NOT_FOUND", "SANCTION_UNKNOWN", "sanction_id")


async def test_one_decision_imposed_on_two_people_at_once_hits_one(identity: Identity) -> None:
    """A decision number belongs to one person, whoever comes first."""
    await identity.register(**WANG)
    await identity.register(**LI)
    answers = await asyncio.gather(sanction(identity), sanction(identity, psn_no=LI["psn_no"]), return_exceptions=True)
    refusals = [str(answer) for answer in answers if isinstance(answer, BaseException)]
    assert refusals == ["SANCTION_DECISION_DIFFERS (field=decision_no)"]


async def test_one_decision_typed_in_at_two_desks_at_once_is_one(start_identity: StartIdentity) -> None:
    """Two replicas, the same decision ten times each: one sanction, one id, one event."""
    one = await start_identity()
    two = await start_identity(one.clock)
    await one.register(**WANG)
    answers = await asyncio.gather(*(sanction(room) for room in (one, two) for _ in range(10)))
    assert len({answer.sanction_id for answer in answers}) == 1
    assert len(await listed(one)) == 1
    assert (await one.snapshot())[f"person:{WANG['psn_no']}"].version == 2


async def test_a_decision_that_took_effect_before_it_is_typed_in_counts_from_its_own_day(identity: Identity) -> None:
    """Thirty days ago is in force at once; typed in again when it is older, it is still the same decision."""
    await identity.register(**WANG)
    backdated = {"from_time": timestamp(START - timedelta(days=30)), "to_time": timestamp(START + timedelta(days=90))}
    imposed = await sanction(identity, **backdated)
    (record,) = await listed(identity)
    assert record.state == sanctions_pb2.SANCTION_STATE_IN_FORCE
    assert record.imposed_time == timestamp(START)
    identity.clock.advance(days=5)
    assert (await sanction(identity, **backdated)).sanction_id == imposed.sanction_id


async def test_a_sanction_to_come_is_told_at_once_and_begins_by_itself(identity: Identity) -> None:
    """Other rooms know it before it begins; nothing is written on the day."""
    await identity.register(**WANG)
    begin = START + timedelta(days=10)
    await sanction(identity, from_time=timestamp(begin), to_time=timestamp(begin + timedelta(days=125)))
    assert [each.state for each in await listed(identity)] == [sanctions_pb2.SANCTION_STATE_TO_COME]
    (latest,) = (await identity.snapshot())[f"person:{WANG['psn_no']}"].person_changed.person.sanctions
    assert latest.from_time == timestamp(begin)
    identity.clock.advance(days=10)
    assert [each.state for each in await listed(identity)] == [sanctions_pb2.SANCTION_STATE_IN_FORCE]
    assert (await identity.snapshot())[f"person:{WANG['psn_no']}"].version == 2


async def test_overlapping_decisions_count_each_by_itself(identity: Identity) -> None:
    """Lifting one leaves the other in force."""
    await identity.register(**WANG)
    first = await sanction(identity)
    second = await sanction(identity, decision_no="疆医保罚〔2026〕4号", to_time=timestamp(START + timedelta(days=200)))
    assert [each.sanction_id for each in (await lift(identity, first.sanction_id)).sanctions] == [second.sanction_id]
    assert [each.decision_no for each in await listed(identity)] == ["疆医保罚〔2026〕4号"]


async def test_an_institutions_sanction_goes_out_with_the_institution(identity: Identity) -> None:
    """Imposed once, told once, lifted once; the institution stays designated."""
    await identity.hospital()
    imposed = await institution_sanction(identity)
    assert (await institution_sanction(identity)).sanction_id == imposed.sanction_id
    assert imposed.institution.fixmedins_code == HOSPITAL
    assert imposed.institution.state == person_pb2.INSTITUTION_STATE_DESIGNATED
    assert not imposed.HasField("person")
    for _ in range(2):
        assert (await lifting(identity, imposed.sanction_id)).institution == imposed.institution
    told = await identity.told(f"institution:{HOSPITAL}", 3)
    assert [[each.sanction_id for each in event.institution_changed.sanctions] for event in told] == [
        [],
        [imposed.sanction_id],
        [],
    ]
    (record,) = await listed(identity, fixmedins_code=HOSPITAL, past=True)
    assert (record.fixmedins_code, record.psn_no, record.state) == (
        HOSPITAL,
        "",
        sanctions_pb2.SANCTION_STATE_LIFTED,
    )
    assert (record.imposed_by, record.lifted_by, record.lift_cause) == ("zhang01", "li02", "复议撤销")


async def test_a_change_of_an_institution_keeps_its_sanctions(identity: Identity) -> None:
    """Registering it anew with another name tells the sanction again."""
    await identity.hospital()
    imposed = await institution_sanction(identity)
    await identity.hospital(fixmedins_name="共济总医院")
    latest = (await identity.snapshot())[f"institution:{HOSPITAL}"]
    assert latest.version == 3
    assert [each.sanction_id for each in latest.institution_changed.sanctions] == [imposed.sanction_id]


async def test_a_decision_on_a_person_is_not_one_on_an_institution(identity: Identity) -> None:
    """A decision number belongs to one, whoever he is."""
    await identity.register(**WANG)
    await identity.hospital()
    await sanction(identity)
    refused = ("ALREADY_EXISTS", "SANCTION_DECISION_DIFFERS", "decision_no")
    assert await refusal(institution_sanction(identity)) == refused


async def test_a_person_s_sanctions_are_listed_page_by_page_and_the_look_is_on_record(identity: Identity) -> None:
    """Those in force or to come; with the past, all; the oldest first, each once."""
    await identity.register(**WANG)
    numbers = [f"疆医保罚〔2026〕{n}号" for n in range(5)]
    imposed = []
    for number in numbers:
        imposed.append((await sanction(identity, decision_no=number)).sanction_id)
        identity.clock.advance(seconds=1)
    await lift(identity, imposed[-1])
    assert [each.decision_no for each in await listed(identity)] == numbers[:4]
    pages, token = [], ""
    while True:
        answer = await identity.sanctions.ListSanctions(
            sanctions_pb2.ListSanctionsRequest(psn_no=WANG["psn_no"], past=True, page_size=2, page_token=token)
        )
        pages.append([each.decision_no for each in answer.sanctions])
        if not (token := answer.next_page_token):
            break
    assert pages == [numbers[:2], numbers[2:4], numbers[4:]]
    async with identity.database.driver_connection() as connection:
        purposes = [row["purpose"] for row in await connection.fetch("SELECT purpose FROM lookups ORDER BY id")]
    assert purposes == ["SANCTION"] * 10


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"psn_no": UNKNOWN}, ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")),
        ({"fixmedins_code": HOSPITAL}, ("NOT_FOUND", "INSTITUTION_UNKNOWN", "fixmedins_code")),
        ({"psn_no": ""}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "")),
        ({"psn_no": WANG["psn_no"], "page_token": "x"}, ("INVALID_ARGUMENT", "PAGE_TOKEN_MALFORMED", "page_token")),
        ({"psn_no": WANG["psn_no"], "page_size": 201}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "page_size")),
    ],
)
async def test_a_list_of_nobody_is_refused(
    identity: Identity, fields: dict[str, Any], refused: tuple[str, str, str]
) -> None:
    """An unknown subject, none at all, and a page of no known form are each refused by name and field."""
    await identity.register(**WANG)
    assert await refusal(listed(identity, **fields)) == refused


async def test_an_appeal_leaves_the_sanction_in_force_until_it_is_granted(identity: Identity) -> None:
    """Filed, it changes nothing; granted, it lifts the sanction by the decision, once, and other rooms are told."""
    await identity.register(**WANG)
    imposed = await sanction(identity)
    filed = await file(identity, imposed.sanction_id)
    assert await file(identity, imposed.sanction_id) == filed
    assert await waiting(identity) == ["乌府复〔2026〕7号"]
    assert len((await identity.person(WANG["psn_no"])).sanctions) == 1
    identity.clock.advance(days=3)
    freed = await decide(identity, filed.appeal_id, "GRANTED")
    assert (freed.state, freed.lift_cause, freed.lifted_by) == (
        sanctions_pb2.SANCTION_STATE_LIFTED,
        "证据不足",
        "li02",
    )
    assert [(each.state, each.decision_no) for each in freed.appeals] == [
        (sanctions_pb2.APPEAL_STATE_GRANTED, "乌府复决〔2026〕7号")
    ]
    assert await decide(identity, filed.appeal_id, "GRANTED") == freed
    assert not (await identity.person(WANG["psn_no"])).sanctions
    told = await identity.told(f"person:{WANG['psn_no']}", 3)
    assert [len(event.person_changed.person.sanctions) for event in told] == [0, 1, 0]
    assert await waiting(identity) == []


@pytest.mark.parametrize("state", ["UPHELD", "WITHDRAWN"])
async def test_an_appeal_without_success_changes_nothing_and_another_may_follow(identity: Identity, state: str) -> None:
    """The sanction stays, nobody is told, the decision is on record; the next appeal has its own number."""
    await identity.register(**WANG)
    imposed = await sanction(identity)
    filed = await file(identity, imposed.sanction_id)
    record = await decide(identity, filed.appeal_id, state)
    assert (record.state, [each.cause for each in record.appeals]) == (
        sanctions_pb2.SANCTION_STATE_IN_FORCE,
        ["证据不足"],
    )
    assert (await identity.snapshot())[f"person:{WANG['psn_no']}"].version == 2
    assert (await refusal(decide(identity, filed.appeal_id, "GRANTED")))[1] == "APPEAL_DECIDED"
    await file(identity, imposed.sanction_id, appeal_no="乌中行初〔2026〕1号")
    assert await waiting(identity) == ["乌中行初〔2026〕1号"]


async def test_an_institution_may_appeal(identity: Identity) -> None:
    """Granted, its sanction goes out as lifted."""
    await identity.hospital()
    imposed = await institution_sanction(identity)
    filed = await file(identity, imposed.sanction_id)
    assert (await decide(identity, filed.appeal_id, "GRANTED")).fixmedins_code == HOSPITAL
    told = await identity.told(f"institution:{HOSPITAL}", 3)
    assert [len(event.institution_changed.sanctions) for event in told] == [0, 1, 0]


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"sanction_id": NOWHERE}, ("NOT_FOUND", "SANCTION_UNKNOWN", "sanction_id")),
        ({"appeal_no": "8号"}, ("ALREADY_EXISTS", "APPEAL_PENDING", "")),
        ({"filed_date": "2026-06-30", "appeal_no": "8号"}, ("INVALID_ARGUMENT", "APPEAL_DATE_WRONG", "filed_date")),
        ({"filed_date": "2026-07-02", "appeal_no": "8号"}, ("INVALID_ARGUMENT", "APPEAL_DATE_WRONG", "filed_date")),
        ({"filed_date": "2026-02-30"}, ("INVALID_ARGUMENT", "DATE_MALFORMED", "filed_date")),
        ({"filed_date": ""}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "filed_date")),
        ({"appeal_no": "\x00"}, ("INVALID_ARGUMENT", "TEXT_MALFORMED", "appeal_no")),
        ({"opter": ""}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "opter")),
    ],
)
async def test_a_wrong_appeal_is_refused(
    identity: Identity, fields: dict[str, Any], refused: tuple[str, str, str]
) -> None:
    """Each refusal has its name, and the one appeal from before waits on."""
    await identity.register(**WANG)
    imposed = await sanction(identity)
    await file(identity, imposed.sanction_id)
    assert await refusal(file(identity, **({"sanction_id": imposed.sanction_id} | fields))) == refused
    assert await waiting(identity) == ["乌府复〔2026〕7号"]


async def test_an_appeals_number_belongs_to_one_appeal(identity: Identity) -> None:
    """The number of an appeal against another sanction is refused."""
    await identity.register(**WANG)
    first = await sanction(identity)
    second = await sanction(identity, decision_no="疆医保罚〔2026〕4号")
    await file(identity, first.sanction_id)
    refused = ("ALREADY_EXISTS", "APPEAL_NUMBER_TAKEN", "appeal_no")
    assert await refusal(file(identity, second.sanction_id)) == refused


async def test_against_a_lifted_sanction_nobody_appeals(identity: Identity) -> None:
    """An appeal filed after the sanction was lifted is refused: there is nothing left to grant."""
    await identity.register(**WANG)
    imposed = await sanction(identity)
    await lift(identity, imposed.sanction_id)
    assert (await refusal(file(identity, imposed.sanction_id)))[1] == "SANCTION_LIFTED"


async def test_an_appeal_that_is_granted_after_the_end_is_on_record_alone(identity: Identity) -> None:
    """The sanction ran out by itself: it is not lifted afterwards, and nobody is told."""
    await identity.register(**WANG)
    imposed = await sanction(identity)
    filed = await file(identity, imposed.sanction_id)
    identity.clock.advance(days=200)
    record = await decide(identity, filed.appeal_id, "GRANTED")
    assert (record.state, record.appeals[0].state) == (
        sanctions_pb2.SANCTION_STATE_OVER,
        sanctions_pb2.APPEAL_STATE_GRANTED,
    )
    assert (await identity.snapshot())[f"person:{WANG['psn_no']}"].version == 2


async def test_an_unknown_appeal_is_not_decided(identity: Identity) -> None:
    """Deciding names an appeal that exists, and a decision that there is."""
    assert await refusal(decide(identity, NOWHERE, "GRANTED")) == ("NOT_FOUND", "APPEAL_UNKNOWN", "appeal_id")
    for state in ("UNSPECIFIED", "FILED"):
        assert (await refusal(decide(identity, NOWHERE, state)))[1:] == ("REQUEST_INVALID", "state")


async def test_of_two_appeals_at_once_one_waits(start_identity: StartIdentity) -> None:
    """Two replicas, two numbers against one sanction: one is filed, the other is told to wait."""
    one = await start_identity()
    two = await start_identity(one.clock)
    await one.register(**WANG)
    imposed = await sanction(one)
    numbers = ["7号", "8号"]
    answers = await asyncio.gather(
        *(file(room, imposed.sanction_id, appeal_no=no) for room, no in zip((one, two), numbers, strict=True)),
        return_exceptions=True,
    )
    assert [str(answer) for answer in answers if isinstance(answer, BaseException)] == ["APPEAL_PENDING"]
    assert len(await waiting(one)) == 1


async def test_of_two_decisions_at_once_one_counts(start_identity: StartIdentity) -> None:
    """Granted at one desk and upheld at the other: whoever comes second is refused; the sanction follows the first."""
    one = await start_identity()
    two = await start_identity(one.clock)
    await one.register(**WANG)
    for round_no in range(5):
        imposed = await sanction(one, decision_no=f"{round_no}号")
        filed = await file(one, imposed.sanction_id, appeal_no=f"复议{round_no}号")
        answers = await asyncio.gather(
            decide(one, filed.appeal_id, "GRANTED"), decide(two, filed.appeal_id, "UPHELD"), return_exceptions=True
        )
        refusals = [str(answer) for answer in answers if isinstance(answer, BaseException)]
        assert refusals in (["APPEAL_DECIDED (state=GRANTED)"], ["APPEAL_DECIDED (state=UPHELD)"])
        granted = refusals == ["APPEAL_DECIDED (state=GRANTED)"]
        standing = [each.sanction_id for each in await listed(one)]
        assert (imposed.sanction_id not in standing) is granted


async def test_lifted_and_granted_at_once_it_is_lifted_once(start_identity: StartIdentity) -> None:
    """Both are answered, one of them lifts, and other rooms are told once."""
    one = await start_identity()
    two = await start_identity(one.clock)
    await one.register(**WANG)
    imposed = await sanction(one)
    filed = await file(one, imposed.sanction_id)
    await asyncio.gather(lift(one, imposed.sanction_id), decide(two, filed.appeal_id, "GRANTED"))
    assert (await one.snapshot())[f"person:{WANG['psn_no']}"].version == 3
    (record,) = await listed(one, past=True)
    assert record.state == sanctions_pb2.SANCTION_STATE_LIFTED
