"""The command `gongji verify`."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from ops.options import (
    EXIT_CANNOT_RUN,
    HERE,
    AllAreas,
    Coordinator,
    Data,
    Ledgers,
    checked_address,
    give_up,
    print_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ops.verify.report import Report
    from ops.verify.run import Audit

EXIT_VIOLATED: Final = 1


def verify(
    *,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    journal: Annotated[list[Path] | None, typer.Option(help="A terminal's journal; may be given again.")] = None,
    anchor: Annotated[
        Path | None,
        typer.Option(help="A file with the heads of the chains of entries: compared, then brought up to date."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Round after round until ctrl-C, a line each.")] = False,
    every: Annotated[float, typer.Option(help="With --watch: seconds from one round to the next.", min=0.1)] = 10.0,
    whole_every: Annotated[
        int, typer.Option(help="With --watch: every so many rounds one looks at everything again.", min=1)
    ] = 60,
    rounds: Annotated[int | None, typer.Option(help="With --watch: end after so many rounds.", min=1)] = None,
    metrics: Annotated[
        str | None,
        typer.Option(callback=checked_address, help="With --watch: serve Prometheus metrics here, as 0.0.0.0:9100."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON; a line for each round.")] = False,
) -> None:
    """Count every invariant of protocol and ledger over all databases of a running system. Writes nothing to them.

    Exit code 0: all hold; 1: something does not, in any round; 2: a database could not be read.
    """
    # Imported here so that every other command starts without them.
    from chassis.db import DRIVER_ERRORS  # noqa: PLC0415  As above.
    from ops.embedded.processes import CannotStart  # noqa: PLC0415  As above.
    from ops.payments.databases import described  # noqa: PLC0415  As above.
    from ops.places import find_places  # noqa: PLC0415  As above.
    from ops.verify.anchor import read_anchors  # noqa: PLC0415  As above.
    from ops.verify.run import Audit  # noqa: PLC0415  As above.

    try:
        places = find_places(data=data, coordinator=coordinator, ledgers=ledgers, areas=areas)
        audit = Audit(places, journal or (), {} if anchor is None else read_anchors(anchor))
    except (CannotStart, OSError, ValueError) as problem:
        give_up(problem)
    try:
        if watch:
            pace = _Pace(every, whole_every, rounds, metrics)
            raise typer.Exit(_watched(audit, pace, anchor, as_json=as_json))
        report = asyncio.run(audit.round())
    except ValueError as problem:
        give_up(problem)
    except DRIVER_ERRORS as problem:
        give_up(f"the settlement database could not be read: {described(problem)}")
    _keep_heads(anchor, audit, report)
    if as_json:
        print_json(report.as_json())
    else:
        from rich.console import Console  # noqa: PLC0415  As above.

        show(report, Console())
    if code := _exit_code(report):
        raise typer.Exit(code)


def _exit_code(report: Report) -> int:
    return EXIT_VIOLATED if report.violations else EXIT_CANNOT_RUN if report.unreadable else 0


class _Pace(NamedTuple):
    every_s: float
    whole_every: int
    rounds: int | None
    metrics: str | None


def _watched(audit: Audit, pace: _Pace, anchor: Path | None, *, as_json: bool) -> int:
    """Prints each round until the last or ctrl-C; the exit code."""
    from chassis.telemetry import serve_metrics  # noqa: PLC0415  As in `verify`.
    from ops.verify.watch import rounds  # noqa: PLC0415  As in `verify`.

    outcomes: set[int] = set()

    async def run() -> None:
        async for made in rounds(audit, every_s=pace.every_s, whole_every=pace.whole_every, count=pace.rounds):
            lines = [json.dumps(made.as_json(), ensure_ascii=False)] if as_json else [made.as_line()]
            if made.report is None:
                outcomes.add(EXIT_CANNOT_RUN)
            else:
                outcomes.add(_exit_code(made.report))
                lines += [] if as_json else [f"  ✗ {finding}" for finding in made.report.findings]
                _keep_heads(anchor, audit, made.report)
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()

    if pace.metrics is not None:
        host, _, port = pace.metrics.rpartition(":")
        serve_metrics(host, int(port))
    with suppress(KeyboardInterrupt):
        asyncio.run(run())
    return EXIT_VIOLATED if EXIT_VIOLATED in outcomes else max(outcomes, default=0)


def _keep_heads(anchor: Path | None, audit: Audit, report: Report) -> None:
    """Brings the anchor up to date, unless anything is wrong: then what was known before must stay."""
    from ops.verify.anchor import write_anchors  # noqa: PLC0415  As in `verify`.

    if anchor is not None and not report.violations:
        audit.anchors = {**audit.anchors, **report.heads}
        write_anchors(anchor, audit.anchors)


def show(report: Report, console: Console) -> None:
    """The report for a person: one line for each invariant, findings below it."""
    from rich.table import Table  # noqa: PLC0415  As in `verify`.

    from ops.verify.report import INVARIANTS  # noqa: PLC0415  As in `verify`.

    table = Table(box=None, pad_edge=False)
    for heading, justify in (("", "left"), ("must hold", "left"), ("checked", "right"), ("violations", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]  # Two of rich's own literals.
    for name, check in report.checks.items():
        colour = "red" if check.violations else "dim" if name in report.skipped else "green"
        checked = "skipped" if name in report.skipped else f"{check.checked:,}"
        table.add_row(f"[{colour}]{name}[/]", INVARIANTS[name], checked, f"[{colour}]{check.violations:,}[/]")
    console.print(table)
    for check in report.checks.values():
        for finding in check.findings:
            console.print(f"  [red]✗[/] {finding}", highlight=False)
    _show_rest(report, console)


def _show_rest(report: Report, console: Console) -> None:
    """What is beside the invariants, and the verdict."""
    for name, why in report.skipped.items():
        console.print(f"  [dim]{name} skipped: {why}[/]", highlight=False)
    for what, count in report.waiting.items():
        console.print(f"  [yellow]…[/] under way: {count:,} {what}", highlight=False)
    for area, head in sorted(report.heads.items()):
        told = f"{head.last_entry_no:,} in block {head.block_no:,} at {head.sealed_at}: {head.digest}"
        console.print(f"  [dim]chain of {area}: entries up to {told}[/]", highlight=False, soft_wrap=True)
    for area, problem in sorted(report.unreadable.items()):
        console.print(f"  [red]ledger {area} could not be read: {problem}[/]", highlight=False)
    if report.violations:
        console.print(f"[bold red]{report.violations:,} violations[/]", highlight=False)
    elif report.unreadable:
        console.print(f"[bold yellow]what could be read holds[/] ({report.compared:,} rows compared)", highlight=False)
    else:
        console.print(f"[bold green]every invariant holds[/] ({report.compared:,} rows compared)", highlight=False)
