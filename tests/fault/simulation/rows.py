"""The coordinators' shared database: rows with their unique keys and compare-and-sets, decided by production code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from kernel.failures import Failure
from kernel.ids import AdmDvs, PaymentId, PlanId, PsnNo
from services.settlement.domain.payment import PRE_SETTLE_OF, Key
from services.settlement.domain.plan import PlanLeg
from services.settlement.saga.coordinator import Write, applied
from services.settlement.saga.payment import OPEN_STATES, Payment, PaymentKind, State
from services.settlement.saga.requests import PlanFacts, check_plan, patient_busy_failure
from services.settlement.saga.transfers import transfer_of
from tests.fault.simulation.decisions import Decisions
from tests.fault.simulation.scenario import AREAS
from tests.fault.simulation.world import Violation, World

VOTE_DEADLINE_MS = 8_000
LEASE_MS = 3_000
LEASE_MAX_MS = 60_000
PLAN_LIFETIME_MS = 600_000


def psn_no(person: int) -> PsnNo:
    """The number of an invented person."""
    return PsnNo(f"{650_000_000_001 + person}")


def area_of(person: int) -> AdmDvs:
    """Where a person's accounts are."""
    return AdmDvs(AREAS[person % len(AREAS)])


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan as PreSettle stored it."""

    plan_id: PlanId
    digest: bytes
    psn_no: PsnNo
    year: int
    version: int
    expires_ms: int
    legs: tuple[PlanLeg, ...]


@dataclass(frozen=True, slots=True)
class AskedTransfer:
    """What a giver asks for; the receiver's time counts after the ledgers' own."""

    giver: PsnNo
    legs: tuple[PlanLeg, ...]
    accept_within_ms: int
    year: int = 0

    def in_year(self, year: int) -> AskedTransfer:
        """The same, accepted in a year."""
        return replace(self, year=year)


@dataclass(slots=True)
class _Due:
    """When recovery takes a row, and how often it has."""

    at_ms: int
    attempts: int = 0


class PaymentRows:
    """Each method is one transaction. What the tables' constraints keep is kept here, and nothing else is decided."""

    def __init__(self, world: World, decisions: Decisions) -> None:
        self._world = world
        self._decisions = decisions
        self.payments: dict[PaymentId, Payment] = {}
        self.keys: dict[Key, PaymentId] = {}
        self.refunds: dict[PaymentId, PaymentId] = {}
        self.plans: dict[PlanId, StoredPlan] = {}
        self.versions: dict[tuple[PsnNo, int], int] = {}
        self._trying: dict[PsnNo, PaymentId] = {}
        self._due: dict[PaymentId, _Due] = {}
        self._deadlines: dict[PaymentId, int] = {}
        self._accept_by: dict[PaymentId, int] = {}
        self.wrote: Callable[[Payment], None] = lambda _row: None

    @property
    def now(self) -> datetime:
        """The database's clock."""
        return self._world.now

    def new_plan(self, plan: StoredPlan) -> StoredPlan:
        """Stores a plan; it carries the version of its patient's year."""
        stored = replace(plan, version=self.versions.setdefault((plan.psn_no, plan.year), 0))
        self.plans[plan.plan_id] = stored
        return stored

    def by_id(self, payment_id: PaymentId | None) -> Payment | None:
        """A row as it is read now; ``overdue`` is this clock's judgement."""
        row = None if payment_id is None else self.payments.get(payment_id)
        if row is None:
            return None
        overdue = row.state is State.TRYING and self._deadlines[row.payment_id] <= self._world.now_ms
        return replace(row, overdue=overdue)

    def by_key(self, key: Key) -> Payment | None:
        """What a request key stands for."""
        return self.by_id(self.keys.get(key))

    def live_refund(self, original_id: PaymentId) -> Payment | None:
        """The one refund of a settlement."""
        return self.by_id(self.refunds.get(original_id))

    def begin(
        self, payment_id: PaymentId, key: Key, content: bytes, plan_id: PlanId, digest: bytes
    ) -> tuple[Payment, bool] | Failure:
        """Inserts TRYING, or finds what the key stands for, or refuses (as ``Rows.begin``)."""
        plan = self.plans.get(plan_id)
        refusal: Failure | None = None
        try:
            check_plan(self._facts(plan), key=key, digest=digest)
        except Failure as failure:
            refusal = failure
        found = self.by_key(key)
        if found is not None:
            return found, False
        if refusal is not None or plan is None:
            return refusal or patient_busy_failure()
        if plan.psn_no in self._trying:
            return patient_busy_failure()
        deadline_ms = self._world.now_ms + VOTE_DEADLINE_MS
        row = Payment(
            payment_id=payment_id,
            kind=PaymentKind.SETTLE,
            state=State.TRYING,
            key=key,
            request_hash=content,
            psn_no=plan.psn_no,
            year=plan.year,
            legs=plan.legs,
            plan_id=plan_id,
            created_at=self.now,
            deadline_at=self._world.instant(deadline_ms),
        )
        self._trying[plan.psn_no] = payment_id
        self._deadlines[payment_id] = deadline_ms
        self._insert(row, deadline_ms)
        return row, True

    def begin_transfer(
        self, payment_id: PaymentId, key: Key, content: bytes, asked: AskedTransfer
    ) -> tuple[Payment, bool]:
        """Inserts TRYING with both deadlines, or finds what the key stands for."""
        found = self.by_key(key)
        if found is not None:
            return found, False
        row = transfer_of(
            asked.legs, payment_id=payment_id, key=key, request_hash=content, giver=asked.giver, year=asked.year
        )
        deadline_ms = self._world.now_ms + VOTE_DEADLINE_MS
        accept_by_ms = deadline_ms + asked.accept_within_ms
        self._deadlines[payment_id], self._accept_by[payment_id] = deadline_ms, accept_by_ms
        row = replace(
            row,
            created_at=self.now,
            deadline_at=self._world.instant(deadline_ms),
            accept_by=self._world.instant(accept_by_ms),
        )
        self._insert(row, deadline_ms)
        return row, True

    def _facts(self, plan: StoredPlan | None) -> PlanFacts | None:
        if plan is None:
            return None
        return PlanFacts(
            plan_id=plan.plan_id,
            digest=plan.digest,
            fixmedins_code=INSTITUTION,
            infno=PRE_SETTLE_OF["2207"],
            patient_version=plan.version,
            is_expired=plan.expires_ms <= self._world.now_ms,
            version_now=self.versions[plan.psn_no, plan.year],
        )

    def insert_decided(self, row: Payment) -> Payment | None:
        """Inserts a refund, a credit or a tombstone; None if its key is taken or its original has a live refund."""
        if row.key in self.keys or (row.original_id is not None and row.original_id in self.refunds):
            return None
        row = replace(row, created_at=self.now, decided_at=self.now)
        self._insert(row, self._world.now_ms + LEASE_MS)
        if row.original_id is not None and row.psn_no is not None:
            self.refunds[row.original_id] = row.payment_id
            self.versions[row.psn_no, row.year] += 1
        return row

    def _insert(self, row: Payment, due_ms: int) -> None:
        self.payments[row.payment_id] = row
        self.keys[row.key] = row.payment_id
        self._due[row.payment_id] = _Due(due_ms)
        self.wrote(row)

    def write(self, write: Write) -> Payment:
        """Compare-and-set; the row as it then stands."""
        row = self.by_id(write.payment_id)
        if row is None:
            raise AssertionError("a row is written that was never inserted")
        if not self._decisions.wins(row, write):
            self._world.seen["a write that lost its race"] += 1
            return row
        after = applied(row, write)
        due_ms = self._world.now_ms + LEASE_MS
        if write.asks_receiver:
            due_ms = self._deadlines[row.payment_id] = self._accept_by[row.payment_id]
        elif row.state is State.TRYING:
            after = replace(after, decided_at=self.now)
            if row.psn_no is not None and row.kind is PaymentKind.SETTLE:
                self._trying.pop(row.psn_no, None)
        if write.quarantine:
            raise Violation(f"{label(row)} goes to quarantine: {write.quarantine}")
        if write.to is State.COMMITTED and row.psn_no is not None and row.kind is PaymentKind.SETTLE:
            self.versions[row.psn_no, row.year] += 1
        self.payments[row.payment_id] = after
        self._due[row.payment_id] = _Due(due_ms)
        self.wrote(after)
        return after

    def take_due(self) -> list[Payment]:
        """Rows that nobody has finished in time, each put off for a while, longer each time (as ``_TAKE_DUE``)."""
        now_ms = self._world.now_ms
        taken = []
        for payment_id, due in self._due.items():
            if due.at_ms <= now_ms and self.payments[payment_id].state in OPEN_STATES:
                due.at_ms = now_ms + min(LEASE_MS * 2 ** min(due.attempts, 16), LEASE_MAX_MS)
                due.attempts += 1
                row = self.by_id(payment_id)
                if row is not None:
                    taken.append(row)
        return taken


INSTITUTION = "H65010000001"
FOUNDING_IDS = 0xD000_0000
"""The ids of the credits with which everything begins count from here; payments stay far below."""


def label(row: Payment) -> str:
    """A payment in a trace: its kind, its msgid's number, and a digit when its terminal tried anew."""
    return f"{row.kind.value} {name_of(row.payment_id)}"


def name_of(payment_id: UUID) -> str:
    """A short name of an id; the ids of a run count from 1."""
    return f"p{payment_id.int & 0xFFFF_FFFF}"
