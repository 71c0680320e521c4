"""`gongji verify` after a run."""

from __future__ import annotations

import time
from typing import Any

from bench.contest import Violated, places_of, say
from ops.embedded.world import World
from ops.verify.run import verify


async def verified(world: World) -> dict[str, Any]:
    """What was looked at: every row of every database of the world. Violated unless everything holds."""
    began_s = time.monotonic()
    report = await verify(places_of(world))
    if report.violations:
        raise Violated("\n".join(str(finding) for finding in report.findings))
    took_s = time.monotonic() - began_s
    say(f"  gongji verify: no violation ({report.compared:,} rows compared in {took_s:.0f} s)")
    return {"violations": report.violations, "rows_compared": report.compared, "seconds": took_s}
