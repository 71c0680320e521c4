"""What a batch changed, written back in sets; history is only ever inserted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from services.settlement.ledger.domain.model import Account, Alarm, Branch, Memo, Part
from services.settlement.ledger.domain.state import Outcome, State
from services.settlement.ledger.store.mending import end_tasks, raise_epoch
from services.settlement.ledger.store.sets import Connection, InsertSet, Row, UpdateSet

_ACCOUNT_KEY: Final = {"psn_no": "text", "kind": "text"}
_ACCOUNT: Final = {
    "year": "int2",
    "past_fen": "int8",
    "current_fen": "int8",
    "held_past_fen": "int8",
    "held_current_fen": "int8",
    "frozen": "bool",
    "state": "text",
}
_INSERT_ACCOUNTS: Final = InsertSet.into("accounts", _ACCOUNT_KEY | _ACCOUNT)
_UPDATE_ACCOUNTS: Final = UpdateSet.of("accounts", _ACCOUNT_KEY, _ACCOUNT)

_AUTHORISATION_FIXED: Final = {"funder_psn_no": "text", "beneficiary_psn_no": "text", "opened_used_fen": "int8"}
_AUTHORISATION: Final = {
    "state": "text",
    "authorised_fen": "int8",
    "used_fen": "int8",
    "held_fen": "int8",
    "version": "int8",
}
_INSERT_AUTHORISATIONS: Final = InsertSet.into(
    "authorisations", {"authorisation_id": "uuid"} | _AUTHORISATION | _AUTHORISATION_FIXED
)
_UPDATE_AUTHORISATIONS: Final = UpdateSet.of("authorisations", {"authorisation_id": "uuid"}, _AUTHORISATION)

_INSERT_BRANCHES: Final = InsertSet.into(
    "branches",
    {
        "payment_id": "uuid",
        "state": "text",
        "digest": "bytea",
        "created_at": "timestamptz",
        "decided_at": "timestamptz",
        "inquire_at": "timestamptz",
        "next_inquire_at": "timestamptz",
        "refusal_reason": "text",
        "refusal_leg_no": "int2",
        "refusal_metadata": "jsonb",
        "fixmedins_code": "text",
        "setl_id": "text",
        "care_area": "text",
        "origin": "bytea",
    },
)
_UPDATE_BRANCHES: Final = UpdateSet.of(
    "branches", {"payment_id": "uuid"}, {"state": "text", "decided_at": "timestamptz"}
)
_AFTER: Final = {
    "after_past_fen": "int8",
    "after_current_fen": "int8",
    "after_held_past_fen": "int8",
    "after_held_current_fen": "int8",
    "after_year": "int2",
}
_INSERT_BRANCH_LEGS: Final = InsertSet.into(
    "branch_legs",
    {
        "payment_id": "uuid",
        "leg_no": "int2",
        "psn_no": "text",
        "account_kind": "text",
        "role": "text",
        "past_fen": "int8",
        "current_fen": "int8",
        "year": "int2",
        "authorisation_id": "uuid",
        "floor_fen": "int8",
        "floor_past": "bool",
        "floor_current": "bool",
        "refunded_fen": "int8",
    }
    | _AFTER,
)
_UPDATE_REFUNDED: Final = UpdateSet.of(
    "branch_legs", {"payment_id": "uuid", "leg_no": "int2"}, {"refunded_fen": "int8"}
)
_INSERT_ENTRIES: Final = InsertSet.into(
    "entries",
    {
        "source_id": "uuid",
        "leg_no": "int2",
        "kind": "text",
        "book": "text",
        "psn_no": "text",
        "part": "text",
        "amount_fen": "int8",
        "balance_after_fen": "int8",
        "booked_at": "timestamptz",
    },
)
_INSERT_CREDITS: Final = InsertSet.into(
    "credits",
    {
        "credit_id": "uuid",
        "purpose": "text",
        "digest": "bytea",
        "original_payment_id": "uuid",
        "fixmedins_code": "text",
        "setl_id": "text",
        "care_area": "text",
        "origin": "bytea",
        "booked_at": "timestamptz",
    },
)
_INSERT_CREDIT_LEGS: Final = InsertSet.into(
    "credit_legs",
    {
        "credit_id": "uuid",
        "leg_no": "int2",
        "psn_no": "text",
        "account_kind": "text",
        "past_fen": "int8",
        "current_fen": "int8",
        "year": "int2",
        "suspense": "bool",
    }
    | _AFTER
    | {"after_frozen": "bool", "after_state": "text"},
)
_INSERT_FREEZES: Final = InsertSet.into(
    "freeze_commands",
    {"command_id": "uuid", "psn_no": "text", "frozen": "bool", "cause": "text"}
    | _AFTER
    | {"after_state": "text", "booked_at": "timestamptz"},
)
_INSERT_AUTHORISATION_EVENTS: Final = InsertSet.into(
    "authorisation_events",
    {
        "authorisation_id": "uuid",
        "step": "text",
        "version": "int8",
        "asked_fen": "int8",
        "after_state": "text",
        "after_authorised_fen": "int8",
        "after_used_fen": "int8",
        "after_held_fen": "int8",
        "after_version": "int8",
        "refusal_reason": "text",
        "refusal_metadata": "jsonb",
        "booked_at": "timestamptz",
    },
)
_INSERT_SUSPENSE_TASKS: Final = InsertSet.into(
    "suspense_tasks",
    {
        "credit_id": "uuid",
        "leg_no": "int2",
        "psn_no": "text",
        "account_kind": "text",
        "amount_fen": "int8",
        "created_at": "timestamptz",
    },
)
_INSERT_ALARMS: Final = InsertSet.into(
    "alarms",
    {"kind": "text", "subject_id": "uuid", "raised_at": "timestamptz", "last_raised_at": "timestamptz"},
    conflict="ON CONFLICT (kind, subject_id) DO UPDATE"
    " SET last_raised_at = excluded.last_raised_at, times = alarms.times + 1, done_at = NULL",
)


async def write(connection: Connection, area: str, before: State, after: State, outcomes: Sequence[Outcome]) -> None:
    """Everything the outcomes changed between the two states: at most one statement for each table and manner."""
    if after.epoch > before.epoch:
        await raise_epoch(connection, area, after.epoch)
    await _write_branches(connection, before, after, outcomes)
    await _write_balances(connection, before, after, outcomes)
    await _INSERT_ENTRIES(
        connection,
        [
            (
                entry.source_id,
                entry.leg_no,
                entry.kind.value,
                entry.book.value,
                entry.account.psn_no if entry.account else None,
                entry.part.value if entry.part else None,
                entry.amount_fen,
                entry.balance_after_fen,
                entry.booked_at,
            )
            for outcome in outcomes
            for entry in outcome.entries
        ],
    )
    await _write_records(connection, outcomes)


async def _write_balances(connection: Connection, before: State, after: State, outcomes: Sequence[Outcome]) -> None:
    changed = {key for outcome in outcomes for key in outcome.accounts}
    rows = [(key in before.accounts, _account_row(after.accounts[key])) for key in changed]
    await _INSERT_ACCOUNTS(connection, [row for known, row in rows if not known])
    await _UPDATE_ACCOUNTS(connection, [row for known, row in rows if known])
    new: list[Row] = []
    old: list[Row] = []
    for key in {key for outcome in outcomes for key in outcome.authorisations}:
        it = after.authorisations[key]
        row = (key, it.state.value, it.authorised_fen, it.used_fen, it.held_fen, it.version)
        if key in before.authorisations:
            old.append(row)
        else:
            new.append((*row, it.funder_psn_no, it.beneficiary_psn_no, it.opened_used_fen))
    await _INSERT_AUTHORISATIONS(connection, new)
    await _UPDATE_AUTHORISATIONS(connection, old)


async def _write_branches(connection: Connection, before: State, after: State, outcomes: Sequence[Outcome]) -> None:
    new: list[Branch] = []
    decided: list[Row] = []
    refunded: list[Row] = []
    for payment_id in {payment_id for outcome in outcomes for payment_id in outcome.branches}:
        branch, known = after.branches[payment_id], before.branches.get(payment_id)
        if known is None:
            new.append(branch)
            continue
        if branch.state is not known.state:
            decided.append((payment_id, branch.state.value, branch.decided_at))
        refunded += [
            (payment_id, leg_no, fen)
            for leg_no, fen in branch.refunded_fen.items()
            if fen != known.refunded_fen.get(leg_no, 0)
        ]
    await _INSERT_BRANCHES(connection, [_branch_row(branch) for branch in new])
    await _INSERT_BRANCH_LEGS(connection, [row for branch in new for row in _leg_rows(branch)])
    await _UPDATE_BRANCHES(connection, decided)
    await _UPDATE_REFUNDED(connection, refunded)


async def _write_records(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """What is rare: credits, freezes, steps of authorisations, tasks and alarms."""
    credits_ = [credit for outcome in outcomes for credit in outcome.credits.values()]
    await _INSERT_CREDITS(
        connection,
        [
            (
                it.credit_id,
                it.purpose.value,
                it.digest,
                it.original_payment_id,
                *_memo_row(it.memo),
                it.origin,
                it.booked_at,
            )
            for it in credits_
        ],
    )
    await _INSERT_CREDIT_LEGS(
        connection,
        [
            (
                credit.credit_id,
                leg.leg_no,
                leg.account.psn_no,
                leg.account.kind.value,
                leg.amount.past,
                leg.amount.current,
                leg.year,
                after is None,
                *_after_row(after),
                after.frozen if after else None,
                after.state.value if after else None,
            )
            for credit in credits_
            for leg, after in zip(credit.legs, credit.balances, strict=True)
        ],
    )
    await _INSERT_FREEZES(
        connection,
        [
            (
                it.freeze_id,
                it.account.key.psn_no,
                it.frozen,
                it.cause,
                *_after_row(it.account),
                it.account.state.value,
                it.booked_at,
            )
            for outcome in outcomes
            for it in outcome.freezes.values()
        ],
    )
    await _INSERT_AUTHORISATION_EVENTS(connection, _event_rows(outcomes))
    await _INSERT_SUSPENSE_TASKS(
        connection,
        [
            (it.credit_id, it.leg_no, it.account.psn_no, it.account.kind.value, it.amount_fen, it.created_at)
            for outcome in outcomes
            for it in outcome.suspense_tasks
        ],
    )
    await end_tasks(connection, [task for outcome in outcomes for task in outcome.ended_tasks])
    await write_alarms(connection, [alarm for outcome in outcomes for alarm in outcome.alarms])


async def write_alarms(connection: Connection, alarms: Iterable[Alarm]) -> None:
    """Keeps each alarm once, and counts how often it was raised."""
    raised = {(it.kind, it.subject_id): it for it in alarms}
    await _INSERT_ALARMS(
        connection, [(it.kind.value, it.subject_id, it.raised_at, it.raised_at) for it in raised.values()]
    )


def _event_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    return [
        (
            key.authorisation_id,
            key.step.value,
            key.version,
            event.asked_fen,
            event.after.state.value,
            event.after.authorised_fen,
            event.after.used_fen,
            event.after.held_fen,
            event.after.version,
            event.refusal.reason if event.refusal else None,
            json.dumps(dict(event.refusal.metadata)) if event.refusal else None,
            event.booked_at,
        )
        for outcome in outcomes
        for key, event in outcome.authorisation_events.items()
    ]


def _memo_row(memo: Memo) -> tuple[str, str, str]:
    return (memo.fixmedins_code, memo.setl_id, memo.care_area)


def _account_row(account: Account) -> Row:
    return (
        account.key.psn_no,
        account.key.kind.value,
        account.year,
        account.balance.past,
        account.balance.current,
        account.held.past,
        account.held.current,
        account.frozen,
        account.state.value,
    )


def _after_row(after: Account | None) -> tuple[int | None, ...]:
    if after is None:
        return (None,) * 5
    return (after.balance.past, after.balance.current, after.held.past, after.held.current, after.year)


def _branch_row(branch: Branch) -> Row:
    refusal = branch.refusal
    return (
        branch.payment_id,
        branch.state.value,
        branch.digest,
        branch.created_at,
        branch.decided_at,
        branch.inquire_at,
        branch.inquire_at,
        refusal.reason if refusal else None,
        refusal.leg_no if refusal else None,
        json.dumps(dict(refusal.metadata)) if refusal else None,
        *_memo_row(branch.memo),
        branch.origin,
    )


def _leg_rows(branch: Branch) -> list[Row]:
    after = dict(zip((leg.leg_no for leg in branch.takings), branch.balances, strict=True))
    return [
        (
            branch.payment_id,
            leg.leg_no,
            leg.account.psn_no,
            leg.account.kind.value,
            leg.role.value,
            leg.amount.past,
            leg.amount.current,
            leg.year,
            leg.authorisation_id,
            leg.floor_fen,
            Part.PAST in leg.floor_parts,
            Part.CURRENT in leg.floor_parts,
            branch.refunded_fen.get(leg.leg_no, 0),
            *_after_row(after.get(leg.leg_no)),
        )
        for leg in branch.legs
    ]
