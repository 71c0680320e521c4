"""Each closing command from its first look to its last: show, ask, do, tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rich.markup import escape

from kernel.money import yuan_text
from ops.closing import alarms, deadletters, suspense
from ops.consent import agreed
from ops.payments.meaning import ALARM, UNKNOWN_ALARM
from ops.payments.telling import times
from ops.payments.view import console
from ops.places import Places
from ops.sources import CannotMendError, opened
from services.settlement.ledger.domain.model import AccountKey


async def list_alarms(places: Places, *, quiet: bool) -> list[dict[str, object]]:
    """`alarms list`."""
    async with opened(places) as sources:
        found = await alarms.find(sources)
    if not quiet:
        for alarm in found:
            _show_alarm(alarm)
        if not found:
            console().print("[green]no alarm is open[/]")
    return [alarm.as_json() for alarm in found]


def _show_alarm(alarm: alarms.OpenAlarm) -> None:
    out, meaning = console(), ALARM.get(alarm.kind, UNKNOWN_ALARM)
    out.print(
        f"[red]{alarm.kind}[/] [bold]{alarm.subject_id}[/] at ledger {alarm.area}, since "
        f"{alarm.raised_at.astimezone():%Y-%m-%d %H:%M:%S}, seen {times(alarm.times)}, last "
        f"{alarm.last_raised_at.astimezone():%H:%M:%S}",
        soft_wrap=True,
    )
    out.print(f"    means: {escape(meaning.means)}", soft_wrap=True)
    out.print(f"    do:    {escape(meaning.act)}", soft_wrap=True)


async def close_alarms(places: Places, subject_id: UUID, *, kind: str, operator: str, reason: str, yes: bool) -> None:
    """`alarms close`."""
    out = console()
    async with opened(places) as sources:
        found = [alarm for alarm in await alarms.find(sources, subject_id) if kind in {"", alarm.kind}]
        if not found:
            raise CannotMendError(f"no such alarm about {subject_id} is open")
        for alarm in found:
            _show_alarm(alarm)
        out.print("to be changed: the done_at of these; no money moves", soft_wrap=True)
        consent = agreed(operator=operator, reason=reason, yes=yes, question="Close them?")
        closed = await alarms.close(sources, found, consent)
    out.print(f"{closed} closed; the same contradiction raises them anew")


async def list_suspense(places: Places, *, quiet: bool) -> list[dict[str, object]]:
    """`suspense list`."""
    async with opened(places) as sources:
        found = await suspense.find(sources)
    if not quiet:
        for task in found:
            _show_task(task)
        if not found:
            console().print("[green]no money waits in suspense[/]")
    return [task.as_json() for task in found]


def _show_task(task: suspense.OpenTask) -> None:
    moved = f", who moved to {task.moved_to}" if task.moved_to else ""
    console().print(
        f"[yellow]{yuan_text(task.amount_fen)}[/] of {task.psn_no}{moved} ({task.account_kind}) at ledger {task.area}, "
        f"from [bold]{task.credit_id}[/] leg {task.leg_no}, since {task.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
        soft_wrap=True,
    )


async def close_suspense(
    places: Places,
    credit_id: UUID,
    leg_no: int,
    to: AccountKey | None,
    *,
    operator: str,
    reason: str,
    yes: bool,
) -> None:
    """`suspense close`."""
    out = console()
    async with opened(places) as sources:
        found = [task for task in await suspense.find(sources, credit_id) if task.leg_no == leg_no]
        if not found:
            raise CannotMendError(f"nothing of {credit_id} leg {leg_no} waits in suspense")
        task = found[0]
        _show_task(task)
        where = "out of the ledger to the fund, to be paid there" if to is None else f"{to.psn_no} ({to.kind.value})"
        out.print(f"to be changed: {yuan_text(task.amount_fen)} go from suspense to {where}", soft_wrap=True)
        consent = agreed(operator=operator, reason=reason, yes=yes, question="Move it, for ever?")
        await suspense.close(sources, task, consent, to=to)
    out.print("moved, and the task is done")


async def list_letters(
    places: Places, *, quiet: bool, event_id: UUID | None = None, details: bool = False
) -> list[dict[str, object]]:
    """`deadletters list` and `show`."""
    async with deadletters.rooms(places) as connections:
        found = await deadletters.find(connections, event_id)
    if event_id is not None and not found:
        raise CannotMendError(f"no dead letter is called {event_id}")
    if not quiet:
        for letter in found:
            _show_letter(letter, details=details)
        if not found:
            console().print("[green]no letter is dead[/]")
    return [letter.as_json() for letter in found]


def _show_letter(letter: deadletters.DeadLetter, *, details: bool) -> None:
    out = console()
    healed = ", [green]healed by a newer event[/]" if letter.is_healed else ""
    asked = ", to be tried again" if letter.redrive_at is not None else ""
    out.print(
        f"[red]{letter.subject}[/] [bold]{letter.event_id}[/] at {letter.room}, consumer {letter.consumer}, since "
        f"{letter.died_at.astimezone():%Y-%m-%d %H:%M:%S}{healed}{asked}",
        soft_wrap=True,
    )
    if details:
        out.print(f"    of {escape(letter.aggregate)}, version {letter.version}; newest here {letter.newest_version}")
        out.print(f"    problem: {escape(letter.problem)}", soft_wrap=True)


async def redrive_letter(places: Places, event_id: UUID, *, operator: str, reason: str, yes: bool) -> None:
    """`deadletters redrive`."""
    out = console()
    async with deadletters.rooms(places) as connections:
        found = await _shown(connections, event_id)
        out.print("to be changed: its consumer tries it again; a failure leaves it as it is", soft_wrap=True)
        consent = agreed(operator=operator, reason=reason, yes=yes, question="Try it again?")
        for letter in found:
            await deadletters.redrive(connections, letter, consent)
    out.print("asked; look again in some seconds: it is gone once it was taken in")


async def close_letter(places: Places, event_id: UUID, *, operator: str, reason: str, yes: bool) -> None:
    """`deadletters close`."""
    out = console()
    async with deadletters.rooms(places) as connections:
        found = await _shown(connections, event_id)
        out.print("to be changed: its row goes; what it says never takes effect there", soft_wrap=True)
        consent = agreed(operator=operator, reason=reason, yes=yes, question="Give it up for good?")
        for letter in found:
            await deadletters.close(connections, letter, consent)
    out.print("given up; the audit record keeps what it was")


async def _shown(connections: Mapping[str, Any], event_id: UUID) -> list[deadletters.DeadLetter]:
    found = await deadletters.find(connections, event_id)
    if not found:
        raise CannotMendError(f"no dead letter is called {event_id}")
    for letter in found:
        _show_letter(letter, details=True)
    return found
