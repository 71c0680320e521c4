"""The commands `gongji reconcile day | differences | resolve`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from ops.consent import Operator
from ops.options import EXIT_NEEDS_A_PERSON, HERE, AsJson, Data, checked_address, give_up, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from gongji.settlement.v1 import reconciliation_pb2 as pb
    from ops.reconcile.asking import Desk

Result = TypeVar("Result")
Address = Annotated[
    str,
    typer.Option(callback=checked_address, help="HOST:PORT of the settlement service, for one that runs elsewhere."),
]
Institution = Annotated[str, typer.Argument(metavar="FIXMEDINS_CODE", help="H or P and eleven digits.")]
STATES: Final = ("open", "explained", "resolved", "cleared")

reconcile = typer.Typer(
    name="reconcile", help="An institution's day beside ours (对账), until nothing differs.", no_args_is_help=True
)


@reconcile.command("day")
def day(
    fixmedins_code: Institution,
    stmt_date: Annotated[str, typer.Argument(metavar="DAY", help="A civil day in Asia/Shanghai: 2026-11-21.")],
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            help="The institution's records of that day, to be compared: CSV in UTF-8 or GB18030 with a header: "
            "setl_id, insutype, clr_type, refd_setl_flag (0, 1), medfee_sumamt, fund_pay_sumamt, acct_pay, "
            "acct_mulaid_pay, psn_cash_pay, wallet_pay in yuan, and, where a record has no setl_id, infno and msgid.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the day's differences into this CSV file.")] = None,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Show how a day stands, or compare a file of the institution's records with ours.

    The same file again changes nothing. Exit code 0: the day balances; 1: something differs, or nothing was ever sent;
    2: it could not be done.
    """
    # Imported here so that every other command starts without them.
    from rich.console import Console  # noqa: PLC0415  As above.

    from gongji.settlement.v1 import reconciliation_pb2 as pb  # noqa: PLC0415  As above.
    from ops.identity.export import as_json as document_of  # noqa: PLC0415  As above.
    from ops.reconcile.statement import write_differences, write_header  # noqa: PLC0415  As above.
    from ops.reconcile.view import show_day, show_result  # noqa: PLC0415  As above.

    console = Console(highlight=False)

    async def done(desk: Desk) -> pb.ReconcileDetailResponse | pb.GetReconciliationResponse:
        told = (
            await desk.day(fixmedins_code, stmt_date)
            if file is None
            else await _compared(desk, fixmedins_code, stmt_date, file, console, quiet=as_json)
        )
        if out is not None:
            with out.open("w", encoding="utf-8", newline="") as opened:
                write_header(opened)
                async for each in desk.differences_of_day(fixmedins_code, stmt_date):
                    write_differences(opened, [each])
        return told

    told = _asked(address, operator, data, done)
    if as_json:
        print_json(document_of(told))
    elif isinstance(told, pb.GetReconciliationResponse):
        show_day(told, console)
    else:
        show_result(told.stmt_rslt, told.differences, console)
        known = "; the same rows as before" if told.existed else ""
        console.print(f"{told.theirs_cnt:,} rows beside {told.ours_cnt:,} records of ours{known}", soft_wrap=True)
    if told.stmt_rslt != pb.STMT_RSLT_BALANCED:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@reconcile.command("differences")
def differences(
    *,
    area: Annotated[str, typer.Option(help="Only of this area of care.")] = "",
    institution: Annotated[str, typer.Option(help="Only of this institution.")] = "",
    state: Annotated[str, typer.Option(help="open; or explained, resolved or cleared, of one institution.")] = "open",
    count_max: Annotated[int, typer.Option("--max", min=1, max=100_000, help="No more than so many.")] = 200,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """List what differs, the oldest day first. Exit code 0: nothing; 1: something; 2: it could not be done."""
    from rich.console import Console  # noqa: PLC0415  So that every other command starts without it.

    from gongji.settlement.v1 import reconciliation_pb2 as pb  # noqa: PLC0415  As above.
    from ops.identity.export import as_json as document_of  # noqa: PLC0415  As above.
    from ops.reconcile.view import show_difference  # noqa: PLC0415  As above.

    if state not in STATES:
        give_up(f"--state is one of {', '.join(STATES)}")
    number = pb.DifferenceState.Value(f"DIFFERENCE_STATE_{state.upper()}")
    found = _asked(
        address,
        operator,
        data,
        lambda desk: desk.differences(area=area, fixmedins_code=institution, state=number, count_max=count_max),
    )
    if as_json:
        print_json([document_of(each) for each in found])
    else:
        console = Console(highlight=False)
        for each in found:
            show_difference(each, console)
        console.print(f"{len(found):,} {state}")
    if found:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@reconcile.command("resolve")
def resolve(
    difference_id: Annotated[str, typer.Argument(metavar="DIFFERENCE_ID")],
    *,
    state: Annotated[str, typer.Option(help="explained: both sides stay as they are; resolved: it was put right.")],
    cause: Annotated[str, typer.Option(help="Why; part of the record, and names nobody.")],
    opter: Annotated[str, typer.Option(help="The officer who decides (经办人).")],
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Settle a difference. It stays settled whatever is sent again, unless it comes to differ otherwise.

    Exit code 0: it is settled so; 2: it is not, and the reason says why.
    """
    from rich.console import Console  # noqa: PLC0415  So that every other command starts without it.

    from gongji.settlement.v1 import reconciliation_pb2 as pb  # noqa: PLC0415  As above.
    from ops.identity.export import as_json as document_of  # noqa: PLC0415  As above.
    from ops.reconcile.view import show_difference  # noqa: PLC0415  As above.

    if state not in {"explained", "resolved"}:
        give_up("--state is explained or resolved")
    number = pb.DifferenceState.Value(f"DIFFERENCE_STATE_{state.upper()}")
    settled = _asked(
        address, operator, data, lambda desk: desk.resolve(difference_id, number, cause=cause, opter=opter)
    )
    if as_json:
        print_json(document_of(settled))
    else:
        show_difference(settled, Console(highlight=False))


async def _compared(
    desk: Desk, fixmedins_code: str, stmt_date: str, file: Path, console: Console, *, quiet: bool
) -> pb.ReconcileDetailResponse:
    from ops.batchfile.lines import taken_alone  # noqa: PLC0415  As above.
    from ops.reconcile.statement import read_statement  # noqa: PLC0415  As above.
    from ops.reconcile.view import SendingView  # noqa: PLC0415  As above.

    with taken_alone(file):
        statement = read_statement(file)
        view = SendingView(console, quiet=quiet, rows_cnt=statement.rows_cnt)
        with view.shown():
            return await desk.compare(fixmedins_code, stmt_date, statement, view.at)


def _asked(address: str, operator: str, data: Path, ask: Callable[[Desk], Awaitable[Result]]) -> Result:
    """What the service answers; ends the command if it refuses or is away."""
    from chassis.rpc.failures import PeerError  # noqa: PLC0415  As above.
    from kernel.failures import Failure  # noqa: PLC0415  As above.
    from ops.batchfile.lines import UnusableFileError  # noqa: PLC0415  As above.
    from ops.reaching import address_of, operator_of  # noqa: PLC0415  As above.
    from ops.reconcile.asking import opened  # noqa: PLC0415  As above.

    place = address or address_of("settlement", data)

    async def asked() -> Result:
        async with opened(place, operator_of(operator)) as desk:
            return await ask(desk)

    try:
        return asyncio.run(asked())
    except Failure as refusal:
        give_up(f"the settlement service refused: {refusal}")
    except (UnusableFileError, PeerError, OSError) as problem:
        give_up(problem)
    except KeyboardInterrupt:
        give_up("stopped; run the command again")
