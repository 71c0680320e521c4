"""What a person sees of a day's end: a bar while a statement is sent, then both sides and what differs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from gongji.settlement.v1 import reconciliation_pb2 as pb
from kernel.money import yuan_text
from ops.reconcile.statement import AMOUNTS, KINDS, RESULTS, STATES, word

PLAIN_LINE_S: Final = 5.0


class SendingView:
    """Tells how much of a statement is sent. ``quiet`` tells nothing, for machines that read the summary."""

    def __init__(self, console: Console, *, quiet: bool, rows_cnt: int) -> None:
        self._console = console
        self._quiet = quiet
        self._rows_cnt = rows_cnt
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("sending", total=rows_cnt)
        self._said = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While it runs."""
        with self._bar:
            yield

    def at(self, count: int) -> None:
        """So many rows have gone."""
        doing = "comparing" if count >= self._rows_cnt else "sending"
        self._bar.update(self._task, completed=count, description=doing)
        now = time.monotonic()
        if not self._quiet and not self._console.is_terminal and now - self._said >= PLAIN_LINE_S:
            self._said = now
            self._console.print(f"{count:,} of {self._rows_cnt:,} rows sent", soft_wrap=True)


def show_day(day: pb.GetReconciliationResponse, out: Console) -> None:
    """Our totals, and how the institution's rows stand beside them."""
    table = Table("insutype", "clr_type", "records", "gave back", *AMOUNTS, title="our books, in yuan")
    for total in day.ours:
        amounts = [yuan_text(getattr(total.amounts, name)) for name in AMOUNTS]
        counts = f"{total.fixmedins_setl_cnt:,}", f"{total.refd_setl_cnt:,}"
        table.add_row(total.insutype, total.clr_type, *counts, *amounts)
    out.print(table if day.ours else "our books have no record of that day")
    if day.upload_id:
        show_result(day.stmt_rslt, day.differences, out)
        out.print(f"compared with {day.theirs_cnt:,} rows of the institution ({day.upload_id})", soft_wrap=True)
    else:
        out.print("the institution has sent no rows of that day")
    if day.provisional:
        out.print("the day is not over: more may come")


def show_result(rslt: int, counts: Iterable[pb.DifferenceCount], out: Console) -> None:
    """平 or 不平, and the differences counted."""
    counted = ", ".join(f"{c.cnt:,} {word(c.kind, KINDS)} {word(c.state, STATES)}" for c in counts)
    out.print(f"[bold]{word(rslt, RESULTS)}[/]{': ' + counted if counted else ''}", soft_wrap=True)


def show_difference(each: pb.Difference, out: Console) -> None:
    """One difference: where, how, both sides, and the officer's word."""
    out.print(
        f"[bold]{each.difference_id}[/] {each.fixmedins_code} {each.stmt_date} {word(each.kind, KINDS)} "
        f"{word(each.state, STATES)}",
        soft_wrap=True,
    )
    named = each.setl_id or f"{each.infno} {each.msgid}"
    standing = f"; here {each.ours_state} {each.ours_stmt_date}".rstrip() if each.ours_state else "; unknown here"
    out.print(f"    {named}{standing}", soft_wrap=True)
    amounts = [name for name in each.fields if name in AMOUNTS]
    for name in amounts:
        theirs, ours = getattr(each.theirs.amounts, name), getattr(each.ours.amounts, name)
        out.print(f"    {name}: theirs {yuan_text(theirs)}, ours {yuan_text(ours)}", soft_wrap=True)
    others = [name for name in each.fields if name not in AMOUNTS]
    if others:
        out.print(f"    differs in {', '.join(others)}", soft_wrap=True)
    if each.opter:
        out.print(f"    {each.opter}: {escape(each.cause)}", soft_wrap=True)
