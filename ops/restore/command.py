"""The commands `gongji restore begin | compare | finish | decide | replay`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from uuid import UUID

import typer

from ops.consent import Operator, Reason, Yes
from ops.payments.command import HERE, AsJson, Coordinator, Data, Ledgers, Rooms

if TYPE_CHECKING:
    from ops.places import Places

EXIT_NEEDS_A_PERSON: Final = 1
EXIT_CANNOT_RUN: Final = 2

restore = typer.Typer(
    name="restore",
    help="After a restore from an older backup: compare, heal what is proved, name what is not.",
    no_args_is_help=True,
)

Areas = Annotated[str, typer.Option(help="The areas of those ledgers, parted by commas: all of them.")]
RestoredLedgers = Annotated[
    list[str] | None,
    typer.Option("--restored-ledger", help="An area whose ledger was restored as well; may be given again."),
]


@restore.command()
def begin(
    *,
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
) -> None:
    """Before a restored coordinator decides anything: a new epoch, sweeps and deadlines off, nothing new taken.

    Exit code 0: it restores; 2: nothing was done.
    """
    from ops.restore.flow import begin as work  # noqa: PLC0415  So that every other command starts without it.

    places = _places(data, coordinator, ledgers, areas, rooms)
    _run(work(places, operator=operator, reason=reason, yes=yes))


@restore.command()
def compare(
    *,
    restored_ledger: RestoredLedgers = None,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """What ledgers and coordinator know differently of each payment, and what would be changed. Writes nothing.

    While payments are in flight some of it is only that. Exit code 0: they agree; 1: they do not; 2: not compared.
    """
    from ops.restore.flow import compare as work  # noqa: PLC0415  As above.

    places = _places(data, coordinator, ledgers, areas, rooms)
    comparison = _run(work(places, restored_areas=restored_ledger or (), quiet=as_json))
    if as_json:
        sys.stdout.write(json.dumps(comparison.as_json(), ensure_ascii=False, indent=1) + "\n")
    if comparison.items:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@restore.command()
def finish(
    *,
    restored_ledger: RestoredLedgers = None,
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
) -> None:
    """Carries out what the ledgers prove, puts aside what they do not, and lets the coordinator serve again.

    Exit code 0: it serves and nothing is left; 1: it serves, and a person must look at what was printed; 2: it still
    restores.
    """
    from ops.restore.flow import finish as work  # noqa: PLC0415  As above.

    places = _places(data, coordinator, ledgers, areas, rooms)
    left = _run(work(places, restored_areas=restored_ledger or (), operator=operator, reason=reason, yes=yes))
    if left:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@restore.command()
def decide(
    payment: Annotated[str, typer.Argument(metavar="PAYMENT", help="A payment_id that `finish` has put aside.")],
    decision: Annotated[str, typer.Argument(help="commit: its terminal was told OK; abort: it was not.")],
    *,
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
) -> None:
    """Decides one settlement that is held everywhere, by what its terminal's record says (its journal, its receipt).

    Exit code 0: decided; 2: nothing was done.
    """
    from ops.restore.flow import decide as work  # noqa: PLC0415  As above.

    if decision not in {"commit", "abort"}:
        _give_up("say commit or abort")
    try:
        payment_id = UUID(payment)
    except ValueError:
        _give_up(f"{payment} is no payment_id")
    places = _places(data, coordinator, ledgers, areas, rooms)
    _run(work(places, payment_id, commit=decision == "commit", operator=operator, reason=reason, yes=yes))


@restore.command()
def replay(
    area: Annotated[str, typer.Argument(help="The area whose ledger was restored; its process may be stopped.")],
    *,
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
) -> None:
    """Books again in a restored ledger what the coordinator's record says it has lost; it may be run again.

    Exit code 0: nothing is missing any more; 1: a person must look at what was printed; 2: nothing was done.
    """
    from ops.restore.flow import replay as work  # noqa: PLC0415  As above.

    places = _places(data, coordinator, ledgers, areas, rooms)
    if _run(work(places, area, operator=operator, reason=reason, yes=yes)):
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


def _places(data: Path, coordinator: str | None, ledgers: str | None, areas: str, rooms: str | None) -> Places:
    """Where the databases are; ends the command where that cannot be told."""
    from ops.embedded.processes import CannotStart  # noqa: PLC0415  As above.
    from ops.places import find_places  # noqa: PLC0415  As above.

    try:
        return find_places(data=data, coordinator=coordinator, ledgers=ledgers, areas=areas, rooms=rooms)
    except (CannotStart, OSError, ValueError) as problem:
        _give_up(problem)


def _run(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  What the work gives.
    from ops.consent import NotAgreedError  # noqa: PLC0415  As above.
    from ops.restore.sources import CannotRestoreError  # noqa: PLC0415  As above.

    try:
        return asyncio.run(work)
    except (CannotRestoreError, NotAgreedError) as problem:
        _give_up(problem)


def _give_up(problem: object) -> NoReturn:
    sys.stderr.write(f"gongji restore: {problem}\n")
    raise typer.Exit(EXIT_CANNOT_RUN)
