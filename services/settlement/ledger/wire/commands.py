"""What is asked of a ledger: the commands of a batch, and questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, Protocol, TypeAlias, TypedDict

from asyncpg.pgproto.pgproto import UUID  # The driver's: equal to any of its value, but made and compared in C.
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.rpc.interceptors import checked_request
from chassis.telemetry import parsed_traceparent
from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.failures import Failure, Kind
from kernel.ids import AuthorisationId, PaymentId, PsnNo
from kernel.money import Fen
from services.settlement.ledger.domain import commands as domain
from services.settlement.ledger.domain.limits import CarriedMonth
from services.settlement.ledger.domain.model import (
    AccountKey,
    AccountKind,
    ClosingId,
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
from services.settlement.ledger.store.reading import StatementQuery

COMMANDS_MAX: Final = 512
"""As the contract says; a message with more is refused whole."""
MONTHS: Final = 12
REFUSALS_MAX: Final = 2 * COMMANDS_MAX
"""So many commands of a message that is refused whole are told so: a million empty ones get no million answers."""

_KINDS: Final = {pb.ACCOUNT_KIND_PERSONAL: AccountKind.PERSONAL, pb.ACCOUNT_KIND_WALLET: AccountKind.WALLET}
_ROLES: Final = {
    pb.ROLE_OWN: Role.OWN,
    pb.ROLE_WALLET: Role.WALLET,
    pb.ROLE_FUNDER: Role.FUNDER,
    pb.ROLE_RECEIVER: Role.RECEIVER,
}
_PARTS: Final = {pb.PART_PAST: Part.PAST, pb.PART_CURRENT: Part.CURRENT}
_NO_PARTS: Final = frozenset[Part]()
_PURPOSES: Final = {
    pb.CREDIT_PURPOSE_MONTHLY: CreditPurpose.MONTHLY,
    pb.CREDIT_PURPOSE_WALLET: CreditPurpose.WALLET,
    pb.CREDIT_PURPOSE_REFUND: CreditPurpose.REFUND,
    pb.CREDIT_PURPOSE_CARRIED_OVER: CreditPurpose.CARRIED_OVER,
}


@dataclass(frozen=True, slots=True)
class BalancesQuery:
    """Accounts and authorisations asked for, in this order; the use of ``month`` (yyyymm) is told, 0 = of none."""

    keys: tuple[AccountKey, ...]
    authorisation_ids: tuple[AuthorisationId, ...]
    month: int = 0


Query: TypeAlias = BalancesQuery | StatementQuery


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch taken apart; each item with its place in the batch."""

    writes: tuple[tuple[int, domain.Request], ...] = ()
    reads: tuple[tuple[int, Query], ...] = ()
    refused: tuple[tuple[int, Refusal], ...] = ()


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
            keys = tuple(_key_from(it.psn_no, it.account_kind) for it in asked.accounts)
            return BalancesQuery(keys, ids, _month_from(asked.month))
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


def _parse_command(message: pb.Command) -> domain.Command:  # noqa: C901, PLR0911  One return for each kind of command.
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
                used_fen=opened.used_fen,
                carried=_carried_from(opened),
                **_limits_from(opened),
            )
        case "amend_authorisation_command":
            amended = message.amend_authorisation_command
            authorisation_id = _authorisation_id(amended.authorisation_id)
            return domain.AmendAuthorisation(authorisation_id, amended.version, **_limits_from(amended))
        case "close_authorisation_command":
            return domain.CloseAuthorisation(_authorisation_id(message.close_authorisation_command.authorisation_id))
        case "close_account_command":
            return _close_from(message.close_account_command)
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
        month=_month_from(message.month),
    )


def _month_from(month: int) -> int:
    """A civil month as yyyymm; the contract's own rules let some numbers through that no calendar has."""
    if month and not 1 <= month % 100 <= MONTHS:
        raise _invalid("month", "month.yyyymm")
    return month


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
        accepted_at=message.accepted_time.ToDatetime(tzinfo=UTC) if message.HasField("accepted_time") else None,
    )


def _freeze_from(message: pb.FreezeCommand | pb.UnfreezeCommand, *, frozen: bool) -> domain.SetFrozen:
    return domain.SetFrozen(
        FreezeId(UUID(message.command_id)), PsnNo(message.psn_no), frozen=frozen, cause=message.cause
    )


def _close_from(message: pb.CloseAccountCommand) -> domain.CloseAccount:
    key = _key_from(message.account.psn_no, message.account.account_kind)
    return domain.CloseAccount(ClosingId(UUID(message.command_id)), key, message.cause)


def _require_ascending(leg_nos: Sequence[int]) -> None:
    if len(leg_nos) > 1 and any(later <= earlier for earlier, later in pairwise(leg_nos)):
        raise _invalid("legs.leg_no", "repeated.ascending")


class _Limits(TypedDict):
    authorised_fen: Fen | None
    per_payment_fen: Fen | None
    per_month_fen: Fen | None


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


def _limits_from(message: pb.OpenAuthorisationCommand | pb.AmendAuthorisationCommand) -> _Limits:
    return _Limits(
        authorised_fen=message.authorised_fen if message.HasField("authorised_fen") else None,
        per_payment_fen=message.per_payment_fen if message.HasField("per_payment_fen") else None,
        per_month_fen=message.per_month_fen if message.HasField("per_month_fen") else None,
    )


def _carried_from(opened: pb.OpenAuthorisationCommand) -> CarriedMonth | None:
    if opened.month_used_fen > opened.used_fen or (opened.month_used_fen and not opened.month):
        raise _invalid("month_used_fen", "month.of_used")
    return CarriedMonth(_month_from(opened.month), opened.month_used_fen) if opened.month else None


def _memo_from(message: pb.Memo) -> Memo:
    return Memo(message.fixmedins_code, message.setl_id, message.care_area)


def _instant_from(message: Timestamp) -> datetime:
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _invalid("from_time", "timestamp.range") from None
