"""The people at the counters: terminals that retry, ask and reverse, and desks that credit, freeze and close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from uuid import UUID

from kernel.clock import SHANGHAI, business_year
from kernel.ids import AuthorisationId, PaymentId, PlanId
from services.settlement.domain.payment import Key, credit_key, request_hash
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.ledger.domain.commands import CloseAuthorisation, Command, Request, SetFrozen
from services.settlement.ledger.domain.model import FreezeId
from tests.fault.simulation.rows import INSTITUTION, PLAN_LIFETIME_MS, StoredPlan, area_of, psn_no
from tests.fault.simulation.scenario import Operation, Share
from tests.fault.simulation.told import NEVER_BEGUN, UNKNOWN, Asked, Told
from tests.fault.simulation.world import World

PATIENCE_MS = 3_000
TRIES_MAX = 4
"""How often a terminal makes a new plan for one bill."""
SETTLE, REVOKE = "2207", "2208"

Submit = Callable[[str, Asked, int], None]
"""Sends a request to a coordinator: (who asks, what, how often it was tried)."""


def authorisation_id(funder: int, beneficiary: int) -> AuthorisationId:
    """The one authorisation of a pair."""
    return AuthorisationId(UUID(int=0xA000_0000 + funder * 100 + beneficiary))


def plan_leg(leg_no: int, share: Share, patient: int) -> PlanLeg:
    """A share of the bill as a leg of a plan."""
    role = Role[share.role]
    under = authorisation_id(share.person, patient) if role is Role.FUNDER else None
    return PlanLeg(
        leg_no, role, psn_no(share.person), area_of(share.person), share.past_fen, share.current_fen, under, 0, ()
    )


@dataclass(slots=True)
class Line:
    """One request in a terminal's journal: written before the first sending, and what was told of it."""

    kind: str
    key: Key
    content: bytes
    told: list[Told] = field(default_factory=list)
    reversals: list[Told] = field(default_factory=list)
    wants_reversal: bool = False

    @property
    def final(self) -> Told | None:
        """The answer that settled it."""
        return next((told for told in self.told if told.is_final), None)

    @property
    def is_waiting(self) -> bool:
        """Whether its own answer is still open, and wanted."""
        return self.final is None and not self.wants_reversal

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits to hear of it."""
        return self.is_waiting or (self.wants_reversal and not any(told.is_final for told in self.reversals))


class Terminal:
    """One counter with one bill: it goes on until it knows what became of everything it asked for."""

    def __init__(
        self, operation: Operation, world: World, submit: Submit, new_plan: Callable[[StoredPlan], StoredPlan]
    ) -> None:
        self.name = f"t{operation.number}"
        self.operation = operation
        self.journal: list[Line] = []
        self._world = world
        self._submit = submit
        self._new_plan = new_plan
        self._plans: dict[Key, StoredPlan] = {}

    def start(self) -> None:
        """The bill is paid for the first time, and what follows is planned."""
        self._world.after(max(self.operation.at_ms + 1_000, 1), self._settle)

    @property
    def open_lines(self) -> list[Line]:
        """What the terminal still waits for."""
        return [line for line in self.journal if line.is_open]

    def _key(self, infno: str) -> Key:
        made_at = self._world.now.astimezone(SHANGHAI).strftime("%Y%m%d%H%M%S")
        serial = self.operation.number * 10 + len(self.journal)
        return Key(INSTITUTION, infno, f"{INSTITUTION}{made_at}{serial:04d}")

    def _settle(self) -> None:
        operation, tries = self.operation, len(self.journal)
        patient = operation.person
        plan = self._new_plan(
            StoredPlan(
                plan_id=PlanId(UUID(int=0xB000_0000 + operation.number * 100 + tries)),
                digest=request_hash("plan", operation.number, tries),
                psn_no=psn_no(patient),
                year=business_year(self._world.now.astimezone(UTC)),
                version=0,
                expires_ms=self._world.now_ms + PLAN_LIFETIME_MS,
                legs=tuple(plan_leg(n, it, patient) for n, it in enumerate(operation.shares, start=1)),
            )
        )
        key = self._key(SETTLE)
        line = Line("SETTLE", key, request_hash("settle", plan.plan_id.bytes, plan.digest))
        self._plans[key] = plan
        self.journal.append(line)
        first = tries == 0
        if first and operation.then in {"reverse", "both"}:
            self._world.after(max(1_000 + operation.then_ms, 1), lambda: self._begin_reversal(line))
        if first and operation.then == "other":
            self._world.after(1_000 + operation.then_ms, lambda: self._send_other(line))
        if first and operation.then in {"revoke", "both", "unrevoke"}:
            self._world.after(1_000 + operation.then_ms + 50, lambda: self._revoke(line))
        self._world.after(1_000, lambda: self._send(line, 0))

    def _send(self, line: Line, tried: int, original_id: PaymentId | None = None) -> None:
        """Sends the same request again and again until it is answered; what follows silence depends on the counter."""
        if line.final is not None:
            return
        if tried and line.kind == "SETTLE" and self.operation.style == "reverse":
            self._begin_reversal(line)
            return
        asks = bool(tried % 2) and self.operation.style == "ask"
        asked = Asked(
            "ASK" if asks else line.kind,
            self.operation.number,
            line.key,
            line.content,
            lambda told: self._hear(line, told, is_look_up=asks),
            plan=self._plans.get(line.key),
            original_id=original_id,
        )
        self._submit(self.name, asked, tried)
        self._world.after(PATIENCE_MS, lambda: self._send(line, tried + 1, original_id))

    def _hear(self, line: Line, told: Told, *, is_look_up: bool) -> None:
        self._world.tell(f"{self.name} is told of {line.key.infno}/{line.key.msgid[-6:]}: {told.outcome}")
        if told.outcome == UNKNOWN and is_look_up:
            return
        was_open = line.final is None
        line.told.append(told)
        if not was_open or line.wants_reversal or line.kind != "SETTLE":
            return
        if told.outcome in NEVER_BEGUN and len(self.journal) < TRIES_MAX:
            self._settle()

    def _send_other(self, line: Line) -> None:
        """The same key with other content: it must never be executed (rule 6)."""
        other = self._new_plan_like(line)
        asked = Asked(
            "SETTLE",
            self.operation.number,
            line.key,
            request_hash("settle", other.plan_id.bytes, other.digest),
            lambda told: self._world.tell(f"{self.name} is told of other content: {told.outcome}"),
            plan=other,
        )
        if line.final is not None and line.final.payment_id is not None:  # Else it would be the original.
            self._submit(self.name, asked, 100)

    def _new_plan_like(self, line: Line) -> StoredPlan:
        plan = self._plans[line.key]
        other_id = PlanId(UUID(int=plan.plan_id.int + 50))
        return self._new_plan(
            StoredPlan(other_id, request_hash("other"), plan.psn_no, plan.year, 0, plan.expires_ms, plan.legs[:1])
        )

    def _begin_reversal(self, line: Line) -> None:
        if not line.wants_reversal:
            line.wants_reversal = True
            self._reverse(line, 0)

    def _reverse(self, line: Line, tried: int) -> None:
        if any(told.is_final for told in line.reversals):
            return

        def hear(told: Told) -> None:
            self._world.tell(f"{self.name} is told of the reversal of {line.key.msgid[-6:]}: {told.outcome}")
            line.reversals.append(told)

        self._submit(self.name, Asked("REVERSE", self.operation.number, line.key, b"", hear), tried)
        self._world.after(PATIENCE_MS, lambda: self._reverse(line, tried + 1))

    def _revoke(self, line: Line) -> None:
        final = line.final
        if final is None or final.outcome != "PAID" or final.payment_id is None:
            return
        original_id = final.payment_id
        revocation = Line("REVOKE", self._key(REVOKE), request_hash("revoke", original_id.bytes))
        self.journal.append(revocation)
        if self.operation.then != "unrevoke":
            self._send(revocation, 0, original_id)
            return
        # A reversal of the revocation itself, before it or after it (a revocation that was made stands).
        first, second = (0, 400) if self.operation.number % 2 else (400, 0)
        self._world.after(first, lambda: self._send(revocation, 0, original_id))
        self._world.after(second, lambda: self._begin_reversal(revocation))


class Desk:
    """An officer: a credit that is sent until it is answered, or a freeze and its end, or the end of a consent."""

    def __init__(
        self,
        operation: Operation,
        world: World,
        submit: Submit,
        command: Callable[[str, int, Request, Callable[[], None]], None],
    ) -> None:
        self.name = f"d{operation.number}"
        self.operation = operation
        self.is_done = False
        self._world = world
        self._submit = submit
        self._command = command

    def start(self) -> None:
        """Asks for the first time."""
        operation = self.operation
        match operation.kind:
            case "CREDIT":
                self._world.after(operation.at_ms, lambda: self._credit(0))
            case "FREEZE":
                self._world.after(operation.at_ms, lambda: self._freeze(1, self._thaw))
            case _:
                closed = CloseAuthorisation(authorisation_id(operation.shares[0].person, operation.person))
                funder = operation.shares[0].person
                self._world.after(operation.at_ms, lambda: self._tell(funder, closed, self._done))

    def _done(self) -> None:
        self.is_done = True

    def _credit(self, tried: int) -> None:
        if self.is_done:
            return
        share = self.operation.shares[0]
        leg = plan_leg(1, share, share.person)
        key = credit_key(leg.area, f"row-{self.operation.number:04d}")
        content = request_hash("credit", leg.psn_no, leg.role.value, leg.past_fen, leg.current_fen)

        def hear(told: Told) -> None:
            self.is_done = self.is_done or told.is_final

        self._submit(self.name, Asked("CREDIT", self.operation.number, key, content, hear, leg=leg), tried)
        self._world.after(PATIENCE_MS, lambda: self._credit(tried + 1))

    def _thaw(self) -> None:
        self._world.after(self.operation.then_ms, lambda: self._freeze(2, self._done))

    def _freeze(self, nth: int, then: Callable[[], None]) -> None:
        person = self.operation.person
        freeze_id = FreezeId(UUID(int=0xC000_0000 + self.operation.number * 10 + nth))
        self._tell(person, SetFrozen(freeze_id, psn_no(person), frozen=nth == 1, cause="SIMULATED"), then)

    def _tell(self, person: int, command: Command, then: Callable[[], None]) -> None:
        """Tells a ledger until it has answered."""
        answered: list[bool] = []

        def hear() -> None:
            if not answered:
                answered.append(True)
                then()

        def send() -> None:
            if not answered:
                self._command(self.name, person, Request(command), hear)
                self._world.after(PATIENCE_MS, send)

        send()
