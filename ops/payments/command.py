"""The commands `gongji payments stuck | explain | drive | quarantine`."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from ops.payments.driving import Proposal
    from ops.places import Places

EXIT_NEEDS_A_PERSON: Final = 1
EXIT_CANNOT_RUN: Final = 2
WAIT_DEFAULT_S: Final = 15.0
_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}

Result = TypeVar("Result")

payments = typer.Typer(
    name="payments", help="For the person on call: what is stuck, and the story of a payment.", no_args_is_help=True
)

Data = Annotated[Path, typer.Option(help="The data folder of a running `gongji up`.")]
Coordinator = Annotated[
    str | None, typer.Option(help="The settlement database's URL, for a system that runs elsewhere.")
]
Ledgers = Annotated[
    str | None, typer.Option(help="The ledger databases' URL with {area} in it; goes with --coordinator.")
]
Areas = Annotated[str, typer.Option(help="The areas of those ledgers, parted by commas.")]
Rooms = Annotated[
    str | None,
    typer.Option(help="The URL of the databases of identity, family and notify with {room} in it; may be left out."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON, amounts in fen.")]
Payment = Annotated[str, typer.Argument(metavar="ID", help="A payment_id (setl_id), or institution/infno/msgid.")]
HERE: Final = Path(".gongji")


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

    places, pause = _settled(lambda: (_places(data, coordinator, ledgers, areas, rooms), parsed_duration(older_than)))
    found = _run(find(places, pause))
    if as_json:
        _print_json(found.as_json())
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

    story = _run(find(_settled(lambda: _places(data, coordinator, ledgers, areas, rooms))))
    if as_json:
        _print_json(story.as_json())
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

    found = _run(find(_settled(lambda: _places(data, coordinator, ledgers, areas, rooms))))
    if as_json:
        _print_json(found.as_json())
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
    reason: Annotated[str, typer.Option(help="Why, for the audit record; asked for when left out.")] = "",
    operator: Annotated[str, typer.Option(help="Who, for the audit record; else the account of this machine.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation; needs --reason.")] = False,
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
    if yes and not reason.strip():
        _give_up("--yes needs --reason: the audit record says why")
    places = _settled(lambda: _places(data, coordinator, ledgers, areas, rooms))
    after = _run(
        _driven(places, payment, who=operator.strip() or getpass.getuser(), why=reason, yes=yes, wait_s=wait_s)
    )
    if not after.is_finished:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


async def _driven(places: Places, payment: str, *, who: str, why: str, yes: bool, wait_s: float) -> Proposal:
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
            if not yes:
                why = _asked(why)
            connection = await connect(places.coordinator_url, read_only=False)
            try:
                await bring_forward(connection, proposal, operator=who, reason=why.strip())
            finally:
                await connection.close()
            out.print(f"changed and recorded as {who}'s; waiting up to {wait_s:g} s", soft_wrap=True)
        after = await watch(databases, proposal, wait_s=wait_s)
        show_outcome(proposal, after, out)
        return after


def _asked(why: str) -> str:
    """The reason, once the operator has agreed; ends the command if he does not or there is nobody to ask."""
    if not sys.stdin.isatty():
        _give_up("nobody can be asked here: give --yes and --reason")
    while not why.strip():
        why = str(typer.prompt("Why (for the audit record)"))
    if not typer.confirm("Change it?"):
        _give_up("nothing was changed")
    return why


def parsed_duration(text: str) -> timedelta:
    """60, 60s, 5m, 2h, 1d; ValueError otherwise."""
    found = re.fullmatch(r"([0-9]{1,7})\s*(s|m|min|h|d)?", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration: write 90, 60s, 5m, 2h or 1d")
    return timedelta(seconds=int(found[1]) * _UNITS_S[found[2] or ""])


def _places(data: Path, coordinator: str | None, ledgers: str | None, areas: str, rooms: str | None) -> Places:
    from ops.places import find_places  # noqa: PLC0415  So that every other command starts without it.

    return find_places(data=data, coordinator=coordinator, ledgers=ledgers, areas=areas, rooms=rooms)


def _settled(settle: Callable[[], Result]) -> Result:
    """What the options mean; ends the command where they mean nothing."""
    from ops.embedded.processes import CannotStart  # noqa: PLC0415  As above.

    try:
        return settle()
    except (CannotStart, OSError, ValueError) as problem:
        _give_up(problem)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """What the work finds; ends the command where it cannot be done."""
    from ops.payments.databases import UNREACHABLE, described  # noqa: PLC0415  As above.
    from ops.payments.driving import CannotDriveError  # noqa: PLC0415  As above.
    from ops.payments.story import UnknownPaymentError  # noqa: PLC0415  As above.

    try:
        return asyncio.run(work)
    except (CannotDriveError, UnknownPaymentError, ValueError) as problem:
        _give_up(problem)
    except UNREACHABLE as problem:
        _give_up(f"the settlement database could not be read: {described(problem)}")


def _give_up(problem: object) -> NoReturn:
    sys.stderr.write(f"gongji payments: {problem}\n")
    raise typer.Exit(EXIT_CANNOT_RUN)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
