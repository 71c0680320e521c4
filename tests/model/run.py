"""`make model`: every configuration and every mutation searched; exit code 1 if a rule breaks or a fault passes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from tests.model.bindings import Bond
from tests.model.functions import PRODUCTION
from tests.model.ledgers import Money
from tests.model.mutations import ENDING, LOWERED, MOVING, MUTATIONS, OPENING, Mutation
from tests.model.search import search
from tests.model.story import story
from tests.model.world import Model

WORKERS: Final = 2


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is searched: one ledger for each account."""

    name: str
    accounts: tuple[Money, ...]
    bond: Bond | None = None


TWO_LEDGERS: Final = (
    Configuration("2 ledgers, everyone can pay", (Money.OWN, Money.FUNDER)),
    Configuration("2 ledgers, one refuses", (Money.SHORT, Money.FUNDER)),
)
TRANSFERS: Final = (
    Configuration("2 ledgers, a transfer", (Money.GIVER, Money.RECEIVER)),
    Configuration("2 ledgers, a transfer not covered", (Money.SHORT, Money.RECEIVER)),
)
ENDINGS: Final = (
    Configuration("1 ledger, a binding ends", (Money.FUNDER,), ENDING),
    Configuration("1 ledger, a binding opens and ends", (Money.FUNDER,), OPENING),
)
BINDINGS: Final = (
    *ENDINGS,
    Configuration("1 ledger, a binding moves on", (Money.FUNDER,), MOVING),
    Configuration("1 ledger, a binding is lowered and ends", (Money.FUNDER,), LOWERED),
)
THREE_LEDGERS: Final = (
    Configuration("3 ledgers, everyone can pay", (Money.FUNDER,) * 3),
    Configuration("3 ledgers, one refuses", (Money.SHORT, Money.FUNDER, Money.FUNDER)),
    Configuration("3 ledgers, a transfer", (Money.GIVER, Money.GIVER, Money.RECEIVER)),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What one search came to, in words."""

    name: str
    states: int
    transitions: int
    seconds: float
    found: str
    story: tuple[str, ...]
    rests: Mapping[str, int]


def searched(configuration: Configuration, mutation: Mutation | None = None) -> Report:
    """One configuration, with the production functions or with a fault in them."""
    functions = PRODUCTION if mutation is None else mutation.functions
    model = Model(configuration.accounts, functions, configuration.bond)
    result = search(model)
    finding = result.finding
    return Report(
        name=configuration.name if mutation is None else mutation.name,
        states=result.states,
        transitions=result.transitions,
        seconds=result.seconds,
        found=finding.what if finding else "",
        story=tuple(story(model, finding)) if finding else (),
        rests=result.rests,
    )


def caught(mutation: Mutation) -> Report:
    """A fault, looked for with two ledgers, or where a binding ends with the funder's alone."""
    if mutation.bond is not None:
        return searched(next(it for it in BINDINGS if it.bond == mutation.bond), mutation)
    return searched(TRANSFERS[0] if mutation.of_transfer else TWO_LEDGERS[mutation.needs_refusal], mutation)


def main() -> int:
    """Prints what was searched and what was found; 1 if anything is not as it must be."""
    out = Console(highlight=False, markup=False, soft_wrap=True)
    begun = time.perf_counter()
    failures = 0
    with ProcessPoolExecutor(WORKERS) as pool:
        searches = [pool.submit(searched, it) for it in reversed((*TWO_LEDGERS, *TRANSFERS, *BINDINGS, *THREE_LEDGERS))]
        faults = [pool.submit(caught, mutation) for mutation in MUTATIONS]
        out.print("Two coordinators, crashes, a network that loses, doubles, reorders and delays, stale reads:\n")
        for search_under_way in reversed(searches):
            report = search_under_way.result()
            out.print(
                f"{report.name:<34} {report.states:>10,} states {report.transitions:>12,} transitions "
                f"{report.seconds:>6.1f} s   {report.found or 'safe, never stuck'}"
            )
            failures += bool(report.found)
            out.print("    at rest: " + ", ".join(f"{outcome} {count:,}" for outcome, count in report.rests.items()))
            for line in report.story:
                out.print(f"    {line}")
        out.print("\nFaults put in by hand, each with its shortest way to harm:")
        for mutation, fault in zip(MUTATIONS, faults, strict=True):
            report = fault.result()
            verdict = f"caught in {len(report.story) - 1} steps" if report.found else "NOT CAUGHT"
            out.print(
                f"\n{mutation.name} ({mutation.rule}): {verdict}, {report.states:,} states, {report.seconds:.1f} s"
            )
            failures += not report.found
            for line in report.story:
                out.print(f"    {line}")
    verdict = f"{len(MUTATIONS)} faults, all caught" if not failures else f"FAILED: {failures}"
    out.print(f"\n{verdict}; {time.perf_counter() - begun:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
