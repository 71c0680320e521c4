"""The claims' face: requests into values, claims and orders into answers."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.rpc.pages import malformed
from gongji.settlement.v1 import claims_pb2 as pb
from gongji.settlement.v1 import settlement_pb2
from kernel.clock import parsed_day
from kernel.ids import FixmedinsCode, PsnNo
from services.settlement.domain.bill import Bill
from services.settlement.domain.claim import Assessment, Claim, ClaimAsked, ClaimState, Document
from services.settlement.store.claims import PayoutOrder
from services.settlement.wire.desk import BILL_AMOUNTS

_STATES: Final = {state: pb.ClaimState.Value(f"CLAIM_STATE_{state.value}") for state in ClaimState}
_OF_STATES: Final = {told: state for state, told in _STATES.items()}


def claim_asked(request: pb.SubmitClaimRequest) -> ClaimAsked:
    """A claim as it is filed; DATE_MALFORMED."""
    return ClaimAsked(
        claim_id=UUID(request.request_id),
        psn_no=PsnNo(request.psn_no),
        fixmedins_code=FixmedinsCode(request.fixmedins_code),
        invoice_no=request.invoice_no,
        med_type=request.bill.med_type,
        bill=Bill(**{name: getattr(request.bill, name) for name in BILL_AMOUNTS}),
        documents=tuple(Document(each.kind, each.sha256, each.bytes_count) for each in request.documents),
        care_on=parsed_day(request.care_on, field="care_on"),
        mdtrt_id=request.mdtrt_id,
    )


def assessment(request: pb.DecideClaimRequest) -> Assessment:
    """An officer's approval; what he leaves out he does not state."""
    return Assessment(
        request.opter,
        request.cause,
        request.act_pay_dedc if request.HasField("act_pay_dedc") else None,
        request.hifp_pay if request.HasField("hifp_pay") else None,
    )


def states_asked(request: pb.ListClaimsRequest) -> frozenset[ClaimState]:
    """The states that are asked for; all of them where none is named."""
    return frozenset(_OF_STATES[state] for state in request.states) or frozenset(ClaimState)


def mark_told(claim: Claim) -> tuple[str, str]:
    """Where a page ends."""
    return claim.submitted_at.isoformat(), str(claim.asked.claim_id)


def mark_asked(parts: tuple[str, ...] | None) -> tuple[datetime, UUID] | None:
    """After which claim a page begins; PAGE_TOKEN_MALFORMED."""
    if parts is None:
        return None
    try:
        submitted_at, claim_id = datetime.fromisoformat(parts[0]), UUID(parts[1])
    except ValueError:
        raise malformed() from None
    if submitted_at.tzinfo is None:
        raise malformed()
    return submitted_at, claim_id


def claim_message(claim: Claim) -> pb.Claim:
    """A claim as it stands; what the family gives is told once it is taken."""
    state = claim.state
    taken = state in {ClaimState.PAYABLE, ClaimState.ORDERED}
    return pb.Claim(
        claim_id=str(claim.asked.claim_id),
        psn_no=claim.asked.psn_no,
        fixmedins_code=claim.asked.fixmedins_code,
        invoice_no=claim.asked.invoice_no,
        area=claim.area,
        state=_STATES[state],
        medfee_sumamt=claim.asked.bill.medfee_sumamt,
        fund_pay_sumamt=claim.fund_fen,
        family_pay_fen=claim.family_fen if taken else 0,
        appeal=claim.appeal,
        decisions=[
            pb.ClaimDecision(
                approved=each.approved, opter=each.opter, cause=each.cause, decided_time=_timestamp(each.decided_at)
            )
            for each in claim.decisions
        ],
        payout_order_id="" if claim.payout_order_id is None else str(claim.payout_order_id),
        submitted_time=_timestamp(claim.submitted_at),
        care_on=claim.asked.care_on.isoformat(),
        act_pay_dedc=claim.act_pay_dedc,
        hifp_pay=claim.hifp_pay,
        bill=settlement_pb2.Bill(
            med_type=claim.asked.med_type, **{name: getattr(claim.asked.bill, name) for name in BILL_AMOUNTS}
        ),
        documents=[
            pb.ClaimDocument(kind=each.kind, sha256=each.sha256, bytes_count=each.bytes_count)
            for each in claim.asked.documents
        ],
        mdtrt_id=claim.asked.mdtrt_id,
    )


def order_message(order: PayoutOrder) -> pb.OrderPayoutResponse:
    """An order with its lines."""
    return pb.OrderPayoutResponse(
        payout_order_id=str(order.order_id),
        lines=[
            pb.PayoutLine(
                claim_id=str(each.claim_id), psn_no=each.psn_no, fund_fen=each.fund_fen, family_fen=each.family_fen
            )
            for each in order.lines
        ],
        total_fen=sum(each.total_fen for each in order.lines),
        sha256=order.sha256,
    )


def _timestamp(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
