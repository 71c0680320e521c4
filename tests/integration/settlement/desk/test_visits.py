"""A visit as the institution states it: its class, its lines, its people, its parts, over the real desk."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import grpc
import pytest

from chassis.files import built_from, read_yaml_folder
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji.settlement.v1 import visits_pb2
from gongji.settlement.v1.visits_pb2_grpc import VisitServiceStub
from gongji_terminal import Care, TerminalRefusal
from gongji_terminal.failures import failure_of
from gongji_terminal.msgid import next_msgid
from kernel.clock import business_date
from kernel.failures import Failure
from kernel.ids import PaymentId, PlanId
from kernel.policy import PolicyBook
from services.settlement.clients import LedgerClient
from services.settlement.domain.lines import LINES_MAX, LinesRequired
from services.settlement.domain.payment import clr_type_of
from services.settlement.operations.planning import Desk, pre_settle
from services.settlement.operations.refusing import Refusals
from services.settlement.store import stays
from services.settlement.wire.desk import presented as presented_of
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.town import (
    CALL_S,
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
from tests.integration.settlement.engine.world import NEVER_STALE

OWN_TERMINAL: Final = 95
town_msgids: Final[dict[str, str]] = {}
"""The last msgid that a test made for an institution."""
CLASSES = (
    (Care.OUTPATIENT, HOSPITAL, "11", "11"),
    (Care.INPATIENT, HOSPITAL, "21", "21"),
    (Care.PHARMACY, PHARMACY, "41", "41"),
)


@pytest.mark.parametrize(("care", "fixmedins_code", "med_type", "clr_type"), CLASSES)
async def test_a_settlement_its_revocation_and_its_reversal_are_of_one_clearing_class(
    town: Town, care: Care, fixmedins_code: str, med_type: str, clr_type: str
) -> None:
    """清算类别 stands on each row of the payment, as its transaction says, and nowhere else."""
    patient = await town.person(past=10_000)
    async with town.terminal(fixmedins_code=fixmedins_code) as (terminal, _):
        for undo in ("revoke", "reverse"):
            plan = await terminal.pre_settle(
                care=care,
                psn_no=patient,
                ec_token=token(patient, fixmedins_code=fixmedins_code),
                mdtrt_id="m1",
                bill=bill(700, med_type=med_type),
            )
            settled = await terminal.settle(plan, care=care)
            assert isinstance(settled, pb.Settlement)
            if undo == "revoke":
                await terminal.revoke(settled.setl_id, care=care)
            else:
                await terminal.reverse(infno=care.settle, msgid=settled.key.msgid)
    async with town.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT kind, infno, clr_type FROM payments WHERE psn_no = $1", patient)
    assert {row["clr_type"] for row in rows if row["kind"] in {"SETTLE", "REFUND"}} == {clr_type}
    assert [row["clr_type"] for row in rows if row["kind"] == "CREDIT"] == [None]
    assert [row["clr_type"] for row in rows] == [clr_type_of(row["infno"]) for row in rows]
    assert len(rows) == 5


async def settled(town: Town, presented: pb.PreSettleRequest, *, infno: str) -> pb.Settlement:
    """The bill planned and paid."""
    plan = (await town.desk.PreSettle(presented, timeout=CALL_S)).plan
    request = pb.SettleRequest(key=key_of(presented, infno), plan_id=plan.plan_id, plan_digest=plan.digest)
    answer: pb.SettleResponse = await town.desk.Settle(request, timeout=CALL_S)
    assert answer.WhichOneof("outcome") == "settlement"
    return answer.settlement


def key_of(presented: pb.PreSettleRequest, infno: str) -> pb.RequestKey:
    """A request key of the institution that nobody has used."""
    code = presented.fixmedins_code
    msgid = next_msgid(code, OWN_TERMINAL, now=datetime.now(UTC), last=town_msgids.get(code))
    town_msgids[code] = msgid
    return pb.RequestKey(fixmedins_code=code, infno=pb.Infno.Value(f"INFNO_{infno}"), msgid=msgid)


async def revoked(town: Town, settlement: pb.Settlement, infno: str) -> pb.Settlement:
    """The settlement taken back."""
    key = key_of(pb.PreSettleRequest(fixmedins_code=settlement.fixmedins_code), infno)
    request = pb.RevokeSettleRequest(key=key, setl_id=settlement.setl_id)
    answer: pb.RevokeSettleResponse = await town.desk.RevokeSettle(request, timeout=CALL_S)
    return answer.revocation


def stay(town: Town, patient: str, *, interim: bool, mdtrt_id: str = "stay", **changes: Any) -> pb.PreSettleRequest:  # noqa: ANN401  Any field.
    """A bill of a stay in hospital."""
    presented = town.presented(patient, 300, infno=pb.INFNO_2303, mdtrt_id=mdtrt_id, **changes)
    presented.bill.med_type = "21"
    presented.mid_setl_flag = "1" if interim else "0"
    return presented


async def test_a_stay_is_settled_in_parts_until_the_final_settlement_closes_it(town: Town) -> None:
    """Two interim ones, the final one, then nothing; another stay and another patient are not concerned."""
    patient, other = await town.person(past=10_000), await town.person(past=10_000)
    parts = [await settled(town, stay(town, patient, interim=True), infno="2304") for _ in range(2)]
    parts.append(await settled(town, stay(town, patient, interim=False), infno="2304"))
    assert [part.mid_setl_flag for part in parts] == ["1", "1", "0"]
    for interim in (True, False):
        again = town.desk.PreSettle(stay(town, patient, interim=interim), timeout=CALL_S)
        assert await town.refused(again) == "VISIT_CLOSED"
    await settled(town, stay(town, patient, interim=False, mdtrt_id="another"), infno="2304")
    await settled(town, stay(town, other, interim=False), infno="2304")


async def test_a_stay_is_taken_back_from_its_end(town: Town) -> None:
    """Neither a revocation nor a reversal takes an earlier part; without the final one the stay is open again."""
    patient = await town.person(past=10_000)
    first = await settled(town, stay(town, patient, interim=True), infno="2304")
    last = await settled(town, stay(town, patient, interim=False), infno="2304")
    assert await town.refused(revoked(town, first, "2305")) == "LATER_SETTLEMENT_STANDS"
    reversal = pb.ReverseTransactionRequest(fixmedins_code=HOSPITAL, oinfno=pb.INFNO_2304, omsgid=first.key.msgid)
    assert await town.refused(town.desk.ReverseTransaction(reversal, timeout=CALL_S)) == "LATER_SETTLEMENT_STANDS"
    taken_back = await revoked(town, last, "2305")
    assert (taken_back.refd_setl_flag, taken_back.clr_type, taken_back.medins_setl_id) == (
        "1",
        "21",
        taken_back.key.msgid,
    )
    await settled(town, stay(town, patient, interim=True), infno="2304")
    assert await town.refused(revoked(town, first, "2305")) == "LATER_SETTLEMENT_STANDS"


async def test_the_end_of_a_stay_that_was_made_anew_closes_it(town: Town) -> None:
    """As a restore makes its row: from the plan, with the same part of the same stay; an outpatient bill has none."""
    patient = await town.person(past=10_000)
    last = await settled(town, stay(town, patient, interim=False), infno="2304")
    visit = await settled(town, town.presented(patient, 100), infno="2207")
    async with town.database.driver_transaction() as connection:
        kept = await connection.fetch("DELETE FROM stay_settlements WHERE psn_no = $1 RETURNING *", patient)
    await settled(town, stay(town, patient, interim=True, mdtrt_id="other"), infno="2304")
    async with town.database.driver_transaction() as connection:
        for setl_id in (last.setl_id, visit.setl_id):
            await stays.record(connection, PaymentId(UUID(setl_id)))
        again = await connection.fetch(
            "SELECT * FROM stay_settlements WHERE psn_no = $1 AND mdtrt_id = 'stay'", patient
        )
    assert again == kept
    assert await town.refused(town.desk.PreSettle(stay(town, patient, interim=True), timeout=CALL_S)) == "VISIT_CLOSED"


async def test_of_two_final_plans_of_a_stay_one_is_paid(town: Town) -> None:
    """Both were planned while the stay was open; they are paid at once, and one of them finds it closed."""
    patient = await town.person(past=10_000)
    plans = [(await town.desk.PreSettle(stay(town, patient, interim=False), timeout=CALL_S)).plan for _ in range(2)]
    requests = [
        pb.SettleRequest(
            key=key_of(stay(town, patient, interim=False), "2304"), plan_id=plan.plan_id, plan_digest=plan.digest
        )
        for plan in plans
    ]
    answers = await asyncio.gather(
        *(town.desk.Settle(request, timeout=CALL_S) for request in requests), return_exceptions=True
    )
    paid = [answer for answer in answers if isinstance(answer, pb.SettleResponse)]
    (refusal,) = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert [answer.WhichOneof("outcome") for answer in paid] == ["settlement"]
    assert failure_of(refusal).reason in {"PATIENT_BUSY", "PLAN_STALE"}
    again = next(request for request, answer in zip(requests, answers, strict=True) if answer is refusal)
    assert await town.refused(town.desk.Settle(again, timeout=CALL_S)) == "PLAN_STALE"


async def test_what_races_a_revocation_of_a_part_leaves_no_hole(town: Town) -> None:
    """A final settlement and the revocation of the interim one before it, at once: one of the two is refused."""
    for _ in range(5):
        patient = await town.person(past=10_000)
        first = await settled(town, stay(town, patient, interim=True), infno="2304")
        plan = (await town.desk.PreSettle(stay(town, patient, interim=False), timeout=CALL_S)).plan
        key = key_of(stay(town, patient, interim=False), "2304")
        request = pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest)
        answers = await asyncio.gather(
            town.desk.Settle(request, timeout=CALL_S), revoked(town, first, "2305"), return_exceptions=True
        )
        done = [
            isinstance(answer, pb.Settlement)
            or (isinstance(answer, pb.SettleResponse) and answer.WhichOneof("outcome") == "settlement")
            for answer in answers
        ]
        assert sum(done) == 1


@pytest.mark.parametrize(
    ("infno", "at", "changes", "reason"),
    [
        (pb.INFNO_2206, HOSPITAL, {"med_type": "21"}, "MED_TYPE_NOT_FOR_TRANSACTION"),
        (pb.INFNO_2303, HOSPITAL, {"med_type": "11"}, "MED_TYPE_NOT_FOR_TRANSACTION"),
        (pb.INFNO_2101, PHARMACY, {"med_type": "13"}, "MED_TYPE_NOT_FOR_TRANSACTION"),
        (pb.INFNO_2206, HOSPITAL, {"med_type": "11", "mid_setl_flag": "1"}, "INTERIM_NOT_FOR_TRANSACTION"),
        (pb.INFNO_2206, HOSPITAL, {"med_type": "11", "mid_setl_flag": "2"}, "REQUEST_INVALID"),
    ],
)
async def test_a_visit_that_does_not_fit_its_transaction_is_refused(
    town: Town, infno: pb.Infno.ValueType, at: str, changes: dict[str, str], reason: str
) -> None:
    """By name, and nothing is stored."""
    patient = await town.person(past=1_000)
    presented = town.presented(patient, 100, infno=infno, fixmedins_code=at)
    presented.bill.med_type = changes.pop("med_type")
    for name, value in changes.items():
        setattr(presented, name, value)
    before = await town.stored()
    assert await town.refused(town.desk.PreSettle(presented, timeout=CALL_S)) == reason
    assert await town.stored() == before


def pills(amount_fen: int = 1_000, **changes: Any) -> pb.BillLine:  # noqa: ANN401  Any field.
    """A line of medicine in the catalogue."""
    fields: dict[str, Any] = {
        "list_type": "101",
        "med_list_codg": "XA02BCA127A001010100483",
        "chrgitm_lv": "01",
        "cnt": "4",
        "pric": str(amount_fen / 4),
        "det_item_fee_sumamt": amount_fen,
        "inscp_scp_amt": amount_fen,
    }
    return pb.BillLine(**{**fields, **changes})


async def test_the_lines_of_a_bill_are_kept_with_its_plans_and_told_to_its_institution_alone(town: Town) -> None:
    """Also with the plan that follows a refused one, and of the revocation; a bill told without lines has none."""
    patient, funder = await town.person(past=100), await town.person(past=5_000)
    await town.bind(funder, patient, URUMQI, order=1)
    lines = [pills(400), pills(600, cnt="1.50", pric="400")]
    presented = town.presented(patient, 1_000, lines=lines)
    plan = (await town.desk.PreSettle(presented, timeout=CALL_S)).plan
    await town.set_frozen(funder, URUMQI, frozen=True)
    request = pb.SettleRequest(key=key_of(presented, "2207"), plan_id=plan.plan_id, plan_digest=plan.digest)
    replan = (await town.desk.Settle(request, timeout=CALL_S)).replan
    request = pb.SettleRequest(
        key=key_of(presented, "2207"), plan_id=replan.plan.plan_id, plan_digest=replan.plan.digest
    )
    paid = (await town.desk.Settle(request, timeout=CALL_S)).settlement
    taken_back = await revoked(town, paid, "2208")
    bare = await settled(town, town.presented(patient, 100), infno="2207")
    visits = VisitServiceStub(town.channel)
    for setl_id, expected in ((paid.setl_id, lines), (taken_back.setl_id, lines), (bare.setl_id, [])):
        asked = visits_pb2.ListBillLinesRequest(fixmedins_code=HOSPITAL, setl_id=setl_id)
        assert list((await visits.ListBillLines(asked, timeout=CALL_S)).lines) == expected
    asked = visits_pb2.ListBillLinesRequest(fixmedins_code=OTHER_HOSPITAL, setl_id=paid.setl_id)
    assert await town.refused(visits.ListBillLines(asked, timeout=CALL_S)) == "SETTLEMENT_UNKNOWN"


async def test_as_many_lines_as_may_be_fit_into_one_request(town: Town) -> None:
    """500 lines of full codes are planned within the default size of a message; one more is refused by its rule."""
    patient = await town.person(past=5_000)
    presented = town.presented(patient, 1_000 * LINES_MAX, lines=[pills(cnt="12.5", pric="80.0")] * LINES_MAX)
    plan = (await town.desk.PreSettle(presented, timeout=CALL_S)).plan
    assert plan.amounts.medfee_sumamt == 1_000 * LINES_MAX
    presented.lines.append(pills())
    assert await town.refused(town.desk.PreSettle(presented, timeout=CALL_S)) == "REQUEST_INVALID"


async def test_the_consent_to_a_plan_covers_the_lines(town: Town) -> None:
    """The same bill of other lines has another digest, so what was shown cannot be paid as something else."""
    patient = await town.person(past=5_000)
    async with town.database.driver_connection() as connection:
        digests = []
        for codes in (["A", "B"], ["B", "A"]):
            presented = town.presented(patient, 1_000, lines=[pills(500, med_list_codg=code) for code in codes])
            plan = (await town.desk.PreSettle(presented, timeout=CALL_S)).plan
            document = await connection.fetchval("SELECT document FROM plans WHERE plan_id = $1", UUID(plan.plan_id))
            digests.append(document["facts"]["lines_digest"])
            assert "lines" not in document
    assert len(set(digests)) == 2


@pytest.mark.parametrize(
    ("line", "reason", "facts"),
    [
        (pills(list_type="903"), "GOODS_NEVER_PAID", {"line_no": "2", "list_type": "903"}),
        (pills(cnt="5"), "LINE_AMOUNT_DIFFERS", {"line_no": "2", "stated_fen": "1000", "priced_fen": "1250"}),
        (pills(1_200), "LINES_DIFFER_FROM_BILL", {"field": "medfee_sumamt", "lines_fen": "2200"}),
        (pills(cnt="1e3"), "REQUEST_INVALID", {}),
        (pills(cnt="9" * 12, pric="9" * 12 + ".9999"), "LINE_AMOUNT_DIFFERS", {}),
    ],
)
async def test_a_refused_line_is_named_to_the_terminal(
    town: Town, line: pb.BillLine, reason: str, facts: dict[str, str]
) -> None:
    """The first line is right and the second is not: the answer says which, and why."""
    patient = await town.person(past=5_000)
    presented = town.presented(patient, 2_000, lines=[pills(), line])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await town.desk.PreSettle(presented, timeout=CALL_S)
    failure = failure_of(refused.value)
    assert isinstance(failure, TerminalRefusal)
    assert failure.reason == reason
    assert facts.items() <= failure.metadata.items()


async def test_somebody_who_fetches_the_medicine_is_recorded_beside_the_patient(town: Town) -> None:
    """代买药: the patient's own token and the agent's, both of this terminal and visit; a digest is kept, no token."""
    patient, agent = await town.person(past=5_000), await town.person()
    presented = town.presented(patient, 1_000, infno=pb.INFNO_2101, fixmedins_code=PHARMACY)
    presented.bill.med_type = "41"
    presented.agent_ec_token = token(agent, fixmedins_code=PHARMACY, mdtrt_id=presented.mdtrt_id)
    paid = await settled(town, presented, infno="2102")
    assert (paid.psn_no, paid.agent_psn_no, paid.agent_name_masked) == (patient, agent, f"某{agent[-1]}")
    async with town.database.driver_connection() as connection:
        document = await connection.fetchval("SELECT document FROM plans WHERE plan_id = $1", UUID(paid.plan_id))
    assert len(document["facts"]["agent_token_digest"]) == 64
    assert presented.agent_ec_token not in str(document)


@pytest.mark.parametrize(
    ("claims", "whose", "reason"),
    [
        ({"mdtrt_id": "other"}, "agent", "CREDENTIAL_OF_ANOTHER_VISIT"),
        ({"terminal_no": "T09"}, "agent", "EC_TOKEN_OF_ANOTHER_TERMINAL"),
        ({"exp": 1}, "agent", "EC_TOKEN_EXPIRED"),
        ({"biz": "01101"}, "agent", "EC_TOKEN_OF_ANOTHER_BUSINESS"),
        ({"kid": "nobody"}, "agent", "EC_TOKEN_INVALID"),
        ({}, "patient", "AGENT_IS_PATIENT"),
    ],
)
async def test_an_agents_token_counts_as_a_patients_does(
    town: Town, claims: dict[str, Any], whose: str, reason: str
) -> None:
    """Of this terminal, this visit, now, signed, and another person's; the refusal says which token is meant."""
    patient, agent = await town.person(past=5_000), await town.person()
    presented = town.presented(patient, 1_000, fixmedins_code=PHARMACY, infno=pb.INFNO_2101)
    shown = {"fixmedins_code": PHARMACY, "mdtrt_id": presented.mdtrt_id, **claims}
    presented.agent_ec_token = token(agent if whose == "agent" else patient, **shown)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await town.desk.PreSettle(presented, timeout=CALL_S)
    failure = failure_of(refused.value)
    assert isinstance(failure, TerminalRefusal)
    assert (failure.reason, failure.metadata["field"]) == (reason, "agent_ec_token")


async def test_nobody_fetches_medicine_for_a_stay(town: Town) -> None:
    """AGENT_NOT_FOR_TRANSACTION with 2303."""
    patient, agent = await town.person(past=5_000), await town.person()
    presented = stay(town, patient, interim=False, agent_ec_token=token(agent, mdtrt_id="stay"))
    assert await town.refused(town.desk.PreSettle(presented, timeout=CALL_S)) == "AGENT_NOT_FOR_TRANSACTION"


async def test_the_result_has_the_national_fields_that_are_known(town: Town) -> None:
    """Age of the day, sex, what was shown, clearing's agency, way and class, the msgid; asked later, the same."""
    patient = await town.person(past=5_000)
    born = business_date(datetime.now(UTC)) - timedelta(days=400)
    await town.tell(said.person(patient, ("310", URUMQI, "1"), version=2, brdy=born.isoformat()))
    paid = await settled(town, town.presented(patient, 1_000), infno="2207")
    known = (paid.age, paid.gend, paid.mdtrt_cert_type, paid.clr_optins, paid.clr_way, paid.clr_type)
    assert known == (1, "2", "01", URUMQI, "1", "11")
    assert (paid.mid_setl_flag, paid.refd_setl_flag, paid.medins_setl_id) == ("0", "0", paid.key.msgid)
    assert paid.agent_psn_no == ""
    asked = pb.GetSettlementRequest(fixmedins_code=HOSPITAL, setl_id=paid.setl_id)
    found = (await town.desk.GetSettlement(asked, timeout=CALL_S)).settlement
    assert (found.age, found.gend, found.clr_type, found.medins_setl_id) == (1, "2", "11", paid.key.msgid)


async def seen(town: Town, psn_no: str, *, at: str = HOSPITAL, **changes: Any) -> visits_pb2.GetPersonInfoResponse:  # noqa: ANN401  Any claim.
    """1101 at the institution's T01."""
    request = visits_pb2.GetPersonInfoRequest(
        fixmedins_code=at, terminal_no="T01", ec_token=token(psn_no, fixmedins_code=at, **changes), mdtrt_id=MDTRT_ID
    )
    answer: visits_pb2.GetPersonInfoResponse = await VisitServiceStub(town.channel).GetPersonInfo(
        request, timeout=CALL_S
    )
    return answer


async def test_a_person_is_shown_with_their_own_money_and_who_of_the_family_may_pay(town: Town) -> None:
    """Past, current and the wallet; the family in order of deduction with limits and reasons, without balances."""
    patient, near, far, frozen = [
        await town.person(area, past=past, current=current)
        for area, past, current in ((URUMQI, 1_000, 500), (URUMQI, 70_000, 0), (HAMI, 7_777, 0), (URUMQI, 1, 0))
    ]
    silent = await town.person(SILENT)
    await town.credit(patient, URUMQI, wallet=300)
    for order, (funder, area, limits) in enumerate(
        (
            (far, HAMI, {"authorised_fen": 5_000, "per_payment_fen": 2_000}),
            (near, URUMQI, {}),
            (frozen, URUMQI, {}),
            (silent, SILENT, {}),
        ),
        start=1,
    ):
        await town.bind(funder, patient, area, order=order, **limits)
    await town.set_frozen(frozen, URUMQI, frozen=True)
    for at in (HOSPITAL, PHARMACY):
        told = await seen(town, patient, at=at)
        assert (told.psn_no, told.psn_name_masked, told.ineligible_reason) == (patient, f"某{patient[-1]}", "")
        assert [(e.insutype, e.insuplc_admdvs, e.psn_insu_stas, e.counts) for e in told.enrolments] == [
            ("310", URUMQI, "1", True)
        ]
        own, sex = told.account, told.gend
        assert (own.area, own.past_fen, own.current_fen, own.frozen, sex) == (URUMQI, 1_000, 500, False, "2")
        assert (told.wallet.area, told.wallet.free_fen, told.wallet.usable_here) == (URUMQI, 300, True)
        assert [(f.psn_no, f.reason, f.limit_left_fen) for f in told.family] == [
            (far, "", 2_000),
            (near, "", 0),
            (frozen, "FROZEN", 0),
            (silent, "AREA_UNREACHABLE", 0),
        ]
        assert [f.HasField("limit_left_fen") for f in told.family] == [True, False, False, False]
        assert "7777" not in str(told)
        assert "70000" not in str(told)


async def test_who_cannot_settle_online_is_told_why_before_there_is_a_bill(town: Town) -> None:
    """The reason that a plan would be refused with, and nothing of anybody's money."""
    paused, sanctioned = await town.person(past=1_000), await town.person(past=1_000)
    now = datetime.now(UTC)
    await town.tell(said.person(paused, ("310", URUMQI, "2"), version=2))
    period = (now - timedelta(days=1), now + timedelta(days=100))
    await town.tell(said.person(sanctioned, ("310", URUMQI, "1"), version=2, sanctions=[period]))
    for psn_no, reason in ((paused, "PATIENT_NOT_INSURED"), (sanctioned, "PATIENT_SANCTIONED")):
        told = await seen(town, psn_no)
        shown = (told.ineligible_reason, told.gend, told.HasField("account"), len(told.family))
        assert shown == (reason, "2", False, 0)
        assert len(told.enrolments) == 1
        plan = town.desk.PreSettle(town.presented(psn_no, 100), timeout=CALL_S)
        assert await town.refused(plan) == reason


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"mdtrt_id": "other"}, "CREDENTIAL_OF_ANOTHER_VISIT"),
        ({"terminal_no": "T09"}, "EC_TOKEN_OF_ANOTHER_TERMINAL"),
        ({"aud": OTHER_HOSPITAL}, "EC_TOKEN_OF_ANOTHER_TERMINAL"),
        ({"exp": 1}, "EC_TOKEN_EXPIRED"),
        ({"kid": "nobody"}, "EC_TOKEN_INVALID"),
    ],
)
async def test_a_person_is_shown_by_a_credential_that_counts_here_alone(
    town: Town, claims: dict[str, Any], reason: str
) -> None:
    """Signed, in its time, of this terminal and this visit; whatever the business it was shown for."""
    patient = await town.person(past=1_000)
    assert await town.refused(seen(town, patient, **claims)) == reason
    assert (await seen(town, patient, biz="01101")).psn_no == patient


async def test_a_person_is_shown_where_somebody_is_signed_in_alone(town: Town) -> None:
    """Nobody at the terminal, no such terminal, an institution that takes no bills: nothing is shown."""
    patient = await town.person(past=1_000)
    await town.tell(said.terminal(HOSPITAL, "T77", signed_in=False))
    for at, terminal_no, reason in (
        (HOSPITAL, "T77", "TERMINAL_NOT_SIGNED_IN"),
        (HOSPITAL, "T78", "TERMINAL_UNKNOWN"),
        (SUSPENDED_HOSPITAL, "T01", "INSTITUTION_NOT_DESIGNATED"),
        ("H65010000099", "T01", "INSTITUTION_UNKNOWN"),
    ):
        shown = token(patient, fixmedins_code=at, terminal_no=terminal_no)
        request = visits_pb2.GetPersonInfoRequest(
            fixmedins_code=at, terminal_no=terminal_no, ec_token=shown, mdtrt_id=MDTRT_ID
        )
        call = VisitServiceStub(town.channel).GetPersonInfo(request, timeout=CALL_S)
        assert await town.refused(call) == reason


async def test_lines_that_the_settings_demand_are_demanded(town: Town) -> None:
    """GONGJI_LINES_REQUIRED=pharmacies: a pharmacy's bill without lines is refused, a hospital's is planned."""
    book = built_from(read_yaml_folder(town.folder / "policies"), PolicyBook.of_documents)
    ledgers = LedgerClient(town.bus, epoch=1)
    desk = Desk(town.database, ledgers, book, NEVER_STALE, Refusals(town.database), LinesRequired.PHARMACIES)
    patient = await town.person(past=1_000)
    now = datetime.now(UTC)
    pharmacy = town.presented(patient, 1_000, infno=pb.INFNO_2101, fixmedins_code=PHARMACY)
    with pytest.raises(Failure, match="LINES_MISSING"):
        await pre_settle(desk, visit=presented_of(pharmacy), plan_id=PlanId(uuid4()), now=now)
    pharmacy.lines.append(pills())
    hospital = town.presented(patient, 1_000)
    for request in (pharmacy, hospital):
        stored = await pre_settle(desk, visit=presented_of(request), plan_id=PlanId(uuid4()), now=now)
        assert stored.plan.facts.line_count == len(request.lines)
