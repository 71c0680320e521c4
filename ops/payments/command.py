"""The commands `gongji payments stuck | explain | drive | quarantine`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from ops.consent import NotAgreedError, Operator, Reason, Yes, agreed
from ops.options import (
    EXIT_NEEDS_A_PERSON,
    HERE,
    Areas,
    AsJson,
    Coordinator,
    Data,
    Ledgers,
    Rooms,
    give_up,
    places_of,
    print_json,
)

if TYPE_CHECKING:
    from ops.payments.driving import Proposal
    from ops.places import Places

WAIT_DEFAULT_S: Final = 15.0
_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}

Result = TypeVar("Result")

payments = typer.Typer(
    name="payments", help="For the person on call: what is stuck, and the story of a payment.", no_args_is_help=True
)


Payment = Annotated[str, typer.Argument(metavar="ID", help="A payment_id (setl_id), or institution/infno/msgid.")]


@payments.command()
def stuck(
    *,
    older_than: Annotated[str, typer.Option(help="Longer than this beyond its time: 90, 60s, 5m, 2h.")] = "60s",
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """List what should long be finished: payments, holds, account commands, dead letters, outboxes. Writes nothing.

    Exit code 0: nothing; 1: something is, or a database could not be read; 2: the coordinator's could not.
    """
    from ops.payments.databases import opened  # noqa: PLC0415  So that every other command starts without it.
    from ops.payments.stuck import Stuck, find_stuck  # noqa: PLC0415  As above.

    async def find(places: Places, pause: timedelta) -> Stuck:
        async with opened(places) as databases:
            return await find_stuck(databases, older_than=pause)

    try:
        pause = parsed_duration(older_than)
    except ValueError as problem:
        give_up(problem)
    found = _run(find(places_of(data, coordinator, ledgers, areas, rooms), pause))
    if as_json:
        print_json(found.as_json())
    else:
        from ops.payments.view import console, show_stuck  # noqa: PLC0415  Only people need rich.

        show_stuck(found, console())
    if not found.is_clear:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@payments.command()
def explain(
    payment: Payment,
    *,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """Tell the whole story of one payment: who wrote what, when, why, where, and what comes next. Writes nothing.

    Exit code 0: told; 1: told, and a person must look at it; 2: it is unknown, or could not be read.
    """
    from ops.payments.databases import opened  # noqa: PLC0415  So that every other command starts without it.
    from ops.payments.story import Story, tell  # noqa: PLC0415  As above.

    async def find(places: Places) -> Story:
        async with opened(places) as databases:
            return await tell(databases, payment)

    story = _run(find(places_of(data, coordinator, ledgers, areas, rooms)))
    if as_json:
        print_json(story.as_json())
    else:
        from ops.payments.view import console, show_story  # noqa: PLC0415  Only people need rich.

        show_story(story, console())
    if story.troubles or story.unreachable:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@payments.command()
def quarantine(
    *,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
    as_json: AsJson = False,
) -> None:
    """List what waits for a person, with what it means and what to do. Writes nothing.

    Exit code 0: nothing; 1: something does, or a ledger could not be read; 2: the coordinator's could not.
    """
    from ops.payments.databases import opened  # noqa: PLC0415  So that every other command starts without it.
    from ops.payments.quarantine import Quarantine, find_quarantined  # noqa: PLC0415  As above.

    async def find(places: Places) -> Quarantine:
        async with opened(places) as databases:
            return await find_quarantined(databases)

    found = _run(find(places_of(data, coordinator, ledgers, areas, rooms)))
    if as_json:
        print_json(found.as_json())
    else:
        from ops.payments.view import console, show_quarantine  # noqa: PLC0415  Only people need rich.

        show_quarantine(found, console())
    if found.cases or found.unreachable:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@payments.command()
def drive(
    payment: Annotated[
        str, typer.Argument(metavar="ID", help="A payment_id, institution/infno/msgid, or a freeze's request_id.")
    ],
    *,
    reason: Reason = "",
    operator: Operator = "",
    yes: Yes = False,
    wait_s: Annotated[float, typer.Option("--wait", help="How many seconds to wait for the end.")] = WAIT_DEFAULT_S,
    data: Data = HERE,
    coordinator: Coordinator = None,
    ledgers: Ledgers = None,
    areas: Areas = "",
    rooms: Rooms = None,
) -> None:
    """Let recovery take a payment or freeze up now: shows what will change, asks, records who and why, tells the end.

    Exit code 0: it is finished; 1: it is not, look at what was printed; 2: nothing was done.
    """
    places = places_of(data, coordinator, ledgers, areas, rooms)
    after = _run(_driven(places, payment, operator=operator, reason=reason, yes=yes, wait_s=wait_s))
    if not after.is_finished:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


async def _driven(places: Places, payment: str, *, operator: str, reason: str, yes: bool, wait_s: float) -> Proposal:
    from ops.payments.databases import connect, opened  # noqa: PLC0415  As in `drive`.
    from ops.payments.driving import bring_forward, propose, watch  # noqa: PLC0415  As in `drive`.
    from ops.payments.view import console, show_outcome, show_proposal  # noqa: PLC0415  As in `drive`.

    out = console()
    async with opened(places) as databases:
        proposal = await propose(databases, payment)
        show_proposal(proposal, out)
        if proposal.is_finished:
            return proposal
        if not proposal.is_due:
            consent = agreed(operator=operator, reason=reason, yes=yes)
            connection = await connect(places.coordinator_url, read_only=False)
            try:
                await bring_forward(connection, proposal, consent)
            finally:
                await connection.close()
            out.print(f"changed and recorded as {consent.operator}'s; waiting up to {wait_s:g} s", soft_wrap=True)
        after = await watch(databases, proposal, wait_s=wait_s)
        show_outcome(proposal, after, out)
        return after


def parsed_duration(text: str) -> timedelta:
    """60, 60s, 5m, 2h, 1d; ValueError otherwise."""
    found = re.fullmatch(r"([0-9]{1,7})\s*(s|m|min|h|d)?", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration: write 90, 60s, 5m, 2h or 1d")
    return timedelta(seconds=int(found[1]) * _UNITS_S[found[2] or ""])


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """What the work finds; ends the command where it cannot be done."""
    from chassis.db import DRIVER_ERRORS  # noqa: PLC0415  As above.
    from ops.payments.databases import described  # noqa: PLC0415  As above.
    from ops.payments.driving import CannotDriveError  # noqa: PLC0415  As above.
    from ops.payments.story import UnknownPaymentError  # noqa: PLC0415  As above.

    try:
        return asyncio.run(work)
    except (CannotDriveError, NotAgreedError, UnknownPaymentError, ValueError) as problem:
        give_up(problem)
    except DRIVER_ERRORS as problem:
        give_up(f"the settlement database could not be read: {described(problem)}")
