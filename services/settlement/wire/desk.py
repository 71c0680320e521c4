"""What terminals send to the desk and what they are told: requests into values, plans and payments into answers."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.ids import AdmDvs, FixmedinsCode, PsnNo
from services.settlement.domain.bill import Bill
from services.settlement.domain.lines import Line
from services.settlement.domain.payment import REVERSAL_PREFIX, Key, area_of, clr_type_of
from services.settlement.domain.plan import FunderShown, Plan, ResultAmounts, StoredPlan
from services.settlement.domain.split import Role
from services.settlement.domain.visit import Presented
from services.settlement.saga.payment import REVERSED, Payment, PaymentKind, State

BILL_AMOUNTS: Final = tuple(field.name for field in pb.Bill.DESCRIPTOR.fields if field.name != "med_type")
"""The amounts of a bill: the message and the domain's record name them alike."""
RESULT_AMOUNTS: Final = tuple(amount.name for amount in fields(ResultAmounts))
"""The same of a result."""
LINE_AMOUNTS: Final = tuple(field.name for field in pb.BillLine.DESCRIPTOR.fields if field.type == field.TYPE_INT64)
"""The same of a line."""
YES: Final = "1"
NO: Final = "0"
BY_ITEM: Final = "1"
"""清算方式 按项目: what is cleared is each settlement's own money."""


def presented(request: pb.PreSettleRequest) -> Presented:
    """The visit as the terminal states it."""
    return Presented(
        fixmedins_code=FixmedinsCode(request.fixmedins_code),
        infno=str(request.infno),
        terminal_no=request.terminal_no,
        psn_no=PsnNo(request.psn_no),
        ec_token=request.ec_token,
        mdtrt_id=request.mdtrt_id,
        med_type=request.bill.med_type,
        bill=Bill(**{name: getattr(request.bill, name) for name in BILL_AMOUNTS}),
        lines=tuple(_line(line) for line in request.lines),
        interim=request.mid_setl_flag == YES,
        agent_ec_token=request.agent_ec_token,
    )


def request_key(message: pb.RequestKey) -> Key:
    """The request key (protocol rule 6)."""
    return Key(message.fixmedins_code, str(message.infno), message.msgid)


def original_key(request: pb.ReverseTransactionRequest) -> Key:
    """The key of the request whose answer the terminal never saw."""
    return Key(request.fixmedins_code, str(request.oinfno), request.omsgid)


def plan_message(stored: StoredPlan) -> pb.Plan:
    """The plan as the cashier sees it, with what Settle must bring back."""
    plan = stored.plan
    return pb.Plan(
        plan_id=str(plan.plan_id),
        digest=stored.digest,
        expires_time=_timestamp(stored.expires_at),
        amounts=_amounts(plan.amounts),
        funders=[_funder(funder) for funder in plan.funders],
        skipped=[
            pb.SkippedFunder(psn_no=skipped.psn_no, name_masked=skipped.name_masked, reason=skipped.reason)
            for skipped in plan.skipped
        ],
        policy_version=plan.policy_version,
    )


def settled_message(payment: Payment, plan: Plan, *, refund: Payment | None = None) -> pb.Settlement:
    """A payment for a bill. Its figures are told only once it is paid; ``refund`` is what has taken it back since."""
    message = _visit_message(payment, plan, state_of(payment, refund))
    if payment.state in {State.COMMITTED, State.DONE}:
        message.amounts.CopyFrom(_amounts(plan.amounts))
        message.funders.extend(_funder(funder) for funder in plan.funders)
        balance_fen = _own_balance_fen(payment, plan)
        if balance_fen is not None:
            message.balc = balance_fen
    return message


def refund_message(refund: Payment, plan: Plan) -> pb.Settlement:
    """A settlement's counterpart: the same figures with their sign turned; ``plan`` is the original's.

    Its balance is not told: the money arrives when the ledgers have booked it.
    """
    message = _visit_message(refund, plan, pb.SETTLEMENT_STATE_SETTLED)
    message.original_setl_id = str(refund.original_id)
    message.refd_setl_flag = YES
    message.amounts.CopyFrom(_amounts(plan.amounts.negated()))
    message.funders.extend(_funder(funder, sign=-1) for funder in plan.funders)
    return message


def bare_message(payment: Payment) -> pb.Settlement:
    """A payment without a plan: a request that was reversed before it was seen."""
    return pb.Settlement(
        setl_id=str(payment.payment_id),
        fixmedins_code=payment.key.fixmedins_code,
        state=state_of(payment, None),
        key=_key(payment.key),
    )


STANDING_BYTES_MAX: Final = 3_072
"""What a refusal may show beside its texts: it travels in trailers, of which transports take 8 KiB in all."""


def standing_message(settlement: pb.Settlement) -> pb.Settlement:
    """What stands, as a refusal shows it: whole if it is small enough, else its number, state, time and amounts."""
    if settlement.ByteSize() <= STANDING_BYTES_MAX:
        return settlement
    return pb.Settlement(
        setl_id=settlement.setl_id,
        mdtrt_id=settlement.mdtrt_id,
        fixmedins_code=settlement.fixmedins_code,
        setl_time=settlement.setl_time,
        state=settlement.state,
        amounts=settlement.amounts,
        key=settlement.key if settlement.HasField("key") else None,
    )


def replan_message(reason: str, stored: StoredPlan) -> pb.Replan:
    """Why nothing was taken, and what would be paid now."""
    return pb.Replan(reason=reason, plan=plan_message(stored))


def state_of(payment: Payment, refund: Payment | None) -> pb.SettlementState.ValueType:
    """Where the payment stands, in a terminal's words."""
    match payment.state:
        case State.TRYING:
            return pb.SETTLEMENT_STATE_IN_PROGRESS
        case State.ABORTED | State.CLOSED:
            reversed_early = payment.kind is PaymentKind.TOMBSTONE or payment.reason == REVERSED
            return pb.SETTLEMENT_STATE_REVERSED if reversed_early else pb.SETTLEMENT_STATE_REFUSED
        case State.COMMITTED | State.DONE:
            if refund is None:
                return pb.SETTLEMENT_STATE_SETTLED
            reversed_late = refund.key.infno.startswith(REVERSAL_PREFIX)
            return pb.SETTLEMENT_STATE_REVERSED if reversed_late else pb.SETTLEMENT_STATE_REVOKED


def line_message(line: Line) -> pb.BillLine:
    """A line of a bill as it was presented."""
    return pb.BillLine(
        list_type=line.list_type,
        med_list_codg=line.med_list_codg,
        chrgitm_lv=line.chrgitm_lv,
        cnt=str(line.cnt),
        pric=str(line.pric),
        **{name: getattr(line, name) for name in LINE_AMOUNTS},
    )


def _line(message: pb.BillLine) -> Line:
    return Line(
        list_type=message.list_type,
        med_list_codg=message.med_list_codg,
        chrgitm_lv=message.chrgitm_lv,
        cnt=Decimal(message.cnt),
        pric=Decimal(message.pric),
        **{name: getattr(message, name) for name in LINE_AMOUNTS},
    )


def _visit_message(payment: Payment, plan: Plan, state: pb.SettlementState.ValueType) -> pb.Settlement:
    visit, facts = plan.visit, plan.facts
    return pb.Settlement(
        setl_id=str(payment.payment_id),
        mdtrt_id=visit.mdtrt_id,
        psn_no=visit.psn_no,
        psn_name_masked=visit.psn_name_masked,
        fixmedins_code=visit.fixmedins_code,
        med_type=visit.med_type,
        insutype=visit.insutype,
        insuplc_admdvs=visit.insuplc_admdvs,
        setl_time=None if payment.decided_at is None else _timestamp(payment.decided_at),
        state=state,
        plan_id=str(plan.plan_id),
        policy_version=plan.policy_version,
        key=_key(payment.key),
        mdtrt_cert_type=facts.mdtrt_cert_type,
        age=facts.age,
        psn_type=facts.psn_type,
        gend=facts.gend,
        clr_optins=area_of(visit.fixmedins_code),
        clr_way=BY_ITEM,
        clr_type=clr_type_of(payment.key.infno) or "",
        medins_setl_id="" if payment.key.infno.startswith(REVERSAL_PREFIX) else payment.key.msgid,
        mid_setl_flag=YES if facts.interim else NO,
        refd_setl_flag=NO,
        agent_psn_no=facts.agent_psn_no,
        agent_name_masked=facts.agent_name_masked,
    )


def _own_balance_fen(payment: Payment, plan: Plan) -> int | None:
    """余额: as the ledger voted it; as it was planned where the own account gave nothing; None if there is none."""
    own_leg_no = next((leg.leg_no for leg in payment.legs if leg.role is Role.OWN), None)
    after = None if own_leg_no is None else payment.account_after(own_leg_no)
    return plan.own_balance_fen if after is None else after.free_fen


def _key(key: Key) -> pb.RequestKey | None:
    """The key as its terminal sent it; None of a refund that a reversal made: no terminal ever sent that one."""
    if key.infno.startswith(REVERSAL_PREFIX):
        return None
    return pb.RequestKey(fixmedins_code=key.fixmedins_code, infno=pb.Infno.Value(f"INFNO_{key.infno}"), msgid=key.msgid)


def _amounts(amounts: ResultAmounts) -> pb.ResultAmounts:
    return pb.ResultAmounts(**{name: getattr(amounts, name) for name in RESULT_AMOUNTS})


def _funder(funder: FunderShown, sign: int = 1) -> pb.FunderShare:
    return pb.FunderShare(
        seq=funder.seq,
        psn_no=funder.psn_no,
        name_masked=funder.name_masked,
        relation=funder.relation,
        area=AdmDvs(funder.area),
        past_fen=sign * funder.past_fen,
        current_fen=sign * funder.current_fen,
    )


def _timestamp(instant: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp
