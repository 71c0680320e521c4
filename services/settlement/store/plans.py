"""Plans and the version of a patient's year, which a plan carries and each settlement or refund moves on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from chassis.db import Database
from kernel.ids import AdmDvs, PlanId, PsnNo
from kernel.policy import YearSoFar
from kernel.values import value
from services.settlement.domain.lines import Line, line_of
from services.settlement.domain.plan import PLAN_LIFETIME_S, Plan, StoredPlan, canonical, digest_of_canonical

PATIENT_COLUMNS: Final = """
       coalesce((SELECT version FROM patient_years WHERE psn_no = {psn_no} AND year = {year}), 0),
       (SELECT area FROM wallets WHERE psn_no = {psn_no}),
       ARRAY(SELECT ROW (insutype, pool, sum(deductible_fen)::bigint, sum(fund_fen)::bigint, sum(large_fen)::bigint)
             FROM benefit_years
             WHERE psn_no = ANY ({psn_no} || ARRAY(SELECT psn_no FROM persons WHERE merged_into = {psn_no}))
                 AND year = {year}
             GROUP BY insutype, pool),
       EXISTS (SELECT FROM payments p
               WHERE p.psn_no = ANY (ARRAY(SELECT psn_no FROM persons WHERE merged_into = {psn_no})) AND p.year = {year}
                   AND p.kind = 'SETTLE' AND p.state = 'TRYING' AND p.quarantine <> 'RESTORED_UNCLEAR')
       OR EXISTS (SELECT FROM payments p
                  WHERE p.psn_no = ANY ({psn_no} || ARRAY(SELECT psn_no FROM persons WHERE merged_into = {psn_no}))
                      AND p.kind = 'CHARGE' AND p.infno = 'CLAIM' AND p.state = 'TRYING'
                      AND p.quarantine <> 'RESTORED_UNCLEAR' AND (
                          SELECT c.use_year FROM claims c WHERE c.payment_id = ANY (ARRAY[p.payment_id])) = {year})"""
"""In one statement, so that no settlement lies between the version and what the year has used. What was settled under
a number that identity found to be a double counts for the person, and what is under way there may; what a claim uses
counts from its approval, and may be taken off again."""
_PATIENT: Final = f"SELECT {PATIENT_COLUMNS.format(psn_no='$1', year='$2')}"
_INSERT: Final = """
WITH q AS MATERIALIZED (
    SELECT *
    FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::smallint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[],
                $16::boolean[], $17::text[], $18::uuid[])
         AS q (plan_id, digest, psn_no, year, patient_version, fixmedins_code, infno, amount_fen, document, inputs,
               insutype, pool, deductible_fen, fund_fen, large_fen, has_lines, lines, lines_of)
), begun AS (
    -- Made here and not when it was read, so that a visit that is refused leaves nothing behind. In one order, so that
    -- two who make the same years do not wait for each other.
    INSERT INTO patient_years (psn_no, year, version)
    SELECT DISTINCT psn_no, year, 0 FROM q WHERE patient_version = 0 ORDER BY psn_no, year
    ON CONFLICT (psn_no, year) DO NOTHING
), kept AS (
    INSERT INTO plan_lines (plan_id, lines)
    SELECT plan_id, coalesce(q.lines::jsonb, (SELECT l.lines FROM plan_lines l WHERE l.plan_id = ANY (ARRAY[lines_of])))
    FROM q WHERE has_lines
)
INSERT INTO plans (plan_id, digest, psn_no, year, patient_version, fixmedins_code, infno, legs, amount_fen, document,
                   expires_at, inputs, insutype, pool, deductible_fen, fund_fen, large_fen)
SELECT plan_id, digest, psn_no, year, patient_version, fixmedins_code, infno, document::jsonb -> 'legs', amount_fen,
       document::jsonb, now() + make_interval(secs => $19), inputs::jsonb, insutype, pool, deductible_fen, fund_fen,
       large_fen
FROM q
RETURNING plan_id, expires_at"""
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
    is_undecided: bool
    """Whether something is under way whose decision changes what is open of the year and moves no version on.

    A settlement under a number that was found to be the patient's double: none begins there any more, as the merge has
    made the double's plans stale, but its decision moves the double's year on and not the patient's. Or the family's
    part of a claim on that year: its abort takes off again what the approval has counted. A plan made before either
    would stay payable beside it.
    """


async def patient_at(connection: Any, *, psn_no: PsnNo, year: int) -> PatientYear:  # noqa: ANN401  Untyped driver.
    """How a patient's year stands.

    Read it before the balances, so that a plan is never newer than it says.
    """
    return patient_year_in(await connection.fetchrow(_PATIENT, psn_no, year))


def patient_year_in(row: Sequence[Any]) -> PatientYear:
    """What stands in the columns of a patient's year."""
    version, wallet_area, used_fen, is_undecided = row
    used = {(insutype, pool): YearSoFar(*fen) for insutype, pool, *fen in used_fen}
    return PatientYear(version, wallet_area, used, is_undecided)


@value
class PlanMade:
    """A plan as it is to be stored, with what it was computed from.

    Beside it the bill's ``lines``, or those of an earlier plan of the same bill. They stay out of the plan's document,
    which every step of a payment reads.
    """

    plan: Plan
    document: str
    """``plan.document()`` in canonical JSON, of which ``digest`` is the digest."""
    digest: bytes
    inputs: str | None = None
    """In JSON."""
    lines: Sequence[Line] = ()
    lines_of: PlanId | None = None

    @classmethod
    def of(
        cls,
        plan: Plan,
        inputs: str | None = None,
        *,
        lines: Sequence[Line] = (),
        lines_of: PlanId | None = None,
    ) -> Self:
        """The same, with document and digest."""
        document = canonical(plan.document())
        return cls(plan, document, digest_of_canonical(document), inputs, lines, lines_of)


async def insert(database: Database, plan: Plan) -> StoredPlan:
    """As ``insert_many``: one plan of which nothing else is known."""
    async with database.driver_connection() as connection:
        (stored,) = await insert_many(connection, [PlanMade.of(plan)])
    return stored


async def insert_many(connection: Any, made: Sequence[PlanMade]) -> list[StoredPlan]:  # noqa: ANN401  Untyped driver.
    """Stores plans, in one statement; each may be paid for PLAN_LIFETIME_S from now by the database's clock."""
    columns = [list(column) for column in zip(*map(_columns, made), strict=True)]
    rows = await connection.fetch(_INSERT, *columns, PLAN_LIFETIME_S)
    expires = {row["plan_id"]: row["expires_at"] for row in rows}
    return [StoredPlan(it.plan, expires[it.plan.plan_id], it.digest) for it in made]


def _columns(made: PlanMade) -> tuple[object, ...]:
    plan = made.plan
    return (
        plan.plan_id,
        made.digest,
        plan.visit.psn_no,
        plan.year,
        plan.patient_version,
        plan.visit.fixmedins_code,
        str(plan.visit.infno),
        sum(leg.amount_fen for leg in plan.legs),
        made.document,
        made.inputs,
        *use_columns(plan),
        plan.facts.line_count > 0,
        json.dumps([line.document() for line in made.lines]) if made.lines else None,
        made.lines_of,
    )


def use_columns(plan: Plan) -> tuple[object, ...]:
    """insutype, pool, deductible_fen, fund_fen, large_fen: what the triggers count; five times None if nothing."""
    use = plan.use
    if use is None:
        return (None,) * 5
    return use.insutype, use.pool, use.deductible_fen, use.fund_fen, use.large_fen


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
