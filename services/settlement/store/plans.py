"""Plans and the version of a patient's year, which a plan carries and each settlement or refund moves on."""

from __future__ import annotations

from chassis.db import Database
from kernel.ids import PlanId, PsnNo
from services.settlement.domain.plan import Plan, StoredPlan


async def patient_version(database: Database, *, psn_no: PsnNo, year: int) -> int:
    """The version of (patient, year), from 0; read it before the balances, so that a plan is never newer than it says."""
    raise NotImplementedError


async def insert(database: Database, plan: Plan) -> StoredPlan:
    """Stores a plan; it may be paid for PLAN_LIFETIME_S from now by the database's clock."""
    raise NotImplementedError


async def load(database: Database, plan_id: PlanId) -> StoredPlan | None:
    """A stored plan, expired or not; None if there is none."""
    raise NotImplementedError
