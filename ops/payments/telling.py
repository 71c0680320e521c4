"""Rows turned into moments of a story: when, in which database, who wrote what, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kernel.money import yuan_text
from ops.payments.databases import COORDINATOR, Row
from services.settlement.saga.requests import PLAN_STALE


@dataclass(frozen=True, slots=True)
class Moment:
    """One durable change, by the clock of the database it stands in."""

    at: datetime
    where: str
    who: str
    what: str
    why: str = ""


_BEGAN: Final = {
    "SETTLE": ("TRYING written", "a terminal asked to settle; TRY goes to every ledger of the legs"),
    "TRANSFER": ("TRYING written", "a person gives to another's wallet; TRY goes to every ledger of the legs"),
    "CHARGE": ("TRYING written", "a person pays a premium or has a claim paid; TRY goes to every ledger of the legs"),
    "REFUND": ("COMMITTED written", "a revocation or reversal; a refund needs no vote (rule 7)"),
    "CREDIT": ("COMMITTED written", "money comes into an account; a credit needs no vote"),
    "TOMBSTONE": ("CLOSED written", "a reversal came before its original, which can now never start (rule 3)"),
}
_NEVER_BEGAN: Final = ("CLOSED written", "its plan no longer held (PLAN_STALE); no ledger was asked")
_DECIDED: Final = {
    "COMMITTED": ("COMMITTED by compare-and-set", "every ledger voted HELD: the one commit point (rule 1)"),
    "ABORTED": ("ABORTED by compare-and-set", ""),
}
_FINISHED: Final = {
    "DONE": ("DONE written", "every ledger has acknowledged that it booked its legs"),
    "CLOSED": ("CLOSED written", "every ledger has let go, or never held anything"),
}
_FIRST_OF_BRANCH: Final = {
    "HELD": "HELD",
    "CONFIRMED": "HELD",
    "CANCELLED": "HELD",
    "REFUSED": "REFUSED",
    "BLOCKED": "BLOCKED",
}


def planned(plan: Row, *, is_first: bool) -> Moment:
    """A plan, or the new plan after a refusal."""
    what = f"plan written, {yuan_text(plan['amount_fen'])} by {plan['infno']}"
    why = "PreSettle" if is_first else "the refusal's answer: what could be paid instead, for the cashier's consent"
    return Moment(plan["created_at"], COORDINATOR, "the desk", what, why)


def written(row: Row) -> list[Moment]:
    """The payment's own row: begun, decided, finished."""
    began, why = _BEGAN[row["kind"]] if row["reason"] != PLAN_STALE else _NEVER_BEGAN
    told = f"{began}: {row['kind']} of {yuan_text(row['amount_fen'])} under {row['infno']} {row['msgid']}"
    moments = [Moment(row["created_at"], COORDINATOR, "the coordinator", told, why)]
    if row["reason"] == PLAN_STALE:
        return moments
    if row["pending_at"] is not None:
        because = f"every ledger voted HELD; the receiver may accept until {row['accept_by']:%Y-%m-%d %H:%M:%S}"
        moments.append(Moment(row["pending_at"], COORDINATOR, "the coordinator", "the receiver is asked", because))
    if row["kind"] in {"SETTLE", "TRANSFER", "CHARGE"} and row["decided_at"] is not None:
        to = "COMMITTED" if row["state"] in {"COMMITTED", "DONE"} else "ABORTED"
        what, because = _DECIDED[to]
        if row["pending_at"] is not None:
            because = "the receiver accepted: the last vote, and the one commit point (rule 1)"
        if row["reason"]:
            because = row["reason"] + (f", leg {row['refused_leg_no']}" if row["refused_leg_no"] else "")
        moments.append(Moment(row["decided_at"], COORDINATOR, "the coordinator", what, because))
    if row["finished_at"] is not None and row["kind"] != "TOMBSTONE":
        what, because = _FINISHED[row["state"]]
        moments.append(Moment(row["finished_at"], COORDINATOR, "the coordinator", what, because))
    return moments


def refunded(refund: Row) -> Moment:
    """The refund that gives this payment's money back."""
    what = f"refund {refund['payment_id']} COMMITTED, now {refund['state']}: {yuan_text(refund['amount_fen'])} go back"
    return Moment(refund["created_at"], COORDINATOR, "the coordinator", what, f"asked for by {refund['infno']}")


def original(row: Row) -> Moment:
    """The settlement whose money this refund gives back."""
    what = f"the original {row['payment_id']} ({row['infno']} {row['msgid']}) was begun, now {row['state']}"
    return Moment(row["created_at"], COORDINATOR, "the coordinator", what)


def acted(action: Row) -> Moment:
    """An operator's command."""
    change = json.loads(action["change"])
    what = f"gongji {action['command']}: " + ", ".join(
        f"{name} {change['before'].get(name)} → {value}" for name, value in change["after"].items()
    )
    return Moment(action["acted_at"], COORDINATOR, f"operator {action['operator']}", what, action["reason"])


def published(event: Row) -> list[Moment]:
    """An event from the outbox: written, then told."""
    told = [
        Moment(
            event["occurred_at"], COORDINATOR, "the coordinator", f"{event['subject']} written to the outbox",
            "in the transaction of the decision",
        )
    ]  # fmt: skip
    if event["published_at"] is not None:
        what = f"{event['subject']} acknowledged by the stream, number {event['stream_seq']}"
        told.append(Moment(event["published_at"], COORDINATOR, "the outbox", what))
    return told


def heard(row: Row, subject: str) -> Moment:
    """A consumer has taken an event in."""
    return Moment(row["received_at"], "notify", row["consumer"], f"{subject} taken in")


def message(row: Row) -> Moment:
    """A person was told; what, is between him and notify."""
    return Moment(row["written_at"], "notify", "notify", f"message {row['topic']} to {row['psn_no']}")


def dead(row: Row, subject: str) -> Moment:
    """A consumer gave an event up."""
    return Moment(row["died_at"], "notify", row["consumer"], f"{subject} became a dead letter", row["problem"])


def branch(row: Row, legs: Sequence[Row], where: str) -> list[Moment]:
    """A ledger's part: the vote, the questions it asked, the end."""
    first = _FIRST_OF_BRANCH[row["state"]]
    why = ", ".join(
        f"leg {leg['leg_no']} {leg['role']} {leg['psn_no']} {yuan_text(leg['past_fen'] + leg['current_fen'])}"
        for leg in legs
    )
    if first == "REFUSED":
        why = f"{row['refusal_reason']}, leg {row['refusal_leg_no']}"
    if first == "BLOCKED":
        why = "CANCEL came before TRY; a later TRY is refused (rule 5)"
    moments = [Moment(row["created_at"], where, "the ledger", first, why)]
    if row["last_inquired_at"] is not None:
        what = f"asked the coordinator, {times(row['inquiries'])} so far"
        moments.append(Moment(row["last_inquired_at"], where, "the ledger", what, "the hold's time was over (rule 2)"))
    if row["decided_at"] is not None and row["state"] != first:
        order = "CONFIRM" if row["state"] == "CONFIRMED" else "CANCEL"
        moments.append(Moment(row["decided_at"], where, "the ledger", row["state"], f"{order} from the coordinator"))
    return moments


def credited(row: Row, where: str) -> Moment:
    """A credit or refund that was booked."""
    why = f"of payment {row['original_payment_id']}" if row["original_payment_id"] else ""
    suspended = f", {row['suspended']} legs into suspense" if row["suspended"] else ""
    return Moment(row["booked_at"], where, "the ledger", f"CREDITED ({row['purpose']}){suspended}", why)


def booked(entries: Sequence[Row], where: str) -> list[Moment]:
    """The entries, one moment for each leg and kind."""
    moments: dict[tuple[int, str, datetime], list[str]] = {}
    for entry in entries:
        account = f"{entry['book']} {entry['psn_no']} {entry['part']}" if entry["psn_no"] else entry["book"]
        told = moments.setdefault((entry["leg_no"], entry["kind"], entry["booked_at"]), [])
        told.append(f"{account} {yuan_text(entry['amount_fen'])}")
    return [
        Moment(
            at, where, "the ledger", f"entries {kind}, {f'leg {leg_no}' if leg_no else 'against'}: {'; '.join(told)}"
        )
        for (leg_no, kind, at), told in moments.items()
    ]


def alarmed(row: Row, where: str) -> list[Moment]:
    """An alarm, and its end."""
    again = f", {times(row['times'])}, last {row['last_raised_at']:%H:%M:%S}" if row["times"] > 1 else ""
    moments = [Moment(row["raised_at"], where, "the ledger", f"ALARM {row['kind']}{again}")]
    if row["done_at"] is not None:
        moments.append(Moment(row["done_at"], where, "an operator", f"alarm {row['kind']} settled"))
    return moments


def failed(row: Row, where: str) -> list[Moment]:
    """A command in quarantine, and its end."""
    what = f"{row['command_kind']} failed, {times(row['failures'])} so far, last {row['last_failed_at']:%H:%M:%S}"
    moments = [Moment(row["first_failed_at"], where, "the ledger", what, row["problem"])]
    if row["done_at"] is not None:
        moments.append(Moment(row["done_at"], where, "the ledger", f"{row['command_kind']} passed after all"))
    return moments


def suspended(row: Row, where: str) -> list[Moment]:
    """Money that waits for an officer, and the end of waiting."""
    what = f"leg {row['leg_no']}: {yuan_text(row['amount_fen'])} of {row['psn_no']} wait in suspense"
    moments = [Moment(row["created_at"], where, "the ledger", what, "the account is closed or moved")]
    if row["done_at"] is not None:
        moments.append(Moment(row["done_at"], where, "an officer", f"leg {row['leg_no']}: suspense settled"))
    return moments


def times(count: int) -> str:
    """How often, in words."""
    return "once" if count == 1 else f"{count:,} times"
