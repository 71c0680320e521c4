"""What the commands that read a running system have in common: their options, their exit codes, how they give up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from chassis.addresses import PORT_MAX, is_address

if TYPE_CHECKING:
    from ops.places import Places

EXIT_NEEDS_A_PERSON: Final = 1
EXIT_CANNOT_RUN: Final = 2

HERE: Final = Path(".gongji")
Data = Annotated[Path, typer.Option(help="The data folder of a running `gongji up`.")]
Coordinator = Annotated[
    str | None, typer.Option(help="The settlement database's URL, for a system that runs elsewhere.")
]
Ledgers = Annotated[
    str | None, typer.Option(help="The ledger databases' URL with {area} in it; goes with --coordinator.")
]
Areas = Annotated[str, typer.Option(help="The areas of those ledgers, parted by commas.")]
AllAreas = Annotated[str, typer.Option(help="The areas of those ledgers, parted by commas: all of them.")]
Rooms = Annotated[
    str | None,
    typer.Option(help="The URL of the databases of identity, family and notify with {room} in it; may be left out."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON, amounts in fen.")]


def places_of(data: Path, coordinator: str | None, ledgers: str | None, areas: str, rooms: str | None) -> Places:
    """Where the databases are, by these options; ends the command where that cannot be told."""
    from ops.embedded.processes import CannotStart  # noqa: PLC0415  So that every other command starts without it.
    from ops.places import find_places  # noqa: PLC0415  As above.

    try:
        return find_places(data=data, coordinator=coordinator, ledgers=ledgers, areas=areas, rooms=rooms)
    except (CannotStart, OSError, ValueError) as problem:
        give_up(problem)


def checked_address(text: str | None) -> str | None:
    """HOST:PORT as it was given, or nothing; anything else ends the command with 2."""
    if text and not is_address(text):
        raise typer.BadParameter(f"must be HOST:PORT, the port between 1 and {PORT_MAX}")
    return text


def print_json(document: object) -> None:
    """For machines."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def give_up(problem: object) -> NoReturn:
    """Ends the command: it could not run, and the problem says why; a refusal by its name and its text."""
    from chassis.rpc.catalogue import texts_of  # noqa: PLC0415  So that every other command starts without it.
    from kernel.failures import Failure  # noqa: PLC0415  As above.

    if isinstance(problem, Failure):
        problem = f"{problem}: {texts_of(problem.reason).en}"
    sys.stderr.write(f"gongji: {problem}\n")
    raise typer.Exit(EXIT_CANNOT_RUN)
