"""The command `gongji demo`."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from ops.demo.view import View
    from ops.embedded.runtime import Runtime

DATA_FOLDER: Final = Path(".gongji-demo")
EXIT_NOT_SO: Final = 1


def demo(
    *,
    data: Annotated[
        Path, typer.Option(help="The demo's own data folder; it is emptied first and removed at the end.")
    ] = DATA_FOLDER,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the data folder for a look at logs and databases.")
    ] = False,
) -> None:
    """Show the main job on real processes: a bill split over a family and paid, all or nothing.

    Exit code 1 if anything is not as it must be.
    """
    # Imported here so that every other command starts without them.
    from rich.console import Console  # noqa: PLC0415  As above.

    from ops.demo.people import AREAS  # noqa: PLC0415  As above.
    from ops.demo.view import View  # noqa: PLC0415  As above.
    from ops.embedded.processes import CannotStart  # noqa: PLC0415  As above.
    from ops.embedded.runtime import Runtime  # noqa: PLC0415  As above.

    view = View(Console(highlight=False))
    runtime = Runtime(data, areas=AREAS)
    began = time.monotonic()
    try:
        asyncio.run(_told(runtime, view, keep=keep))
    except CannotStart as refusal:
        view.wrong(str(refusal))
    view.end(time.monotonic() - began)
    if view.problems:
        raise typer.Exit(EXIT_NOT_SO)


async def _told(runtime: Runtime, view: View, *, keep: bool) -> None:
    from ops.embedded.folders import FolderLock  # noqa: PLC0415  As in `demo`.

    view.title()
    if runtime.folder.exists():
        # What an interrupted demo left; if one still runs there, this says so.
        lock = FolderLock(runtime.folder)
        lock.take()
        lock.free()
        await runtime.destroy()
    try:
        began = time.monotonic()
        with view.waiting("starting PostgreSQL, NATS and five processes ..."):
            await runtime.start()
        view.processes(runtime.running())
        view.good(f"all ready after {time.monotonic() - began:.1f} s")
        await _chapters(runtime, view)
    finally:
        await runtime.stop()
        if not keep:
            await runtime.destroy()


async def _chapters(runtime: Runtime, view: View) -> None:
    from kernel.callers import parsed_caller  # noqa: PLC0415  As in `demo`.
    from ops.demo.people import AREAS, HOSPITAL  # noqa: PLC0415  As in `demo`.
    from ops.demo.story import Story  # noqa: PLC0415  As in `demo`.
    from ops.desks import desks_at  # noqa: PLC0415  As in `demo`.
    from ops.places import Places  # noqa: PLC0415  As in `demo`.
    from ops.told import wait_until_told  # noqa: PLC0415  As in `demo`.
    from ops.verify.run import verify  # noqa: PLC0415  As in `demo`.
    from ops.visits import counter_at  # noqa: PLC0415  As in `demo`.

    world = runtime.world
    journal = runtime.folder / "terminal.sqlite"
    services = [world.database_url(name) for name in ("identity", "family", "settlement")]
    told = partial(wait_until_told, databases=services, nats_url=world.nats_url, bus_prefix=world.bus_prefix)
    async with AsyncExitStack() as stack:
        desks = await stack.enter_async_context(desks_at(world.address, caller=parsed_caller("operator:demo")))
        counter = await stack.enter_async_context(
            counter_at(desks, world.address, fixmedins_code=HOSPITAL, journal=journal, at_work=False)
        )
        story = Story(world, desks, counter, view, told)
        view.chapter("0", "A family in two insurance areas")
        await story.family()
        view.chapter("a", "A hospital bill: own account, two relatives in two areas, cash")
        await story.ordinary_bill()
        view.chapter("b", "A funder's account changes between plan and payment")
        await story.changed_source()
        view.chapter("c", "The ledger is killed in the middle of a payment")
        await story.killed_ledger()
        view.chapter("d", "What each of them was told")
        await story.messages()
        view.chapter("e", "gongji verify: what must hold after any fault")
        view.require(await story.at_rest(), "every payment has come to its end")
    places = Places(world.database_url("settlement"), {area: world.ledger_database_url(area) for area in AREAS})
    report = await verify(places, journals=[journal])
    view.report(report)
