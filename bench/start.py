"""How long a start takes: ``python -m bench.start``. Each process's imports; `gongji up` on a new folder, and again."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.markdown import Markdown

from bench.document import PERFORMANCE, fill, keep, machine, span, table, verdict
from ops.embedded.runtime import Runtime
from ops.embedded.world import SERVICES

COMMAND: Final = "make bench-start"
WARM_MAX_S: Final = 8.0
SLOWEST_SHOWN: Final = 6
ROUNDS: Final = 5
WIDTH: Final = 130
UP_MAX_S: Final = 120.0
_US_PER_MS: Final = 1_000
_PROJECT: Final = Path(__file__).resolve().parents[1]


def import_cost(module: str, *, rounds: int) -> dict[str, Any]:
    """Milliseconds of a whole ``python -c 'import module'``, and the packages whose own code takes longest."""
    walls_ms = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        _python("-c", f"import {module}")
        walls_ms.append(1000 * (time.perf_counter() - began_s))
    own_ms: dict[str, float] = {}
    for line in _python("-X", "importtime", "-c", f"import {module}").splitlines():
        if line.startswith("import time:") and "imported package" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            package = name.strip().split(".")[0]
            own_ms[package] = own_ms.get(package, 0.0) + int(own) / _US_PER_MS
    slowest = sorted(own_ms.items(), key=lambda pair: -pair[1])[:SLOWEST_SHOWN]
    return {"ms": median(walls_ms), "slowest_ms": {name: round(value, 1) for name, value in slowest}}


def up_s(folder: Path) -> float:
    """Seconds from the start of `gongji up` until it says it is ready; it is stopped again."""
    began_s = time.perf_counter()
    command = [str(Path(sys.executable).with_name("gongji")), "up", "--json", "--data", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_PROJECT) as process:  # noqa: S603  Our own.
        assert process.stdout is not None  # noqa: S101  For the type checker: it is a pipe.
        try:
            for line in process.stdout:
                if json.loads(line)["event"] == "ready":
                    return time.perf_counter() - began_s
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=UP_MAX_S)
    raise RuntimeError("gongji up ended before it was ready")


def _python(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  Our own interpreter.
        [sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=_PROJECT
    )
    return done.stderr


def markdown(found: Mapping[str, Any]) -> str:
    """For a person, and for docs/performance.md."""
    rows = [
        [name, f"{cost['ms']:,.0f}", ", ".join(f"{package} {ms:.0f}" for package, ms in cost["slowest_ms"].items())]
        for name, cost in found["imports"].items()
    ]
    ups = [["on a new folder", f"{found['up_new_s']:.1f}"], ["again, warm", span(found["up_warm_s"], 1)]]
    return "\n".join(
        [
            (
                f"Measured {found['date']} on {found['machine']['processors']} processors, CPython"
                f" {found['machine']['python']}: {found['rounds']} rounds; median (least–most).\n"
            ),
            table(["`gongji up` is ready", "s"], ups),
            f"Aim {found['aim']}: {verdict(is_met=found['met'])}.\n",
            table(
                ["import of", "ms", "packages whose own code takes longest, ms under `-X importtime`"], rows, words=True
            ),
        ]
    )


def main() -> int:
    """Writes bench/results/start.json and the section of docs/performance.md."""
    parser = argparse.ArgumentParser(prog="bench.start", description="How long a start takes.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"fewer than {ROUNDS} change no document")
    rounds = parser.parse_args().rounds
    modules = {"(the interpreter alone)": "sys", **{service.name: service.module for service in SERVICES}}
    modules["gongji"] = "ops.main"
    imports = {name: import_cost(module, rounds=rounds) for name, module in modules.items()}
    with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
        data = Path(folder) / "data"
        up_new_s = up_s(data)
        warm_s = [up_s(data) for _ in range(rounds)]
        asyncio.run(Runtime(data).destroy())
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rounds": rounds,
        "imports": imports,
        "up_new_s": up_new_s,
        "up_warm_s": {"median": median(warm_s), "min": min(warm_s), "max": max(warm_s)},
        "aim": f"≤ {WARM_MAX_S:g} s warm",
        "met": median(warm_s) <= WARM_MAX_S,
    }
    Console(width=WIDTH).print(Markdown(markdown(found)))
    if rounds < ROUNDS:
        return 0
    path = keep(found, "start")
    fill(PERFORMANCE, COMMAND, markdown(found))
    sys.stderr.write(f"written: bench/results/{path.name} and docs/performance.md\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
