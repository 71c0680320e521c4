"""Risk events: what raises one, what adds to it, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gongji.identity.v1 import identity_pb2, risk_pb2
from gongji.settlement.v1 import settlement_pb2
from services.identity.domain.risk import Thresholds
from services.identity.operations import risk, risk_sweep
from services.identity.wire.risk import heard
from tests.integration.identity.conftest import (
    CHILD,
    HOSPITAL,
    LI,
    START,
    WANG,
    Identity,
    StartIdentity,
    refusal,
)
from tests.integration.identity.watching import (
    FAR_HOSPITAL,
    PAUSE_S,
    PHARMACY,
    URUMQI_KASHGAR_M,
    Watch,
    bill_refunded,
    bill_settled,
    credential_refused,
    watching,
)

UNKNOWN = "650100000000099"


@pytest.fixture
async def watch(identity: Identity) -> AsyncIterator[Watch]:
    """A room with three people, that hears settlement."""
    for person in (WANG, LI, CHILD):
        await identity.register(**person)
    async with watching(identity) as watch:
        yield watch


async def test_a_credential_shown_for_another_is_raised_with_who_where_and_when(watch: Watch) -> None:
    """The holder is the subject, the patient and the refusal stand in the evidence, other rooms hear of the holder."""
    await watch.tell(credential_refused(START))
    assert await watch.sweep() == 1
    (event,) = await watch.listed()
    assert (event.kind, event.state, event.psn_no, event.day) == (
        risk_pb2.RISK_KIND_OTHERS_CREDENTIAL,
        risk_pb2.RISK_STATE_OPEN,
        WANG["psn_no"],
        "2026-07-01",
    )
    (evidence,) = await watch.evidence(event.risk_event_id)
    assert (evidence.reason, evidence.patient_psn_no, evidence.fixmedins_code, evidence.terminal_no) == (
        "FUNDER_CREDENTIAL_USED",
        CHILD["psn_no"],
        PHARMACY,
        "T1",
    )
    assert evidence.occurred_time.ToDatetime(tzinfo=START.tzinfo) == START
    told = await watch.raised()
    assert [(each.risk_event_id, each.kind, each.psn_no) for each in told] == [
        (event.risk_event_id, risk_pb2.RISK_KIND_OTHERS_CREDENTIAL, WANG["psn_no"])
    ]


async def test_further_misuse_of_the_day_adds_to_the_event_and_the_next_day_makes_another(watch: Watch) -> None:
    """One event for each kind, person and civil day; each is told once."""
    await watch.tell(credential_refused(START), credential_refused(START + timedelta(hours=1)))
    assert await watch.sweep() == 1
    await watch.tell(credential_refused(START + timedelta(hours=2)))
    assert await watch.sweep() == 0
    watch.identity.clock.advance(days=1)
    await watch.tell(credential_refused(START + timedelta(days=1)), credential_refused(START, presented=LI["psn_no"]))
    assert await watch.sweep() == 2
    assert sorted((each.psn_no, each.day, each.evidence_count) for each in await watch.listed()) == [
        (WANG["psn_no"], "2026-07-01", 3),
        (WANG["psn_no"], "2026-07-02", 1),
        (LI["psn_no"], "2026-07-01", 1),
    ]
    assert len(await watch.raised()) == 3


async def test_what_is_told_twice_counts_once(watch: Watch) -> None:
    """An event that comes again past the inbox, before or after it was judged, changes nothing."""
    refused, settled = credential_refused(START), bill_settled(START)
    for _ in range(3):
        for told in (refused, settled, bill_refunded(settled, START)):
            async with watch.identity.database.transaction() as connection:
                await risk.keep(connection, heard(told.SerializeToString(), small_buy_max_fen=10_000))
        await watch.sweep()
    (event,) = await watch.listed()
    assert event.evidence_count == 1
    assert len(await watch.raised()) == 1
    assert await watch.count("pharmacy_buys") == 1


async def test_ones_own_credential_and_strangers_are_no_risk(watch: Watch) -> None:
    """The patient's own token at another terminal, and people nobody registered, raise nothing and stop nothing."""
    await watch.tell(
        credential_refused(START, patient=WANG["psn_no"], reason="EC_TOKEN_OF_ANOTHER_TERMINAL"),
        credential_refused(START, presented=UNKNOWN),
        credential_refused(START, patient=UNKNOWN, presented=LI["psn_no"]),
    )
    assert await watch.sweep() == 1
    (event,) = await watch.listed()
    assert event.psn_no == LI["psn_no"]
    assert len(await watch.evidence(event.risk_event_id)) == 1


async def test_codes_decoded_farther_apart_than_travel_allows_are_raised(watch: Watch) -> None:
    """Urumqi and, half an hour later, Kashgar: the evidence names both desks and the distance."""
    await watch.desks()
    identity = watch.identity
    await identity.decode(await identity.code(WANG["psn_no"]))
    identity.clock.advance(minutes=30)
    await identity.decode(await identity.code(WANG["psn_no"]), fixmedins_code=FAR_HOSPITAL)
    await identity.decode(await identity.code(LI["psn_no"]), fixmedins_code=FAR_HOSPITAL)
    assert await watch.sweep() == 1
    assert await watch.sweep() == 0
    (event,) = await watch.listed()
    assert (event.kind, event.psn_no) == (risk_pb2.RISK_KIND_FAR_TERMINALS, WANG["psn_no"])
    (evidence,) = await watch.evidence(event.risk_event_id)
    assert (evidence.earlier_fixmedins_code, evidence.earlier_terminal_no) == (HOSPITAL, "T1")
    assert (evidence.fixmedins_code, evidence.terminal_no) == (FAR_HOSPITAL, "T1")
    assert evidence.distance_m == URUMQI_KASHGAR_M
    assert evidence.occurred_time.seconds - evidence.earlier_time.seconds == 1_800
    assert [each.psn_no for each in await watch.raised()] == [WANG["psn_no"]]


async def test_a_journey_that_can_be_made_is_no_risk(watch: Watch) -> None:
    """Three hours lie between Urumqi and Kashgar."""
    await watch.desks()
    identity = watch.identity
    await identity.decode(await identity.code(WANG["psn_no"]))
    identity.clock.advance(hours=3)
    await identity.decode(await identity.code(WANG["psn_no"]), fixmedins_code=FAR_HOSPITAL)
    assert await watch.sweep() == 0


async def test_a_screenshot_at_a_far_desk_is_raised(watch: Watch) -> None:
    """A code that was used and is shown again far away is refused there, and both showings are the evidence."""
    await watch.desks()
    identity = watch.identity
    code = await identity.code(WANG["psn_no"])
    await identity.decode(code)
    identity.clock.advance(seconds=20)
    assert (await refusal(identity.decode(code, fixmedins_code=FAR_HOSPITAL)))[1] == "CODE_ALREADY_USED"
    assert await watch.sweep() == 1
    (event,) = await watch.listed()
    assert (event.kind, event.psn_no) == (risk_pb2.RISK_KIND_FAR_TERMINALS, WANG["psn_no"])
    (evidence,) = await watch.evidence(event.risk_event_id)
    assert (evidence.earlier_fixmedins_code, evidence.fixmedins_code) == (HOSPITAL, FAR_HOSPITAL)


async def test_a_token_shown_at_a_far_desk_is_raised(watch: Watch) -> None:
    """Settlement refuses the ecToken of another terminal; where it was shown counts as well."""
    await watch.desks()
    identity = watch.identity
    await identity.decode(await identity.code(WANG["psn_no"]))
    identity.clock.advance(minutes=5)
    await watch.tell(
        credential_refused(
            identity.clock.now(),
            patient=WANG["psn_no"],
            reason="EC_TOKEN_OF_ANOTHER_TERMINAL",
            fixmedins_code=FAR_HOSPITAL,
        )
    )
    assert await watch.sweep() == 1
    (event,) = await watch.listed()
    assert (event.kind, event.psn_no) == (risk_pb2.RISK_KIND_FAR_TERMINALS, WANG["psn_no"])


async def test_a_desk_whose_place_nobody_knows_says_nothing(watch: Watch) -> None:
    """Without coordinates there is no distance."""
    await watch.desks()
    identity = watch.identity
    await identity.hospital(fixmedins_code="H65320000001", fixmedins_name="和田医院")
    await identity.signed_in(fixmedins_code="H65320000001")
    await identity.decode(await identity.code(WANG["psn_no"]))
    await identity.decode(await identity.code(WANG["psn_no"]), fixmedins_code="H65320000001")
    assert await watch.sweep() == 0


async def test_nothing_is_passed_over_while_nobody_looked(watch: Watch) -> None:
    """What happened hours before the sweep is found once it runs again, slice by slice."""
    await watch.desks()
    identity = watch.identity
    assert await watch.sweep() == 0
    await identity.decode(await identity.code(WANG["psn_no"]))
    identity.clock.advance(minutes=30)
    await identity.decode(await identity.code(WANG["psn_no"]), fixmedins_code=FAR_HOSPITAL)
    await watch.refused(20)
    identity.clock.advance(hours=7)
    assert await watch.sweep() == 2


async def test_many_small_pharmacy_buys_of_one_funder_are_raised(watch: Watch) -> None:
    """Five are a sick family; the sixth brings all six before an officer, the seventh is added."""
    await watch.pharmacy()
    buys = [bill_settled(START + timedelta(hours=n)) for n in range(7)]
    await watch.tell(*buys[:5])
    assert await watch.sweep() == 0
    await watch.tell(buys[5])
    assert await watch.sweep() == 1
    await watch.tell(buys[6])
    assert await watch.sweep() == 0
    (event,) = await watch.listed()
    assert (event.kind, event.psn_no, event.evidence_count) == (
        risk_pb2.RISK_KIND_SMALL_PHARMACY_BUYS,
        WANG["psn_no"],
        7,
    )
    evidence = await watch.evidence(event.risk_event_id)
    assert [each.setl_id for each in evidence] == [each.bill_settled.setl_id for each in buys]
    assert {each.patient_psn_no for each in evidence} == {CHILD["psn_no"]}


async def test_other_bills_are_no_small_pharmacy_buys(watch: Watch) -> None:
    """Not a hospital's, not a large one, not out of the patient's own account or wallet, not spread over two days."""
    await watch.pharmacy()
    for n in range(6):
        at = START + timedelta(minutes=n)
        await watch.tell(
            bill_settled(at, fixmedins_code=HOSPITAL),
            bill_settled(at, fen=10_001),
            bill_settled(at, role=settlement_pb2.SOURCE_ROLE_OWN, funder=CHILD["psn_no"]),
            bill_settled(at, role=settlement_pb2.SOURCE_ROLE_WALLET, funder=CHILD["psn_no"]),
            bill_settled(START + timedelta(hours=5 * n), funder=LI["psn_no"]),
        )
    assert await watch.sweep() == 0
    assert await watch.count("pharmacy_buys") == 6


@pytest.mark.parametrize("refund_first", [False, True])
async def test_a_buy_whose_money_went_back_does_not_count(watch: Watch, *, refund_first: bool) -> None:
    """Six buys of which one was taken back are five, whichever of the two was heard of first."""
    await watch.pharmacy()
    buys = [bill_settled(START + timedelta(minutes=n)) for n in range(6)]
    refund = bill_refunded(buys[0], START + timedelta(hours=1))
    await watch.tell(*([refund, *buys] if refund_first else [*buys, refund]))
    assert await watch.sweep() == 0
    await watch.tell(bill_settled(START + timedelta(minutes=7)))
    assert await watch.sweep() == 1


async def test_many_refused_codes_at_a_terminal_are_raised_and_told_to_nobody(watch: Watch) -> None:
    """Twenty within ten minutes at one desk; it is about the desk, so no person hears of it."""
    await watch.desks()
    await watch.refused(12)
    watch.identity.clock.advance(minutes=5)
    await watch.refused(7, reason="CODE_MALFORMED")
    assert await watch.sweep() == 0
    await watch.refused(1, reason="CODE_MALFORMED")
    await watch.refused(19, fixmedins_code=FAR_HOSPITAL)
    assert await watch.sweep() == 1
    (event,) = await watch.listed()
    assert (event.kind, event.psn_no, event.fixmedins_code, event.terminal_no) == (
        risk_pb2.RISK_KIND_REFUSED_CODES,
        "",
        HOSPITAL,
        "T1",
    )
    evidence = await watch.evidence(event.risk_event_id)
    assert [(each.reason, each.count) for each in evidence] == [("CODE_EXPIRED", 12), ("CODE_MALFORMED", 8)]
    assert await watch.raised() == []


async def test_refusals_of_a_minute_that_was_told_are_counted_on(watch: Watch) -> None:
    """The count of a minute grows in the evidence as long as nobody has judged it."""
    await watch.desks()
    await watch.refused(20)
    assert await watch.sweep() == 1
    await watch.refused(30)
    assert await watch.sweep() == 0
    (event,) = await watch.listed()
    assert [each.count for each in await watch.evidence(event.risk_event_id)] == [50]
    await watch.decide(event.risk_event_id)
    await watch.refused(5)
    assert await watch.sweep() == 0
    assert [each.count for each in await watch.evidence(event.risk_event_id)] == [50]


async def test_many_refused_codes_of_a_person_are_raised(watch: Watch) -> None:
    """One code shown six times after its use is about its holder; the desk is below its own number."""
    await watch.desks()
    identity = watch.identity
    code = await identity.code(WANG["psn_no"])
    await identity.decode(code)
    for _ in range(5):
        assert (await refusal(identity.decode(code)))[1] == "CODE_ALREADY_USED"
    assert await watch.sweep() == 0
    assert (await refusal(identity.decode(code)))[1] == "CODE_ALREADY_USED"
    assert await watch.sweep() == 1
    (event,) = await watch.listed()
    assert (event.kind, event.psn_no) == (risk_pb2.RISK_KIND_REFUSED_CODES, WANG["psn_no"])
    assert [(each.reason, each.count) for each in await watch.evidence(event.risk_event_id)] == [
        ("CODE_ALREADY_USED", 6)
    ]
    assert [each.psn_no for each in await watch.raised()] == [WANG["psn_no"]]


async def test_codes_refused_where_no_terminal_is_registered_are_about_the_person_alone(watch: Watch) -> None:
    """A desk that nobody registered is no subject; what was shown there still is about its holder."""
    await watch.refused(25, fixmedins_code="", psn_no=WANG["psn_no"])
    await watch.refused(25, fixmedins_code="")
    assert await watch.sweep() == 1
    (event,) = await watch.listed()
    assert (event.psn_no, event.fixmedins_code) == (WANG["psn_no"], "")


async def test_two_replicas_that_look_at_once_raise_one_event(start_identity: StartIdentity) -> None:
    """Whoever comes second leaves the kind to the first, or finds everything told."""
    one = await start_identity()
    two = await start_identity(one.clock)
    await one.register(**WANG)
    async with watching(one) as first, watching(two) as second:
        await first.pharmacy()
        for round_no in range(4):
            at = START + timedelta(minutes=10 * round_no)
            await first.tell(credential_refused(at), *(bill_settled(at + timedelta(seconds=n)) for n in range(3)))
            await asyncio.gather(first.sweep(), second.sweep(), first.sweep(), second.sweep())
        events = await first.listed()
        assert [(each.kind, each.evidence_count) for each in sorted(events, key=lambda each: each.kind)] == [
            (risk_pb2.RISK_KIND_OTHERS_CREDENTIAL, 4),
            (risk_pb2.RISK_KIND_SMALL_PHARMACY_BUYS, 12),
        ]
        assert len(await first.raised()) == 2
        assert await first.count("risk_evidence") == 16


async def test_two_replicas_hear_each_word_once(start_identity: StartIdentity) -> None:
    """Both follow settlement under one name and share its words."""
    one = await start_identity()
    two = await start_identity(one.clock)
    await one.register(**WANG)
    async with watching(one) as first, watching(two):
        await first.tell(*(credential_refused(START + timedelta(seconds=n)) for n in range(40)))
        assert await first.count("credential_refusals") == 40
        assert await first.sweep() == 1
        assert [each.evidence_count for each in await first.listed()] == [40]


async def test_a_sweep_judges_all_that_waits(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little fits into one transaction, nothing is left for the next time."""
    monkeypatch.setattr(risk_sweep, "BATCH_SIZE", 2)
    await watch.pharmacy()
    await watch.tell(
        *(credential_refused(START + timedelta(seconds=n)) for n in range(5)),
        *(bill_settled(START + timedelta(seconds=n)) for n in range(7)),
    )
    assert await watch.sweep() == 2
    assert sorted(each.evidence_count for each in await watch.listed()) == [5, 7]


async def test_what_settlement_told_long_ago_is_forgotten_and_evidence_is_not(watch: Watch) -> None:
    """After forty days nothing of it counts any more; what an officer saw stays."""
    await watch.pharmacy()
    settled = bill_settled(START)
    await watch.tell(credential_refused(START), settled, bill_refunded(settled, START))
    await watch.sweep()
    watch.identity.clock.advance(days=39)
    await risk.forget(database=watch.identity.database, now=watch.identity.clock.now())
    assert await watch.count("credential_refusals") == 1
    watch.identity.clock.advance(days=2)
    await risk.forget(database=watch.identity.database, now=watch.identity.clock.now())
    for table in ("credential_refusals", "pharmacy_buys", "refunded_buys"):
        assert await watch.count(table) == 0
    (event,) = await watch.listed()
    assert len(await watch.evidence(event.risk_event_id)) == 1


async def test_the_thresholds_are_those_of_the_settings(identity: Identity) -> None:
    """Two buys are many where the setting says so."""
    await identity.register(**WANG)
    strict = Thresholds(
        travel_kmh=400,
        small_buy_max_fen=100,
        small_buys_min=2,
        small_buys_window=timedelta(hours=1),
        refused_at_terminal_min=2,
        refused_of_person_min=2,
        refused_window=timedelta(minutes=1),
    )
    async with watching(identity, strict) as watch:
        await watch.pharmacy()
        await watch.tell(bill_settled(START, fen=100), bill_settled(START, fen=101))
        assert await watch.sweep() == 0
        await watch.tell(bill_settled(START + timedelta(minutes=59), fen=100))
        assert await watch.sweep() == 1


async def test_risks_do_not_stand_in_the_snapshot(watch: Watch) -> None:
    """A room that starts anew tells nobody of what was told long ago."""
    await watch.tell(credential_refused(START))
    await watch.sweep()
    assert len(await watch.raised()) == 1
    answers = watch.identity.stub.StreamSnapshot(identity_pb2.StreamSnapshotRequest(), timeout=60)
    assert "risk_event_raised" not in [answer.event.WhichOneof("fact") async for answer in answers]


async def test_what_cannot_be_judged_does_not_end_the_room(watch: Watch) -> None:
    """With a table gone the sweep says so and goes on; once it is back, what happened meanwhile is raised."""
    await watch.tell(credential_refused(START))
    sweeping = asyncio.create_task(watch.risks.run())
    try:
        async with watch.identity.database.driver_connection() as connection:
            await connection.execute("ALTER TABLE risk_sweeps RENAME TO risk_sweeps_away")
            await asyncio.sleep(10 * PAUSE_S)
            assert not sweeping.done()
            assert await connection.fetchval("SELECT count(*) FROM risk_events") == 0
            await connection.execute("ALTER TABLE risk_sweeps_away RENAME TO risk_sweeps")
        async with asyncio.timeout(30):
            while not await watch.listed():  # noqa: ASYNC110  The sweep is not ours to wait for.
                await asyncio.sleep(PAUSE_S)
    finally:
        sweeping.cancel()
        await asyncio.wait([sweeping])
