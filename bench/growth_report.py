"""What ``bench.growth`` has found, as Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bench.document import span, table, verdict

_TITLES: Final = {"data": "The size of the data", "bindings": "Bindings in one area"}


def markdown(found: Mapping[str, Any]) -> str:
    """Each part that was measured, below a heading of the third level."""
    written = {
        "data": _compared,
        "bindings": _compared,
        "hot": _hot,
        "recovery": _recovery,
        "memory": _memory,
    }
    parts = [text(name, found[name]) for name, text in written.items() if name in found]
    return "\n".join(parts) if parts else "Nothing has been measured yet.\n"


def _when(found: Mapping[str, Any], verify: Mapping[str, Any]) -> str:
    return (
        f"Measured {found['date']} on {found['machine']['processors']} processors in {found['took_s'] / 60:.0f}"
        f" minutes; `gongji verify` over everything at the end: {verify['violations']} violations in"
        f" {verify['rows_compared']:,} rows compared.\n"
    )


def _compared(name: str, found: Mapping[str, Any]) -> str:
    worlds = found["worlds"]
    cpu = [key for key in next(iter(worlds.values()))["cost"] if key.startswith("cpu_ms.") and key != "cpu_ms.all"]
    figures = [("cpu_ms.all", "CPU, ms", 2), *((key, f"of it {key.removeprefix('cpu_ms.')}", 2) for key in cpu)]
    figures += [("commits", "commits", 2), ("wal_bytes", "WAL, bytes", 0), ("per_s", "a second", 0)]
    rows = [
        [label, *(span(world["cost"][key], digits) for world in worlds.values()), _ratio(worlds, key)]
        for key, label, digits in figures
    ]
    rows += [
        ["bindings", *(f"{3 * world['families']:,}" for world in worlds.values()), ""],
        ["accounts in each area", *(f"{world['accounts_an_area']:,}" for world in worlds.values()), ""],
        ["past settlements", *(f"{world['past']:,}" for world in worlds.values()), ""],
        ["written in, s", *(f"{world['seconds']:,.0f}" for world in worlds.values()), ""],
    ]
    if name == "bindings":
        rows = [row for row in rows if row[0] not in {"accounts in each area", "past settlements"}]
    verify = [world["verify"] for world in worlds.values()]
    everything = {key: sum(one[key] for one in verify) for key in ("violations", "rows_compared")}
    head = ["a settlement at 64 in flight", *worlds, "ratio"]
    return "\n".join(
        [
            f"### {_TITLES[name]}\n",
            _when(found, everything),
            table(head, rows),
            (
                f"CPU of a settlement, larger ÷ smaller, median of {found['rounds']} rounds: **{found['ratio']:.2f}**"
                f" (aim {found['aim']}: {verdict(is_met=found['met'])}).\n"
            ),
        ]
    )


def _ratio(worlds: Mapping[str, Any], key: str) -> str:
    small, large = (world["cost"][key]["median"] for world in worlds.values())
    return f"{large / small:.2f}" if small else ""


def _hot(_: str, found: Mapping[str, Any]) -> str:
    at_once = found["at_once"]
    rows = [
        [f"{at_once} payments on one account", span(found["per_s"]["hot"])],
        [f"{at_once} payments on {at_once} accounts", span(found["per_s"]["spread"])],
    ]
    return "\n".join(
        [
            "### A hot account\n",
            _when(found, found["verify"]),
            table(["at once", "settlements a second"], rows),
            f"One account ÷ spread: **{found['ratio']:.2f}** (aim {found['aim']}: {verdict(is_met=found['met'])}).\n",
        ]
    )


def _recovery(_: str, found: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            _counts(case["at_kill"]),
            f"{case['ready_s']:.1f}",
            f"{case['seconds']:.1f}",
            _counts(case["states"]),
        ]
        for name, case in found["cases"].items()
    ]
    head = ["payments that were", "when killed", "ready after, s", "all finished after, s", "they ended"]
    return "\n".join(
        [
            "### Recovery\n",
            _when(found, found["verify"]),
            (
                f"{found['payments']:,} payments. Undecided: the ledgers are dead and all pay,"
                f" {found['begun_per_s']} more a second, so no vote has come when the coordinator dies too;"
                " both start again after the votes' deadline"
                f" ({found['vote_deadline_s']} s here, longer than usual, so that all can begin), and recovery aborts"
                " each payment and cancels it at both ledgers. Unacknowledged: nothing dies under way; all are paid"
                " and finished when the processes are killed, and one UPDATE sets the coordinator's rows back to"
                " committed, as if it had not heard the ledgers' confirmations; it confirms again.\n"
            ),
            *(
                f"Of the {name} only {case['under_way']:,} of {found['payments']:,} were to be finished.\n"
                for name, case in found["cases"].items()
                if case["under_way"] < found["payments"]
            ),
            table(head, rows),
        ]
    )


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{many:,} {state}" for state, many in states.items())


def _memory(_: str, found: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{it['at_begin_mb']:.1f}", f"{it['at_end_mb']:.1f}", f"{it['mb']:+.1f}", f"{it['share']:+.1%}"]
        for name, it in found["growth"].items()
    ]
    judged = "too short a run to judge it" if found["met"] is None else verdict(is_met=found["met"])
    head = ["process", "MB after the first twentieth", "MB at the end", "MB in 100,000 more", "of its size"]
    return "\n".join(
        [
            "### Memory\n",
            _when(found, found["verify"]),
            (
                f"Resident memory over {found['visits']:,} visits (PreSettle and Settle, 64 in flight), looked at after"
                " every twentieth. Growth is the slope of the run's second half, by least squares.\n"
            ),
            table(head, rows),
            f"Flat means {found['aim']}: {judged}.\n",
        ]
    )
