"""The commands `gongji identity ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.consent import Operator
from ops.identity.export_command import export, export_schema
from ops.identity.kinship import kinship
from ops.options import HERE, AsJson, Data, checked_address

identity = typer.Typer(
    name="identity",
    help="People, institutions and kinship by the file, the officer's queue, one person's whole file.",
    no_args_is_help=True,
)
identity.add_typer(kinship)
identity.command("export")(export)
identity.command("export-schema")(export_schema)


@identity.command("register")
def register(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV in UTF-8 or GB18030 with a header: psn_cert_type, certno, psn_name and, as far as there are, "
            "brdy, gend, psn_no, insutype, insuplc_admdvs, psn_type.",
        ),
    ],
    *,
    address: Annotated[
        str,
        typer.Option(callback=checked_address, help="HOST:PORT of the identity service, for one that runs elsewhere."),
    ] = "",
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
    from ops.batchfile.running import run  # noqa: PLC0415  As above.
    from ops.identity.registering import register_file  # noqa: PLC0415  As above.

    run(
        register_file,
        file,
        service="identity",
        doing="registering",
        done="registered",
        address=address,
        operator=operator,
        in_flight=in_flight,
        data=data,
        as_json=as_json,
    )


@identity.command("register-institutions")
def register_institutions(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV in UTF-8 or GB18030 with a header: fixmedins_code, fixmedins_name and, as far as there are, "
            "level, agreement_from_date, agreement_to_date, capabilities, wallet_capable, longitude, latitude, admdvs, "
            "terminal_no, terminal_name.",
        ),
    ],
    *,
    address: Annotated[
        str,
        typer.Option(callback=checked_address, help="HOST:PORT of the identity service, for one that runs elsewhere."),
    ] = "",
    in_flight: Annotated[int, typer.Option(min=1, max=32, help="Batches of 500 rows on their way at once.")] = 4,
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Register the institutions of a file and their terminals, a row for each terminal; again it changes nothing.

    Lines that contradict each other are refused with the whole file, before anything is sent; other refused lines are
    listed with their reasons in FILE.refused.csv. A run that was cut off goes on where it stood.
    Exit code 0: every line was taken; 1: some were refused; 2: the file cannot be used, or the service is away.
    """
    # Imported here so that every other command starts without them.
    from ops.batchfile.running import run  # noqa: PLC0415  As above.
    from ops.identity.institutions import register_institutions_file  # noqa: PLC0415  As above.

    run(
        register_institutions_file,
        file,
        service="identity",
        doing="registering",
        done="registered",
        address=address,
        operator=operator,
        in_flight=in_flight,
        data=data,
        as_json=as_json,
    )
