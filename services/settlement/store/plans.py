"""Plans and the version of a patient's year, which a plan carries and each settlement or refund moves on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from chassis.db import Database
from kernel.ids import AdmDvs, PlanId, PsnNo
from kernel.policy import YearSoFar
from kernel.values import value
from services.settlement.domain.lines import Line, line_of
from services.settlement.domain.plan import PLAN_LIFETIME_S, Plan, StoredPlan, digest_of

_PATIENT: Final = """
SELECT coalesce((SELECT version FROM patient_years WHERE psn_no = $1 AND year = $2), 0) AS version,
       (SELECT area FROM wallets WHERE psn_no = $1) AS wallet_area,
       ARRAY(SELECT ROW (insutype, pool, sum(deductible_fen)::bigint, sum(fund_fen)::bigint, sum(large_fen)::bigint)
             FROM benefit_years
             WHERE psn_no = ANY ($1 || ARRAY(SELECT psn_no FROM persons WHERE merged_into = $1)) AND year = $2
             GROUP BY insutype, pool) AS used,
       EXISTS (SELECT FROM payments p
               WHERE p.psn_no = ANY (ARRAY(SELECT psn_no FROM persons WHERE merged_into = $1)) AND p.year = $2
                   AND p.kind = 'SETTLE' AND p.state = 'TRYING' AND p.quarantine <> 'RESTORED_UNCLEAR')
           AS double_undecided"""
"""In one statement, so that no settlement lies between the version and what the year has used. What was settled under
a number that identity found to be a double counts for the person, and what is under way there may."""
_FIRST_VERSION: Final = (
    "INSERT INTO patient_years (psn_no, year, version) VALUES ($1, $2, 0) ON CONFLICT (psn_no, year) DO NOTHING"
)
_INSERT: Final = """
INSERT INTO plans (plan_id, digest, psn_no, year, patient_version, fixmedins_code, infno, legs, amount_fen, document,
                   expires_at, inputs, insutype, pool, deductible_fen, fund_fen, large_fen)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10::jsonb, now() + make_interval(secs => $11), $12::jsonb,
        $13, $14, $15, $16, $17)
RETURNING expires_at"""
_INSERT_WITH_LINES: Final = f"""
WITH kept AS (
    INSERT INTO plan_lines (plan_id, lines)
    SELECT $1, coalesce($18::jsonb, (SELECT lines FROM plan_lines WHERE plan_id = $19))
) {_INSERT}"""  # noqa: S608  Constants.
_LINES: Final = "SELECT lines FROM plan_lines WHERE plan_id = $1"
_LOAD: Final = "SELECT document, expires_at, digest FROM plans WHERE plan_id = $1"


@value
class PatientYear:
    """A patient in one year: how often it has moved on, where his wallet is used, what of the funds is used."""

    version: int
    """From 0."""
    wallet_area: AdmDvs | None
    """None where he has opened none."""
    used: Mapping[tuple[str, str], YearSoFar]
    """By insutype and pool."""
    double_undecided: bool
    """Whether a settlement is under way under a number that was found to be the patient's double.

    None begins there any more: the merge has made the double's plans stale. The decision moves the double's year on and
    not the patient's, so a plan made before it would stay payable beside it.
    """


async def patient_at(connection: Any, *, psn_no: PsnNo, year: int) -> PatientYear:  # noqa: ANN401  Untyped driver.
    """How a patient's year stands.

    Read it before the balances, so that a plan is never newer than it says.
    """
    row = await connection.fetchrow(_PATIENT, psn_no, year)
    used = {(insutype, pool): YearSoFar(*used_fen) for insutype, pool, *used_fen in row["used"]}
    return PatientYear(row["version"], row["wallet_area"], used, row["double_undecided"])


async def insert(
    database: Database,
    plan: Plan,
    inputs: Mapping[str, Any] | None = None,
    *,
    lines: Sequence[Line] = (),
    lines_of: PlanId | None = None,
) -> StoredPlan:
    """Stores a plan and its ``inputs``; it may be paid for PLAN_LIFETIME_S from now by the database's clock.

    Beside it the bill's ``lines``, or those of an earlier plan of the same bill. They stay out of the plan's document,
    which every step of a payment reads.
    """
    document = plan.document()
    digest = digest_of(document)
    async with database.driver_connection() as connection:
        if plan.patient_version == 0:
            # Made here and not when it was read, so that a visit that is refused leaves nothing behind.
            await connection.execute(_FIRST_VERSION, plan.visit.psn_no, plan.year)
        expires_at = await connection.fetchval(
            _INSERT if plan.facts.line_count == 0 else _INSERT_WITH_LINES,
            plan.plan_id,
            digest,
            plan.visit.psn_no,
            plan.year,
            plan.patient_version,
            plan.visit.fixmedins_code,
            str(plan.visit.infno),
            json.dumps(document["legs"]),
            sum(leg.amount_fen for leg in plan.legs),
            json.dumps(document, ensure_ascii=False),
            PLAN_LIFETIME_S,
            None if inputs is None else json.dumps(inputs, ensure_ascii=False),
            *use_columns(plan),
            *_kept(plan, lines, lines_of),
        )
    return StoredPlan(plan, expires_at, digest)


def use_columns(plan: Plan) -> tuple[object, ...]:
    """insutype, pool, deductible_fen, fund_fen, large_fen: what the triggers count; five times None if nothing."""
    use = plan.use
    if use is None:
        return (None,) * 5
    return use.insutype, use.pool, use.deductible_fen, use.fund_fen, use.large_fen


def _kept(plan: Plan, lines: Sequence[Line], lines_of: PlanId | None) -> tuple[str | None, PlanId | None] | tuple[()]:
    if plan.facts.line_count == 0:
        return ()
    return json.dumps([line.document() for line in lines]) if lines else None, lines_of


async def lines_of_plan(connection: Any, plan_id: PlanId) -> list[Line]:  # noqa: ANN401  Untyped driver.
    """The lines of the bill that was planned, in the order presented; none where none were."""
    found = await connection.fetchval(_LINES, plan_id)
    return [] if found is None else [line_of(line) for line in found]


async def load(database: Database, plan_id: PlanId) -> StoredPlan | None:
    """A stored plan, expired or not; None if there is none."""
    async with database.driver_connection() as connection:
        row = await connection.fetchrow(_LOAD, plan_id)
    if row is None:
        return None
    return StoredPlan(Plan.of_document(row["document"]), row["expires_at"], row["digest"])


async def document(connection: Any, plan_id: PlanId) -> dict[str, Any] | None:  # noqa: ANN401  Untyped driver.
    """A stored plan in JSON's terms, on a raw connection; None if there is none."""
    found: dict[str, Any] | None = await connection.fetchval("SELECT document FROM plans WHERE plan_id = $1", plan_id)
    return found


async def documents(connection: Any, plan_ids: Sequence[PlanId]) -> dict[PlanId, dict[str, Any]]:  # noqa: ANN401  As above.
    """Those of the plans that are stored, in JSON's terms, on a raw connection."""
    rows = await connection.fetch("SELECT plan_id, document FROM plans WHERE plan_id = ANY ($1::uuid[])", plan_ids)
    return {row["plan_id"]: row["document"] for row in rows}
