"""What a person's year has used of the pooled funds, and out of what a plan was computed.

Two triggers count: a settlement when it is decided, a refund when it is written, each in the same statement and under
the lock of the patient's year that both take (ADR 30). So it is counted once whoever decides: this release, the one
before beside it, a restore. What was planned before this migration names no use and is counted nowhere.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE enrolments ADD COLUMN psn_type TEXT DEFAULT '' NOT NULL",
    "COMMENT ON COLUMN enrolments.psn_type IS 'Working, retired, resident (人员类别); empty = not told.'",
    """
    ALTER TABLE institutions ADD COLUMN level TEXT,
        ADD CONSTRAINT ck_institutions_level CHECK (level IN ('UNGRADED', 'ONE', 'TWO', 'THREE'))
    """,
    "COMMENT ON COLUMN institutions.level IS '医院等级; NULL = not told, and of a pharmacy.'",
    """
    ALTER TABLE plans ADD COLUMN insutype TEXT, ADD COLUMN pool TEXT, ADD COLUMN deductible_fen BIGINT,
        ADD COLUMN fund_fen BIGINT, ADD COLUMN large_fen BIGINT, ADD COLUMN inputs JSONB,
        ADD CONSTRAINT ck_plans_use CHECK (
            num_nonnulls(insutype, pool, deductible_fen, fund_fen, large_fen) IN (0, 5)
            AND deductible_fen >= 0 AND fund_fen >= 0 AND large_fen >= 0
        ) NOT VALID
    """,
    "COMMENT ON COLUMN plans.insutype IS 'Of whose year it uses something; NULL = it uses nothing.'",
    "COMMENT ON COLUMN plans.pool IS 'Of which pool of the benefit table; empty = the one without a name.'",
    "COMMENT ON COLUMN plans.deductible_fen IS 'act_pay_dedc.'",
    "COMMENT ON COLUMN plans.fund_fen IS 'hifp_pay.'",
    "COMMENT ON COLUMN plans.large_fen IS 'hifob_pay of an employee, hifmi_pay of a resident.'",
    "COMMENT ON COLUMN plans.inputs IS 'All that the figures were computed from; never read to settle.'",
    """
    CREATE TABLE benefit_years (
        psn_no TEXT NOT NULL,
        year SMALLINT NOT NULL,
        insutype TEXT NOT NULL,
        pool TEXT NOT NULL,
        deductible_fen BIGINT NOT NULL,
        fund_fen BIGINT NOT NULL,
        large_fen BIGINT NOT NULL,
        CONSTRAINT pk_benefit_years PRIMARY KEY (psn_no, year, insutype, pool),
        CONSTRAINT ck_benefit_years_amounts CHECK (deductible_fen >= 0 AND fund_fen >= 0 AND large_fen >= 0)
    )
    """,
    """
    COMMENT ON TABLE benefit_years IS
        'Σ of what the settlements of a year used that were not given back; triggers on payments keep it.'
    """,
    """
    CREATE FUNCTION count_benefit_used() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO benefit_years AS y (psn_no, year, insutype, pool, deductible_fen, fund_fen, large_fen)
        SELECT NEW.psn_no, NEW.year, l.insutype, l.pool, l.deductible_fen, l.fund_fen, l.large_fen
          FROM plans l WHERE l.plan_id = ANY (ARRAY[NEW.plan_id]) AND l.insutype IS NOT NULL
        ON CONFLICT ON CONSTRAINT pk_benefit_years DO UPDATE SET
            deductible_fen = y.deductible_fen + excluded.deductible_fen, fund_fen = y.fund_fen + excluded.fund_fen,
            large_fen = y.large_fen + excluded.large_fen;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION count_benefit_returned() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE benefit_years y SET
            deductible_fen = y.deductible_fen - l.deductible_fen, fund_fen = y.fund_fen - l.fund_fen,
            large_fen = y.large_fen - l.large_fen
          FROM payments o JOIN plans l ON l.plan_id = ANY (ARRAY[o.plan_id])
         WHERE o.payment_id = ANY (ARRAY[NEW.original_id]) AND l.insutype IS NOT NULL
           AND y.psn_no = ANY (ARRAY[o.psn_no]) AND y.year = o.year AND y.insutype = l.insutype AND y.pool = l.pool;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER payments_use_benefit AFTER UPDATE OF state ON payments FOR EACH ROW
        WHEN (OLD.state = 'TRYING' AND NEW.state = 'COMMITTED' AND NEW.kind = 'SETTLE')
        EXECUTE FUNCTION count_benefit_used()
    """,
    """
    CREATE TRIGGER payments_return_benefit AFTER INSERT ON payments FOR EACH ROW
        WHEN (NEW.kind = 'REFUND') EXECUTE FUNCTION count_benefit_returned()
    """,
)


def upgrade() -> None:
    """Adds them. Whether an employee is retired, and an institution's level, is learned by reading identity anew."""
    for statement in STATEMENTS:
        op.execute(statement)
