"""What settlement tells the other rooms (gongji.settlement.v1.SettlementEvent), ready for the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from chassis.outbox import OutgoingEvent
from gongji.settlement.v1 import account_pb2, events_pb2, premiums_pb2, settlement_pb2, wallets_pb2
from kernel.ids import AdmDvs, PsnNo
from services.settlement.domain.claim import claim_named_by
from services.settlement.domain.payment import CLAIM_INFNO, REVERSAL_PREFIX, is_carrying
from services.settlement.domain.premium import named_by
from services.settlement.domain.split import Role
from services.settlement.domain.wallet import Wallet
from services.settlement.saga.payment import Payment, State
from services.settlement.saga.transfers import receiver_of
from services.settlement.store.endings import Ending, EndingState
from services.settlement.wire.wallets import wallet_message

_EVENT_IDS: Final = UUID("3e1f0a52-6a3f-5b0e-8d0c-0b6f7a1c2d3e")
"""What is said of an aggregate has its version, so its event's id follows from both."""
_VERSION: Final = 1
_ROLE: Final = {
    Role.OWN: settlement_pb2.SOURCE_ROLE_OWN,
    Role.WALLET: settlement_pb2.SOURCE_ROLE_WALLET,
    Role.FUNDER: settlement_pb2.SOURCE_ROLE_FUNDER,
}

_TRANSFER_STATE: Final = {
    State.TRYING: wallets_pb2.TRANSFER_STATE_PENDING_ACCEPT,
    State.COMMITTED: wallets_pb2.TRANSFER_STATE_ACCEPTED,
    State.DONE: wallets_pb2.TRANSFER_STATE_ACCEPTED,
    State.ABORTED: wallets_pb2.TRANSFER_STATE_RETURNED,
    State.CLOSED: wallets_pb2.TRANSFER_STATE_RETURNED,
}


def bill_settled(
    payment: Payment, plan: Mapping[str, Any], *, occurred_at: datetime, traceparent: str = ""
) -> OutgoingEvent:
    """A bill was paid: told when it is decided, since what is held then is as good as spent."""
    fact = events_pb2.BillSettled(
        setl_id=str(payment.payment_id),
        patient_psn_no=payment.psn_no or "",
        patient_name_masked=plan["visit"]["psn_name_masked"],
        fixmedins_code=payment.key.fixmedins_code,
        psn_part_amt=plan["amounts"]["psn_part_amt"],
        psn_cash_pay=plan["amounts"]["psn_cash_pay"],
        changes=_changes(payment),
    )
    aggregate = f"payment:{payment.payment_id}"
    event = _event(aggregate, occurred_at)
    event.bill_settled.CopyFrom(fact)
    return _outgoing(event, aggregate, "bill_settled", occurred_at, traceparent)


def bill_refunded(
    refund: Payment, plan: Mapping[str, Any], *, occurred_at: datetime, traceparent: str = ""
) -> OutgoingEvent:
    """A bill's money goes back, by revocation or reversal."""
    fact = events_pb2.BillRefunded(
        setl_id=str(refund.payment_id),
        original_setl_id=str(refund.original_id),
        patient_psn_no=refund.psn_no or "",
        patient_name_masked=plan["visit"]["psn_name_masked"],
        fixmedins_code=refund.key.fixmedins_code,
        reversed=refund.key.infno.startswith(REVERSAL_PREFIX),
        changes=_changes(refund),
    )
    aggregate = f"payment:{refund.payment_id}"
    event = _event(aggregate, occurred_at)
    event.bill_refunded.CopyFrom(fact)
    return _outgoing(event, aggregate, "bill_refunded", occurred_at, traceparent)


def account_credited(payment: Payment, *, occurred_at: datetime, traceparent: str = "") -> OutgoingEvent:
    """Money comes into an account: told when it is certain."""
    leg = payment.legs[0]
    is_wallet = leg.role is Role.WALLET
    fact = events_pb2.AccountCredited(
        psn_no=leg.psn_no,
        account_kind=account_pb2.ACCOUNT_KIND_WALLET if is_wallet else account_pb2.ACCOUNT_KIND_PERSONAL,
        part=account_pb2.ACCOUNT_PART_CURRENT if leg.current_fen else account_pb2.ACCOUNT_PART_PAST,
        area=leg.area,
        amount_fen=leg.amount_fen,
    )
    aggregate = f"payment:{payment.payment_id}"
    event = _event(aggregate, occurred_at)
    event.account_credited.CopyFrom(fact)
    return _outgoing(event, aggregate, "account_credited", occurred_at, traceparent)


def account_freeze_changed(
    *,
    request_id: UUID,
    psn_no: str,
    area: str,
    frozen: bool,
    cause: str,
    occurred_at: datetime,
    traceparent: str = "",
) -> OutgoingEvent:
    """An account is frozen or free again, as its ledger has answered."""
    aggregate = f"freeze:{request_id}"
    event = _event(aggregate, occurred_at)
    event.account_freeze_changed.CopyFrom(
        events_pb2.AccountFreezeChanged(psn_no=psn_no, area=area, frozen=frozen, cause=cause)
    )
    return _outgoing(event, aggregate, "account_freeze_changed", occurred_at, traceparent)


def account_closed(ending: Ending, *, version: int, occurred_at: datetime) -> OutgoingEvent:
    """An account takes no new payment (version 1), and is closed, then or with the end of its last one (version 2)."""
    aggregate = f"ending:{ending.request_id}"
    event = _event(aggregate, occurred_at, version=version)
    is_wallet = ending.role is Role.WALLET
    event.account_closed.CopyFrom(
        events_pb2.AccountClosed(
            psn_no=ending.psn_no,
            account_kind=account_pb2.ACCOUNT_KIND_WALLET if is_wallet else account_pb2.ACCOUNT_KIND_PERSONAL,
            area=ending.area,
            cause=ending.cause,
            closed=ending.state is EndingState.CLOSED,
        )
    )
    return _outgoing(event, aggregate, "account_closed", occurred_at, ending.traceparent)


def account_moved(ending: Ending, to_area: AdmDvs, *, occurred_at: datetime) -> OutgoingEvent:
    """A personal account is in another area from now on."""
    aggregate = f"ending:{ending.request_id}"
    event = _event(aggregate, occurred_at)
    event.account_moved.CopyFrom(
        events_pb2.AccountMoved(
            psn_no=ending.psn_no,
            from_area=ending.area,
            to_area=to_area,
            past_fen=ending.past_fen,
            current_fen=ending.current_fen,
        )
    )
    return _outgoing(event, aggregate, "account_moved", occurred_at, ending.traceparent)


def credential_refused(
    *,
    event_id: UUID,
    patient: str,
    presented: str,
    fixmedins_code: str,
    terminal_no: str,
    reason: str,
    occurred_at: datetime,
    traceparent: str = "",
) -> OutgoingEvent:
    """A credential was presented for a bill that it does not count for."""
    aggregate = f"refusal:{event_id}"
    event = _event(aggregate, occurred_at)
    event.event_id = str(event_id)
    event.credential_refused.CopyFrom(
        events_pb2.CredentialRefused(
            patient_psn_no=patient,
            presented_psn_no=presented,
            fixmedins_code=fixmedins_code,
            terminal_no=terminal_no,
            reason=reason,
        )
    )
    return _outgoing(event, aggregate, "credential_refused", occurred_at, traceparent)


def wallet_changed(
    wallet: Wallet, *, occurred_at: datetime, merged: PsnNo | None = None, traceparent: str = ""
) -> OutgoingEvent:
    """A wallet was opened, is used in another area, or takes over that of the number ``merged``."""
    aggregate = f"wallet:{wallet.wallet_id}"
    event = _event(aggregate, occurred_at, version=wallet.version)
    event.wallet_changed.wallet.CopyFrom(wallet_message(wallet))
    event.wallet_changed.merged_psn_no = merged or ""
    return _outgoing(event, aggregate, "wallet_changed", occurred_at, traceparent)


def transfer_changed(transfer: Payment, *, occurred_at: datetime, traceparent: str = "") -> OutgoingEvent | None:
    """A transfer awaits its receiver, or is decided after that; None of one that nobody else has to hear of.

    That is one which its receiver was never asked about, and money that follows its own wallet.
    """
    receiver = receiver_of(transfer)
    if not transfer.pending_accept or receiver is None or receiver == transfer.psn_no or is_carrying(transfer.key):
        return None
    aggregate = f"payment:{transfer.payment_id}"
    event = _event(aggregate, occurred_at, version=1 if transfer.state is State.TRYING else 2)
    is_wallet = any(leg.role is Role.WALLET for leg in transfer.legs)
    fact = events_pb2.TransferChanged(
        transfer_id=str(transfer.payment_id),
        giver_psn_no=transfer.psn_no or "",
        receiver_psn_no=receiver,
        amount_fen=transfer.amount_fen,
        given_from=account_pb2.ACCOUNT_KIND_WALLET if is_wallet else account_pb2.ACCOUNT_KIND_PERSONAL,
        state=_TRANSFER_STATE[transfer.state],
        cause=transfer.reason,
    )
    if transfer.accept_by is not None:
        fact.accept_by_time.FromDatetime(transfer.accept_by)
    event.transfer_changed.CopyFrom(fact)
    return _outgoing(event, aggregate, "transfer_changed", occurred_at, traceparent)


def charge_taken(charge: Payment, *, occurred_at: datetime, traceparent: str = "") -> OutgoingEvent:
    """What is told of a charge when it is decided: what it is for follows from its key."""
    if charge.key.infno == CLAIM_INFNO:
        return _claim_paid(charge, occurred_at, traceparent)
    after = charge.account_after(1)
    fact = _premium(charge, charge.payment_id, premiums_pb2.PREMIUM_STATE_PAID)
    fact.balance_after_fen = 0 if after is None else after.free_fen
    aggregate = f"payment:{charge.payment_id}"
    event = _event(aggregate, occurred_at)
    event.premium_changed.CopyFrom(fact)
    return _outgoing(event, aggregate, "premium_changed", occurred_at, traceparent)


def claim_decided(
    claim_id: UUID, psn_no: str, *, version: int, approved: bool, occurred_at: datetime, traceparent: str = ""
) -> OutgoingEvent:
    """A claim was refused, or approved without anything from the family; ``version`` counts its decisions."""
    aggregate = f"claim:{claim_id}"
    event = _event(aggregate, occurred_at, version=version)
    event.claim_decided.CopyFrom(events_pb2.ClaimDecided(claim_id=str(claim_id), psn_no=psn_no, approved=approved))
    return _outgoing(event, aggregate, "claim_decided", occurred_at, traceparent)


def _claim_paid(charge: Payment, occurred_at: datetime, traceparent: str) -> OutgoingEvent:
    claim_id, _ = claim_named_by(charge.key)
    aggregate = f"payment:{charge.payment_id}"
    event = _event(aggregate, occurred_at)
    event.claim_decided.CopyFrom(
        events_pb2.ClaimDecided(
            claim_id=str(claim_id), psn_no=charge.psn_no or "", approved=True, changes=_changes(charge)
        )
    )
    return _outgoing(event, aggregate, "claim_decided", occurred_at, traceparent)


def premium_revoked(refund: Payment, *, occurred_at: datetime, traceparent: str = "") -> OutgoingEvent:
    """A premium was taken back; its money is on its way to where it came from."""
    aggregate = f"payment:{refund.payment_id}"
    event = _event(aggregate, occurred_at)
    event.premium_changed.CopyFrom(_premium(refund, refund.original_id, premiums_pb2.PREMIUM_STATE_REVOKED))
    return _outgoing(event, aggregate, "premium_changed", occurred_at, traceparent)


def _premium(
    payment: Payment, premium_id: UUID | None, state: premiums_pb2.PremiumState.ValueType
) -> events_pb2.PremiumChanged:
    named = named_by(payment.key)
    is_wallet = payment.legs[0].role is Role.WALLET
    return events_pb2.PremiumChanged(
        premium_id=str(premium_id),
        payer_psn_no=named.payer,
        insured_psn_no=named.insured,
        year=named.year,
        amount_fen=payment.amount_fen,
        paid_from=account_pb2.ACCOUNT_KIND_WALLET if is_wallet else account_pb2.ACCOUNT_KIND_PERSONAL,
        state=state,
    )


def _changes(payment: Payment) -> list[events_pb2.AccountChange]:
    after = {told.leg_no: told.free_fen for told in payment.balances_after}
    return [
        events_pb2.AccountChange(
            psn_no=leg.psn_no,
            role=_ROLE[leg.role],
            area=leg.area,
            past_fen=leg.past_fen,
            current_fen=leg.current_fen,
            balance_after_fen=after.get(leg.leg_no, 0),
            authorisation_id="" if leg.authorisation_id is None else str(leg.authorisation_id),
        )
        for leg in payment.legs
    ]


def _event(aggregate: str, occurred_at: datetime, *, version: int = _VERSION) -> events_pb2.SettlementEvent:
    """An event that has the same id whenever it is made; the first of an aggregate is named by it alone."""
    name = aggregate if version == _VERSION else f"{aggregate}/{version}"
    event = events_pb2.SettlementEvent(event_id=str(uuid5(_EVENT_IDS, name)), aggregate_id=aggregate, version=version)
    event.occurred_time.FromDatetime(occurred_at)
    return event


def _outgoing(
    event: events_pb2.SettlementEvent, aggregate: str, subject: str, occurred_at: datetime, traceparent: str
) -> OutgoingEvent:
    return OutgoingEvent(
        event_id=UUID(event.event_id),
        aggregate=aggregate,
        version=event.version,
        subject=subject,
        payload=event.SerializeToString(),
        occurred_at=occurred_at,
        traceparent=traceparent,
    )
