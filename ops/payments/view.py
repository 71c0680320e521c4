"""What a person sees of the commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kernel.money import yuan_text
from ops.payments.driving import Proposal
from ops.payments.meaning import Actor
from ops.payments.quarantine import Quarantine
from ops.payments.story import Story
from ops.payments.stuck import Kind, Stuck
from ops.payments.telling import times

WIDTH_MIN: Final = 140
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400


def console() -> Console:
    """A terminal's own width; wide enough for a line of a story where the output goes to a file."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=max(made.width, WIDTH_MIN))


def age(seconds: float) -> str:
    """A duration as one reads it: 42 s, 3 min, 2.5 h, 4.1 d."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h" if seconds < 2 * _DAY_S else f"{seconds / _DAY_S:.1f} d"


def show_stuck(stuck: Stuck, out: Console) -> None:
    """One block for each finding, the counts at the end."""
    for finding in stuck.findings:
        colour = "red" if finding.actor is Actor.PERSON else "yellow"
        tried = f", {finding.attempts} attempts" if finding.attempts else ""
        out.print(
            f"[{colour}]{finding.kind.value}[/] [bold]{escape(finding.subject)}[/] at {finding.where}: "
            f"{escape(finding.state)}, for {age(finding.age_s)}{tried}",
            soft_wrap=True,
        )
        if finding.details:
            out.print(f"    {escape(finding.details)}", soft_wrap=True)
        out.print(f"    next ({finding.actor.value}): {escape(finding.next)}", soft_wrap=True)
    shown = Counter(finding.kind for finding in stuck.findings)
    for kind in Kind:
        if (total := stuck.totals.get(kind, 0)) > shown[kind] and kind is not Kind.OUTBOX:
            out.print(f"[dim]… and {total - shown[kind]:,} more of kind {kind.value}[/]")
    _show_unreachable(stuck.unreachable, out)
    if stuck.is_clear:
        out.print(f"[green]nothing is stuck[/] for more than {age(stuck.older_than_s)}")
    elif stuck.totals:
        out.print(", ".join(f"{count:,} × {kind.value}" for kind, count in stuck.totals.items()))


def show_quarantine(found: Quarantine, out: Console) -> None:
    """Each case with what it means and what to do."""
    for case in found.cases:
        out.print(
            f"[red]{case.kind}[/] [bold]{case.subject}[/] at {case.where}: {escape(case.what)}, "
            f"since {case.since.astimezone():%Y-%m-%d %H:%M:%S}, seen {times(case.times)}",
            soft_wrap=True,
        )
        out.print(f"    means: {escape(case.means)}", soft_wrap=True)
        out.print(f"    do:    {escape(case.act)}", soft_wrap=True)
    _show_unreachable(found.unreachable, out)
    if not found.cases and not found.unreachable:
        out.print("[green]nothing waits for a person[/]")


def show_story(story: Story, out: Console) -> None:
    """The payment, its timeline, how its ledgers stand, what comes next."""
    payment = story.payment
    out.print(f"[bold]payment {story.payment_id}[/]")
    if payment is not None:
        out.print(
            f"{payment['kind']} [bold]{payment['state']}[/] · {yuan_text(payment['amount_fen'])} · "
            f"{escape(payment['fixmedins_code'])}/{escape(payment['infno'])}/{escape(payment['msgid'])}"
            f" · psn_no {payment['psn_no'] or '–'}",
            soft_wrap=True,
        )
        for leg in payment["legs"]:
            amount = yuan_text(leg["past_fen"] + leg["current_fen"])
            out.print(f"  leg {leg['leg_no']}: {amount} {leg['role']} of {leg['psn_no']} at ledger {leg['area']}")
    for what, link in story.links.items():
        out.print(f"  {what}: {link}")
    if payment is not None and payment["trace_id"]:
        out.print(f"  [dim]which process did what: look for trace {payment['trace_id']} in the logs[/]", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("when", "where", "who", "what", "why"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"when", "where"})
    for moment in story.moments:
        table.add_row(
            f"{moment.at.astimezone():%m-%d %H:%M:%S.%f}"[:-3],
            *(escape(text) for text in (moment.where, moment.who, moment.what, moment.why)),
        )
    out.print(table)
    for area, state in story.ledgers.items():
        out.print(f"  ledger {area}: {state}")
    for trouble in story.troubles:
        out.print(f"[red]✗[/] {escape(trouble)}", soft_wrap=True)
    _show_unreachable(story.unreachable, out)
    out.print(f"[bold]next[/] ({story.actor.value}): {escape(story.next)}", soft_wrap=True)


def show_proposal(proposal: Proposal, out: Console) -> None:
    """What would be changed, before it is."""
    quarantined = f", in quarantine ({proposal.quarantine})" if proposal.quarantine else ""
    out.print(
        f"[bold]{proposal.subject_id}[/] is {proposal.kind} {proposal.state}{quarantined}, "
        f"after {proposal.attempts} attempts of recovery",
        soft_wrap=True,
    )
    if proposal.is_finished:
        out.print("it is finished: nothing to drive, nothing is changed")
    elif proposal.is_due:
        out.print(
            f"it is due since {age(-proposal.due_in_s)}: nothing to change, a coordinator must only take it up",
            soft_wrap=True,
        )
    else:
        out.print(
            f"to be changed: {proposal.table}.next_drive_at from {proposal.next_drive_at.astimezone():%H:%M:%S.%f} "
            f"(in {age(proposal.due_in_s)}) to now, and one row added to operator_actions; nothing else",
            soft_wrap=True,
        )


def show_outcome(before: Proposal, after: Proposal, out: Console) -> None:
    """What became of it."""
    taken = after.attempts != before.attempts or after.state != before.state
    if after.is_finished:
        out.print(f"[green]{after.state}[/]: finished")
        return
    out.print(f"[yellow]{after.state}[/]: not finished yet", soft_wrap=True)
    if after.quarantine:
        out.print(f"in quarantine ({after.quarantine}): see `gongji payments quarantine`")
    elif taken:
        out.print("recovery has taken it up, but not every ledger answers: see `gongji payments explain`")
    else:
        out.print("no coordinator has taken it up: is a settlement process running, and can it reach its database?")


def _show_unreachable(unreachable: Mapping[str, str], out: Console) -> None:
    for name, problem in unreachable.items():
        out.print(f"[red]{name} could not be read[/]: {escape(problem)}", soft_wrap=True)
