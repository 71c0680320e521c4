"""One command that takes a file in, from its first look to its exit code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

import typer
from rich.console import Console

from chassis.rpc.failures import PeerError
from kernel.callers import Caller
from kernel.failures import Failure
from ops.batchfile.lines import UnusableFileError
from ops.batchfile.progress import Done, report_of
from ops.batchfile.view import View
from ops.options import EXIT_NEEDS_A_PERSON, give_up, print_json
from ops.reaching import address_of, operator_of


class Take(Protocol):
    """Takes one kind of file: ``register_file`` and its like."""

    def __call__(  # noqa: D102  Said by the class.
        self, path: Path, *, address: str, caller: Caller, in_flight: int, view: View
    ) -> Awaitable[Done]: ...


def run(
    take: Take,
    file: Path,
    *,
    service: str,
    doing: str,
    done: str,
    address: str,
    operator: str,
    in_flight: int,
    data: Path,
    as_json: bool,
) -> None:
    """Takes the file and ends the command: 0 every line was taken, 1 some were refused, 2 it could not be done."""
    began = time.monotonic()
    view = View(Console(highlight=False), quiet=as_json, service=service, doing=doing, done=done)
    place = address or address_of(service, data)

    async def taken() -> Done:
        return await take(file, address=place, caller=operator_of(operator), in_flight=in_flight, view=view)

    try:
        with view.shown():
            found = asyncio.run(taken())
    except UnusableFileError as problem:
        give_up(problem)
    except Failure as problem:
        give_up(f"the {service} service refused: {problem}. Run the command again to go on where it stood.")
    except PeerError as problem:
        give_up(f"{problem}. Run the command again to go on where it stood.")
    except OSError as problem:
        give_up(f"{problem}. Run the command again to go on where it stood.")
    except KeyboardInterrupt:
        give_up("stopped. Run the command again to go on where it stood.")
    view.ended(found, report_of(file))
    if as_json:
        print_json(
            {
                "lines": found.line,
                done: found.new,
                "existed": found.existed,
                "refused": found.refused,
                **({"under_way": found.under_way} if found.under_way else {}),
                "report": str(report_of(file)) if found.refused else None,
                "seconds": round(time.monotonic() - began, 3),
            }
        )
    if found.refused:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)
