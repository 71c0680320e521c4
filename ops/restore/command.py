"""The commands `gongji restore begin | compare | finish | decide | replay`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from ops.consent import Operator, Reason, Yes
from ops.mending import run
from ops.options import (
    EXIT_NEEDS_A_PERSON,
    HERE,
    AllAreas,
    AsJson,
    Coordinator,
    Data,
    Ledgers,
    Rooms,
    give_up,
    places_of,
    print_json,
)

restore = typer.Typer(
    name="restore",
    help="After a restore from an older backup: compare, heal what is proved, name what is not.",
    no_args_is_help=True,
)

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
    areas: AllAreas = "",
    rooms: Rooms = None,
) -> None:
    """Before a restored coordinator decides anything: a new epoch, sweeps and deadlines off, nothing new taken.

    Exit code 0: it restores; 2: nothing was done.
    """
    from ops.restore.flow import begin as work  # noqa: PLC0415  So that every other command starts without it.

    places = places_of(data, coordinator, ledgers, areas, rooms)
    run(work(places, operator=operator, reason=reason, yes=yes))


@restore.command()
def compare(
    *,
    restored_ledger: RestoredLedgers = None,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """What ledgers and coordinator know differently of each payment, and what would be changed. Writes nothing.

    While payments are in flight some of it is only that. Exit code 0: they agree; 1: they do not; 2: not compared.
    """
    from ops.restore.flow import compare as work  # noqa: PLC0415  As above.

    places = places_of(data, coordinator, ledgers, areas, rooms)
    comparison = run(work(places, restored_areas=restored_ledger or (), quiet=as_json))
    if as_json:
        print_json(comparison.as_json())
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
    areas: AllAreas = "",
    rooms: Rooms = None,
) -> None:
    """Carries out what the ledgers prove, puts aside what they do not, and lets the coordinator serve again.

    Exit code 0: it serves and nothing is left; 1: it serves, and a person must look at what was printed; 2: it still
    restores.
    """
    from ops.restore.flow import finish as work  # noqa: PLC0415  As above.

    places = places_of(data, coordinator, ledgers, areas, rooms)
    left = run(work(places, restored_areas=restored_ledger or (), operator=operator, reason=reason, yes=yes))
    if left:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@restore.command()
def decide(
    payment: Annotated[str, typer.Argument(metavar="PAYMENT", help="A payment_id that `finish` has put aside.")],
    decision: Annotated[str, typer.Argument(help="commit: its terminal was told OK; abort: it was not.")],
    *,
    restored_ledger: RestoredLedgers = None,
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    rooms: Rooms = None,
) -> None:
    """Decides one settlement that is held everywhere, by what its terminal's record says (its journal, its receipt).

    Exit code 0: decided; 2: nothing was done.
    """
    from ops.restore.flow import decide as work  # noqa: PLC0415  As above.

    if decision not in {"commit", "abort"}:
        give_up("say commit or abort")
    try:
        payment_id = UUID(payment)
    except ValueError:
        give_up(f"{payment} is no payment_id")
    places = places_of(data, coordinator, ledgers, areas, rooms)
    commit, restored_areas = decision == "commit", restored_ledger or ()
    run(
        work(
            places,
            payment_id,
            commit=commit,
            operator=operator,
            reason=reason,
            yes=yes,
            restored_areas=restored_areas,
        )
    )


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
    areas: AllAreas = "",
    rooms: Rooms = None,
) -> None:
    """Books again in a restored ledger what the coordinator's record says it has lost; it may be run again.

    Exit code 0: nothing is missing any more; 1: a person must look at what was printed; 2: nothing was done.
    """
    from ops.restore.flow import replay as work  # noqa: PLC0415  As above.

    places = places_of(data, coordinator, ledgers, areas, rooms)
    if run(work(places, area, operator=operator, reason=reason, yes=yes)):
        raise typer.Exit(EXIT_NEEDS_A_PERSON)
