"""``gongji up``: the whole system on this machine, until ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from chassis.addresses import PORT_MAX

if TYPE_CHECKING:
    from ops.embedded.runtime import Runtime
    from ops.up_view import Voice

EXIT_CANNOT_START: Final = 1


def up(
    *,
    data: Annotated[Path, typer.Option(help="The folder of all data; delete it to start anew.")] = Path(".gongji"),
    areas: Annotated[str, typer.Option(help="The ledgers' areas, parted by commas.")] = "650100,650500",
    policies: Annotated[Path | None, typer.Option(help="The folder of region policies; else the shipped ones.")] = None,
    identity_port: Annotated[int, typer.Option(min=0, max=PORT_MAX, help="Its gRPC port; 0 takes any free one.")] = 0,
    family_port: Annotated[int, typer.Option(min=0, max=PORT_MAX, help="Its gRPC port; 0 takes any free one.")] = 0,
    settlement_port: Annotated[int, typer.Option(min=0, max=PORT_MAX, help="Its gRPC port; 0 takes any free one.")] = 0,
    ledger_port: Annotated[
        int, typer.Option(min=0, max=PORT_MAX, help="Its gRPC port, for health alone; 0 takes any free one.")
    ] = 0,
    notify_port: Annotated[int, typer.Option(min=0, max=PORT_MAX, help="Its gRPC port; 0 takes any free one.")] = 0,
    nats_port: Annotated[int, typer.Option(min=0, max=PORT_MAX, help="NATS's port; 0 takes any free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Start PostgreSQL, NATS and the five processes; ctrl-C stops all of it."""
    # Imported here so that every other command starts without them.
    from ops.embedded.runtime import Runtime  # noqa: PLC0415  As above.
    from ops.embedded.world import DEFAULT_POLICIES  # noqa: PLC0415  As above.
    from ops.up_view import Voice  # noqa: PLC0415  As above.

    voice = Voice(as_json=as_json)
    ports = {
        "identity": identity_port,
        "family": family_port,
        "settlement": settlement_port,
        "ledger": ledger_port,
        "notify": notify_port,
    }
    runtime = Runtime(
        data,
        areas=_parsed_areas(areas),
        policies=policies or DEFAULT_POLICIES,
        ports=ports,
        nats_port=nats_port,
        environment=_handed_on(os.environ),
        on_problem=voice.problem,
    )
    raise typer.Exit(asyncio.run(_run(runtime, voice)))


async def _run(runtime: Runtime, voice: Voice) -> int:
    """Runs until SIGINT, SIGTERM or SIGHUP; the exit code: 0 after a clean stop, 1 if it could not start."""
    from ops.embedded.processes import CannotStart  # noqa: PLC0415  As in `up`.

    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    began = time.monotonic()
    starting = asyncio.create_task(runtime.start())
    stopping = asyncio.create_task(_first(asked, runtime.lost))
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    try:
        await starting
    except CannotStart as refusal:
        stopping.cancel()
        voice.refused(refusal)
        return EXIT_CANNOT_START
    except asyncio.CancelledError:
        voice.stopped()
        return 0
    voice.ready(runtime.running(), folder=runtime.folder, seconds=time.monotonic() - began)
    await stopping
    voice.stopping()
    await runtime.stop()
    voice.stopped()
    return 0


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings a person gave that are not the world's own, such as GONGJI_LOG_LEVEL."""
    from ops.embedded.world import TOLD_BY_THE_WORLD  # noqa: PLC0415  As in `up`.

    return {
        key: value
        for key, value in environment.items()
        if key.startswith("GONGJI_") and not key.startswith("GONGJI_TEST_") and key not in TOLD_BY_THE_WORLD
    }


def _parsed_areas(text: str) -> list[str]:
    from kernel.failures import Failure  # noqa: PLC0415  As in `up`.
    from kernel.ids import parsed_admdvs  # noqa: PLC0415  As in `up`.

    areas = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    try:
        for area in areas:
            parsed_admdvs(area, field="areas")
    except Failure:
        areas = []
    if not areas:
        raise typer.BadParameter("six-digit codes parted by commas, such as 650100,650500", param_hint="--areas")
    return areas
