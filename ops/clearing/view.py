"""Clearing for a person: amounts in yuan, a line for each area and each pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from gongji.settlement.v1 import clearing_pb2 as pb
from kernel.clock import SHANGHAI
from kernel.money import yuan_text

_WIDTH_MIN: Final = 120
CLR_TYPES: Final = {"11": "outpatient", "21": "inpatient", "41": "pharmacy"}


def show_run(run: pb.ClearingRun, *, existed: bool = False) -> None:
    """What a period came to."""
    console = _console()
    when = run.run_time.ToDatetime(tzinfo=SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
    ran = "was run before:" if existed else "was run"
    console.print(f"[bold]{run.period}[/] {ran} {when} by {run.run_by}")
    console.print(
        f"{run.payments_count:,} payments, {run.lines_count:,} lines between areas; "
        f"{yuan_text(run.local_fen)} yuan stayed within their area"
    )
    if run.carried_in_count:
        console.print(f"{run.carried_in_count:,} of the payments are of earlier periods, and were open then")
    if run.carried_on_count:
        console.print(f"[yellow]{run.carried_on_count:,} open payments are left to the next: {run.carry_reason}[/]")
    console.print(f"SHA-256 of the file of all lines: {run.lines_sha256.hex()}", soft_wrap=True)


def show_positions(positions: Sequence[pb.ClearingPosition]) -> None:
    """A line for each area: what it owes, what it is owed, what it gets or pays."""
    table = _table("area", "owes", "is owed", "gets", "pays")
    for each in positions:
        gets, pays = max(each.net_fen, 0), max(-each.net_fen, 0)
        table.add_row(
            each.area,
            yuan_text(each.owes_fen),
            yuan_text(each.is_owed_fen),
            yuan_text(gets) if gets else "",
            yuan_text(pays) if pays else "",
        )
    moved = sum(max(each.net_fen, 0) for each in positions)
    table.add_section()
    table.add_row("", "", "", yuan_text(moved), yuan_text(sum(max(-each.net_fen, 0) for each in positions)))
    _console().print(table)


def show_pairs(pairs: Iterable[pb.ClearingPair]) -> None:
    """A line for each statement."""
    table = _table("debtor", "creditor", "out of", "for", "charges", "charged", "refunds", "refunded", "owes", words=4)
    for each in pairs:
        table.add_row(
            each.debtor_area,
            each.creditor_area,
            pb.SharePart.Name(each.part).removeprefix("SHARE_PART_").lower(),
            CLR_TYPES.get(each.clr_type, ""),
            f"{each.charges_count:,}",
            yuan_text(each.charged_fen),
            f"{each.refunds_count:,}",
            yuan_text(each.refunded_fen),
            yuan_text(each.owed_fen),
        )
    _console().print(table)


def show_runs(runs: Iterable[pb.ClearingRun], next_period: str) -> None:
    """A line for each run, and which is next."""
    table = _table("period", "run by", "payments", "lines", "carried in", "carried on", words=2)
    for run in runs:
        counts = (run.payments_count, run.lines_count, run.carried_in_count, run.carried_on_count)
        table.add_row(run.period, run.run_by, *(f"{count:,}" for count in counts))
    console = _console()
    console.print(table)
    console.print(f"next: {next_period}")


def show_lines(lines: Iterable[pb.ClearingLine]) -> None:
    """A line for each line."""
    table = _table("period", "day", "line", "setl_id", "leg", "debtor", "creditor", "out of", "amount", words=8)
    for each in lines:
        table.add_row(
            each.period,
            each.business_date,
            f"{each.line_no}",
            each.setl_id,
            f"{each.leg_no}",
            each.debtor_area,
            each.creditor_area,
            pb.SharePart.Name(each.part).removeprefix("SHARE_PART_").lower(),
            yuan_text(each.amount_fen),
        )
    _console().print(table)


def _table(*columns: str, words: int = 1) -> Table:
    table = Table(box=None, header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < words else "right", no_wrap=True)
    return table


def _console() -> Console:
    console = Console(highlight=False)
    console.width = max(console.width, _WIDTH_MIN)
    return console
