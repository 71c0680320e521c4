"""The whole story of one payment, out of every database that knows of it: who wrote what, when and why. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg

from kernel.money import yuan_text
from ops.payments import telling
from ops.payments.databases import COORDINATOR, STATEMENT_MAX_S, Databases, Row, ledger_at
from ops.payments.meaning import (
    ALARM,
    NEXT_OF_PAYMENT,
    NEXT_OF_PENDING,
    PAYMENT_QUARANTINE,
    UNKNOWN_ALARM,
    UNKNOWN_QUARANTINE,
    Actor,
)
from ops.payments.telling import Moment
from services.settlement.saga.restoring import UNCLEAR


class UnknownPaymentError(Exception):
    """No database that answers has heard of it."""


@dataclass
class Story:
    """One payment's timeline, how its ledgers stand, and what comes next."""

    payment_id: UUID
    payment: Mapping[str, Any] | None
    """The coordinator's row in words; None if only a ledger knows the payment."""
    moments: list[Moment] = field(default_factory=list)
    ledgers: dict[str, str] = field(default_factory=dict)
    """By area: the branch's state, CREDITED, or "nothing there"."""
    links: dict[str, str] = field(default_factory=dict)
    """Other payments and plans that belong to it, by what they are to it."""
    troubles: list[str] = field(default_factory=list)
    """What a person must look at."""
    next: str = ""
    actor: Actor = Actor.NOBODY
    unreachable: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """For machines: times in ISO 8601, amounts in fen."""
        return {
            "payment_id": str(self.payment_id),
            "payment": self.payment,
            "ledgers": self.ledgers,
            "links": self.links,
            "timeline": [{**asdict(moment), "at": moment.at.isoformat()} for moment in self.moments],
            "troubles": self.troubles,
            "next": self.next,
            "actor": self.actor.value,
            "unreachable": dict(self.unreachable),
        }


_PAYMENT: Final = """
    SELECT payment_id, kind, state, fixmedins_code, infno, msgid, psn_no, year, plan_id, original_id, legs, amount_fen,
           reason, refused_leg_no, replanned, replan_plan_id, quarantine, epoch, traceparent, created_at, deadline_at,
           accept_by, pending_at, decided_at, finished_at, next_drive_at, attempts,
           extract(epoch FROM next_drive_at - clock_timestamp())::float8 AS next_s
      FROM payments """
_BY_ID: Final = f"{_PAYMENT} WHERE payment_id = $1"
_BY_KEY: Final = f"{_PAYMENT} WHERE (fixmedins_code, infno, msgid) = ($1, $2, $3)"
_REFUNDS: Final = f"{_PAYMENT} WHERE original_id = $1"
_PLANS: Final = "SELECT plan_id, created_at, expires_at, amount_fen, infno FROM plans WHERE plan_id = ANY($1::uuid[])"
_OUTBOX: Final = """
    SELECT event_id, subject, occurred_at, published_at, stream_seq FROM outbox WHERE aggregate = $1 ORDER BY id"""
_ACTIONS_EXIST: Final = "SELECT to_regclass('operator_actions') IS NOT NULL AS yes"
_ACTIONS: Final = """
    SELECT acted_at, operator, command, reason, change FROM operator_actions WHERE subject_id = $1 ORDER BY action_no"""
_BRANCH: Final = """
    SELECT state, created_at, decided_at, inquire_at, next_inquire_at, last_inquired_at, inquiries, refusal_reason,
           refusal_leg_no FROM branches WHERE payment_id = $1"""
_LEGS: Final = """
    SELECT leg_no, psn_no, account_kind, role, past_fen, current_fen, refunded_fen
      FROM branch_legs WHERE payment_id = $1 ORDER BY leg_no"""
_ENTRIES: Final = """
    SELECT leg_no, kind, book, psn_no, part, amount_fen, booked_at
      FROM entries WHERE source_id = $1 ORDER BY entry_no"""
_CREDIT: Final = """
    SELECT c.purpose, c.original_payment_id, c.booked_at, count(*) FILTER (WHERE l.suspense) AS suspended
      FROM credits c LEFT JOIN credit_legs l USING (credit_id) WHERE c.credit_id = $1 GROUP BY c.credit_id"""
_ALARMS: Final = "SELECT kind, raised_at, last_raised_at, times, done_at FROM alarms WHERE subject_id = $1"
_QUARANTINE: Final = """
    SELECT command_kind, problem, first_failed_at, last_failed_at, failures, done_at
      FROM quarantine WHERE command_id = $1"""
_SUSPENSE: Final = """
    SELECT leg_no, psn_no, amount_fen, created_at, done_at FROM suspense_tasks WHERE credit_id = $1"""
_HEARD: Final = "SELECT consumer, event_id, received_at FROM inbox WHERE event_id = ANY($1::uuid[])"
_DEAD: Final = "SELECT consumer, event_id, problem, died_at FROM inbox_dead WHERE event_id = ANY($1::uuid[])"
_TOLD: Final = "SELECT psn_no, topic, written_at FROM messages WHERE cause_id = ANY($1::uuid[]) ORDER BY written_at"


async def find_payment(databases: Databases, name: str) -> tuple[UUID, Row | None]:
    """The payment that a payment_id or institution/infno/msgid names; UnknownPaymentError if there is no such row.

    An id that the coordinator does not know may still stand at a ledger (protocol rule 4), so it is returned.
    """
    try:
        payment_id = UUID(name)
    except ValueError:
        parts = name.split("/")
        for cut in range(2, len(parts)):  # An infno of ours may hold a slash (2601/2207).
            key = parts[0], "/".join(parts[1:cut]), "/".join(parts[cut:])
            if rows := await databases.rows(COORDINATOR, _BY_KEY, *key):
                return rows[0]["payment_id"], rows[0]
        raise UnknownPaymentError(
            f"no payment is called {name}: give a payment_id or institution/infno/msgid"
        ) from None
    rows = await databases.rows(COORDINATOR, _BY_ID, payment_id)
    return payment_id, rows[0] if rows else None


async def tell(databases: Databases, name: str) -> Story:
    """The story of one payment; UnknownPaymentError if neither the coordinator nor a ledger knows it."""
    payment_id, row = await find_payment(databases, name)
    story = Story(payment_id, None if row is None else _in_words(row), unreachable=databases.unreachable)
    if row is not None:
        await _at_coordinator(databases, story, row)
    for area in databases.areas:
        await _at_ledger(databases, story, area)
    if row is None and not story.moments:
        raise UnknownPaymentError(f"neither the coordinator nor a ledger that answers knows {payment_id}")
    _what_comes_next(databases, story, row)
    story.moments.sort(key=lambda moment: moment.at)
    return story


def _in_words(row: Row) -> dict[str, object]:
    """The row as JSON knows it; the legs by what they take from whom."""
    kept = ("kind", "state", "fixmedins_code", "infno", "msgid", "psn_no", "year", "amount_fen", "reason",
            "quarantine", "epoch", "attempts")  # fmt: skip
    legs = json.loads(row["legs"])
    return {
        **{name: row[name] for name in kept},
        "trace_id": row["traceparent"].split("-")[1] if row["traceparent"] else "",
        "legs": [
            {name: leg.get(name) for name in ("leg_no", "area", "role", "psn_no", "past_fen", "current_fen")}
            for leg in legs
        ],
    }


async def _at_coordinator(databases: Databases, story: Story, row: Row) -> None:
    refunds = await databases.rows(COORDINATOR, _REFUNDS, story.payment_id)
    originals = await databases.rows(COORDINATOR, _BY_ID, row["original_id"]) if row["original_id"] else []
    plan_ids = [plan_id for plan_id in (row["plan_id"], row["replan_plan_id"]) if plan_id]
    for plan in await databases.rows(COORDINATOR, _PLANS, plan_ids):
        is_first = plan["plan_id"] == row["plan_id"]
        story.links["plan" if is_first else "new plan"] = str(plan["plan_id"])
        story.moments.append(telling.planned(plan, is_first=is_first))
    story.moments += telling.written(row)
    for refund in refunds:
        story.links["refunded by"] = str(refund["payment_id"])
        story.moments.append(telling.refunded(refund))
    for original in originals:
        story.links["refunds"] = str(original["payment_id"])
        story.moments.append(telling.original(original))
    if row["quarantine"]:
        meaning = PAYMENT_QUARANTINE.get(row["quarantine"], UNKNOWN_QUARANTINE)
        story.troubles.append(f"in quarantine, {row['quarantine']}: {meaning.means}. {meaning.act}")
    if (await databases.rows(COORDINATOR, _ACTIONS_EXIST))[0]["yes"]:
        actions = await databases.rows(COORDINATOR, _ACTIONS, story.payment_id)
        story.moments += [telling.acted(action) for action in actions]
    await _events(databases, story)


async def _events(databases: Databases, story: Story) -> None:
    try:
        events = await databases.rows(COORDINATOR, _OUTBOX, f"payment:{story.payment_id}")
    except asyncpg.QueryCanceledError:  # No index leads from a payment to its events: a week of them may be too much.
        databases.unreachable["settlement's outbox"] = f"not read through within {STATEMENT_MAX_S:.0f} s"
        return
    names: dict[UUID, str] = {}
    for event in events:
        names[event["event_id"]] = event["subject"]
        story.moments += telling.published(event)
    event_ids = list(names)
    for heard in await databases.rows("notify", _HEARD, event_ids):
        story.moments.append(telling.heard(heard, names[heard["event_id"]]))
    for message in await databases.rows("notify", _TOLD, event_ids):
        story.moments.append(telling.message(message))
    for dead in await databases.rows("notify", _DEAD, event_ids):
        story.moments.append(telling.dead(dead, names[dead["event_id"]]))
        story.troubles.append(f"notify could not take in {names[dead['event_id']]}: {dead['problem']}")


async def _at_ledger(databases: Databases, story: Story, area: str) -> None:
    where, payment_id = ledger_at(area), story.payment_id
    branches = await databases.rows(where, _BRANCH, payment_id)
    credits_ = await databases.rows(where, _CREDIT, payment_id)
    legs = await databases.rows(where, _LEGS, payment_id) if branches else []
    for branch in branches:
        story.ledgers[area] = branch["state"]
        story.moments += telling.branch(branch, legs, where)
    for credit in credits_:
        story.ledgers[area] = "CREDITED"
        story.moments.append(telling.credited(credit, where))
    story.moments += telling.booked(await databases.rows(where, _ENTRIES, payment_id), where)
    for alarm in await databases.rows(where, _ALARMS, payment_id):
        story.moments += telling.alarmed(alarm, where)
        if alarm["done_at"] is None:
            meaning = ALARM.get(alarm["kind"], UNKNOWN_ALARM)
            story.troubles.append(f"alarm {alarm['kind']} at {where}: {meaning.means}. {meaning.act}")
    for failed in await databases.rows(where, _QUARANTINE, payment_id):
        story.moments += telling.failed(failed, where)
        if failed["done_at"] is None:
            story.troubles.append(f"{failed['command_kind']} fails at {where}: {failed['problem']}")
    for task in await databases.rows(where, _SUSPENSE, payment_id):
        story.moments += telling.suspended(task, where)
        if task["done_at"] is None:
            story.troubles.append(f"{yuan_text(task['amount_fen'])} wait in suspense at {where} for an officer")


def _what_comes_next(databases: Databases, story: Story, row: Row | None) -> None:
    if row is None:
        story.next = "the ledgers ask and are told WAIT: money stays held until a person has found out (rule 4)"
        story.actor = Actor.PERSON
        story.troubles.append("the coordinator does not know this payment: was it restored from an older backup?")
        return
    for area in dict.fromkeys(str(leg["area"]) for leg in json.loads(row["legs"])):
        if area not in story.ledgers:
            story.ledgers[area] = "nothing there" if databases.can_read(ledger_at(area)) else "could not be read"
    told, actor = NEXT_OF_PAYMENT[row["kind"], row["state"]]
    if row["state"] == "TRYING" and row["pending_at"] is not None:
        told, actor = NEXT_OF_PENDING
    story.next, story.actor = told, actor
    if row["quarantine"]:
        story.next, story.actor = f"{told}; but a person must find out what happened at the ledgers", Actor.PERSON
    if row["quarantine"] == UNCLEAR:
        story.next = "nobody drives it: a person decides it with `gongji restore decide`, or its terminal reverses it"
    elif row["finished_at"] is None:
        story.next += f"; attempt {row['attempts'] + 1} is {_due(row['next_s'])}"


def _due(next_s: float) -> str:
    return f"due in {next_s:.1f} s" if next_s > 0 else f"due since {-next_s:.0f} s"
