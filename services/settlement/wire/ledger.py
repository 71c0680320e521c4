"""The ledger's contract (gongji.ledger.v1) and the coordinator's values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.clock import business_month
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, PaymentId, PsnNo
from kernel.money import Fen
from kernel.policy import Part
from kernel.values import value
from services.settlement.domain.payment import area_of, is_of_charge
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.saga.coordinator import Branch, Order, Replied
from services.settlement.saga.payment import AccountAfter, Payment, PaymentKind
from services.settlement.saga.requests import Decision

_ROLE: Final = {
    Role.OWN: pb.ROLE_OWN,
    Role.WALLET: pb.ROLE_WALLET,
    Role.FUNDER: pb.ROLE_FUNDER,
    Role.RECEIVER: pb.ROLE_RECEIVER,
    Role.MOVED_TO: pb.ROLE_RECEIVER,
}
_PART: Final = {Part.PAST: pb.PART_PAST, Part.CURRENT: pb.PART_CURRENT}
_PART_NAME: Final = {pb.PART_PAST: "past", pb.PART_CURRENT: "current"}
_BRANCH: Final = {
    pb.BRANCH_STATE_HELD: Branch.HELD,
    pb.BRANCH_STATE_REFUSED: Branch.REFUSED,
    pb.BRANCH_STATE_BLOCKED: Branch.BLOCKED,
    pb.BRANCH_STATE_CONFIRMED: Branch.CONFIRMED,
    pb.BRANCH_STATE_CANCELLED: Branch.CANCELLED,
}
_DECISION: Final = {
    Decision.WAIT: pb.DECISION_WAIT,
    Decision.CONFIRM: pb.DECISION_CONFIRM,
    Decision.CANCEL: pb.DECISION_CANCEL,
}


@value
class Balance:
    """An account as its ledger tells it; all zero and not existing when the ledger has never heard of it.

    ``role`` is OWN for a personal account, WALLET for a wallet. Free is what is held taken off the balance.
    """

    psn_no: PsnNo
    role: Role
    area: AdmDvs
    exists: bool
    past_fen: Fen
    current_fen: Fen
    held_past_fen: Fen
    held_current_fen: Fen
    year: int
    frozen: bool

    @property
    def free_past_fen(self) -> Fen:
        """What can still be spent of past years."""
        return self.past_fen - self.held_past_fen

    @property
    def free_current_fen(self) -> Fen:
        """What can still be spent of the current year."""
        return self.current_fen - self.held_current_fen


@value
class AuthorisationBalance:
    """An authorisation as its ledger tells it; ``is_open`` false when it is closed or unknown there.

    ``month_used_fen`` is used and held together of the month that was asked for, where there is a limit per month.
    """

    authorisation_id: AuthorisationId
    is_open: bool
    authorised_fen: Fen | None
    used_fen: Fen
    held_fen: Fen
    per_payment_fen: Fen | None
    per_month_fen: Fen | None
    month_used_fen: Fen


@value
class StatementLine:
    """One line of an account's statement; a negative amount was taken."""

    entry_no: int
    booked_at: datetime
    part: str  # past or current.
    amount_fen: Fen
    balance_after_fen: Fen
    kind: str
    setl_id: str
    fixmedins_code: str


@value
class Period:
    """What a statement tells of: booked at ``begin`` or later and before ``end``; None is not bounded."""

    begin: datetime | None = None
    end: datetime | None = None


@value
class Statement:
    """A page of lines, whether more follow, and the whole account's balance at both ends of the period.

    The balances are None while the area's ledger is of an older release.
    """

    lines: tuple[StatementLine, ...]
    more: bool
    opening_fen: Fen | None
    closing_fen: Fen | None


def command_of(
    payment: Payment,
    area: AdmDvs,
    order: Order,
    *,
    inquire_after_ms: int,
    traceparent: str = "",
    origin: bytes = b"",
) -> pb.Command:
    """The one command by which a ledger is told its part of a payment: a function of the row alone (rule 8).

    A hold that waits for a person as well is asked about so much later: that it stands so long alarms nobody (I6).
    ``origin`` is for the ledger to keep, with a TRY or CREDIT (``wire.origin``).
    """
    payment_id = payment.payment_id.bytes
    match order:
        case Order.TRY:
            command = pb.TryCommand(
                payment_id=payment_id,
                legs=[_leg(leg, payment.year) for leg in payment.legs_at(area)],
                inquire_after_ms=inquire_after_ms + _acceptance_ms(payment),
                memo=_memo(payment),
                origin=origin,
                month=0 if payment.created_at is None else business_month(payment.created_at),
            )
            return pb.Command(try_command=command, traceparent=traceparent)
        case Order.CONFIRM:
            return pb.Command(confirm_command=pb.ConfirmCommand(payment_id=payment_id), traceparent=traceparent)
        case Order.CANCEL:
            return pb.Command(cancel_command=pb.CancelCommand(payment_id=payment_id), traceparent=traceparent)
        case Order.CREDIT:
            legs = payment.legs_at(area)
            credit = pb.CreditCommand(
                credit_id=payment_id,
                purpose=_purpose(payment, legs),
                original_payment_id=b"" if payment.original_id is None else payment.original_id.bytes,
                legs=[_credit_leg(leg, payment.year) for leg in legs],
                memo=_memo(payment),
                origin=origin,
            )
            if payment.kind is PaymentKind.CREDIT and payment.decided_at is not None:
                credit.accepted_time.FromDatetime(payment.decided_at)
            return pb.Command(credit_command=credit, traceparent=traceparent)


def _acceptance_ms(payment: Payment) -> int:
    if payment.accept_by is None or payment.created_at is None:
        return 0
    return int((payment.accept_by - payment.created_at).total_seconds() * 1000)


def _account_kind(role: Role) -> pb.AccountKind.ValueType:
    return pb.ACCOUNT_KIND_WALLET if role in {Role.WALLET, Role.RECEIVER} else pb.ACCOUNT_KIND_PERSONAL


def _leg(leg: PlanLeg, year: int) -> pb.Leg:
    return pb.Leg(
        leg_no=leg.leg_no,
        psn_no=leg.psn_no,
        account_kind=_account_kind(leg.role),
        role=_ROLE[leg.role],
        past_fen=leg.past_fen,
        current_fen=leg.current_fen,
        year=year,
        authorisation_id=b"" if leg.authorisation_id is None else leg.authorisation_id.bytes,
        floor_fen=leg.floor_fen,
        floor_parts=[_PART[part] for part in leg.floor_parts],
    )


def _credit_leg(leg: PlanLeg, year: int) -> pb.CreditLeg:
    return pb.CreditLeg(
        leg_no=leg.leg_no,
        psn_no=leg.psn_no,
        account_kind=_account_kind(leg.role),
        past_fen=leg.past_fen,
        current_fen=leg.current_fen,
        year=year,
    )


def _purpose(payment: Payment, legs: Sequence[PlanLeg]) -> pb.CreditPurpose.ValueType:
    if payment.kind is PaymentKind.REFUND:
        return pb.CREDIT_PURPOSE_REFUND
    if legs[0].role is Role.WALLET:
        return pb.CREDIT_PURPOSE_WALLET
    return pb.CREDIT_PURPOSE_MONTHLY if legs[0].current_fen else pb.CREDIT_PURPOSE_CARRIED_OVER


def _memo(payment: Payment) -> pb.Memo | None:
    if payment.kind is PaymentKind.CREDIT:
        return None
    if payment.kind is PaymentKind.TRANSFER:
        return pb.Memo(setl_id=str(payment.payment_id))  # No institution has a part in it.
    code = payment.key.fixmedins_code
    if is_of_charge(payment.key):
        return pb.Memo(setl_id=str(payment.payment_id), care_area=code)  # Nor in a charge or its refund.
    return pb.Memo(fixmedins_code=code, setl_id=str(payment.payment_id), care_area=area_of(code))


def replied(payment: Payment, area: AdmDvs, order: Order, reply: pb.Reply) -> Replied | None:
    """The saga's view of a ledger's answer; None when it is no answer to this order, as if it had been lost."""
    kind = reply.WhichOneof("kind")
    if kind == "branch":
        return _branch_replied(payment, area, order, reply.branch)
    if kind == "credit" and order is Order.CREDIT:
        branch = Branch.UNKNOWN if reply.credit.alarm else Branch.CREDITED
        return Replied(area, order, branch, balances=_after(payment.legs_at(area), reply.credit.balances))
    if kind == "refusal" and order is Order.TRY and reply.refusal.reason != STALE_EPOCH:
        return Replied(area, order, Branch.REFUSED, reply.refusal.reason, reply.refusal.leg_no)
    if kind == "refusal" and order is Order.CREDIT and reply.refusal.reason != STALE_EPOCH:
        return Replied(area, order, Branch.UNKNOWN, reply.refusal.reason)
    return None


STALE_EPOCH: Final = "STALE_EPOCH"
"""A ledger's refusal of a coordinator that was restored from a backup: says nothing about the payment."""


def _branch_replied(payment: Payment, area: AdmDvs, order: Order, reply: pb.BranchReply) -> Replied | None:
    branch = _BRANCH.get(reply.state, Branch.UNKNOWN)
    if order is Order.TRY:
        if branch is Branch.HELD:
            holding = [leg for leg in payment.legs_at(area) if not leg.role.is_receiving]
            return Replied(area, order, branch, balances=_after(holding, reply.balances))
        if branch is Branch.UNKNOWN:
            return None
    return Replied(area, order, branch, reply.refusal.reason, reply.refusal.leg_no)


def _after(legs: Sequence[PlanLeg], balances: Iterable[pb.AccountBalance]) -> tuple[AccountAfter, ...]:
    return tuple(
        AccountAfter(
            leg.leg_no,
            balance.past_fen,
            balance.current_fen,
            balance.held_past_fen,
            balance.held_current_fen,
            balance.year,
            balance.frozen,
        )
        for leg, balance in zip(legs, balances, strict=False)
        if balance.exists
    )


def freeze_command(*, request_id: UUID, psn_no: PsnNo, frozen: bool, cause: str, traceparent: str = "") -> pb.Command:
    """FREEZE or UNFREEZE, idempotent by the request's id."""
    if frozen:
        freeze = pb.FreezeCommand(command_id=request_id.bytes, psn_no=psn_no, cause=cause)
        return pb.Command(freeze_command=freeze, traceparent=traceparent)
    unfreeze = pb.UnfreezeCommand(command_id=request_id.bytes, psn_no=psn_no, cause=cause)
    return pb.Command(unfreeze_command=unfreeze, traceparent=traceparent)


def close_command(*, request_id: UUID, psn_no: PsnNo, role: Role, cause: str, traceparent: str = "") -> pb.Command:
    """CLOSE_ACCOUNT, idempotent by the request's id; answered as a freeze is."""
    account = pb.AccountRef(psn_no=psn_no, account_kind=_account_kind(role))
    closing = pb.CloseAccountCommand(command_id=request_id.bytes, account=account, cause=cause)
    return pb.Command(close_account_command=closing, traceparent=traceparent)


def frozen_or_refused(area: AdmDvs, reply: pb.Reply) -> Balance | str | None:
    """The account after a freeze or a closing, or the reason of its refusal; None when it is no answer to one."""
    kind = reply.WhichOneof("kind")
    if kind == "freeze":
        refused = reply.freeze.HasField("refusal")
        return reply.freeze.refusal.reason if refused else balance_of(area, reply.freeze.balance)
    if kind == "refusal" and reply.refusal.reason != STALE_EPOCH:
        return reply.refusal.reason
    return None


def is_closing(reply: pb.Reply) -> bool:
    """Whether the account of an answer takes no new hold and waits for its last one to end."""
    return reply.freeze.balance.closing


def balances_command(
    accounts: Iterable[tuple[PsnNo, Role]], authorisations: Iterable[AuthorisationId], *, month: int = 0
) -> pb.Command:
    """Reads accounts and authorisations of one ledger at one instant, and what a month (yyyymm; 0 = none) took."""
    return pb.Command(
        read_balances_command=pb.ReadBalancesCommand(
            accounts=[pb.AccountRef(psn_no=psn_no, account_kind=_account_kind(role)) for psn_no, role in accounts],
            authorisation_ids=[authorisation.bytes for authorisation in authorisations],
            month=month,
        )
    )


def balances_of(area: AdmDvs, reply: pb.Reply) -> tuple[list[Balance], list[AuthorisationBalance]] | None:
    """Accounts and authorisations in the order asked; None when it is no answer to that."""
    if reply.WhichOneof("kind") != "balances":
        return None
    accounts = [balance_of(area, balance) for balance in reply.balances.accounts]
    return accounts, [_authorisation(told) for told in reply.balances.authorisations]


def balance_of(area: AdmDvs, told: pb.AccountBalance) -> Balance:
    """One account as its ledger tells it."""
    is_wallet = told.account.account_kind == pb.ACCOUNT_KIND_WALLET
    return Balance(
        psn_no=PsnNo(told.account.psn_no),
        role=Role.WALLET if is_wallet else Role.OWN,
        area=area,
        exists=told.exists,
        past_fen=told.past_fen,
        current_fen=told.current_fen,
        held_past_fen=told.held_past_fen,
        held_current_fen=told.held_current_fen,
        year=told.year,
        frozen=told.frozen,
    )


def _authorisation(told: pb.Authorisation) -> AuthorisationBalance:
    return AuthorisationBalance(
        authorisation_id=AuthorisationId(UUID(bytes=told.authorisation_id)),
        is_open=told.state == pb.AUTHORISATION_STATE_OPEN,
        authorised_fen=told.authorised_fen if told.HasField("authorised_fen") else None,
        used_fen=told.used_fen,
        held_fen=told.held_fen,
        per_payment_fen=told.per_payment_fen if told.HasField("per_payment_fen") else None,
        per_month_fen=told.per_month_fen if told.HasField("per_month_fen") else None,
        month_used_fen=told.month_used_fen + told.month_held_fen,
    )


def statement_command(
    psn_no: PsnNo, role: Role, *, period: Period, after_entry_no: int, entries_max: int
) -> pb.Command:
    """Reads a page of an account's statement."""
    account = pb.AccountRef(psn_no=psn_no, account_kind=_account_kind(role))
    read = pb.ReadStatementCommand(account=account, after_entry_no=after_entry_no, entries_max=entries_max)
    if period.begin is not None:
        read.from_time.FromDatetime(period.begin)
    if period.end is not None:
        read.to_time.FromDatetime(period.end)
    return pb.Command(read_statement_command=read)


def statement_of(reply: pb.Reply) -> Statement | None:
    """A page of a statement; raises the ledger's refusal; None when it is no answer to that."""
    kind = reply.WhichOneof("kind")
    if kind == "refusal":
        raise Failure(Kind.NOT_FOUND, reply.refusal.reason)
    if kind != "statement":
        return None
    told = reply.statement
    lines = tuple(
        StatementLine(
            entry_no=entry.entry_no,
            booked_at=entry.booked_time.ToDatetime(tzinfo=UTC),
            part=_PART_NAME.get(entry.part, ""),
            amount_fen=entry.amount_fen,
            balance_after_fen=entry.balance_after_fen,
            kind=entry.kind,
            setl_id=entry.memo.setl_id,
            fixmedins_code=entry.memo.fixmedins_code,
        )
        for entry in told.entries
    )
    return Statement(
        lines,
        told.more,
        opening_fen=told.opening_balance_fen if told.HasField("opening_balance_fen") else None,
        closing_fen=told.closing_balance_fen if told.HasField("closing_balance_fen") else None,
    )


def batch_of(commands: Iterable[pb.Command], *, epoch: int) -> bytes:
    """Commands to one ledger as one message."""
    return pb.CommandBatch(commands=commands, epoch=epoch).SerializeToString()


def replies_of(payload: bytes, count: int) -> list[pb.Reply | None]:
    """The replies of a batch in the order of its commands; None where one has no reply."""
    replies: list[pb.Reply | None] = [None] * count
    for reply in pb.ReplyBatch.FromString(payload).replies:
        if reply.index < count:
            replies[reply.index] = reply
    return replies


def inquired_ids(payload: bytes) -> tuple[AdmDvs, list[PaymentId]]:
    """Which ledger asks, and what about."""
    request = pb.InquireRequest.FromString(payload)
    return AdmDvs(request.area), [PaymentId(UUID(bytes=payment_id)) for payment_id in request.payment_ids]


def inquiry_answer(answers: Iterable[tuple[PaymentId, Decision, bool]], *, epoch: int) -> bytes:
    """The answer to an inquiry, one (payment, decision, unknown) for each id, in the order asked."""
    return pb.InquireResponse(
        answers=[
            pb.InquireAnswer(payment_id=payment_id.bytes, decision=_DECISION[decision], unknown=unknown)
            for payment_id, decision, unknown in answers
        ],
        epoch=epoch,
    ).SerializeToString()
