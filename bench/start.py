"""How long a start takes: ``python -m bench.start``. The imports of each process; `gongji up` cold and warm."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.report import write
from ops.embedded.world import SERVICES

WARM_MAX_S: Final = 8.0
SLOWEST_SHOWN: Final = 8
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
            package = ".".join(name.strip().split(".")[:2])
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


def main() -> int:
    """Writes bench/results/<date>-start.json."""
    parser = argparse.ArgumentParser(prog="bench.start", description="How long a start takes.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    modules = {"(the interpreter alone)": "sys", **{service.name: service.module for service in SERVICES}}
    modules["gongji"] = "ops.main"
    imports = {name: import_cost(module, rounds=rounds) for name, module in modules.items()}
    for name, cost in imports.items():
        slowest = ", ".join(f"{package} {value:.0f}" for package, value in cost["slowest_ms"].items())
        sys.stdout.write(f"import {name}: {cost['ms']:.0f} ms ({slowest})\n")
    with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
        cold_s = up_s(Path(folder) / "data")
        warm_s = [up_s(Path(folder) / "data") for _ in range(rounds)]
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "imports": imports,
        "up_cold_s": cold_s,
        "up_warm_s": {"median": median(warm_s), "min": min(warm_s), "max": max(warm_s)},
        "aim": f"≤ {WARM_MAX_S:g} s warm",
        "met": median(warm_s) <= WARM_MAX_S,
    }
    sys.stdout.write(f"gongji up: {cold_s:.1f} s on a new folder, {median(warm_s):.1f} s warm ({found['aim']})\n")
    path = write(found, "start")
    sys.stderr.write(f"written: bench/results/{path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
