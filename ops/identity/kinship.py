"""The commands `gongji identity kinship ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.consent import Operator
from ops.options import HERE, AsJson, Data

kinship = typer.Typer(name="kinship", help="Kinship facts and the civil registry.", no_args_is_help=True)


@kinship.command("load-registry")
def load_registry(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV in UTF-8 or GB18030 with a header: kind (PARENT_OF: certno_a is a parent of certno_b; "
            "MARRIED_TO; SIBLING_OF), certno_a, certno_b and, for marriages, from_date, to_date.",
        ),
    ],
    *,
    address: Annotated[str, typer.Option(help="HOST:PORT of the identity service, for one that runs elsewhere.")] = "",
    in_flight: Annotated[int, typer.Option(min=1, max=32, help="Batches of 500 rows on their way at once.")] = 4,
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Load what the civil registry knows of parents, marriages and siblings; the same file again changes nothing.

    Facts that wait, and those submitted from then on, are checked against it. Certificates are kept as keyed indexes.
    Refused lines are listed with their reasons in FILE.refused.csv. A run that was cut off goes on where it stood.
    Exit code 0: every line was taken; 1: some were refused; 2: the file cannot be used, or the service is away.
    """
    # Imported here so that every other command starts without them.
    from ops.identity.loading import load_registry_file  # noqa: PLC0415  As above.
    from ops.identity.running import run  # noqa: PLC0415  As above.

    run(
        load_registry_file,
        file,
        doing="loading",
        done="loaded",
        address=address,
        operator=operator,
        in_flight=in_flight,
        data=data,
        as_json=as_json,
    )
