"""What was checked and what does not hold, invariant by invariant."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

FINDINGS_SHOWN_MAX: Final = 20
"""Of one invariant; the count always tells all of them."""

INVARIANTS: Final = {
    "I1": "held and balance of every account agree with its holds, part by part",
    "I2": "entries sum to each account's balance, and every payment's entries to zero",
    "I3": "the coordinator's state and the ledgers' branches agree, to the fen",
    "I4": "every hold has a payment",
    "I5": "one entry for each payment, leg and kind",
    "I6": "no hold is past its deadline without an inquiry",
    "I7": "what the terminal was told is what is stored",
    "I8": "refunds never exceed what was charged, leg by leg",
    "I9": "authorised amounts and limits are kept, and used is what was confirmed less what went back, month by month",
    "I10": "every request key, and every premium of a person and year, has exactly one outcome",
    "I11": "a day that balances has the same sums in the institution's books and in ours",
    "CLEARED": "what areas owe each other for a month that was run is what its payments say, share by share",
    "YEAR": "what a patient's year has used of the funds is what his settlements used",
    "STAY": "each settlement of a stay is among its parts, and nothing follows the final one",
    "CLAIM": "what was taken for a claim is its family's part, what is paid out is what was approved, nothing twice",
    "CHAIN": "no sealed entry was changed, removed or slipped in",
}


@dataclass
class Check:
    """One invariant's tally."""

    checked: int = 0
    violations: int = 0
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block of an area's chain. Kept elsewhere, it proves every entry up to ``last_entry_no``."""

    block_no: int
    last_entry_no: int
    digest: str
    sealed_at: str


@dataclass
class Report:
    """The tally of a whole run. ``waiting`` names what is open and therefore only partly judged."""

    checks: dict[str, Check] = field(default_factory=lambda: {name: Check() for name in INVARIANTS})
    waiting: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    """The areas whose ledger did not answer, with the problem: nothing is said of them."""
    heads: dict[str, Head] = field(default_factory=dict)
    """The head of each area's chain of entries."""

    def checked(self, invariant: str, count: int = 1) -> None:
        """So many rows were looked at."""
        self.checks[invariant].checked += count

    def violated(self, invariant: str, finding: str) -> None:
        """One row does not hold; the finding says which and how, in a sentence an operator can act on."""
        check = self.checks[invariant]
        check.violations += 1
        if len(check.findings) < FINDINGS_SHOWN_MAX:
            check.findings.append(finding)

    def open(self, what: str, count: int) -> None:
        """So many things are under way: no violation, and not at rest either."""
        if count:
            self.waiting[what] = self.waiting.get(what, 0) + count

    @property
    def violations(self) -> int:
        """Over all invariants."""
        return sum(check.violations for check in self.checks.values())

    @property
    def compared(self) -> int:
        """How many rows were looked at, over all invariants."""
        return sum(check.checked for check in self.checks.values())

    @property
    def findings(self) -> list[str]:
        """Every finding, each after the name of its invariant."""
        return [f"{name} {finding}" for name, check in self.checks.items() for finding in check.findings]

    def as_json(self) -> dict[str, object]:
        """For machines: counts and findings by invariant."""
        return {
            "violations": self.violations,
            "invariants": {
                name: {
                    "promise": INVARIANTS[name],
                    "checked": check.checked,
                    "violations": check.violations,
                    "findings": check.findings,
                    **({"skipped": self.skipped[name]} if name in self.skipped else {}),
                }
                for name, check in self.checks.items()
            },
            "waiting": self.waiting,
            "unreadable": self.unreadable,
            "heads": {area: asdict(head) for area, head in sorted(self.heads.items())},
        }
