"""The command `gongji settlement explain`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ops.options import (
    EXIT_NEEDS_A_PERSON,
    HERE,
    Areas,
    AsJson,
    Coordinator,
    Data,
    Ledgers,
    give_up,
    places_of,
    print_json,
)

if TYPE_CHECKING:
    from ops.places import Places
    from ops.settlements.explaining import Explanation

settlement = typer.Typer(
    name="settlement", help="What was settled, and why each fen is what it is.", no_args_is_help=True
)


@settlement.callback()
def _group() -> None:
    """So that one command alone is named all the same."""


@settlement.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="ID", help="A setl_id, or institution/infno/msgid.")],
    *,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    as_json: AsJson = False,
) -> None:
    """Derive a settlement's plan anew from the inputs that were kept with it, and compare each fen. Writes nothing.

    Exit code 0: it agrees; 1: it does not; 2: nothing can be derived, as its inputs were not kept or nobody knows it.
    """
    from chassis.db import DRIVER_ERRORS  # noqa: PLC0415  So that every other command starts without it.
    from ops.payments.databases import described, opened  # noqa: PLC0415  As above.
    from ops.payments.story import UnknownPaymentError  # noqa: PLC0415  As above.
    from ops.settlements.explaining import NotExplainedError, explained  # noqa: PLC0415  As above.

    async def read(places: Places) -> Explanation:
        async with opened(places) as databases:
            return await explained(databases, name)

    try:
        told = asyncio.run(read(places_of(data, coordinator, ledgers, areas, None)))
    except (UnknownPaymentError, NotExplainedError) as problem:
        give_up(problem)
    except DRIVER_ERRORS as problem:
        give_up(f"the settlement database could not be read: {described(problem)}")
    if as_json:
        print_json(told.as_json())
    else:
        from ops.payments.view import console  # noqa: PLC0415  Only people need rich.
        from ops.settlements.view import show  # noqa: PLC0415  As above.

        show(told, console())
    if not told.agrees:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)
