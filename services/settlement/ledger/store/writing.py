"""What a batch changed, written back in sets; history is only ever inserted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from services.settlement.ledger.domain.model import (
    Account,
    Alarm,
    Branch,
    BranchState,
    Credit,
    Entry,
    FreezeRecord,
    Memo,
    Part,
    SuspenseTask,
)
from services.settlement.ledger.domain.state import Outcome, State
from services.settlement.ledger.store.mending import end_tasks, raise_epoch
from services.settlement.ledger.store.sets import Connection, Manner, Row, RowSet, write_sets

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
_INSERT_ACCOUNTS: Final = Manner.insert("accounts", _ACCOUNT_KEY | _ACCOUNT, row_type="account_row")
_UPDATE_ACCOUNTS: Final = Manner.update("accounts", _ACCOUNT_KEY, _ACCOUNT, row_type="account_row")

_AUTHORISATION_FIXED: Final = {
    "funder_psn_no": "text",
    "beneficiary_psn_no": "text",
    "opened_used_fen": "int8",
    "opened_month": "int4",
    "opened_month_fen": "int8",
}
_AUTHORISATION: Final = {
    "state": "text",
    "authorised_fen": "int8",
    "used_fen": "int8",
    "held_fen": "int8",
    "version": "int8",
}
_LIMITS: Final = {"per_payment_fen": "int8", "per_month_fen": "int8", "counts_months": "bool"}
_INSERT_AUTHORISATIONS: Final = Manner.insert(
    "authorisations", {"authorisation_id": "uuid"} | _AUTHORISATION | _LIMITS | _AUTHORISATION_FIXED
)
_UPDATE_AUTHORISATIONS: Final = Manner.update(
    "authorisations", {"authorisation_id": "uuid"}, _AUTHORISATION, row_type="authorisation_row"
)

_UPDATE_LIMITS: Final = Manner.update("authorisations", {"authorisation_id": "uuid"}, _AUTHORISATION | _LIMITS)
_PUT_MONTHS: Final = Manner.insert(
    "authorisation_months",
    {"authorisation_id": "uuid", "month": "int4", "used_fen": "int8", "held_fen": "int8", "limit_fen": "int8"},
    conflict="ON CONFLICT (authorisation_id, month) DO UPDATE"
    " SET used_fen = excluded.used_fen, held_fen = excluded.held_fen, limit_fen = excluded.limit_fen",
)

_BRANCH: Final = {"payment_id": "uuid", "digest": "bytea", "inquire_at": "timestamptz", "month": "int4"}
_MEMO: Final = {"fixmedins_code": "text", "setl_id": "text", "care_area": "text"}
_INSERT_HELD: Final = Manner.insert(
    "branches",
    _BRANCH | _MEMO | {"origin": "bytea"},
    same={"created_at": "timestamptz"},
    constant={"state": "'HELD'", "next_inquire_at": "inquire_at"},
    row_type="held_branch_in_month_row",
)
_INSERT_BRANCHES: Final = Manner.insert(
    "branches",
    _BRANCH
    | _MEMO
    | {
        "origin": "bytea",
        "state": "text",
        "decided_at": "timestamptz",
        "refusal_reason": "text",
        "refusal_leg_no": "int2",
        "refusal_metadata": "jsonb",
    },
    same={"created_at": "timestamptz"},
    constant={"next_inquire_at": "inquire_at"},
)
_DECIDE_BRANCHES: Final = Manner.update(
    "branches", {"payment_id": "uuid"}, {"state": "text"}, same={"decided_at": "timestamptz"}
)
_AFTER: Final = {
    "after_past_fen": "int8",
    "after_current_fen": "int8",
    "after_held_past_fen": "int8",
    "after_held_current_fen": "int8",
    "after_year": "int2",
}
_INSERT_BRANCH_LEGS: Final = Manner.insert(
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
    row_type="branch_leg_row",
)
_UPDATE_REFUNDED: Final = Manner.update(
    "branch_legs", {"payment_id": "uuid", "leg_no": "int2"}, {"refunded_fen": "int8"}
)
_INSERT_ENTRIES: Final = Manner.insert(
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
    },
    same={"booked_at": "timestamptz"},
    row_type="entry_row",
)
_INSERT_CREDITS: Final = Manner.insert(
    "credits",
    {
        "credit_id": "uuid",
        "purpose": "text",
        "digest": "bytea",
        "original_payment_id": "uuid",
    }
    | _MEMO
    | {"origin": "bytea", "booked_at": "timestamptz"},
)
_INSERT_CREDIT_LEGS: Final = Manner.insert(
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
_INSERT_FREEZES: Final = Manner.insert(
    "freeze_commands",
    {"command_id": "uuid", "psn_no": "text", "frozen": "bool", "cause": "text"}
    | _AFTER
    | {"after_frozen": "bool", "after_state": "text", "booked_at": "timestamptz"},
)
_CLOSING: Final = {"command_id": "uuid", "finished_at": "timestamptz"}
_INSERT_CLOSINGS: Final = Manner.insert(
    "closings", _CLOSING | {"psn_no": "text", "account_kind": "text", "cause": "text", "booked_at": "timestamptz"}
)
_FINISH_CLOSINGS: Final = Manner.update("closings", {"command_id": "uuid"}, {"finished_at": "timestamptz"})
_INSERT_AUTHORISATION_EVENTS: Final = Manner.insert(
    "authorisation_events",
    {
        "authorisation_id": "uuid",
        "step": "text",
        "version": "int8",
        "asked_fen": "int8",
        "asked_per_payment_fen": "int8",
        "asked_per_month_fen": "int8",
        "after_state": "text",
        "after_authorised_fen": "int8",
        "after_per_payment_fen": "int8",
        "after_per_month_fen": "int8",
        "after_used_fen": "int8",
        "after_held_fen": "int8",
        "after_version": "int8",
        "refusal_reason": "text",
        "refusal_metadata": "jsonb",
        "booked_at": "timestamptz",
    },
)
_INSERT_SUSPENSE_TASKS: Final = Manner.insert(
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
_INSERT_ALARMS: Final = Manner.insert(
    "alarms",
    {"kind": "text", "subject_id": "uuid", "raised_at": "timestamptz", "last_raised_at": "timestamptz"},
    conflict="ON CONFLICT (kind, subject_id) DO UPDATE"
    " SET last_raised_at = excluded.last_raised_at, times = alarms.times + 1, done_at = NULL",
)


async def write(
    connection: Connection, area: str, before: State, after: State, outcomes: Sequence[Outcome], *, now: datetime
) -> None:
    """Everything the outcomes, all decided at ``now``, changed between the two states: committed on return.

    One statement does it. An epoch that rises and tasks that end, which are rare, take more, in a transaction with it.
    """
    ended = [task for outcome in outcomes for task in outcome.ended_tasks]
    sets = _sets(before, after, outcomes, now)
    if after.epoch == before.epoch and not ended:
        await write_sets(connection, sets)
        return
    await connection.execute("BEGIN")  # After an error the writer hangs up, which rolls back.
    if after.epoch > before.epoch:
        await raise_epoch(connection, area, after.epoch)
    await write_sets(connection, sets)
    await end_tasks(connection, ended)
    await connection.execute("COMMIT")


async def write_alarms(connection: Connection, alarms: Iterable[Alarm]) -> None:
    """Keeps each alarm once, and counts how often it was raised."""
    await write_sets(connection, [_alarm_set(alarms)])


def _sets(before: State, after: State, outcomes: Sequence[Outcome], now: datetime) -> list[RowSet]:
    sets = [*_branch_sets(before, after, outcomes, now), *_balance_sets(before, after, outcomes)]
    sets += _authorisation_sets(before, after, outcomes)
    entries = [_entry_row(entry) for outcome in outcomes for entry in outcome.entries]
    sets.append(RowSet(_INSERT_ENTRIES, entries, (now,)))
    return [*sets, *_closing_sets(before, after, outcomes), *_record_sets(outcomes)]


def _branch_sets(before: State, after: State, outcomes: Sequence[Outcome], now: datetime) -> list[RowSet]:
    held: list[Row] = []
    others: list[Row] = []
    legs: list[Row] = []
    decided: list[Row] = []
    refunded: list[Row] = []
    for payment_id in {payment_id for outcome in outcomes for payment_id in outcome.branches}:
        branch, known = after.branches[payment_id], before.branches.get(payment_id)
        if known is None:
            if branch.state is BranchState.HELD:
                held.append(_branch_row(branch))
            else:
                others.append((*_branch_row(branch), *_ending_row(branch)))
            legs += _leg_rows(branch)
            continue
        if branch.state is not known.state:
            decided.append((payment_id, branch.state))
        refunded += [
            (payment_id, leg_no, fen)
            for leg_no, fen in branch.refunded_fen.items()
            if fen != known.refunded_fen.get(leg_no, 0)
        ]
    return [
        RowSet(_INSERT_HELD, held, (now,)),
        RowSet(_INSERT_BRANCHES, others, (now,)),
        RowSet(_INSERT_BRANCH_LEGS, legs),
        RowSet(_DECIDE_BRANCHES, decided, (now,)),
        RowSet(_UPDATE_REFUNDED, refunded),
    ]


def _balance_sets(before: State, after: State, outcomes: Sequence[Outcome]) -> list[RowSet]:
    opened: list[Row] = []
    changed: list[Row] = []
    for key in {key for outcome in outcomes for key in outcome.accounts}:
        (changed if key in before.accounts else opened).append(_account_row(after.accounts[key]))
    return [RowSet(_INSERT_ACCOUNTS, opened), RowSet(_UPDATE_ACCOUNTS, changed)]


def _authorisation_sets(before: State, after: State, outcomes: Sequence[Outcome]) -> list[RowSet]:
    new: list[Row] = []
    used: list[Row] = []
    limited: list[Row] = []
    for authorisation_id in {it for outcome in outcomes for it in outcome.authorisations}:
        it, known = after.authorisations[authorisation_id], before.authorisations.get(authorisation_id)
        row = (authorisation_id, it.state, it.authorised_fen, it.used_fen, it.held_fen, it.version)
        limits = (it.per_payment_fen, it.per_month_fen, it.counts_months)
        if known is None:
            carried = (it.opened_month.month, it.opened_month.used_fen) if it.opened_month else (None, None)
            new.append((*row, *limits, it.funder_psn_no, it.beneficiary_psn_no, it.opened_used_fen, *carried))
        elif limits == (known.per_payment_fen, known.per_month_fen, known.counts_months):
            used.append(row)
        else:
            limited.append((*row, *limits))
    keys = {key for outcome in outcomes for key in outcome.months}
    months = [after.months[key] for key in keys]
    return [
        RowSet(_INSERT_AUTHORISATIONS, new),
        RowSet(_UPDATE_AUTHORISATIONS, used),
        RowSet(_UPDATE_LIMITS, limited),
        RowSet(_PUT_MONTHS, [(it.authorisation_id, it.month, it.used_fen, it.held_fen, it.limit_fen) for it in months]),
    ]


def _closing_sets(before: State, after: State, outcomes: Sequence[Outcome]) -> list[RowSet]:
    new: list[Row] = []
    finished: list[Row] = []
    for closing_id in {closing_id for outcome in outcomes for closing_id in outcome.closings}:
        it = after.closings[closing_id]
        row = (closing_id, it.finished_at)
        if closing_id in before.closings:
            finished.append(row)
        else:
            new.append((*row, it.account.psn_no, it.account.kind, it.cause, it.booked_at))
    return [RowSet(_INSERT_CLOSINGS, new), RowSet(_FINISH_CLOSINGS, finished)]


def _record_sets(outcomes: Sequence[Outcome]) -> list[RowSet]:
    """What is rare: credits, freezes, steps of authorisations, tasks and alarms."""
    credits_ = [credit for outcome in outcomes for credit in outcome.credits.values()]
    freezes = [freeze for outcome in outcomes for freeze in outcome.freezes.values()]
    tasks = [task for outcome in outcomes for task in outcome.suspense_tasks]
    return [
        RowSet(_INSERT_CREDITS, [_credit_row(credit) for credit in credits_]),
        RowSet(_INSERT_CREDIT_LEGS, [row for credit in credits_ for row in _credit_leg_rows(credit)]),
        RowSet(_INSERT_FREEZES, [_freeze_row(freeze) for freeze in freezes]),
        RowSet(_INSERT_AUTHORISATION_EVENTS, _event_rows(outcomes)),
        RowSet(_INSERT_SUSPENSE_TASKS, [_task_row(task) for task in tasks]),
        _alarm_set(alarm for outcome in outcomes for alarm in outcome.alarms),
    ]


def _alarm_set(alarms: Iterable[Alarm]) -> RowSet:
    raised = {(it.kind, it.subject_id): it for it in alarms}
    rows = [(it.kind, it.subject_id, it.raised_at, it.raised_at) for it in raised.values()]
    return RowSet(_INSERT_ALARMS, rows)


def _credit_row(it: Credit) -> Row:
    memo = _memo_row(it.memo)
    return (it.credit_id, it.purpose, it.digest, it.original_payment_id, *memo, it.origin, it.booked_at)


def _credit_leg_rows(credit: Credit) -> list[Row]:
    return [
        (
            credit.credit_id,
            leg.leg_no,
            leg.account.psn_no,
            leg.account.kind,
            leg.amount.past,
            leg.amount.current,
            leg.year,
            after is None,
            *_after_row(after),
            after.frozen if after else None,
            after.state if after else None,
        )
        for leg, after in zip(credit.legs, credit.balances, strict=True)
    ]


def _freeze_row(it: FreezeRecord) -> Row:
    account = it.account
    whose = (it.freeze_id, account.key.psn_no, it.frozen, it.cause)
    return (*whose, *_after_row(account), account.frozen, account.state, it.booked_at)


def _task_row(it: SuspenseTask) -> Row:
    return (it.credit_id, it.leg_no, it.account.psn_no, it.account.kind, it.amount_fen, it.created_at)


def _entry_row(entry: Entry) -> Row:
    return (
        entry.source_id,
        entry.leg_no,
        entry.kind,
        entry.book,
        entry.account.psn_no if entry.account else None,
        entry.part,
        entry.amount_fen,
        entry.balance_after_fen,
    )


def _event_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    return [
        (
            key.authorisation_id,
            key.step,
            key.version,
            event.asked.authorised_fen,
            event.asked.per_payment_fen,
            event.asked.per_month_fen,
            event.after.state,
            event.after.authorised_fen,
            event.after.per_payment_fen,
            event.after.per_month_fen,
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
        account.key.kind,
        account.year,
        account.balance.past,
        account.balance.current,
        account.held.past,
        account.held.current,
        account.frozen,
        account.state,
    )


def _after_row(after: Account | None) -> tuple[int | None, ...]:
    if after is None:
        return (None,) * 5
    return (after.balance.past, after.balance.current, after.held.past, after.held.current, after.year)


def _branch_row(branch: Branch) -> Row:
    dated = (branch.payment_id, branch.digest, branch.inquire_at, branch.month)
    return (*dated, *_memo_row(branch.memo), branch.origin)


def _ending_row(branch: Branch) -> Row:
    """What a branch that holds nothing, or nothing any more, has beside its row."""
    refusal = branch.refusal
    return (
        branch.state,
        branch.decided_at,
        refusal.reason if refusal else None,
        refusal.leg_no if refusal else None,
        json.dumps(dict(refusal.metadata)) if refusal else None,
    )


def _leg_rows(branch: Branch) -> list[Row]:
    after = dict(zip((leg.leg_no for leg in branch.takings), branch.balances, strict=True))
    return [
        (
            branch.payment_id,
            leg.leg_no,
            leg.account.psn_no,
            leg.account.kind,
            leg.role,
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
