"""What a person sees of a restore."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape

from kernel.money import yuan_text
from ops.restore.beginning import CoordinatorRow
from ops.restore.comparing import ACT, Comparison, Difference, Item
from ops.restore.replaying import Replay

SHOWN_MAX: Final = 50
RISKS: Final = (
    (
        "A reversal that stopped a request before it arrived left only a row here, and that row may be lost. So every "
        "request made before this restore began that is unknown here is refused (REQUEST_PREDATES_RESTORE): it never "
        "starts, and the cashier asks anew. A terminal whose clock ran ahead of the restore is not caught by this."
    ),
    (
        "A refund or credit that was decided but had reached no ledger yet is lost without a trace. Compare the "
        "terminals' journals (`gongji verify --journal FILE`, I7), and give back anew what they show and nobody knows."
    ),
    (
        "A settlement that took nothing from any account (all of it cash) was known here alone. Its terminal's journal "
        "shows it as SETTLED and I7 names it; no account is concerned."
    ),
    "Freezes and new plans since the backup are lost here; plans are made anew, freezes stand at the ledgers.",
)


def show_begin(row: CoordinatorRow, areas: Sequence[str], out: Console) -> None:
    """What `begin` would change."""
    if row.restoring_since is not None:
        out.print(f"a restore has begun at {row.restoring_since.astimezone():%Y-%m-%d %H:%M:%S}, epoch {row.epoch}")
        out.print("to be changed: every ledger hears of this epoch once more; nothing else", soft_wrap=True)
        return
    out.print(f"the coordinator serves, epoch {row.epoch}", soft_wrap=True)
    out.print(
        "to be changed: its epoch becomes the newest of all, plus one; it stops deciding and answers "
        f"COORDINATOR_RESTORING; the ledgers {', '.join(areas)} refuse every older epoch; the snapshots of persons and "
        "bindings are read anew when a settlement process starts",
        soft_wrap=True,
    )


def show_comparison(comparison: Comparison, out: Console) -> None:
    """Each difference, what would be done, and the counts."""
    shown: Counter[Difference] = Counter()
    for item in comparison.items:
        shown[item.difference] += 1
        if shown[item.difference] <= SHOWN_MAX:
            show_item(item, out)
    for difference, count in shown.items():
        more = f", {count - SHOWN_MAX:,} of them not shown" if count > SHOWN_MAX else ""
        out.print(f"{count:,} × {difference.value}{more}: {ACT[difference]}", soft_wrap=True)
    if not comparison.items:
        out.print(f"[green]coordinator and ledgers agree[/] over {comparison.compared:,} payments")


def show_item(item: Item, out: Console) -> None:
    """One difference."""
    at = ", ".join(f"{area} {state}" for area, state in item.found.items())
    out.print(
        f"[yellow]{item.difference.value}[/] [bold]{item.payment_id}[/] {escape(item.key)} "
        f"{yuan_text(item.amount_fen)}: {item.stored or 'unknown'} here; {at or 'at no ledger'}",
        soft_wrap=True,
    )
    out.print(f"    would be: {item.would}", soft_wrap=True)


def show_risks(out: Console) -> None:
    """What a restore loses without a trace, plainly."""
    out.print("[bold]what nobody can bring back:[/]")
    for risk in RISKS:
        out.print(f"  · {risk}", soft_wrap=True)


def show_left(comparison: Comparison, problems: Iterable[str], out: Console) -> None:
    """What is left to a person when all else is done."""
    for problem in problems:
        out.print(f"[red]✗[/] {escape(problem)}", soft_wrap=True)
    for item in comparison.items:
        show_item(item, out)
        out.print(f"    do: {ACT[item.difference]}", soft_wrap=True)


def show_replay(replay: Replay, out: Console) -> None:
    """What would be said to the ledger."""
    for one in replay.commands[:SHOWN_MAX]:
        out.print(f"  {escape(one.what)}")
    if (more := len(replay.commands) - SHOWN_MAX) > 0:
        out.print(f"  … and {more:,} more")
    for what in replay.unknowable:
        out.print(f"[yellow]not known:[/] {escape(what)}", soft_wrap=True)
    out.print(
        f"to be changed: {len(replay.commands):,} commands are carried out in ledger {replay.area}, each once for its "
        "id; nothing goes below zero",
        soft_wrap=True,
    )
