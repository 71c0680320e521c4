"""The commands `gongji alarms list | close`, `gongji suspense list | close`, `gongji deadletters list | show | …`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any
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

alarms = typer.Typer(name="alarms", help="Contradictions that a ledger has called someone for.", no_args_is_help=True)
suspense = typer.Typer(name="suspense", help="Money that was to go to a closed or moved account.", no_args_is_help=True)
deadletters = typer.Typer(name="deadletters", help="Events that a consumer could not take in.", no_args_is_help=True)


@alarms.command("list")
def list_alarms(
    *,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """List the open alarms of every ledger with what they mean. Writes nothing. Exit code 0: none; 1: some."""
    from ops.closing import flow  # noqa: PLC0415  So that every other command starts without it.

    _listed(flow.list_alarms(places_of(data, coordinator, ledgers, areas, rooms), quiet=as_json), as_json=as_json)


@alarms.command("close")
def close_alarms(
    subject: Annotated[str, typer.Argument(metavar="ID", help="The payment or credit that the alarms are about.")],
    *,
    kind: Annotated[str, typer.Option(help="Only alarms of this kind.")] = "",
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    rooms: Rooms = None,
) -> None:
    """Close the alarms about one payment or credit once their cause is settled; the same again raises them anew.

    Exit code 0: closed; 2: nothing was done.
    """
    from ops.closing import flow  # noqa: PLC0415  As above.

    subject_id = _id(subject)
    places = places_of(data, coordinator, ledgers, areas, rooms)
    run(flow.close_alarms(places, subject_id, kind=kind, operator=operator, reason=reason, yes=yes))


@suspense.command("list")
def list_suspense(
    *,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """List the money that waits for an officer. Writes nothing. Exit code 0: none; 1: some."""
    from ops.closing import flow  # noqa: PLC0415  As above.

    _listed(flow.list_suspense(places_of(data, coordinator, ledgers, areas, rooms), quiet=as_json), as_json=as_json)


@suspense.command("close")
def close_suspense(
    credit: Annotated[str, typer.Argument(metavar="ID", help="The credit or transfer that brought the money.")],
    leg: Annotated[int, typer.Argument(help="Its leg.")],
    *,
    to: Annotated[
        str,
        typer.Option(help="Where it goes: PSN_NO or PSN_NO/WALLET of the same ledger, or fund: out, to be paid there."),
    ],
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    rooms: Rooms = None,
) -> None:
    """Bring money out of suspense where the officer says, with entries against the suspense book.

    Exit code 0: moved; 2: nothing was moved.
    """
    from ops.closing import flow  # noqa: PLC0415  As above.
    from ops.closing.suspense import account_named  # noqa: PLC0415  As above.

    credit_id = _id(credit)
    try:
        account = account_named(to)
    except ValueError as problem:
        give_up(problem)
    places = places_of(data, coordinator, ledgers, areas, rooms)
    run(flow.close_suspense(places, credit_id, leg, account, operator=operator, reason=reason, yes=yes))


@deadletters.command("list")
def list_dead_letters(
    *,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """List the dead letters of every room. Writes nothing. Exit code 0: none; 1: some."""
    from ops.closing import flow  # noqa: PLC0415  As above.

    _listed(flow.list_letters(places_of(data, coordinator, ledgers, areas, rooms), quiet=as_json), as_json=as_json)


@deadletters.command("show")
def show_dead_letter(
    event: Annotated[str, typer.Argument(metavar="EVENT_ID")],
    *,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: AllAreas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: who could not take it in, why, and whether a newer event has healed it since."""
    from ops.closing import flow  # noqa: PLC0415  As above.

    places = places_of(data, coordinator, ledgers, areas, rooms)
    _listed(flow.list_letters(places, quiet=as_json, event_id=_id(event), details=True), as_json=as_json)


@deadletters.command("redrive")
def redrive_dead_letter(
    event: Annotated[str, typer.Argument(metavar="EVENT_ID")],
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
    """Let its consumer try a dead letter again, once its cause is mended; it comes back if it fails again.

    Exit code 0: the consumer is asked; 2: nothing was done.
    """
    from ops.closing import flow  # noqa: PLC0415  As above.

    event_id = _id(event)
    places = places_of(data, coordinator, ledgers, areas, rooms)
    run(flow.redrive_letter(places, event_id, operator=operator, reason=reason, yes=yes))


@deadletters.command("close")
def close_dead_letter(
    event: Annotated[str, typer.Argument(metavar="EVENT_ID")],
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
    """Give a dead letter up for good: its event never takes effect at that consumer.

    Exit code 0: closed; 2: nothing was done.
    """
    from ops.closing import flow  # noqa: PLC0415  As above.

    event_id = _id(event)
    places = places_of(data, coordinator, ledgers, areas, rooms)
    run(flow.close_letter(places, event_id, operator=operator, reason=reason, yes=yes))


def _listed(work: Coroutine[Any, Any, list[dict[str, object]]], *, as_json: bool) -> None:
    found = run(work)
    if as_json:
        print_json(found)
    if found:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        give_up(f"{text} is no id")
