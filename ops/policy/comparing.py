"""What a new version of the policies would change: each scenario's bill split under the old ones and the new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kernel.failures import Failure
from kernel.policy import PolicySet
from ops.plan import plan_as_json
from ops.scenario import Scenario
from services.settlement.domain.split import split


@dataclass(frozen=True, slots=True)
class Compared:
    """One scenario: its plan under both, or the reason why there is none; amounts in fen."""

    scenario: str
    title: str
    before: Mapping[str, object]
    after: Mapping[str, object]

    @property
    def changes(self) -> dict[str, tuple[object, object]]:
        """What differs: the name, before and after."""
        names = [*self.before, *(name for name in self.after if name not in self.before)]
        return {
            name: (self.before.get(name), self.after.get(name))
            for name in names
            if self.before.get(name) != self.after.get(name)
        }


def compare(scenarios: Mapping[str, Scenario], before: PolicySet, after: PolicySet) -> list[Compared]:
    """Every scenario under both sets; the policies that a scenario's file states itself are left aside."""
    return [
        Compared(name, scenario.title, _plan(scenario, before), _plan(scenario, after))
        for name, scenario in scenarios.items()
    ]


def _plan(scenario: Scenario, policies: PolicySet) -> Mapping[str, object]:
    try:
        return plan_as_json(split(scenario.visit, policies))
    except Failure as refusal:
        return {"refused": refusal.reason}
