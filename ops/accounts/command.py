"""The commands `gongji accounts ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.consent import Operator, Reason, Yes
from ops.options import (
    EXIT_NEEDS_A_PERSON,
    HERE,
    AllAreas,
    AsJson,
    Coordinator,
    Data,
    Ledgers,
    checked_address,
    give_up,
    places_of,
    print_json,
)

Address = Annotated[
    str,
    typer.Option(callback=checked_address, help="HOST:PORT of the settlement service, for one that runs elsewhere."),
]

accounts = typer.Typer(name="accounts", help="Personal accounts, by the file and by the area.", no_args_is_help=True)


@accounts.command("credit")
def credit(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV in UTF-8 or GB18030 with a header: row_id, psn_no, area, part (CURRENT, 当年, PAST, 历年) and "
            "amount_fen, or amount in yuan. Its last line is TOTAL,<rows>,,,<sum>, or FILE.total.csv has count and "
            "amount_fen or amount.",
        ),
    ],
    *,
    address: Address = "",
    in_flight: Annotated[int, typer.Option(min=1, max=32, help="Batches of 500 rows on their way at once.")] = 4,
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Credit the personal accounts of a file, a row each, once for each row_id; the same file again changes nothing.

    Nothing is booked unless the rows come to the file's total. Refused lines are listed with their reasons in
    FILE.refused.csv. A run that was cut off goes on where it stood.
    Exit code 0: every line was taken; 1: some were refused; 2: the file cannot be used, or the service is away.
    """
    # Imported here so that every other command starts without them.
    from ops.accounts.crediting import credit_file  # noqa: PLC0415  As above.
    from ops.batchfile.running import run  # noqa: PLC0415  As above.

    run(
        credit_file,
        file,
        service="settlement",
        doing="crediting",
        done="credited",
        address=address,
        operator=operator,
        in_flight=in_flight,
        data=data,
        as_json=as_json,
    )


@accounts.command("year-turn")
def year_turn(
    *,
    year: Annotated[
        int | None, typer.Option(min=2000, max=2200, help="The year that has begun; left out, the present one.")
    ] = None,
    area: Annotated[list[str] | None, typer.Option(help="Only this area; may be given again for more.")] = None,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    as_json: AsJson = False,
) -> None:
    """Turn the current part of last year into the past part, on every account that nothing has touched this year yet.

    It may be stopped and run again at any time, beside payments and beside itself: an account is turned once.
    Exit code 0: every account has turned; 1: an area has some left, or its ledger is away; 2: nothing was done.
    """
    from rich.console import Console  # noqa: PLC0415  So that every other command starts without it.

    from chassis.telemetry import configure_logging  # noqa: PLC0415  As above.
    from ops.accounts.turn_view import TurnView  # noqa: PLC0415  As above.
    from ops.accounts.year_turn import turn_all  # noqa: PLC0415  As above.
    from ops.mending import run  # noqa: PLC0415  As above.

    urls = places_of(data, coordinator, ledgers, areas, None).ledger_urls
    unknown = [each for each in area or [] if each not in urls]
    if unknown:
        give_up(f"no ledger of {', '.join(unknown)} is known")
    configure_logging("year-turn", "warning")
    view = TurnView(Console(highlight=False), quiet=as_json)
    try:
        with view.shown():
            turns = run(turn_all({each: urls[each] for each in area or urls}, year=year, told=view.at))
    except KeyboardInterrupt:
        give_up("stopped; run the command again to go on")
    for turn in turns:
        view.ended(turn)
    if as_json:
        print_json([turn.as_json() for turn in turns])
    if not all(turn.is_done for turn in turns):
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@accounts.command("close")
def close(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="PSN_NO, or PSN_NO/WALLET.")],
    area: Annotated[str, typer.Argument(help="The area whose ledger keeps it.")],
    *,
    cause: Annotated[str, typer.Option(help="DIED, MOVED, or another word in capitals; part of the record.")],
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
) -> None:
    """Close an account of somebody who has died or moved away; payments in flight are finished first.

    What is left then waits in the area's suspense: bring it to the heirs' account with `gongji suspense close`.
    Exit code 0: it is closed; 1: it is closed as soon as its last payment in flight has ended; 2: nothing was done.
    """
    import re  # noqa: PLC0415  So that every other command starts without it.
    from uuid import uuid4  # noqa: PLC0415  As above.

    from chassis.telemetry import configure_logging  # noqa: PLC0415  As above.
    from ops.accounts.closing import close_account  # noqa: PLC0415  As above.
    from ops.closing.suspense import account_named  # noqa: PLC0415  As above.
    from ops.mending import run  # noqa: PLC0415  As above.

    if not re.fullmatch(r"[A-Z][A-Z0-9_]{2,62}", cause):
        give_up("--cause is one word of capitals, digits and _")
    try:
        key = account_named(account)
    except ValueError as problem:
        give_up(problem)
    if key is None:
        give_up("the fund has no account to close")
    places = places_of(data, coordinator, ledgers, areas, None)
    configure_logging("accounts", "warning")
    if not run(
        close_account(places, area, key, closing_id=uuid4(), cause=cause, operator=operator, reason=reason, yes=yes)
    ):
        raise typer.Exit(EXIT_NEEDS_A_PERSON)
