"""What some commands touch, loaded under the area's lock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from kernel.ids import AuthorisationId, PaymentId, PsnNo
from services.settlement.ledger.domain.commands import (
    AmendAuthorisation,
    Cancel,
    CloseAuthorisation,
    Command,
    Confirm,
    OpenAuthorisation,
    PutCredit,
    ReleaseSuspense,
    SetFrozen,
    Try,
)
from services.settlement.ledger.domain.model import (
    Account,
    AccountKey,
    AccountKind,
    AccountState,
    Authorisation,
    AuthorisationEvent,
    AuthorisationEventKey,
    AuthorisationState,
    AuthorisationStep,
    Branch,
    BranchState,
    Credit,
    CreditId,
    CreditLeg,
    CreditPurpose,
    FreezeId,
    FreezeRecord,
    Leg,
    Memo,
    Part,
    Parts,
    Refusal,
    Role,
)
from services.settlement.ledger.domain.state import State
from services.settlement.ledger.store.mending import load_tasks
from services.settlement.ledger.store.sets import Connection

Record: TypeAlias = Mapping[str, Any]

LOCK_CLASS: Final = 0x676A6C67
"""The first key of the advisory lock of every ledger ("gjlg"); the second is the area."""

_CLOCK_AND_EPOCH: Final = "SELECT clock_timestamp() AS now, epoch FROM ledger_state WHERE area = $1"
_BRANCHES: Final = """
    SELECT b.payment_id, b.state, b.digest, b.created_at, b.decided_at, b.inquire_at, b.refusal_reason,
           b.refusal_leg_no, b.refusal_metadata::text AS refusal_metadata, b.fixmedins_code, b.setl_id, b.care_area,
           l.leg_no, l.psn_no, l.account_kind, l.role, l.past_fen, l.current_fen, l.year, l.authorisation_id,
           l.floor_fen, l.floor_past, l.floor_current, l.refunded_fen, l.after_past_fen, l.after_current_fen,
           l.after_held_past_fen, l.after_held_current_fen, l.after_year
    FROM branches AS b LEFT JOIN branch_legs AS l USING (payment_id)
    WHERE b.payment_id = ANY($1::uuid[]) ORDER BY b.payment_id, l.leg_no
"""
_ACCOUNTS: Final = """
    SELECT psn_no, kind, year, past_fen, current_fen, held_past_fen, held_current_fen, frozen, state
    FROM accounts JOIN unnest($1::text[], $2::text[]) AS wanted(psn_no, kind) USING (psn_no, kind)
"""
_AUTHORISATIONS: Final = """
    SELECT authorisation_id, state, funder_psn_no, beneficiary_psn_no, authorised_fen, used_fen, held_fen, version,
           opened_used_fen
    FROM authorisations WHERE authorisation_id = ANY($1::uuid[])
"""
_CREDITS: Final = """
    SELECT c.credit_id, c.purpose, c.digest, c.original_payment_id, c.fixmedins_code, c.setl_id, c.care_area,
           c.booked_at, l.leg_no, l.psn_no, l.account_kind, l.past_fen, l.current_fen, l.year, l.suspense,
           l.after_past_fen, l.after_current_fen, l.after_held_past_fen, l.after_held_current_fen, l.after_year,
           l.after_frozen, l.after_state
    FROM credits AS c JOIN credit_legs AS l USING (credit_id)
    WHERE c.credit_id = ANY($1::uuid[]) ORDER BY c.credit_id, l.leg_no
"""
_FREEZES: Final = """
    SELECT command_id, psn_no, frozen, cause, booked_at, after_past_fen, after_current_fen, after_held_past_fen,
           after_held_current_fen, after_year, frozen AS after_frozen, after_state
    FROM freeze_commands WHERE command_id = ANY($1::uuid[])
"""
_AUTHORISATION_EVENTS: Final = """
    SELECT e.authorisation_id, e.step, e.version, e.asked_fen, e.after_state, e.after_authorised_fen, e.after_used_fen,
           e.after_held_fen, e.after_version, e.refusal_reason, e.refusal_metadata::text AS refusal_metadata,
           e.booked_at, a.funder_psn_no, a.beneficiary_psn_no, a.opened_used_fen
    FROM authorisation_events AS e JOIN authorisations AS a USING (authorisation_id)
    WHERE e.authorisation_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The touched rows, and the database's clock as it stood once the lock was ours."""

    state: State
    now: datetime


def begin_locked(area: str) -> str:
    """Begins a transaction that is the area's one writer until it ends (protocol rule 10), in one round trip."""
    return f"BEGIN; {_lock(area)}"


async def lock_area(connection: Connection, area: str) -> None:
    """Makes a transaction that has begun already the area's one writer until it ends."""
    await connection.execute(_lock(area))


def _lock(area: str) -> str:
    return f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {int(area)})"


async def load(connection: Connection, area: str, commands: Iterable[Command]) -> Loaded:
    """Everything the commands touch. The area's lock must be held: only then is what is read here the latest."""
    touched = Touched()
    for command in commands:
        touched.add(command)
    return await load_touched(connection, area, touched)


async def load_touched(connection: Connection, area: str, touched: Touched) -> Loaded:
    """Everything under these keys, and what the payments among them touch."""
    clock = await connection.fetchrow(_CLOCK_AND_EPOCH, area)
    if clock is None:
        raise LookupError(f"this database is not the ledger of area {area}")
    state = State(epoch=clock["epoch"])
    if touched.payments:
        state.branches.update(await _load_branches(connection, touched.payments))
        for branch in state.branches.values():
            touched.add_legs(branch.legs)
    if touched.credits:
        state.credits.update(await _load_credits(connection, touched.credits))
    if touched.freezes:
        found = await connection.fetch(_FREEZES, list(touched.freezes))
        state.freezes.update((record["command_id"], _freeze_from(record)) for record in found)
    if touched.tasks:
        state.suspense_tasks.update(await load_tasks(connection, touched.tasks))
    if touched.stepped:
        found = await connection.fetch(_AUTHORISATION_EVENTS, list(touched.stepped))
        events = [_event_from(record) for record in found]
        state.authorisation_events.update((event.key, event) for event in events)
    state.accounts.update(await load_accounts(connection, touched.accounts))
    state.authorisations.update(await load_authorisations(connection, touched.authorisations))
    return Loaded(state, clock["now"])


async def load_accounts(connection: Connection, keys: Iterable[AccountKey]) -> dict[AccountKey, Account]:
    """The accounts among ``keys`` that exist."""
    wanted = list(keys)
    if not wanted:
        return {}
    found = await connection.fetch(_ACCOUNTS, [key.psn_no for key in wanted], [key.kind.value for key in wanted])
    return {(account := _account_from(record)).key: account for record in found}


async def load_authorisations(
    connection: Connection, ids: Iterable[AuthorisationId]
) -> dict[AuthorisationId, Authorisation]:
    """The authorisations among ``ids`` that exist."""
    wanted = list(ids)
    if not wanted:
        return {}
    found = await connection.fetch(_AUTHORISATIONS, wanted)
    return {record["authorisation_id"]: _authorisation_from(record) for record in found}


class Touched:
    """The keys that commands name, each once."""

    def __init__(self) -> None:
        self.payments: set[PaymentId] = set()
        self.credits: set[CreditId] = set()
        self.freezes: set[FreezeId] = set()
        self.tasks: set[tuple[UUID, int]] = set()
        self.stepped: set[AuthorisationId] = set()
        self.accounts: set[AccountKey] = set()
        self.authorisations: set[AuthorisationId] = set()

    def add(self, command: Command) -> None:
        """The keys of one command."""
        match command:
            case Try():
                self.payments.add(command.payment_id)
                self.add_legs(command.legs)
            case Confirm() | Cancel():
                self.payments.add(command.payment_id)
            case PutCredit():
                self.credits.add(command.credit_id)
                self.accounts.update(leg.account for leg in command.legs)
                if command.original_payment_id is not None:
                    self.payments.add(command.original_payment_id)
            case OpenAuthorisation() | AmendAuthorisation() | CloseAuthorisation():
                self.stepped.add(command.authorisation_id)
                self.authorisations.add(command.authorisation_id)
            case SetFrozen():
                self.freezes.add(command.freeze_id)
                self.accounts.add(AccountKey(command.psn_no, AccountKind.PERSONAL))
            case ReleaseSuspense():
                self.tasks.add((command.credit_id, command.leg_no))
                if command.to is not None:
                    self.accounts.add(command.to)

    def add_legs(self, legs: Iterable[Leg]) -> None:
        """The accounts and authorisations of a payment's legs."""
        for leg in legs:
            self.accounts.add(leg.account)
            if leg.authorisation_id is not None:
                self.authorisations.add(leg.authorisation_id)


_KINDS: Final = {kind.value: kind for kind in AccountKind}
_STATES: Final = {state.value: state for state in AccountState}
_BRANCH_STATES: Final = {state.value: state for state in BranchState}
_ROLES: Final = {role.value: role for role in Role}
_FLOORS: Final = {
    (False, False): frozenset[Part](),
    (True, False): frozenset({Part.PAST}),
    (False, True): frozenset({Part.CURRENT}),
    (True, True): frozenset(Part),
}


async def _load_branches(connection: Connection, ids: set[PaymentId]) -> dict[PaymentId, Branch]:
    grouped: dict[PaymentId, list[Record]] = {}
    for record in await connection.fetch(_BRANCHES, list(ids)):
        grouped.setdefault(record["payment_id"], []).append(record)
    return {payment_id: _branch_from(records) for payment_id, records in grouped.items()}


async def _load_credits(connection: Connection, ids: set[CreditId]) -> dict[CreditId, Credit]:
    grouped: dict[CreditId, list[Record]] = {}
    for record in await connection.fetch(_CREDITS, list(ids)):
        grouped.setdefault(record["credit_id"], []).append(record)
    return {credit_id: _credit_from(records) for credit_id, records in grouped.items()}


def _account_from(record: Record) -> Account:
    return Account(
        key=AccountKey(record["psn_no"], _KINDS[record["kind"]]),
        year=record["year"],
        balance=Parts(record["past_fen"], record["current_fen"]),
        held=Parts(record["held_past_fen"], record["held_current_fen"]),
        frozen=record["frozen"],
        state=_STATES[record["state"]],
    )


def _authorisation_from(record: Record) -> Authorisation:
    return Authorisation(
        authorisation_id=record["authorisation_id"],
        state=AuthorisationState(record["state"]),
        funder_psn_no=record["funder_psn_no"],
        beneficiary_psn_no=record["beneficiary_psn_no"],
        authorised_fen=record["authorised_fen"],
        used_fen=record["used_fen"],
        held_fen=record["held_fen"],
        version=record["version"],
        opened_used_fen=record["opened_used_fen"],
    )


def _after_from(record: Record, key: AccountKey, *, frozen: bool, state: AccountState) -> Account:
    return Account(
        key=key,
        year=record["after_year"],
        balance=Parts(record["after_past_fen"], record["after_current_fen"]),
        held=Parts(record["after_held_past_fen"], record["after_held_current_fen"]),
        frozen=frozen,
        state=state,
    )


def _branch_from(records: list[Record]) -> Branch:
    first = records[0]
    legs = tuple(_leg_from(record) for record in records if record["leg_no"] is not None)
    refusal = None
    if first["refusal_reason"] is not None:
        refusal = Refusal(first["refusal_reason"], first["refusal_leg_no"], json.loads(first["refusal_metadata"]))
    return Branch(
        payment_id=first["payment_id"],
        state=_BRANCH_STATES[first["state"]],
        created_at=first["created_at"],
        decided_at=first["decided_at"],
        digest=first["digest"],
        legs=legs,
        balances=tuple(
            _balance_from(record, leg) for record, leg in zip(records, legs, strict=False) if not leg.is_receiving
        ),
        refusal=refusal,
        inquire_at=first["inquire_at"],
        memo=Memo(first["fixmedins_code"], first["setl_id"], first["care_area"]),
        refunded_fen={record["leg_no"]: record["refunded_fen"] for record in records if record["refunded_fen"]},
    )


def _balance_from(record: Record, leg: Leg) -> Account:
    # A hold is placed on an open account alone; a freeze never marks a wallet.
    return _after_from(record, leg.account, frozen=False, state=AccountState.OPEN)


def _leg_from(record: Record) -> Leg:
    return Leg(
        leg_no=record["leg_no"],
        account=AccountKey(PsnNo(record["psn_no"]), _KINDS[record["account_kind"]]),
        role=_ROLES[record["role"]],
        amount=Parts(record["past_fen"], record["current_fen"]),
        year=record["year"],
        authorisation_id=record["authorisation_id"],
        floor_fen=record["floor_fen"],
        floor_parts=_FLOORS[record["floor_past"], record["floor_current"]],
    )


def _credit_from(records: list[Record]) -> Credit:
    first = records[0]
    legs = tuple(
        CreditLeg(
            leg_no=record["leg_no"],
            account=AccountKey(PsnNo(record["psn_no"]), _KINDS[record["account_kind"]]),
            amount=Parts(record["past_fen"], record["current_fen"]),
            year=record["year"],
        )
        for record in records
    )
    balances = tuple(
        None
        if record["suspense"]
        else _after_from(record, leg.account, frozen=record["after_frozen"], state=_STATES[record["after_state"]])
        for record, leg in zip(records, legs, strict=True)
    )
    return Credit(
        credit_id=first["credit_id"],
        purpose=CreditPurpose(first["purpose"]),
        digest=first["digest"],
        legs=legs,
        balances=balances,
        booked_at=first["booked_at"],
        original_payment_id=first["original_payment_id"],
        memo=Memo(first["fixmedins_code"], first["setl_id"], first["care_area"]),
    )


def _freeze_from(record: Record) -> FreezeRecord:
    key = AccountKey(PsnNo(record["psn_no"]), AccountKind.PERSONAL)
    after = _after_from(record, key, frozen=record["frozen"], state=_STATES[record["after_state"]])
    return FreezeRecord(FreezeId(record["command_id"]), record["frozen"], record["cause"], after, record["booked_at"])


def _event_from(record: Record) -> AuthorisationEvent:
    authorisation_id = AuthorisationId(record["authorisation_id"])
    after = Authorisation(
        authorisation_id=authorisation_id,
        state=AuthorisationState(record["after_state"]),
        funder_psn_no=record["funder_psn_no"],
        beneficiary_psn_no=record["beneficiary_psn_no"],
        authorised_fen=record["after_authorised_fen"],
        used_fen=record["after_used_fen"],
        held_fen=record["after_held_fen"],
        version=record["after_version"],
        opened_used_fen=record["opened_used_fen"],
    )
    refusal = None
    if record["refusal_reason"] is not None:
        refusal = Refusal(record["refusal_reason"], metadata=json.loads(record["refusal_metadata"]))
    return AuthorisationEvent(
        key=AuthorisationEventKey(authorisation_id, AuthorisationStep(record["step"]), record["version"]),
        asked_fen=record["asked_fen"],
        after=after,
        refusal=refusal,
        booked_at=record["booked_at"],
    )
