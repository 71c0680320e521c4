"""What a ledger answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.ids import AuthorisationId
from services.settlement.ledger.domain import commands as domain
from services.settlement.ledger.domain.model import (
    Account,
    AccountKey,
    AccountKind,
    AccountState,
    Authorisation,
    AuthorisationState,
    BranchState,
    Part,
    Refusal,
)
from services.settlement.ledger.store.reading import Balances, StatementLine, StatementPage
from services.settlement.ledger.wire.commands import BalancesQuery

_KINDS_OUT: Final = {AccountKind.PERSONAL: pb.ACCOUNT_KIND_PERSONAL, AccountKind.WALLET: pb.ACCOUNT_KIND_WALLET}
_PARTS_OUT: Final = {Part.PAST: pb.PART_PAST, Part.CURRENT: pb.PART_CURRENT}
_BRANCH_STATES_OUT: Final = {
    None: pb.BRANCH_STATE_UNSPECIFIED,
    BranchState.HELD: pb.BRANCH_STATE_HELD,
    BranchState.REFUSED: pb.BRANCH_STATE_REFUSED,
    BranchState.BLOCKED: pb.BRANCH_STATE_BLOCKED,
    BranchState.CONFIRMED: pb.BRANCH_STATE_CONFIRMED,
    BranchState.CANCELLED: pb.BRANCH_STATE_CANCELLED,
}
_AUTHORISATION_STATES_OUT: Final = {
    AuthorisationState.OPEN: pb.AUTHORISATION_STATE_OPEN,
    AuthorisationState.CLOSED: pb.AUTHORISATION_STATE_CLOSED,
}


def render_batch(replies: Iterable[pb.Reply]) -> bytes:
    """The answer to a batch, by the commands' places in it."""
    return pb.ReplyBatch(replies=sorted(replies, key=lambda reply: reply.index)).SerializeToString()


def refusal_reply(index: int, refusal: Refusal) -> pb.Reply:
    """The answer to a command that was not looked at."""
    return pb.Reply(index=index, refusal=_refusal(refusal))


def render_reply(index: int, reply: domain.Reply) -> pb.Reply:
    """The answer to one command that writes."""
    match reply:
        case domain.BranchReply():
            return _branch_reply(index, reply)
        case domain.CreditReply() if reply.refusal is not None and not reply.alarm:
            # Not a CreditReply: a reader that looks for an alarm alone would take it for a booked credit.
            return refusal_reply(index, reply.refusal)
        case domain.CreditReply():
            credit = pb.CreditReply(
                credit_id=reply.credit_id.bytes,
                balances=[_balance(leg.account, after) for leg, after in zip(reply.legs, reply.balances, strict=True)],
                suspense_leg_nos=reply.suspense_leg_nos,
                alarm=reply.alarm,
                refusal=_refusal(reply.refusal),
            )
            return pb.Reply(index=index, credit=credit)
        case domain.AuthorisationReply():
            authorisation = _authorisation(reply.authorisation_id, reply.authorisation)
            if (use := reply.month) is not None:
                authorisation.month = use.month
                authorisation.month_used_fen, authorisation.month_held_fen = use.used_fen, use.held_fen
            answer = pb.AuthorisationReply(authorisation=authorisation, refusal=_refusal(reply.refusal))
            return pb.Reply(index=index, authorisation=answer)
        case domain.AccountReply():
            freeze = pb.FreezeReply(balance=_balance(reply.key, reply.account), refusal=_refusal(reply.refusal))
            return pb.Reply(index=index, freeze=freeze)
        case domain.CommandRefused():
            return refusal_reply(index, reply.refusal)
        case _:
            assert_never(reply)


def _branch_reply(index: int, reply: domain.BranchReply) -> pb.Reply:
    """Filled in where it stands: a message that is given to another one is copied, which takes as long as the rest."""
    answer = pb.Reply(index=index)
    branch = answer.branch
    branch.payment_id = reply.payment_id.bytes
    branch.state = _BRANCH_STATES_OUT[reply.state]
    branch.alarm = reply.alarm
    if (refusal := _refusal(reply.refusal)) is not None:
        branch.refusal.CopyFrom(refusal)
    for account in reply.balances:
        _fill_balance(branch.balances.add(), account.key, account)
    return answer


def render_balances(index: int, query: BalancesQuery, found: Balances) -> pb.Reply:
    """The answer to a question for balances, in the order asked."""
    answer = pb.Reply(index=index)
    answer.balances.SetInParent()
    for key in query.keys:
        _fill_balance(answer.balances.accounts.add(), key, found.accounts.get(key))
    for it in query.authorisation_ids:
        authorisation = _authorisation(it, found.authorisations.get(it))
        if (use := found.months.get((it, query.month))) is not None:
            authorisation.month_used_fen, authorisation.month_held_fen = use.used_fen, use.held_fen
        answer.balances.authorisations.append(authorisation)
    return answer


def render_statement(index: int, page: StatementPage) -> pb.Reply:
    """The answer to a question for a statement."""
    reply = pb.StatementReply(
        entries=[_line(line) for line in page.lines],
        more=page.more,
        opening_balance_fen=page.opening_fen,
        closing_balance_fen=page.closing_fen,
    )
    return pb.Reply(index=index, statement=reply)


def _refusal(refusal: Refusal | None) -> pb.Refusal | None:
    if refusal is None:
        return None
    return pb.Refusal(reason=refusal.reason, leg_no=refusal.leg_no, metadata=refusal.metadata)


def _balance(key: AccountKey, account: Account | None) -> pb.AccountBalance:
    balance = pb.AccountBalance()
    _fill_balance(balance, key, account)
    return balance


def _fill_balance(balance: pb.AccountBalance, key: AccountKey, account: Account | None) -> None:
    ref = balance.account
    ref.psn_no, ref.account_kind = key.psn_no, _KINDS_OUT[key.kind]
    if account is None:
        return
    balance.exists = account.state is not AccountState.CLOSED
    balance.past_fen, balance.current_fen = account.balance.past, account.balance.current
    balance.held_past_fen, balance.held_current_fen = account.held.past, account.held.current
    balance.year = account.year
    balance.frozen = account.frozen
    balance.closing = account.state is AccountState.CLOSING


def _authorisation(authorisation_id: AuthorisationId, known: Authorisation | None) -> pb.Authorisation:
    if known is None:
        return pb.Authorisation(authorisation_id=authorisation_id.bytes)
    return pb.Authorisation(
        authorisation_id=authorisation_id.bytes,
        state=_AUTHORISATION_STATES_OUT[known.state],
        authorised_fen=known.authorised_fen,
        used_fen=known.used_fen,
        held_fen=known.held_fen,
        version=known.version,
        per_payment_fen=known.per_payment_fen,
        per_month_fen=known.per_month_fen,
    )


def _line(line: StatementLine) -> pb.StatementEntry:
    booked_time = Timestamp()
    booked_time.FromDatetime(line.booked_at)
    memo = line.memo
    return pb.StatementEntry(
        entry_no=line.entry_no,
        booked_time=booked_time,
        part=_PARTS_OUT[line.part],
        amount_fen=line.amount_fen,
        balance_after_fen=line.balance_after_fen,
        kind=line.kind,
        payment_id=line.payment_id.bytes if line.payment_id else b"",
        memo=pb.Memo(fixmedins_code=memo.fixmedins_code, setl_id=memo.setl_id, care_area=memo.care_area),
        credit_id=line.credit_id.bytes if line.credit_id else b"",
    )
