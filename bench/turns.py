"""One contender that is measured whenever it is told to: ``python -P bench/turns.py NAME FAMILIES LEVEL…``.

An order is a line of JSON on standard input, and so is each report on standard output. It may be run before the
modules of another commit (PYTHONPATH), so it uses only what the bench has had from its beginning.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.contest import Plan, Results, arena, checked, places_of
from bench.place import servers_in
from ops.verify.run import Audit


async def main() -> None:
    """Answers ``{}`` once it is ready; at the end of the orders `gongji verify` goes over everything."""
    name, families, *levels = sys.argv[1], *map(int, sys.argv[2:])
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as reports, tempfile.TemporaryDirectory() as made:
        os.dup2(2, 1)  # What others print is none of the reports.

        def answer(report: dict[str, Any]) -> None:
            reports.write(json.dumps(report) + "\n")
            reports.flush()

        folder, plan = Path(made), Plan(families=families, levels=tuple(levels), contenders=(name,))
        async with servers_in(folder) as servers, arena(servers, folder, plan) as ((contender,), world):
            await contender.start()
            answer({})
            while line := await asyncio.to_thread(sys.stdin.readline):
                answer(await contender.closed(**json.loads(line)))
            await contender.stop()
            await checked(Audit(places_of(world)), Results(), whole=True)


if __name__ == "__main__":
    asyncio.run(main())
