"""The command `gongji verify`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ops.verify.report import Report

EXIT_VIOLATED: Final = 1
EXIT_CANNOT_RUN: Final = 2


def verify(
    *,
    data: Annotated[Path, typer.Option(help="The data folder of a running `gongji up`.")] = Path(".gongji"),
    coordinator: Annotated[
        str | None, typer.Option(help="The settlement database's URL, for a system that runs elsewhere.")
    ] = None,
    ledgers: Annotated[
        str | None, typer.Option(help="The ledger databases' URL with {area} in it; goes with --coordinator.")
    ] = None,
    areas: Annotated[str, typer.Option(help="The areas of those ledgers, parted by commas.")] = "",
    journal: Annotated[list[Path] | None, typer.Option(help="A terminal's journal; may be given again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Count every invariant of protocol and ledger over all databases of a running system. Writes nothing.

    Exit code 0: all hold; 1: something does not; 2: the databases could not be read.
    """
    # Imported here so that every other command starts without them.
    import asyncpg  # noqa: PLC0415  As above.

    from ops.embedded.processes import CannotStart  # noqa: PLC0415  As above.
    from ops.places import find_places  # noqa: PLC0415  As above.
    from ops.verify.run import verify as run_verify  # noqa: PLC0415  As above.

    try:
        places = find_places(data=data, coordinator=coordinator, ledgers=ledgers, areas=areas)
        report = asyncio.run(run_verify(places, journals=journal or ()))
    except (CannotStart, OSError, asyncpg.PostgresError, ValueError) as problem:
        sys.stderr.write(f"gongji verify: {problem}\n")
        raise typer.Exit(EXIT_CANNOT_RUN) from None
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=False, indent=1) + "\n")
    else:
        from rich.console import Console  # noqa: PLC0415  As above.

        show(report, Console())
    if report.violations:
        raise typer.Exit(EXIT_VIOLATED)


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
    for name, why in report.skipped.items():
        console.print(f"  [dim]{name} skipped: {why}[/]", highlight=False)
    for what, count in report.waiting.items():
        console.print(f"  [yellow]…[/] under way: {count:,} {what}", highlight=False)
    if report.violations:
        console.print(f"[bold red]{report.violations:,} violations[/]", highlight=False)
    else:
        compared = sum(check.checked for check in report.checks.values())
        console.print(f"[bold green]every invariant holds[/] ({compared:,} rows compared)", highlight=False)
