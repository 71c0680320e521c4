"""What identity costs where everybody passes: ``python -m bench.identity``. Decoding, and kinship among a million."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markdown import Markdown

from bench import decoding, kinship
from bench.document import PERFORMANCE, fill, keep, machine
from bench.measure import assert_durable
from bench.place import servers_in

COMMAND: Final = "make bench-identity"
WIDTH: Final = 130
SMALL_ROUNDS: Final = 2
SMALL_CALLS: Final = 2_000


def markdown(found: Mapping[str, Any]) -> str:
    """For a person, and for docs/performance.md."""
    return "\n".join(
        [
            (
                f"Measured {found['date']} on {found['machine']['processors']} processors, CPython"
                f" {found['machine']['python']}.\n"
            ),
            decoding.markdown(found["decoding"]),
            kinship.markdown(found["kinship"]),
        ]
    )


async def _measured(*, small: bool) -> dict[str, Any]:
    rounds = SMALL_ROUNDS if small else decoding.ROUNDS
    with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
        async with servers_in(Path(folder)) as servers:
            await assert_durable(servers)
            return {
                "date": datetime.now(UTC).date().isoformat(),
                "machine": machine(),
                "decoding": await decoding.measured(
                    servers, Path(folder), rounds=rounds, calls=SMALL_CALLS if small else decoding.CALLS
                ),
                "kinship": await kinship.compared(
                    servers, Path(folder), sizes=kinship.SMALL_SIZES if small else kinship.SIZES, rounds=rounds
                ),
            }


def main() -> int:
    """Writes bench/results/identity.json and the section of docs/performance.md; exit code 1 if an aim is missed."""
    parser = argparse.ArgumentParser(prog="bench.identity", description="What decoding and kinship cost.")
    parser.add_argument("--small", action="store_true", help="small sizes, to see whether it works; writes nothing")
    given = parser.parse_args()
    found = asyncio.run(_measured(small=given.small))
    Console(width=WIDTH).print(Markdown(markdown(found)))
    if not given.small:
        path = keep(found, "identity")
        fill(PERFORMANCE, COMMAND, markdown(found))
        sys.stderr.write(f"written: bench/results/{path.name} and docs/performance.md\n")
    return 0 if found["decoding"]["met"] and found["kinship"]["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
