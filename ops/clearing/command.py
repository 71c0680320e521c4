"""The commands `gongji clearing run | show | list | export | trace`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from ops.consent import Operator
from ops.options import HERE, AsJson, Data, checked_address, give_up, print_json

if TYPE_CHECKING:
    from ops.clearing.asking import Clearing

Result = TypeVar("Result")
Address = Annotated[
    str,
    typer.Option(callback=checked_address, help="HOST:PORT of the settlement service, for one that runs elsewhere."),
]
Period = Annotated[str, typer.Argument(metavar="PERIOD", help="A civil month in Asia/Shanghai: 2026-10.")]
Debtor = Annotated[str, typer.Option(help="Only what this area owes.")]
Creditor = Annotated[str, typer.Option(help="Only what this area is owed.")]
_PERIOD: Final = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")

clearing = typer.Typer(name="clearing", help="What areas owe each other, month by month (清算).", no_args_is_help=True)


@clearing.command("run")
def run(
    period: Period,
    *,
    carry: Annotated[
        str, typer.Option(metavar="REASON", help="Leave payments that are still open to the next period, and say why.")
    ] = "",
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Run a period, from a day after its last one: once and for ever. One that was run is shown as it is.

    From then on its settlements can no longer be revoked where the policy says before clearing.
    Exit code 0: it is run; 2: it is not, and the reason says what comes first.
    """
    from ops.clearing.view import show_run  # noqa: PLC0415  So that every other command starts without it.
    from ops.identity.export import as_json as document_of  # noqa: PLC0415  As above.

    answer = _asked(address, operator, data, lambda at: at.run(_checked(period), carry.strip()))
    if as_json:
        print_json(document_of(answer))
    else:
        show_run(answer.run, existed=answer.existed)


@clearing.command("show")
def show(
    period: Period,
    *,
    debtor: Debtor = "",
    creditor: Creditor = "",
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Show what a period came to: each area's net position, and what each pair of areas owes."""
    from ops.clearing.view import show_pairs, show_positions, show_run  # noqa: PLC0415  As above.
    from ops.identity.export import as_json as document_of  # noqa: PLC0415  As above.

    found = _asked(address, operator, data, lambda at: at.get(_checked(period)))
    pairs = _asked(address, operator, data, lambda at: at.pairs(period, debtor=debtor, creditor=creditor))
    if as_json:
        print_json({**document_of(found), "pairs": [document_of(pair) for pair in pairs]})
        return
    show_run(found.run)
    if not debtor and not creditor:
        show_positions(found.positions)
    show_pairs(pairs)


@clearing.command("list")
def list_runs(*, address: Address = "", operator: Operator = "", data: Data = HERE, as_json: AsJson = False) -> None:
    """List the periods that were run, the latest first, and which is next."""
    from ops.clearing.view import show_runs  # noqa: PLC0415  As above.
    from ops.identity.export import as_json as document_of  # noqa: PLC0415  As above.

    runs, next_period = _asked(address, operator, data, lambda at: at.runs())
    if as_json:
        print_json({"runs": [document_of(each) for each in runs], "next_period": next_period})
    else:
        show_runs(runs, next_period)


@clearing.command("export")
def export(
    period: Period,
    *,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; clearing-PERIOD.csv when left out. It must not exist yet.")
    ] = None,
    debtor: Debtor = "",
    creditor: Creditor = "",
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
) -> None:
    """Write a period's lines into a CSV file: all of them, held against the run's digest, or those of some area.

    Exit code 0: written; 2: nothing was written.
    """
    from rich.console import Console  # noqa: PLC0415  As above.

    file = out or Path(f"clearing-{'-'.join(part for part in (_checked(period), debtor, creditor) if part)}.csv")
    if file.exists():
        give_up(f"{file} exists already; name another file with --out")
    with Console(stderr=True).status("exporting") as status:
        written = _asked(
            address,
            operator,
            data,
            lambda at: at.export(
                period,
                file,
                debtor=debtor,
                creditor=creditor,
                told=lambda lines: status.update(f"exporting: {lines:,} lines"),
            ),
        )
    compared = ", as the run keeps it" if written.is_whole else ""
    sys.stdout.write(f"{file}: {written.lines:,} lines, SHA-256 {written.sha256}{compared}\n")


@clearing.command("trace")
def trace(
    setl_id: Annotated[str, typer.Argument(metavar="SETL_ID", help="A settlement, revocation or transfer.")],
    *,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Show the lines in which a payment, and what took it back, were cleared."""
    from ops.clearing.view import show_lines  # noqa: PLC0415  As above.
    from ops.identity.export import as_json as document_of  # noqa: PLC0415  As above.

    lines = _asked(address, operator, data, lambda at: at.trace(setl_id))
    if as_json:
        print_json([document_of(line) for line in lines])
    elif lines:
        show_lines(lines)
    else:
        sys.stdout.write("in no line: it stayed within its area, or its period is still to come\n")


def _checked(period: str) -> str:
    if not _PERIOD.fullmatch(period):
        give_up(f"{period!r} is no month; write it as 2026-10")
    return period


def _asked(address: str, operator: str, data: Path, ask: Callable[[Clearing], Awaitable[Result]]) -> Result:
    """The service's answer; ends the command where it gives none."""
    from chassis.rpc.failures import PeerError  # noqa: PLC0415  As above.
    from kernel.failures import Failure  # noqa: PLC0415  As above.
    from ops.clearing.asking import clearing_at  # noqa: PLC0415  As above.
    from ops.reaching import address_of, operator_of  # noqa: PLC0415  As above.
    from ops.whole_file import OtherContentError  # noqa: PLC0415  As above.

    caller = operator_of(operator)
    place = address or address_of("settlement", data)

    async def asked() -> Result:
        async with clearing_at(place, caller) as at:
            return await ask(at)

    try:
        return asyncio.run(asked())
    except (Failure, PeerError, OtherContentError, OSError) as problem:
        give_up(problem)
    except KeyboardInterrupt:
        give_up("stopped; nothing was changed by halves, run the command again")
