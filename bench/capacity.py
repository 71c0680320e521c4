"""What areas and the nation would need: ``python -m bench.capacity``. It measures nothing but computes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from bench.document import FOLDER, SCALE, fill, kept, table
from bench.nation import (
    ACCOUNTS,
    AREAS,
    ASSUMPTIONS,
    CONNECTIONS,
    INSTITUTIONS,
    NATS_PER_S,
    PROCESSES,
    TERMINALS_EACH,
    Load,
    Measured,
    area_shares,
    cores,
    limits,
    loads,
    measured,
    peak_per_s,
)
from bench.report import was_whole

COMMAND: Final = "make bench-capacity"
DAYS_A_YEAR: Final = 365
RANKS: Final = (1, 10, 50, 165, 330)
LATEST: Final = FOLDER / "latest.json"
"""The last whole run of ``make bench``."""
BUSY_MAX: Final = 0.5
"""How much of a processor is planned to be in use at the peak."""
_UNITS: Final = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def markdown(what: Measured) -> str:
    """All tables, each below a heading of the third level."""
    assumed = [[it.what, number(it.value), it.source, it.kind] for it in ASSUMPTIONS]
    return "\n".join(
        [
            "### What is assumed\n",
            table(["", "number", "source", "kind"], assumed, words=True),
            "### What is measured\n",
            _measured(what),
            "### The nation\n",
            _nation(what),
            "### Areas, if every payment from a personal account were one of ours\n",
            _areas(what, loads()[1]),
            "### Where one of each ends\n",
            _limits(what),
        ]
    )


def number(value: float) -> str:
    """1,000,000 or 0.65."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def amount(count: float) -> str:
    """Bytes in a unit that reads well."""
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} B"


def rate(per_s: float) -> str:
    """Settlements a second, small ones with a decimal or two."""
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.2g}"  # noqa: PLR2004  Where a decimal says nothing any more.


def _measured(what: Measured) -> str:
    rows = [
        [
            str(cost.in_flight),
            rate(cost.per_s),
            *(f"{cost.cpu_ms[process]:.2f}" for process in PROCESSES),
            f"{sum(cost.cpu_ms.values()):.2f}",
            f"{cost.commits:.2f}",
            f"{cost.wal_bytes:,.0f}",
        ]
        for cost in what.costs
    ]
    stored = "measured by `make bench-growth`" if what.stored_is_measured else "as a short run showed it"
    return "\n".join(
        [
            (
                f"{what.title}, three funders in two areas, by `make bench` on {what.date} ({what.processors}"
                f" processors for everything). {_unit(what)} Milliseconds of CPU by process, the client's left out. A"
                f" finished settlement takes {what.bytes_stored:,.0f} bytes in all databases together ({stored}).\n"
            ),
            table(["in flight", "a second", *PROCESSES, "all, ms", "commits", "WAL bytes"], rows),
        ]
    )


def _unit(what: Measured) -> str:
    """What one settlement stands for on the page."""
    if what.are_visits:
        return "A settlement below is a whole visit: PreSettle and Settle."
    return "A settlement below is a Settle alone: visits, with the PreSettle before it, were not measured."


def _nation(what: Measured) -> str:
    rows = []
    for load in loads():
        busy = cores(load, what)
        a_day = load.a_year / DAYS_A_YEAR
        rows.append(
            [
                load.name,
                f"{load.a_year / 1e6:,.0f} million",
                rate(peak_per_s(load.a_year)),
                *(f"{busy[process]:.1f}" for process in PROCESSES),
                f"{sum(busy.values()) / BUSY_MAX:,.0f}",
                f"{peak_per_s(load.a_year) * sum(what.best.cpu_ms.values()) / 1_000:,.1f}",
                amount(a_day * what.best.wal_bytes),
                amount(load.a_year * what.bytes_stored),
            ]
        )
    head = [
        "",
        "a year",
        "a second at the peak",
        *PROCESSES,
        "with room",
        "busy, best batched",
        "WAL a day",
        "stored a year",
    ]
    return "\n".join(
        [
            (
                "Processors busy at the peak by process, all areas peaking at once and each at its own rate, as if it"
                f" shared nothing with another; how many those are with {1 - BUSY_MAX:.0%} to spare; and how many would"
                " be busy if all batches were as full as at the best rate measured.\n"
            ),
            table(head, rows),
        ]
    )


def _areas(what: Measured, load: Load) -> str:
    shares = area_shares()
    most = limits(what)["area writer"]
    rows = []
    for rank in RANKS:
        share = shares[rank - 1]
        per_s = peak_per_s(load.a_year) * share
        cost = what.at(per_s)
        rows.append(
            [
                str(rank),
                f"{ACCOUNTS.value * share / 1e6:,.2f} million",
                rate(per_s),
                *(f"{per_s * cost.cpu_ms[process] / 1_000:.2f}" for process in PROCESSES),
                f"{per_s / most:.1%}",
                amount(load.a_year / DAYS_A_YEAR * share * cost.wal_bytes),
                amount(load.a_year * share * what.bytes_stored),
            ]
        )
    head = ["area, by size", "accounts", "a second at the peak", *PROCESSES]
    head += ["of its one writer's processor time", "WAL a day", "stored a year"]
    return "\n".join(
        [
            (
                f"Of {AREAS.value:.0f} areas: the largest, the 10th, the 50th, the middle one, the smallest. The work"
                " of both ledgers and of the coordinator is put to the patient's area.\n"
            ),
            table(head, rows),
        ]
    )


def _limits(what: Measured) -> str:
    found = limits(what)
    best, settle = what.best, what.best_settle
    terminals = INSTITUTIONS.value * TERMINALS_EACH.value
    rows = [
        [
            "settlement, one process (one core)",
            f"{found['settlement process']:,.0f} settlements/s",
            f"1,000 ms ÷ {best.cpu_ms['settlement']:.2f} ms",
            "add replicas",
        ],
        [
            "ledger, one process (one core) with one area",
            f"{found['ledger process']:,.0f} settlements/s",
            f"1,000 ms ÷ ({best.cpu_ms['ledger']:.2f} ms ÷ 2 ledgers)",
            "give the largest areas a process each; then its one writer ends",
        ],
        [
            "one writer of an area (its lock makes all serial)",
            f"{found['area writer']:,.0f} settlements/s by processor time alone",
            (
                f"1,000 ms ÷ (({settle.cpu_ms['ledger']:.2f} + {settle.cpu_ms['postgres']:.2f}) ms ÷ 2 ledgers) of"
                " Settle, batches full. Not counted: that it waits under the lock, two or three round trips and a"
                " flush of the log for each batch. Counted too much: PostgreSQL's work for the coordinator"
            ),
            "an area would have to be split",
        ],
        [
            "PostgreSQL, one processor of a server",
            f"{found['postgres core']:,.0f} settlements/s",
            f"1,000 ms ÷ {best.cpu_ms['postgres']:.2f} ms, coordinator and two ledgers together",
            "more processors; a server for each area or group of areas",
        ],
        [
            "NATS, one server",
            f"{found['nats']:,.0f} settlements/s",
            f"{NATS_PER_S.value:,.0f} requests/s ÷ {what.requests}, nothing batched",
            "batches carry up to 256 commands; then a cluster for each province",
        ],
        [
            "gRPC, open connections",
            f"{terminals / CONNECTIONS.value:,.0f} settlement processes for {terminals:,.0f} terminals",
            f"{CONNECTIONS.value:,.0f} connections a process (not measured)",
            "a gateway that holds the terminals' connections",
        ],
    ]
    return table(["", "ends at", "because", "then"], rows, words=True)


def page(path: Path) -> str:
    """The marked part of docs/scale.md from this contest's figures."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    text = markdown(measured(found, kept("growth")))
    if was_whole(found):
        return text
    return f"Computed from a short run ({found['date']}): a whole one of `make bench` replaces it.\n\n{text}"


def refill(path: Path) -> str:
    """Writes it there, and tells it."""
    fill(SCALE, COMMAND, text := page(path))
    return text


def main() -> int:
    """Rewrites the page; there is a whole run in the repository."""
    parser = argparse.ArgumentParser(prog="bench.capacity", description="Computes docs/scale.md anew.")
    parser.add_argument("--source", type=Path, default=LATEST, help="a contest's JSON; else the last whole run's")
    path: Path = parser.parse_args().source
    sys.stdout.write(refill(path))
    sys.stderr.write(f"docs/scale.md is computed from {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
