"""Where the ledger's messages and its values meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, Protocol, TypeAlias, assert_never

from asyncpg.pgproto.pgproto import UUID  # The driver's: equal to any of its value, but made and compared in C.
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.rpc.interceptors import checked_request
from chassis.telemetry import parsed_traceparent
from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, PaymentId, PsnNo
from services.settlement.ledger.domain import commands as domain
from services.settlement.ledger.domain.model import (
    Account,
    AccountKey,
    AccountKind,
    AccountState,
    Authorisation,
    AuthorisationState,
    BranchState,
    CreditId,
    CreditLeg,
    CreditPurpose,
    FreezeId,
    Leg,
    Memo,
    Part,
    Parts,
    Refusal,
    Role,
)
from services.settlement.ledger.store.reading import Balances, StatementLine, StatementPage, StatementQuery

COMMANDS_MAX: Final = 512
"""As the contract says; a message with more is refused whole."""
REFUSALS_MAX: Final = 2 * COMMANDS_MAX
"""So many commands of a message that is refused whole are told so: a million empty ones get no million answers."""

_KINDS: Final = {pb.ACCOUNT_KIND_PERSONAL: AccountKind.PERSONAL, pb.ACCOUNT_KIND_WALLET: AccountKind.WALLET}
_KINDS_OUT: Final = {kind: number for number, kind in _KINDS.items()}
_ROLES: Final = {
    pb.ROLE_OWN: Role.OWN,
    pb.ROLE_WALLET: Role.WALLET,
    pb.ROLE_FUNDER: Role.FUNDER,
    pb.ROLE_RECEIVER: Role.RECEIVER,
}
_PARTS: Final = {pb.PART_PAST: Part.PAST, pb.PART_CURRENT: Part.CURRENT}
_PARTS_OUT: Final = {part: number for number, part in _PARTS.items()}
_NO_PARTS: Final = frozenset[Part]()
_PURPOSES: Final = {
    pb.CREDIT_PURPOSE_MONTHLY: CreditPurpose.MONTHLY,
    pb.CREDIT_PURPOSE_WALLET: CreditPurpose.WALLET,
    pb.CREDIT_PURPOSE_REFUND: CreditPurpose.REFUND,
    pb.CREDIT_PURPOSE_CARRIED_OVER: CreditPurpose.CARRIED_OVER,
}
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


@dataclass(frozen=True, slots=True)
class BalancesQuery:
    """Accounts and authorisations asked for, in this order."""

    keys: tuple[AccountKey, ...]
    authorisation_ids: tuple[AuthorisationId, ...]


Query: TypeAlias = BalancesQuery | StatementQuery


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch taken apart; each item with its place in the batch."""

    writes: tuple[tuple[int, domain.Request], ...] = ()
    reads: tuple[tuple[int, Query], ...] = ()
    refused: tuple[tuple[int, Refusal], ...] = ()


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What the coordinator says of a payment: CONFIRM or CANCEL as a command, None to wait; or that it is unknown.

    ``epoch`` is the coordinator's; None of a release that did not say.
    """

    payment_id: PaymentId
    command: domain.Confirm | domain.Cancel | None
    unknown: bool
    epoch: int | None


# --- In: commands -----------------------------------------------------------------------------------------------------


def parse_batch(payload: bytes) -> Parsed:
    """Every command of a batch, or why it cannot be read (REQUEST_MALFORMED, REQUEST_INVALID); it never raises.

    One command that breaks a rule does not take the others with it.
    """
    try:
        batch = pb.CommandBatch.FromString(payload)
    except DecodeError:
        return Parsed(refused=((0, Refusal("REQUEST_MALFORMED")),))
    if not 1 <= len(batch.commands) <= COMMANDS_MAX:
        refusal = Refusal("REQUEST_INVALID", metadata={"field": "commands", "rule": "repeated.max_items"})
        told = max(1, min(len(batch.commands), REFUSALS_MAX))
        return Parsed(refused=tuple((index, refusal) for index in range(told)))
    checked = _keeps_the_rules(batch)
    writes: list[tuple[int, domain.Request]] = []
    reads: list[tuple[int, Query]] = []
    refused: list[tuple[int, Refusal]] = []
    for index, message in enumerate(batch.commands):
        try:
            if not checked:
                checked_request(message, more_bytes_max=0)
            read = _parse_query(message)
            if read is not None:
                reads.append((index, read))
            else:
                trace = parsed_traceparent(message.traceparent)
                command = _parse_command(message)
                writes.append((index, domain.Request(command, batch.epoch, trace.trace_id if trace else "")))
        except Failure as failure:
            refused.append((index, Refusal(failure.reason, metadata=failure.metadata)))
    return Parsed(tuple(writes), tuple(reads), tuple(refused))


def _keeps_the_rules(batch: pb.CommandBatch) -> bool:
    try:
        checked_request(batch, more_bytes_max=0)
    except Failure:
        return False
    return True


def _invalid(field: str, rule: str) -> Failure:
    return Failure(Kind.INVALID, "REQUEST_INVALID", field=field, rule=rule)


def _parse_query(message: pb.Command) -> Query | None:
    match message.WhichOneof("kind"):
        case "read_balances_command":
            asked = message.read_balances_command
            ids = tuple(AuthorisationId(UUID(it)) for it in asked.authorisation_ids)
            return BalancesQuery(tuple(_key_from(it.psn_no, it.account_kind) for it in asked.accounts), ids)
        case "read_statement_command":
            page = message.read_statement_command
            return StatementQuery(
                key=_key_from(page.account.psn_no, page.account.account_kind),
                after_entry_no=page.after_entry_no,
                entries_max=page.entries_max,
                from_time=_instant_from(page.from_time) if page.HasField("from_time") else None,
                to_time=_instant_from(page.to_time) if page.HasField("to_time") else None,
            )
        case _:
            return None


def _parse_command(message: pb.Command) -> domain.Command:  # noqa: PLR0911  One return for each kind of command.
    match message.WhichOneof("kind"):
        case "try_command":
            return _try_from(message.try_command)
        case "confirm_command":
            return domain.Confirm(PaymentId(UUID(message.confirm_command.payment_id)))
        case "cancel_command":
            return domain.Cancel(PaymentId(UUID(message.cancel_command.payment_id)))
        case "credit_command":
            return _credit_from(message.credit_command)
        case "open_authorisation_command":
            opened = message.open_authorisation_command
            return domain.OpenAuthorisation(
                authorisation_id=_authorisation_id(opened.authorisation_id),
                funder_psn_no=PsnNo(opened.funder_psn_no),
                beneficiary_psn_no=PsnNo(opened.beneficiary_psn_no),
                authorised_fen=_limit_from(opened),
                used_fen=opened.used_fen,
            )
        case "amend_authorisation_command":
            amended = message.amend_authorisation_command
            authorisation_id = _authorisation_id(amended.authorisation_id)
            return domain.AmendAuthorisation(authorisation_id, amended.version, _limit_from(amended))
        case "close_authorisation_command":
            return domain.CloseAuthorisation(_authorisation_id(message.close_authorisation_command.authorisation_id))
        case "freeze_command":
            return _freeze_from(message.freeze_command, frozen=True)
        case "unfreeze_command":
            return _freeze_from(message.unfreeze_command, frozen=False)
        case _:
            raise _invalid("kind", "unknown")


def _try_from(message: pb.TryCommand) -> domain.Try:
    _require_ascending([leg.leg_no for leg in message.legs])
    return domain.Try(
        payment_id=PaymentId(UUID(message.payment_id)),
        legs=tuple(map(_leg_from, message.legs)),
        inquire_after_ms=message.inquire_after_ms,
        memo=_memo_from(message.memo),
        origin=message.origin,
    )


def _leg_from(message: pb.Leg) -> Leg:
    role, key = _ROLES[message.role], _key_from(message.psn_no, message.account_kind)
    if role is not Role.RECEIVER and (role is Role.WALLET) != (key.kind is AccountKind.WALLET):
        raise _invalid("legs.role", "role.account_kind")
    if key.kind is AccountKind.WALLET and message.current_fen:
        raise _invalid("legs.current_fen", "wallet.one_part")
    if (role is Role.FUNDER) != bool(message.authorisation_id):
        raise _invalid("legs.authorisation_id", "role.authorisation_id")
    floor_parts = _floor_parts_from(message.floor_parts)
    return Leg(
        leg_no=message.leg_no,
        account=key,
        role=role,
        amount=_amount_from(message),
        year=message.year,
        authorisation_id=_authorisation_id(message.authorisation_id) if message.authorisation_id else None,
        floor_fen=message.floor_fen,
        floor_parts=floor_parts,
    )


def _floor_parts_from(parts: Sequence[pb.Part.ValueType]) -> frozenset[Part]:
    if not parts:
        return _NO_PARTS
    if not all(part in _PARTS for part in parts):
        raise _invalid("legs.floor_parts", "enum.defined_only")
    return frozenset(_PARTS[part] for part in parts)


def _credit_from(message: pb.CreditCommand) -> domain.PutCredit:
    purpose = _PURPOSES[message.purpose]
    _require_ascending([leg.leg_no for leg in message.legs])
    if (purpose is CreditPurpose.REFUND) != bool(message.original_payment_id):
        raise _invalid("original_payment_id", "purpose.original_payment_id")
    legs = tuple(
        CreditLeg(leg.leg_no, _key_from(leg.psn_no, leg.account_kind), _amount_from(leg), leg.year)
        for leg in message.legs
    )
    wallet = {CreditPurpose.MONTHLY: False, CreditPurpose.WALLET: True}.get(purpose)
    if wallet is not None and any((leg.account.kind is AccountKind.WALLET) != wallet for leg in legs):
        raise _invalid("legs.account_kind", "purpose.account_kind")
    original = message.original_payment_id
    return domain.PutCredit(
        credit_id=CreditId(UUID(message.credit_id)),
        purpose=purpose,
        legs=legs,
        original_payment_id=PaymentId(UUID(original)) if original else None,
        memo=_memo_from(message.memo),
        origin=message.origin,
    )


def _freeze_from(message: pb.FreezeCommand | pb.UnfreezeCommand, *, frozen: bool) -> domain.SetFrozen:
    return domain.SetFrozen(
        FreezeId(UUID(message.command_id)), PsnNo(message.psn_no), frozen=frozen, cause=message.cause
    )


def _require_ascending(leg_nos: Sequence[int]) -> None:
    if len(leg_nos) > 1 and any(later <= earlier for earlier, later in pairwise(leg_nos)):
        raise _invalid("legs.leg_no", "repeated.ascending")


class _InParts(Protocol):
    @property
    def past_fen(self) -> int: ...
    @property
    def current_fen(self) -> int: ...


def _amount_from(message: _InParts) -> Parts:
    amount = Parts(message.past_fen, message.current_fen)
    if not amount.total:
        raise _invalid("legs.past_fen", "amount.moves_money")
    return amount


def _key_from(psn_no: str, kind: pb.AccountKind.ValueType) -> AccountKey:
    return AccountKey(PsnNo(psn_no), _KINDS[kind])


def _authorisation_id(raw: bytes) -> AuthorisationId:
    return AuthorisationId(UUID(raw))


def _limit_from(message: pb.OpenAuthorisationCommand | pb.AmendAuthorisationCommand) -> int | None:
    return message.authorised_fen if message.HasField("authorised_fen") else None


def _memo_from(message: pb.Memo) -> Memo:
    return Memo(message.fixmedins_code, message.setl_id, message.care_area)


def _instant_from(message: Timestamp) -> datetime:
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _invalid("from_time", "timestamp.range") from None


# --- Out: replies -----------------------------------------------------------------------------------------------------


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
            answer = pb.AuthorisationReply(authorisation=authorisation, refusal=_refusal(reply.refusal))
            return pb.Reply(index=index, authorisation=answer)
        case domain.FreezeReply():
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
    answer.balances.authorisations.extend(
        _authorisation(it, found.authorisations.get(it)) for it in query.authorisation_ids
    )
    return answer


def render_statement(index: int, page: StatementPage) -> pb.Reply:
    """The answer to a question for a statement."""
    return pb.Reply(
        index=index, statement=pb.StatementReply(entries=[_line(line) for line in page.lines], more=page.more)
    )


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


# --- INQUIRE ----------------------------------------------------------------------------------------------------------


def render_inquiry(area: AdmDvs, payment_ids: Iterable[PaymentId]) -> bytes:
    """The question what became of some payments."""
    return pb.InquireRequest(area=area, payment_ids=[it.bytes for it in payment_ids]).SerializeToString()


def parse_inquiry(payload: bytes, asked: Iterable[PaymentId]) -> list[Inquiry]:
    """What the coordinator said of the payments it was asked about; anything else in the answer is left aside.

    Raises INVALID REQUEST_MALFORMED if the answer cannot be read.
    """
    try:
        response = pb.InquireResponse.FromString(payload)
    except DecodeError:
        raise Failure(Kind.INVALID, "REQUEST_MALFORMED") from None
    wanted = {payment_id.bytes: payment_id for payment_id in asked}
    epoch = response.epoch or None
    return [
        _inquiry(wanted[answer.payment_id], answer, epoch) for answer in response.answers if answer.payment_id in wanted
    ]


def _inquiry(payment_id: PaymentId, answer: pb.InquireAnswer, epoch: int | None) -> Inquiry:
    command: domain.Confirm | domain.Cancel | None = None
    if not answer.unknown:
        if answer.decision == pb.DECISION_CONFIRM:
            command = domain.Confirm(payment_id)
        elif answer.decision == pb.DECISION_CANCEL:
            command = domain.Cancel(payment_id)
    return Inquiry(payment_id, command, answer.unknown, epoch)
