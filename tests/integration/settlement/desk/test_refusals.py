"""Bad input at the desk: each kind is refused by its own name, and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest

from gongji.family.v1 import binding_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.msgid import next_msgid
from services.settlement.operations.refusing import TOLD
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.town import (
    HAMI,
    HOSPITAL,
    MDTRT_ID,
    OTHER_HOSPITAL,
    PHARMACY,
    SILENT,
    SUSPENDED_HOSPITAL,
    URUMQI,
    Town,
    bill,
    token,
)

TOO_MUCH: Final = 10**16
AROUND: Final = timedelta(seconds=5)
UNKNOWN_HOSPITAL: Final = "H65010000099"
NOWHERE_HOSPITAL: Final = "H99010000001"


class _Msgids:
    """The msgids of terminal 99, which no other test uses."""

    last: str | None = None

    def make(self, now: datetime) -> str:
        """One that was never made before; of another time where that is asked for."""
        made = next_msgid(HOSPITAL, 99, now=now, last=self.last if abs(now - datetime.now(UTC)) < AROUND else None)
        if abs(now - datetime.now(UTC)) < AROUND:
            self.last = made
        return made


MSGIDS: Final = _Msgids()


def request_key(now: datetime | None = None, *, code: str = HOSPITAL, infno: int = 2207) -> pb.RequestKey:
    """A key of the hospital's, made now."""
    msgid = MSGIDS.make(now or datetime.now(UTC))
    return pb.RequestKey(fixmedins_code=code, infno=infno, msgid=msgid)  # type: ignore[arg-type]  # An enum's number.


BAD_VISITS: Final[list[tuple[str, Callable[[str], dict[str, Any]], str]]] = [
    ("does not add up", lambda _: {"bill": bill(1_000, inscp_scp_amt=900)}, "BILL_DOES_NOT_ADD_UP"),
    ("negative amount", lambda _: {"bill": bill(1_000, hifp_pay=-1)}, "REQUEST_INVALID"),
    ("amount beyond N16,2", lambda _: {"bill": bill(TOO_MUCH)}, "REQUEST_INVALID"),
    ("pooled part too large", lambda _: {"bill": bill(1_000, hifp_pay=1_001)}, "POOLED_PART_EXCEEDS_SCOPE"),
    ("funds pay too much", lambda _: {"bill": bill(1_000, oth_pay=1_001)}, "FUNDS_EXCEED_BILL"),
    ("hospital's part too large", lambda _: {"bill": bill(1_000, hosp_part_amt=1_001)}, "HOSPITAL_PART_EXCEEDS_BURDEN"),
    ("no bill", lambda _: {"bill": None}, "REQUEST_INVALID"),
    ("unknown institution", lambda _: {"fixmedins_code": UNKNOWN_HOSPITAL}, "INSTITUTION_UNKNOWN"),
    ("suspended institution", lambda _: {"fixmedins_code": SUSPENDED_HOSPITAL}, "INSTITUTION_NOT_DESIGNATED"),
    ("unknown terminal", lambda _: {"terminal_no": "T99"}, "TERMINAL_UNKNOWN"),
    ("a pharmacy's transaction", lambda _: {"infno": pb.INFNO_2101}, "TRANSACTION_NOT_FOR_INSTITUTION"),
    ("a hospital's transaction", lambda _: {"fixmedins_code": PHARMACY}, "TRANSACTION_NOT_FOR_INSTITUTION"),
    ("a settling transaction", lambda _: {"infno": pb.INFNO_2207}, "REQUEST_INVALID"),
    ("malformed institution", lambda _: {"fixmedins_code": "X1"}, "REQUEST_INVALID"),
    ("no token", lambda _: {"ec_token": ""}, "REQUEST_INVALID"),
    ("rubbish for a token", lambda _: {"ec_token": "x.y.z"}, "EC_TOKEN_INVALID"),
    ("expired token", lambda patient: {"ec_token": token(patient, exp=1)}, "EC_TOKEN_EXPIRED"),
    (
        "token of another terminal",
        lambda patient: {"ec_token": token(patient, terminal_no="T02")},
        "EC_TOKEN_OF_ANOTHER_TERMINAL",
    ),
    (
        "token of another institution",
        lambda patient: {"ec_token": token(patient, fixmedins_code=OTHER_HOSPITAL)},
        "EC_TOKEN_OF_ANOTHER_TERMINAL",
    ),
    (
        "token of another visit",
        lambda patient: {"ec_token": token(patient, mdtrt_id="m2")},
        "CREDENTIAL_OF_ANOTHER_VISIT",
    ),
    (
        "token for registering",
        lambda patient: {"mdtrt_id": MDTRT_ID, "ec_token": token(patient, biz="01101")},
        "EC_TOKEN_OF_ANOTHER_BUSINESS",
    ),
    ("somebody else's token", lambda _: {"ec_token": token("650100999999999")}, "CREDENTIAL_NOT_OF_PATIENT"),
]


@pytest.mark.parametrize(("changes", "reason"), [row[1:] for row in BAD_VISITS], ids=[row[0] for row in BAD_VISITS])
async def test_a_bad_visit_is_refused_by_name_and_not_stored(
    town: Town, changes: Callable[[str], dict[str, Any]], reason: str
) -> None:
    """Whatever is wrong with a PreSettle has a name of its own and leaves no plan."""
    patient = await town.person(past=1_000)
    before = await town.stored()
    request = town.presented(patient, 1_000, **changes(patient))
    assert await town.refused(town.desk.PreSettle(request, timeout=60)) == reason
    # Of a credential that somebody else presents, whoever looks for misuse is told.
    assert await town.stored() == {**before, "outbox": before["outbox"] + (reason in TOLD)}


async def test_a_funders_own_code_is_refused_for_the_patient(town: Town) -> None:
    """本人参保，本人享受待遇: even inside the family, even after the binding has ended."""
    patient, funder = await town.person(past=1_000), await town.person(past=1_000)
    await town.bind(funder, patient, URUMQI, order=1)
    request = town.presented(patient, 1_000, ec_token=token(funder))
    assert await town.refused(town.desk.PreSettle(request, timeout=60)) == "FUNDER_CREDENTIAL_USED"
    ended = said.binding(funder, patient, area=URUMQI, version=2, state=binding_pb2.BINDING_STATE_UNBOUND)
    await town.tell(ended)
    assert await town.refused(town.desk.PreSettle(request, timeout=60)) == "FUNDER_CREDENTIAL_USED"


async def test_a_token_of_a_key_nobody_announced_is_refused(town: Town) -> None:
    """A good signature by an unknown key proves nothing."""
    patient = await town.person(past=1_000)
    unknown = token(patient, kid="another-key")
    assert await town.refused(town.desk.PreSettle(town.presented(patient, 1_000, ec_token=unknown), timeout=60)) == (
        "EC_TOKEN_INVALID"
    )


async def test_patients_who_may_not_settle_online_are_told_why(town: Town) -> None:
    """Unknown, paused and sanctioned patients get the reason, no plan."""
    now = datetime.now(UTC)
    unknown = f"{URUMQI}{next(town.numbers):09d}"
    paused = await town.person()
    await town.tell(said.person(paused, ("310", URUMQI, "2"), version=2))
    sanctioned = await town.person()
    period = (now - timedelta(days=1), now + timedelta(days=90))
    await town.tell(said.person(sanctioned, ("310", URUMQI, "1"), version=2, sanctions=[period]))
    told = [
        await town.refused(town.desk.PreSettle(town.presented(patient, 1_000), timeout=60))
        for patient in (unknown, paused, sanctioned)
    ]
    assert told == ["PATIENT_UNKNOWN", "PATIENT_NOT_INSURED", "PATIENT_SANCTIONED"]


async def test_an_area_of_no_province_has_no_policy(town: Town) -> None:
    """An institution that identity placed in an area that cannot exist gets no plan."""
    await town.opens(NOWHERE_HOSPITAL)
    request = town.presented(await town.person(past=1_000), 1_000, fixmedins_code=NOWHERE_HOSPITAL)
    assert await town.refused(town.desk.PreSettle(request, timeout=60)) == "POLICY_AREA_UNKNOWN"


async def test_a_silent_area_is_left_out_and_named(town: Town) -> None:
    """A funder whose ledger does not answer within a second is AREA_UNREACHABLE; the others pay."""
    patient, near, far = await town.person(), await town.person(past=400), f"{SILENT}{next(town.numbers):09d}"
    await town.tell(said.person(far, ("310", SILENT, "1")))
    await town.bind(near, patient, URUMQI, order=2)
    await town.bind(far, patient, SILENT, order=1)
    plan = (await town.desk.PreSettle(town.presented(patient, 1_000), timeout=60)).plan
    assert [(s.psn_no, s.reason) for s in plan.skipped] == [(far, "AREA_UNREACHABLE")]
    assert [(f.psn_no, f.past_fen) for f in plan.funders] == [(near, 400)]


async def test_without_the_patients_own_area_there_is_no_plan(town: Town) -> None:
    """A patient of a silent area is told to try again, for his own money comes first."""
    patient = f"{SILENT}{next(town.numbers):09d}"
    await town.tell(said.person(patient, ("310", SILENT, "1")))
    assert await town.refused(town.desk.PreSettle(town.presented(patient, 1_000), timeout=60)) == "OWN_AREA_UNREACHABLE"


async def test_a_wallet_pays_second_where_the_institution_takes_wallets(town: Town) -> None:
    """Own account, then own wallet as a line of its own; a hospital without wallets leaves it alone."""
    patient = await town.person(past=300)
    await town.credit(patient, URUMQI, wallet=500)
    takes_none = "H65010000077"
    await town.opens(takes_none, wallet_capable=False)
    with_wallet = (await town.desk.PreSettle(town.presented(patient, 1_000), timeout=60)).plan.amounts
    request = town.presented(patient, 1_000, fixmedins_code=takes_none)
    without = (await town.desk.PreSettle(request, timeout=60)).plan.amounts
    assert (with_wallet.acct_pay, with_wallet.wallet_pay, with_wallet.psn_cash_pay) == (300, 500, 200)
    assert (without.acct_pay, without.wallet_pay, without.psn_cash_pay) == (300, 0, 700)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (lambda: request_key(datetime.now(UTC) - timedelta(days=181)), "MSGID_TOO_OLD"),
        (lambda: request_key(datetime.now(UTC) + timedelta(minutes=11)), "MSGID_AHEAD_OF_TIME"),
        (lambda: request_key(code=OTHER_HOSPITAL), "MSGID_OF_ANOTHER_INSTITUTION"),
        (lambda: request_key(infno=2206), "INFNO_DOES_NOT_FIT"),
        (lambda: request_key(infno=2304), "INFNO_DOES_NOT_FIT"),
        (lambda: pb.RequestKey(fixmedins_code=HOSPITAL, infno=pb.INFNO_2207, msgid=HOSPITAL), "REQUEST_INVALID"),
        (
            lambda: pb.RequestKey(
                fixmedins_code=HOSPITAL, infno=pb.INFNO_2207, msgid=HOSPITAL + "2026139912000000" + "01"
            ),
            "MSGID_MALFORMED",
        ),
    ],
)
async def test_a_bad_key_is_refused_by_name(town: Town, key: Callable[[], pb.RequestKey], reason: str) -> None:
    """The key's time, institution and transaction must be right before anything is looked at."""
    patient = await town.person(past=1_000)
    plan = (await town.desk.PreSettle(town.presented(patient, 1_000), timeout=60)).plan
    before = await town.stored()
    request = pb.SettleRequest(key=key(), plan_id=plan.plan_id, plan_digest=plan.digest)
    assert await town.refused(town.desk.Settle(request, timeout=60)) == reason
    assert await town.stored() == before


async def test_a_plan_is_paid_only_as_it_was_shown_and_where(town: Town) -> None:
    """Unknown plans, other digests and another institution's plans are refused; the key stays free."""
    patient = await town.person(past=1_000)
    plan = (await town.desk.PreSettle(town.presented(patient, 1_000), timeout=60)).plan
    other = town.presented(patient, 1_000, fixmedins_code=OTHER_HOSPITAL)
    others_plan = (await town.desk.PreSettle(other, timeout=60)).plan
    key = request_key()
    attempts = [
        pb.SettleRequest(key=key, plan_id=str(uuid4()), plan_digest=plan.digest),
        pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=others_plan.digest),
        pb.SettleRequest(key=key, plan_id=others_plan.plan_id, plan_digest=others_plan.digest),
    ]
    told = [await town.refused(town.desk.Settle(attempt, timeout=60)) for attempt in attempts]
    assert told == ["PLAN_UNKNOWN", "PLAN_DIGEST_MISMATCH", "PLAN_NOT_OF_INSTITUTION"]
    paid = await town.desk.Settle(pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest), timeout=60)
    assert paid.settlement.amounts.acct_pay == 1_000


async def test_a_plan_made_before_another_payment_of_the_patient_is_stale(town: Town) -> None:
    """One patient's settlements run one after another: the second is told the plan that follows from the first."""
    patient = await town.person(past=1_000)
    plans = [(await town.desk.PreSettle(town.presented(patient, 100), timeout=60)).plan for _ in range(2)]
    first, second = [
        pb.SettleRequest(key=request_key(), plan_id=plan.plan_id, plan_digest=plan.digest) for plan in plans
    ]
    await town.desk.Settle(first, timeout=60)
    replan = (await town.desk.Settle(second, timeout=60)).replan
    assert (replan.reason, replan.plan.amounts.own_past_fen) == ("PLAN_STALE", 100)


async def test_a_settlement_is_shown_to_its_institution_alone(town: Town) -> None:
    """Another institution learns nothing, not even that it exists."""
    patient = await town.person(past=1_000)
    plan = (await town.desk.PreSettle(town.presented(patient, 100), timeout=60)).plan
    key = request_key()
    settled = await town.desk.Settle(
        pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest), timeout=5
    )
    asked = [
        pb.GetSettlementRequest(fixmedins_code=OTHER_HOSPITAL, setl_id=settled.settlement.setl_id),
        pb.GetSettlementRequest(fixmedins_code=OTHER_HOSPITAL, key=key),
        pb.GetSettlementRequest(fixmedins_code=HOSPITAL, setl_id=str(uuid4())),
        pb.GetSettlementRequest(fixmedins_code=HOSPITAL, key=request_key()),
    ]
    told = [await town.refused(town.desk.GetSettlement(request, timeout=60)) for request in asked]
    assert told == ["SETTLEMENT_UNKNOWN"] * 4


async def test_an_institution_that_does_not_exist_blocks_no_key(town: Town) -> None:
    """2601 writes a tombstone for a key that nobody has seen, so at least its institution must be one."""
    before = await town.stored()
    msgid = next_msgid(UNKNOWN_HOSPITAL, 1, now=datetime.now(UTC))
    request = pb.ReverseTransactionRequest(fixmedins_code=UNKNOWN_HOSPITAL, oinfno=pb.INFNO_2207, omsgid=msgid)
    assert await town.refused(town.desk.ReverseTransaction(request, timeout=60)) == "INSTITUTION_UNKNOWN"
    request = pb.ReverseTransactionRequest(
        fixmedins_code=PHARMACY, oinfno=pb.INFNO_2207, omsgid=next_msgid(PHARMACY, 1, now=datetime.now(UTC))
    )
    assert await town.refused(town.desk.ReverseTransaction(request, timeout=60)) == "TRANSACTION_NOT_FOR_INSTITUTION"
    assert await town.stored() == before


async def test_a_call_without_a_deadline_is_refused(town: Town) -> None:
    """Nobody may wait for ever: DEADLINE_MISSING."""
    patient = await town.person(past=1_000)
    assert await town.refused(town.desk.PreSettle(town.presented(patient, 1_000))) == "DEADLINE_MISSING"


async def test_an_oversized_or_garbled_message_is_refused_by_name(town: Town) -> None:
    """More bytes than the setting allows, and bytes that are no message."""
    send: Any = town.channel.unary_unary(
        "/gongji.settlement.v1.SettlementService/PreSettle", None, None
    )  # Raw bytes both ways.
    assert await town.refused(send(b"\x0a" * (70 << 10), timeout=60)) == "MESSAGE_TOO_LARGE"
    assert await town.refused(send(b"\xff\xff\xff", timeout=60)) == "REQUEST_MALFORMED"


async def test_no_answer_names_a_person_or_repeats_a_credential(town: Town) -> None:
    """What is refused is told by code, reason and fields, never by the person, the number or the token."""
    patient = await town.person(past=1_000)
    funder = await town.person(past=1_000, area=HAMI)
    await town.bind(funder, patient, HAMI, order=1)
    presented = [
        town.presented(patient, 1_000, ec_token=token(funder)),
        town.presented(patient, 1_000, ec_token=token(patient, exp=1)),
        town.presented(patient, 1_000, bill=bill(1_000, inscp_scp_amt=1)),
        town.presented(f"{URUMQI}{next(town.numbers):09d}", 1_000),
    ]
    for request in presented:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await town.desk.PreSettle(request, timeout=60)
        told = f"{refused.value.details()}{refused.value.trailing_metadata()}"
        assert not [secret for secret in (request.psn_no, patient, funder, request.ec_token) if secret in told]
