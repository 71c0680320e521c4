"""The commands `gongji identity ...`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from ops.consent import Operator
from ops.options import EXIT_NEEDS_A_PERSON, HERE, AsJson, Data, give_up, print_json

identity = typer.Typer(name="identity", help="People, by the file.", no_args_is_help=True)


@identity.command("register")
def register(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV in UTF-8 or GB18030 with a header: psn_cert_type, certno, psn_name and, as far as there are, "
            "brdy, gend, psn_no, insutype, insuplc_admdvs.",
        ),
    ],
    *,
    address: Annotated[str, typer.Option(help="HOST:PORT of the identity service, for one that runs elsewhere.")] = "",
    in_flight: Annotated[int, typer.Option(min=1, max=32, help="Batches of 500 rows on their way at once.")] = 4,
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Register and enrol the people of a file, a row each; the same file again changes nothing.

    Refused lines are listed with their reasons in FILE.refused.csv. A run that was cut off goes on where it stood.
    Exit code 0: every line was taken; 1: some were refused; 2: the file cannot be used, or the service is away.
    """
    # Imported here so that every other command starts without them.
    from rich.console import Console  # noqa: PLC0415  As above.

    from kernel.failures import Failure  # noqa: PLC0415  As above.
    from ops.identity.lines import UnusableFileError  # noqa: PLC0415  As above.
    from ops.identity.places import address_of_identity, operator_of  # noqa: PLC0415  As above.
    from ops.identity.progress import report_of  # noqa: PLC0415  As above.
    from ops.identity.registering import register_file  # noqa: PLC0415  As above.
    from ops.identity.view import View  # noqa: PLC0415  As above.

    began = time.monotonic()
    view = View(Console(highlight=False), quiet=as_json)
    place = address or address_of_identity(data)
    try:
        with view.shown():
            done = asyncio.run(
                register_file(file, address=place, caller=operator_of(operator), in_flight=in_flight, view=view)
            )
    except UnusableFileError as problem:
        give_up(problem)
    except Failure as problem:
        give_up(f"the identity service refused: {problem}. Run the command again to go on where it stood.")
    except KeyboardInterrupt:
        give_up("stopped. Run the command again to go on where it stood.")
    view.ended(done, report_of(file))
    if as_json:
        print_json(
            {
                "lines": done.line,
                "registered": done.new,
                "existed": done.existed,
                "refused": done.refused,
                "report": str(report_of(file)) if done.refused else None,
                "seconds": round(time.monotonic() - began, 3),
            }
        )
    if done.refused:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)
