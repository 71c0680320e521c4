"""The model behind docs/scale.md: how many settlements areas and the nation have when busiest, and what they cost.

Assumptions, each with its source, give rates; ``make bench`` gives what one settlement costs at a rate; the product is
what is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SECONDS_AN_HOUR: Final = 3_600
LEDGERS_A_SETTLEMENT: Final = 2
COMMANDS_A_LEDGER: Final = 2
"""TRY and CONFIRM."""
REQUESTS_A_SETTLE: Final = LEDGERS_A_SETTLEMENT * COMMANDS_A_LEDGER
"""Of NATS, each with its reply, where nothing is batched; counted exactly by a test (test_costs.py)."""
REQUESTS_A_PLAN: Final = LEDGERS_A_SETTLEMENT
"""PreSettle's: the balances, asked of each ledger."""
PROCESSES: Final = ("settlement", "ledger", "nats", "postgres")


@dataclass(frozen=True, slots=True)
class Assumption:
    """One number of the model, where it comes from, and how much it can be trusted."""

    value: float
    what: str
    source: str
    kind: str
    """published, estimate, earlier (measured once, on this project's machine) or derived."""


BULLETIN: Final = "国家医保局, 2024年全国医疗保障事业发展统计公报"
ACCOUNTS: Final = Assumption(354_350_200, "employees insured with a personal account (统账结合)", BULLETIN, "published")
AREAS: Final = Assumption(330, "areas (统筹区)", "about one for each prefecture-level city", "estimate")
SPENDING: Final = Assumption(587_983_000_000, "yuan paid from personal accounts in a year", BULLETIN, "published")
SHARED: Final = Assumption(
    371_000_000, "payments for relatives (省内共济) in 2024", "国家医保局 by the press, January 2025", "published"
)
SHARED_YUAN: Final = Assumption(
    51_154_000_000, "yuan of these payments", "国家医保局 by the press, January 2025", "published"
)
RANK_EXPONENT: Final = Assumption(
    0.65,
    "size of the r-th largest area ∝ r to the power of minus this",
    "so that the largest has 18 million",
    "estimate",
)
DAYS: Final = Assumption(300, "days a year, a working day's load each", "weekends and holidays at half", "estimate")
HOUR_SHARE: Final = Assumption(
    0.15, "share of a day's payments in its busiest hour", "clinics in the morning", "estimate"
)
PEAK: Final = Assumption(2.0, "busiest moment of that hour against its mean", "no source", "estimate")
INSTITUTIONS: Final = Assumption(
    1_070_000, "institutions and pharmacies (定点医药机构)", "order of size of the bulletins", "estimate"
)
TERMINALS_EACH: Final = Assumption(2, "terminals of each, one connection held open by each", "no source", "estimate")
CONNECTIONS: Final = Assumption(5_000, "open connections a settlement process is given", "not measured", "estimate")
NATS_PER_S: Final = Assumption(
    21_000, "requests with replies a second of one NATS server", "32 in flight, 2 processors", "earlier"
)
BYTES: Final = Assumption(
    5_000, "bytes on the disk of a finished settlement, all databases", "until growth.json says it", "earlier"
)
ASSUMPTIONS: Final = (
    ACCOUNTS, AREAS, SPENDING, SHARED, SHARED_YUAN, RANK_EXPONENT, DAYS, HOUR_SHARE, PEAK, INSTITUTIONS,
    TERMINALS_EACH, CONNECTIONS, NATS_PER_S,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Load:
    """So many settlements a year, nationwide."""

    name: str
    a_year: float


def loads() -> tuple[Load, ...]:
    """What sharing is today; every payment from a personal account; five times that."""
    every = SPENDING.value / (SHARED_YUAN.value / SHARED.value)
    return (
        Load("sharing, as of 2024", SHARED.value),
        Load("every payment from a personal account", every),
        Load("five times that", 5 * every),
    )


def peak_per_s(a_year: float) -> float:
    """Settlements a second at the busiest moment."""
    return a_year / DAYS.value * HOUR_SHARE.value / SECONDS_AN_HOUR * PEAK.value


def area_shares() -> list[float]:
    """Each area's share of all accounts, the largest first; they sum to 1."""
    sizes = [rank**-RANK_EXPONENT.value for rank in range(1, round(AREAS.value) + 1)]
    return [size / sum(sizes) for size in sizes]


@dataclass(frozen=True, slots=True)
class Cost:
    """One settlement at one load."""

    in_flight: int
    per_s: float
    p50_ms: float
    cpu_ms: Mapping[str, float]
    commits: float
    wal_bytes: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What the model takes from ``make bench``: costs by calls in flight, fewest first.

    They are those of visits (PreSettle and Settle), or of Settle alone where visits were not measured.
    """

    date: str
    processors: int
    title: str
    are_visits: bool
    costs: Sequence[Cost]
    settles: Sequence[Cost]
    """Of Settle alone, for what bounds an area's writer, who does not read balances; as ``costs`` if not measured."""
    bytes_stored: float
    stored_is_measured: bool

    def at(self, per_s: float) -> Cost:
        """What a settlement costs at this rate: as at the highest level that was not faster.

        That is more than it would cost: the more are under way, the more share a batch and its commit.
        """
        slower = [cost for cost in self.costs if cost.per_s <= per_s]
        return slower[-1] if slower else self.costs[0]

    @property
    def best(self) -> Cost:
        """Where a settlement costs least."""
        return _best(self.costs)

    @property
    def best_settle(self) -> Cost:
        """Likewise of Settle alone."""
        return _best(self.settles)

    @property
    def requests(self) -> int:
        """Of NATS for one of them, where nothing is batched."""
        return REQUESTS_A_SETTLE + (REQUESTS_A_PLAN if self.are_visits else 0)


def _best(costs: Sequence[Cost]) -> Cost:
    return min(costs, key=lambda cost: sum(cost.cpu_ms.values()))


def _costs(cells: Mapping[str, Any]) -> list[Cost]:
    costs = [
        Cost(
            in_flight=int(level),
            per_s=cell["per_s"]["median"],
            p50_ms=cell["p50_ms"]["median"],
            cpu_ms={process: cell[f"cpu_ms.{process}"]["median"] for process in PROCESSES},
            commits=cell["commits"]["median"],
            wal_bytes=cell["wal_bytes"]["median"],
        )
        for level, cell in cells.items()
    ]
    return sorted(costs, key=lambda cost: cost.in_flight)


def measured(found: Mapping[str, Any], growth: Mapping[str, Any]) -> Measured:
    """Out of the contest's JSON and growth's."""
    closed = found["closed"]
    name = "visits" if "visits" in closed else "settle"
    stored = growth.get("data", {}).get("worlds", {}).get("large", {}).get("bytes_a_settlement")
    return Measured(
        date=found["date"],
        processors=found["machine"]["processors"],
        title=found["titles"][name],
        are_visits=name == "visits",
        costs=_costs(closed[name]),
        settles=_costs(closed.get("settle", closed[name])),
        bytes_stored=sum(stored.values()) if stored else BYTES.value,
        stored_is_measured=bool(stored),
    )


def cores(load: Load, what: Measured) -> dict[str, float]:
    """Processors that are busy at the nation's peak, by process: each area at its own rate, summed."""
    total = dict.fromkeys(PROCESSES, 0.0)
    for share in area_shares():
        rate = peak_per_s(load.a_year) * share
        for process, cpu_ms in what.at(rate).cpu_ms.items():
            total[process] += rate * cpu_ms / 1_000
    return total


def limits(what: Measured) -> dict[str, float]:
    """Settlements a second at which one of each ends, everything else being endless.

    ``area writer`` is by processor time: what the lock's holder waits for (two or three round trips and a flush of the
    log for each batch) comes on top, and the database's work for the coordinator is counted in, which it does without
    the lock.
    """
    best, settle = what.best, what.best_settle
    return {
        "settlement process": 1_000 / best.cpu_ms["settlement"],
        "ledger process": 1_000 / (best.cpu_ms["ledger"] / LEDGERS_A_SETTLEMENT),
        "area writer": 1_000 / ((settle.cpu_ms["ledger"] + settle.cpu_ms["postgres"]) / LEDGERS_A_SETTLEMENT),
        "postgres core": 1_000 / best.cpu_ms["postgres"],
        "nats": NATS_PER_S.value / what.requests,
    }
