"""The commands `gongji identity export` and `gongji identity export-schema`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.consent import Operator
from ops.options import EXIT_NEEDS_A_PERSON, HERE, Data, checked_address, give_up, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernel.callers import Caller

Address = Annotated[
    str, typer.Option(callback=checked_address, help="HOST:PORT of that room, for a system that runs elsewhere.")
]


def export(
    psn_no: Annotated[str, typer.Argument(metavar="PSN_NO", help="The person's number.")],
    *,
    attestation: Annotated[
        str, typer.Option(help="The id of a face attestation of purpose EXPORT_DATA; it counts for this export alone.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; PSN_NO.json when left out. It must not exist yet.")
    ] = None,
    identity: Address = "",
    family: Address = "",
    settlement: Address = "",
    notify: Address = "",
    operator: Operator = "",
    data: Data = HERE,
) -> None:
    """Write everything held about one person into one JSON file that only you can read.

    Identity's part holds certificate and name in clear; family, accounts and messages are joined as those rooms show
    them. The look-up is on record before anything is shown. Exit code 0: written; 1: written, and the file says which
    part another room did not give; 2: nothing was written.
    """
    from kernel.failures import Failure  # noqa: PLC0415  So that every other command starts without it.
    from ops.identity.export import write_file  # noqa: PLC0415  As above.
    from ops.reaching import operator_of  # noqa: PLC0415  As above.

    file = out or Path(f"{psn_no}.json")
    if file.exists():
        give_up(f"{file} exists already; name another file with --out")
    given = {"identity": identity, "family": family, "settlement": settlement, "notify": notify}
    caller = operator_of(operator)
    try:
        content, missing = asyncio.run(_exported(psn_no, attestation, _addresses(given, data), caller))
        write_file(file, content)
    except Failure as refusal:
        give_up(refusal)
    except OSError as problem:
        give_up(f"{file} cannot be written: {problem.strerror}")
    sys.stdout.write(f"{file} holds everything about {psn_no}\n")
    for each in missing:
        sys.stderr.write(f"missing: {each}\n")
    if missing:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


def export_schema() -> None:
    """Print the JSON Schema of identity's part of an export (docs/person-export.schema.json)."""
    from services.identity.domain.rights import json_schema  # noqa: PLC0415  As above.

    print_json(json_schema())


async def _exported(
    psn_no: str, attestation: str, address_of: Callable[[str], str], caller: Caller
) -> tuple[dict[str, Any], list[str]]:
    from ops.identity.export import everything, rooms_at  # noqa: PLC0415  As above.

    async with rooms_at(address_of, caller) as rooms:
        return await everything(rooms, psn_no=psn_no, attestation_id=attestation)


def _addresses(given: Mapping[str, str], data: Path) -> Callable[[str], str]:
    """Where the rooms are: as given, else as the data folder of a running system tells."""
    if all(given.values()):
        return given.__getitem__
    from ops.embedded.processes import CannotStart  # noqa: PLC0415  As above.
    from ops.embedded.runtime import read_running  # noqa: PLC0415  As above.

    try:
        told = read_running(data).get("addresses")
    except (CannotStart, OSError, ValueError) as problem:
        give_up(problem)
    found = {name: given[name] or str((told if isinstance(told, dict) else {}).get(name, "")) for name in given}
    unknown = sorted(name for name, address in found.items() if not address)
    if unknown:
        give_up(f"{data} does not tell where {', '.join(unknown)} answers; name it with --{unknown[0]}")
    return found.__getitem__
