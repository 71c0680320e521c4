"""What some commands touch, loaded under the area's lock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from kernel.clock import business_month
from kernel.ids import AuthorisationId, PaymentId, PsnNo
from kernel.money import Fen
from services.settlement.ledger.domain.commands import (
    AmendAuthorisation,
    Cancel,
    CloseAccount,
    CloseAuthorisation,
    Command,
    Confirm,
    OpenAuthorisation,
    PutCredit,
    ReleaseSuspense,
    SetFrozen,
    Try,
    TurnAccount,
)
from services.settlement.ledger.domain.limits import CarriedMonth, Limits
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
    Closing,
    ClosingId,
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
from services.settlement.ledger.store.months import load_months, load_payments_to_count
from services.settlement.ledger.store.sets import Connection

Record: TypeAlias = Mapping[str, Any]
Row: TypeAlias = Sequence[Any]

_ACCOUNT: Final = (
    "a.psn_no, a.kind, a.year, a.past_fen, a.current_fen, a.held_past_fen, a.held_current_fen, a.frozen, a.state"
)
_AUTHORISATION: Final = (
    "a.authorisation_id, a.state, a.funder_psn_no, a.beneficiary_psn_no, a.authorised_fen, a.used_fen, a.held_fen,"
    " a.version, a.opened_used_fen, a.per_payment_fen, a.per_month_fen, a.counts_months,"
    " a.opened_month, a.opened_month_fen"
)
_SAME_ACCOUNT: Final = "a.psn_no = ANY (ARRAY[wanted.psn_no]) AND a.kind = wanted.kind"
"""As in ``sets``: planned while the table was small, a bare equality may walk all of its index for ever after."""
_SAME_AUTHORISATION: Final = "a.authorisation_id = ANY (ARRAY[wanted.authorisation_id])"
_USUAL: Final = f"""
    WITH legs AS MATERIALIZED (
        SELECT * FROM branch_legs WHERE payment_id = ANY($2::uuid[])
    )
    SELECT
        clock_timestamp() AS now,
        epoch,
        ARRAY(
            SELECT ROW(
                payment_id, state, digest, created_at, decided_at, inquire_at, refusal_reason, refusal_leg_no,
                refusal_metadata::text, month, fixmedins_code, setl_id, care_area)
            FROM branches WHERE payment_id = ANY($2::uuid[])
        ) AS branches,
        ARRAY(
            SELECT ROW(
                payment_id, refunded_fen, leg_no, psn_no, account_kind, role, past_fen, current_fen, year,
                authorisation_id, floor_fen, floor_past, floor_current, after_past_fen, after_current_fen,
                after_held_past_fen, after_held_current_fen, after_year)
            FROM legs ORDER BY leg_no
        ) AS legs,
        ARRAY(
            SELECT ROW({_ACCOUNT})
            FROM (
                SELECT * FROM unnest($3::text[], $4::text[]) UNION ALL SELECT psn_no, account_kind FROM legs
            ) AS wanted(psn_no, kind)
            JOIN accounts AS a ON {_SAME_ACCOUNT}
        ) AS accounts,
        ARRAY(
            SELECT ROW({_AUTHORISATION})
            FROM (
                SELECT * FROM unnest($5::uuid[])
                UNION ALL
                SELECT authorisation_id FROM legs WHERE authorisation_id IS NOT NULL
            ) AS wanted(authorisation_id)
            JOIN authorisations AS a ON {_SAME_AUTHORISATION}
        ) AS authorisations
    FROM ledger_state WHERE area = $1
"""  # noqa: S608  Constants.
_ACCOUNTS: Final = f"""
    SELECT {_ACCOUNT} FROM unnest($1::text[], $2::text[]) AS wanted(psn_no, kind) JOIN accounts AS a ON {_SAME_ACCOUNT}
"""  # noqa: S608  Constants.
_AUTHORISATIONS: Final = f"""
    SELECT {_AUTHORISATION} FROM authorisations AS a WHERE a.authorisation_id = ANY($1::uuid[])
"""  # noqa: S608  Constants.
_CREDITS: Final = """
    SELECT c.credit_id, c.purpose, c.digest, c.original_payment_id, c.fixmedins_code, c.setl_id, c.care_area,
           c.booked_at, l.leg_no, l.psn_no, l.account_kind, l.past_fen, l.current_fen, l.year, l.suspense,
           l.after_past_fen, l.after_current_fen, l.after_held_past_fen, l.after_held_current_fen, l.after_year,
           l.after_frozen, l.after_state
    FROM credits AS c JOIN credit_legs AS l ON l.credit_id = ANY (ARRAY[c.credit_id])
    WHERE c.credit_id = ANY($1::uuid[]) ORDER BY c.credit_id, l.leg_no
"""
_FREEZES: Final = """
    SELECT command_id, psn_no, frozen, cause, booked_at, after_past_fen, after_current_fen, after_held_past_fen,
           after_held_current_fen, after_year, coalesce(after_frozen, frozen) AS after_frozen, after_state
    FROM freeze_commands WHERE command_id = ANY($1::uuid[])
"""
_STANDING: Final = """
    SELECT psn_no, array_agg(cause) AS causes FROM (
        SELECT DISTINCT ON (f.psn_no, f.cause) f.psn_no, f.cause, f.frozen FROM freeze_commands AS f
        WHERE f.psn_no = ANY ($1::text[]) AND f.freeze_no > coalesce(
            (SELECT max(e.freeze_no) FROM freeze_commands AS e
             WHERE e.psn_no = f.psn_no AND NOT coalesce(e.after_frozen, e.frozen)), 0)
        ORDER BY f.psn_no, f.cause, f.freeze_no DESC
    ) AS latest WHERE frozen GROUP BY psn_no
"""
"""Of each cause the latest word, since the account was last free; whatever freed it, all that was before is over."""
_CLOSINGS: Final = """
    SELECT command_id, psn_no, account_kind, cause, booked_at, finished_at FROM closings
    WHERE command_id = ANY ($1::uuid[])
    UNION ALL
    SELECT command_id, psn_no, account_kind, cause, booked_at, finished_at FROM closings
    WHERE psn_no = ANY ($2::text[]) AND command_id <> ALL ($1::uuid[])
"""
"""Of a person whose account is being closed or is closed, also those of his other one."""
_AUTHORISATION_EVENTS: Final = """
    SELECT e.authorisation_id, e.step, e.version, e.asked_fen, e.asked_per_payment_fen, e.asked_per_month_fen,
           e.after_state, e.after_authorised_fen, e.after_per_payment_fen, e.after_per_month_fen, e.after_used_fen,
           e.after_held_fen, e.after_version, e.refusal_reason, e.refusal_metadata::text AS refusal_metadata,
           e.booked_at, a.funder_psn_no, a.beneficiary_psn_no, a.opened_used_fen, a.opened_month,
           a.opened_month_fen
    FROM authorisation_events AS e JOIN authorisations AS a ON a.authorisation_id = ANY (ARRAY[e.authorisation_id])
    WHERE e.authorisation_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The touched rows, and the database's clock as it stood once the lock was ours."""

    state: State
    now: datetime


async def load(connection: Connection, area: str, commands: Iterable[Command]) -> Loaded:
    """Everything the commands touch. The area's lock must be held: only then is what is read here the latest."""
    touched = Touched()
    for command in commands:
        touched.add(command)
    return await load_touched(connection, area, touched)


async def load_touched(connection: Connection, area: str, touched: Touched) -> Loaded:
    """Everything under these keys, and what the payments among them touch: in one statement, but for what is rare."""
    if touched.limited:
        touched.payments.update(await load_payments_to_count(connection, touched.limited))
    psn_nos = [key.psn_no for key in touched.accounts]
    kinds = [key.kind for key in touched.accounts]
    usual = await connection.fetchrow(_USUAL, area, touched.payments, psn_nos, kinds, touched.authorisations)
    if usual is None:
        raise LookupError(f"this database is not the ledger of area {area}")
    state = State(
        epoch=usual["epoch"],
        branches=_branches_from(usual["branches"], usual["legs"]),
        accounts=_accounts_from(usual["accounts"]),
        authorisations=_authorisations_from(usual["authorisations"]),
    )
    if counted := [it.authorisation_id for it in state.authorisations.values() if it.counts_months]:
        months = {*touched.months, *(it.month for it in state.branches.values() if it.month is not None)}
        state.months.update(await load_months(connection, counted, {*months, business_month(usual["now"])}))
    if touched.credits:
        state.credits.update(await _load_credits(connection, touched.credits))
    if touched.freezes:
        found = await connection.fetch(_FREEZES, touched.freezes)
        state.freezes.update((record["command_id"], _freeze_from(record)) for record in found)
        standing = await connection.fetch(_STANDING, psn_nos)
        state.standing_freezes.update(
            (AccountKey(PsnNo(psn_no), AccountKind.PERSONAL), frozenset(causes)) for psn_no, causes in standing
        )
    ending = [key for key, account in state.accounts.items() if account.state is not AccountState.OPEN]
    if touched.closings or ending:
        state.closings.update(await _load_closings(connection, touched.closings, ending))
    if touched.tasks:
        state.suspense_tasks.update(await load_tasks(connection, touched.tasks))
    if touched.stepped:
        found = await connection.fetch(_AUTHORISATION_EVENTS, touched.stepped)
        events = [_event_from(record) for record in found]
        state.authorisation_events.update((event.key, event) for event in events)
    return Loaded(state, usual["now"])


async def load_accounts(connection: Connection, keys: Iterable[AccountKey]) -> dict[AccountKey, Account]:
    """The accounts among ``keys`` that exist."""
    wanted = list(keys)
    if not wanted:
        return {}
    found = await connection.fetch(_ACCOUNTS, [key.psn_no for key in wanted], [key.kind for key in wanted])
    return _accounts_from(found)


async def load_authorisations(
    connection: Connection, ids: Iterable[AuthorisationId]
) -> dict[AuthorisationId, Authorisation]:
    """The authorisations among ``ids`` that exist."""
    wanted = list(ids)
    if not wanted:
        return {}
    found = await connection.fetch(_AUTHORISATIONS, wanted)
    return _authorisations_from(found)


class Touched:
    """The keys that commands name, each once."""

    def __init__(self) -> None:
        self.payments: set[PaymentId] = set()
        self.credits: set[CreditId] = set()
        self.freezes: set[FreezeId] = set()
        self.closings: set[ClosingId] = set()
        self.tasks: set[tuple[UUID, int]] = set()
        self.stepped: set[AuthorisationId] = set()
        self.accounts: set[AccountKey] = set()
        self.authorisations: set[AuthorisationId] = set()
        self.months: set[int] = set()
        self.limited: set[AuthorisationId] = set()
        """Those that are to have a limit per month, maybe their first."""

    def add(self, command: Command) -> None:  # noqa: C901  One case for each kind of command.
        """The keys of one command."""
        match command:
            case Try():
                self.payments.add(command.payment_id)
                self.months.add(command.month)
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
                if isinstance(command, AmendAuthorisation) and command.per_month_fen is not None:
                    self.limited.add(command.authorisation_id)
            case SetFrozen():
                self.freezes.add(command.freeze_id)
                self.accounts.add(AccountKey(command.psn_no, AccountKind.PERSONAL))
            case ReleaseSuspense():
                self.tasks.add((command.credit_id, command.leg_no))
                if command.to is not None:
                    self.accounts.add(command.to)
            case CloseAccount():
                self.closings.add(command.closing_id)
                self.accounts.add(command.account)
            case TurnAccount():
                self.accounts.add(command.account)

    def add_legs(self, legs: Iterable[Leg]) -> None:
        """The accounts and authorisations of a payment's legs."""
        for leg in legs:
            self.accounts.add(leg.account)
            if leg.authorisation_id is not None:
                self.authorisations.add(leg.authorisation_id)


_KINDS: Final = {kind.value: kind for kind in AccountKind}
_STATES: Final = {state.value: state for state in AccountState}
_BRANCH_STATES: Final = {state.value: state for state in BranchState}
_AUTHORISATION_STATES: Final = {state.value: state for state in AuthorisationState}
_ROLES: Final = {role.value: role for role in Role}
_LEG_COLUMNS: Final = 11
"""Of a leg's row, those that are the leg itself; the balance after the hold follows."""
_FLOORS: Final = {
    (False, False): frozenset[Part](),
    (True, False): frozenset({Part.PAST}),
    (False, True): frozenset({Part.CURRENT}),
    (True, True): frozenset(Part),
}


async def _load_closings(
    connection: Connection, ids: set[ClosingId], ending: list[AccountKey]
) -> dict[ClosingId, Closing]:
    found = await connection.fetch(_CLOSINGS, list(ids), [key.psn_no for key in ending])
    return {
        ClosingId(record["command_id"]): Closing(
            closing_id=ClosingId(record["command_id"]),
            account=AccountKey(PsnNo(record["psn_no"]), _KINDS[record["account_kind"]]),
            cause=record["cause"],
            booked_at=record["booked_at"],
            finished_at=record["finished_at"],
        )
        for record in found
    }


async def _load_credits(connection: Connection, ids: set[CreditId]) -> dict[CreditId, Credit]:
    grouped: dict[CreditId, list[Record]] = {}
    for record in await connection.fetch(_CREDITS, list(ids)):
        grouped.setdefault(record["credit_id"], []).append(record)
    return {credit_id: _credit_from(records) for credit_id, records in grouped.items()}


def _accounts_from(rows: Iterable[Row]) -> dict[AccountKey, Account]:
    accounts: dict[AccountKey, Account] = {}
    for psn_no, kind, year, past_fen, current_fen, held_past_fen, held_current_fen, frozen, state in rows:
        key = AccountKey(psn_no, _KINDS[kind])
        balance, held = Parts(past_fen, current_fen), Parts(held_past_fen, held_current_fen)
        accounts[key] = Account(key, year, balance, held, frozen, _STATES[state])
    return accounts


def _authorisations_from(rows: Iterable[Row]) -> dict[AuthorisationId, Authorisation]:
    found: dict[AuthorisationId, Authorisation] = {}
    for authorisation_id, state, *others, opened_month, opened_month_fen in rows:
        columns = [_AUTHORISATION_STATES[state], *others, _carried(opened_month, opened_month_fen)]
        found[authorisation_id] = Authorisation(authorisation_id, *columns)
    return found


def _carried(month: int | None, used_fen: Fen | None) -> CarriedMonth | None:
    return None if month is None or used_fen is None else CarriedMonth(month, used_fen)


def _after_from(record: Record, key: AccountKey, *, frozen: bool, state: AccountState) -> Account:
    return Account(
        key=key,
        year=record["after_year"],
        balance=Parts(record["after_past_fen"], record["after_current_fen"]),
        held=Parts(record["after_held_past_fen"], record["after_held_current_fen"]),
        frozen=frozen,
        state=state,
    )


def _branches_from(rows: Iterable[Row], leg_rows: Iterable[Row]) -> dict[PaymentId, Branch]:
    legs_of: dict[PaymentId, list[Leg]] = {}
    balances_of: dict[PaymentId, list[Account]] = {}
    refunded_of: dict[PaymentId, dict[int, Fen]] = {}
    for payment_id, refunded_fen, *row in leg_rows:
        leg = _leg_from(*row[:_LEG_COLUMNS])
        legs_of.setdefault(payment_id, []).append(leg)
        if not leg.is_receiving:
            balances_of.setdefault(payment_id, []).append(_after_hold(leg.account, *row[_LEG_COLUMNS:]))
        if refunded_fen:
            refunded_of.setdefault(payment_id, {})[leg.leg_no] = refunded_fen
    return {
        payment_id: Branch(
            payment_id,
            _BRANCH_STATES[state],
            created_at,
            decided_at,
            digest,
            legs=tuple(legs_of.get(payment_id, ())),
            balances=tuple(balances_of.get(payment_id, ())),
            refusal=None if reason is None else Refusal(reason, leg_no, json.loads(details)),
            inquire_at=inquire_at,
            memo=Memo(*memo),
            refunded_fen=refunded_of.get(payment_id, {}),
            month=month,
        )
        for payment_id, state, digest, created_at, decided_at, inquire_at, reason, leg_no, details, month, *memo in rows
    }


def _leg_from(
    leg_no: int,
    psn_no: PsnNo,
    kind: str,
    role: str,
    past_fen: Fen,
    current_fen: Fen,
    year: int,
    authorisation_id: AuthorisationId | None,
    floor_fen: Fen,
    floor_past: bool,  # noqa: FBT001  A column.
    floor_current: bool,  # noqa: FBT001  As before.
) -> Leg:
    account, amount = AccountKey(psn_no, _KINDS[kind]), Parts(past_fen, current_fen)
    floor_parts = _FLOORS[floor_past, floor_current]
    return Leg(leg_no, account, _ROLES[role], amount, year, authorisation_id, floor_fen, floor_parts)


def _after_hold(
    key: AccountKey, past_fen: Fen, current_fen: Fen, held_past_fen: Fen, held_current_fen: Fen, year: int
) -> Account:
    # A hold is placed on an open account alone; a freeze never marks a wallet.
    return Account(key, year, Parts(past_fen, current_fen), Parts(held_past_fen, held_current_fen))


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
    after = _after_from(record, key, frozen=record["after_frozen"], state=_STATES[record["after_state"]])
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
        per_payment_fen=record["after_per_payment_fen"],
        per_month_fen=record["after_per_month_fen"],
        opened_month=_carried(record["opened_month"], record["opened_month_fen"]),
    )
    refusal = None
    if record["refusal_reason"] is not None:
        refusal = Refusal(record["refusal_reason"], metadata=json.loads(record["refusal_metadata"]))
    return AuthorisationEvent(
        key=AuthorisationEventKey(authorisation_id, AuthorisationStep(record["step"]), record["version"]),
        asked=Limits(record["asked_fen"], record["asked_per_payment_fen"], record["asked_per_month_fen"]),
        after=after,
        refusal=refusal,
        booked_at=record["booked_at"],
    )
