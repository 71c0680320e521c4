"""One run of one scenario: the world is put together, lives through its faults, heals, and is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from kernel.clock import business_year
from kernel.ids import AdmDvs, PaymentId
from services.settlement.ledger.domain.commands import OpenAuthorisation, PutCredit, Request
from services.settlement.ledger.domain.model import (
    AccountKey,
    AccountKind,
    CreditId,
    CreditLeg,
    CreditPurpose,
    Parts,
)
from services.settlement.saga.requests import Decision
from tests.fault.simulation.coordinator import Coordinator
from tests.fault.simulation.decisions import PRODUCTION, Decisions
from tests.fault.simulation.invariants import Invariants
from tests.fault.simulation.ledger import Ledger
from tests.fault.simulation.rows import FOUNDING_IDS, PaymentRows, area_of, name_of, psn_no
from tests.fault.simulation.scenario import AREAS, CALM_MS, COORDINATORS, PATIENTS, PERSONS, Fault, Scenario
from tests.fault.simulation.terminal import Desk, Terminal, authorisation_id
from tests.fault.simulation.told import Asked, Told
from tests.fault.simulation.wallet import Wallet
from tests.fault.simulation.world import LATE_MS, Violation, World

QUIET_MS = 2_500
END_MS = 600_000
"""When everything must have ended at the latest; recovery's longest pause is 60 s."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run went."""

    scenario: Scenario
    violation: str
    digest: str
    trace: tuple[str, ...]
    payments: int
    outcomes: Counter[str]
    injected: Counter[str]
    seen: Counter[str]
    """Which situations arose: answers, and what ledgers did with what they were told."""
    virtual_ms: int
    crashed_at_ms: Mapping[Fault, int]
    """When each crash struck."""

    def without_trace(self) -> Result:
        """The figures alone."""
        return replace(self, trace=())


class Town:
    """Coordinators, ledgers, terminals and desks of one scenario."""

    def __init__(self, scenario: Scenario, decisions: Decisions) -> None:
        self.world = World(scenario)
        self.rows = PaymentRows(self.world, decisions)
        self.ledgers = {area: Ledger(AdmDvs(area), self.world, decisions) for area in AREAS}
        self.coordinators = [Coordinator(name, self.world, self.rows, decisions) for name in COORDINATORS]
        self.invariants = Invariants(self.world, self.rows, self.ledgers)
        self._ids: Counter[int] = Counter()
        self.rows.wrote = self.invariants.row_written
        for ledger in self.ledgers.values():
            ledger.wrote = self.invariants.ledger_written
            ledger.ask = self._inquire
            self.world.add(ledger)
        for coordinator in self.coordinators:
            coordinator.new_id = self._new_id
            coordinator.deliver = self._deliver
            self.world.add(coordinator)
        bills = [it for it in scenario.operations if it.kind == "SETTLE"]
        transfers = [it for it in scenario.operations if it.kind == "TRANSFER"]
        others = [it for it in scenario.operations if it.kind not in {"SETTLE", "TRANSFER"}]
        self.askers: list[Terminal | Wallet] = [
            *(Terminal(it, self.world, self._submit, self.rows.new_plan) for it in bills),
            *(Wallet(it, self.world, self._submit) for it in transfers),
        ]
        self.desks = [Desk(it, self.world, self._submit, self._command) for it in others]

    def _new_id(self, operation: int) -> PaymentId:
        self._ids[operation] += 1
        return PaymentId(UUID(int=operation * 1_000 + self._ids[operation]))

    def live(self) -> None:
        """Everything, from the first credit to the last sweep. Raises a ``Violation``."""
        self._found()
        for node in (*self.coordinators, *self.ledgers.values()):
            node.awake()
        for asker in self.askers:
            asker.start()
        for desk in self.desks:
            desk.start()
        over_ms = 0
        while over_ms < LATE_MS[1] + QUIET_MS and self.world.now_ms < END_MS:
            self.world.run(self.world.now_ms + QUIET_MS)
            self.invariants.quiet()
            is_over = self.world.now_ms >= CALM_MS and self._is_over()
            # The latest of all messages still comes, and must change nothing any more.
            over_ms = over_ms + QUIET_MS if is_over else 0
        self.invariants.end(self.askers)
        if not all(desk.is_done for desk in self.desks):
            raise Violation("stuck: a desk was never answered")

    def _is_over(self) -> bool:
        told = not any(asker.open_lines for asker in self.askers) and all(it.is_done for it in self.desks)
        return told and self.invariants.is_settled and all(node.is_up for node in self.world.nodes.values())

    def _found(self) -> None:
        """Accounts with money in both parts, wallets, and an authorisation of everyone for every patient."""
        year = business_year(self.world.now)
        for person in range(PERSONS):
            fate = self.world.fate(f"person {person}")
            past, current, purse = (int.from_bytes(fate[n : n + 2], "big") % 30_000 + 2_000 for n in (0, 2, 4))
            own, wallet = (
                AccountKey(psn_no(person), AccountKind.PERSONAL),
                AccountKey(psn_no(person), AccountKind.WALLET),
            )
            credits_ = [
                (1, CreditPurpose.CARRIED_OVER, own, Parts(past, 0)),
                (2, CreditPurpose.MONTHLY, own, Parts(0, current)),
                (3, CreditPurpose.WALLET, wallet, Parts(purse, 0)),
            ]
            requests = [
                Request(PutCredit(CreditId(UUID(int=FOUNDING_IDS + person * 10 + n)), purpose, (leg,)))
                for n, purpose, leg in ((n, it, CreditLeg(1, key, amount, year)) for n, it, key, amount in credits_)
            ]
            for patient in range(PATIENTS):
                if patient != person:
                    limit = None if fate[8 + patient] < 60 else fate[8 + patient] * 40
                    one, month, *_ = self.world.fate(f"limits of person {person} for patient {patient}")
                    limits = (
                        None if one < 128 else one * 20,
                        None if month < 128 else month * 30,
                    )
                    opened = OpenAuthorisation(
                        authorisation_id(person, patient), psn_no(person), psn_no(patient), limit, 0, *limits
                    )
                    requests.append(Request(opened))
            self.ledgers[area_of(person)].apply(requests)

    # Who talks to whom.

    def _submit(self, source: str, asked: Asked, tried: int) -> None:
        """A terminal's request to one of the coordinators, and its answer."""
        fate = self.world.fate(f"{source} chooses {asked.label}")
        target = self.coordinators[(fate[0] + tried) % len(self.coordinators)]

        def answer(told: Told) -> None:
            self.invariants.told(asked, told)
            about = f"{asked.label}: {told.outcome}"
            self.world.send(target.name, source, about, lambda: asked.answer(told))

        sent = replace(asked, answer=answer)
        self.world.send(source, target.name, asked.label, lambda: target.hear(sent))

    def _deliver(self, source: str, area: AdmDvs, about: str, payload: bytes, hear: Callable[[bytes], None]) -> None:
        """A coordinator's command to a ledger; the reply reaches only the life that asked."""
        ledger, asker = self.ledgers[area], self.world.nodes[source]
        life = asker.life

        def answer(reply: bytes) -> None:
            self.world.send(ledger.name, source, f"reply to {about}", lambda: arrive(reply))

        def arrive(reply: bytes) -> None:
            if asker.life == life:
                hear(reply)

        self.world.send(source, ledger.name, about, lambda: ledger.hear(payload, answer))

    def _inquire(
        self, ledger: Ledger, payment_ids: list[PaymentId], then: Callable[[dict[PaymentId, Decision]], None]
    ) -> None:
        about = f"INQUIRE {' '.join(map(name_of, payment_ids))}"
        target = self.coordinators[self.world.fate(f"{ledger.name} chooses {about}")[0] % len(self.coordinators)]
        life = ledger.life

        def answer(told: dict[PaymentId, Decision]) -> None:
            said = " ".join(f"{name_of(it)} {decision.value}" for it, decision in told.items())
            self.world.send(target.name, ledger.name, said, lambda: then(told) if ledger.life == life else None)

        self.world.send(ledger.name, target.name, about, lambda: target.inquire(payment_ids, answer))

    def _command(self, source: str, person: int, request: Request, then: Callable[[], None]) -> None:
        """A desk's command to a ledger."""
        ledger = self.ledgers[area_of(person)]
        about = type(request.command).__name__

        def put() -> None:
            ledger.put(request, lambda _: self.world.send(ledger.name, source, f"reply to {about}", then))

        self.world.send(source, ledger.name, about, put)


def run(scenario: Scenario, decisions: Decisions = PRODUCTION) -> Result:
    """Lives through a scenario; ``violation`` is empty if everything held."""
    town = Town(scenario, decisions)
    violation = ""
    try:
        town.live()
    except Violation as broken:
        violation = str(broken)
        town.world.tell(f"VIOLATION {violation}")
    outcomes = Counter(f"{row.kind.value} {row.state.value}" for row in town.rows.payments.values())
    return Result(
        scenario=scenario,
        violation=violation,
        digest=town.world.digest,
        trace=tuple(town.world.trace),
        payments=len(town.rows.payments),
        outcomes=outcomes,
        injected=town.world.injected + Counter({"partitions": _count(scenario, "PARTITION")}),
        seen=town.world.seen,
        virtual_ms=town.world.now_ms,
        crashed_at_ms=town.world.crashed_at_ms,
    )


def _count(scenario: Scenario, kind: str) -> int:
    return sum(fault.kind == kind for fault in scenario.faults)
