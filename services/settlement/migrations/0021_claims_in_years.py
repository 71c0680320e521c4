"""Claims count in what a year has used, and the queue of an area has an index.

Two triggers as those of 0015: an approval counts, in its own statement; the abort of the payment that it asked for
takes it off again. What was approved before this migration names no use and is counted nowhere.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE claims ADD COLUMN care_on DATE, ADD COLUMN mdtrt_id TEXT DEFAULT '' NOT NULL,
        ADD COLUMN use_year SMALLINT, ADD COLUMN use_insutype TEXT, ADD COLUMN use_pool TEXT,
        ADD COLUMN use_deductible_fen BIGINT, ADD COLUMN use_fund_fen BIGINT, ADD COLUMN use_large_fen BIGINT,
        ADD CONSTRAINT ck_claims_use CHECK (
            num_nonnulls(use_year, use_insutype, use_pool, use_deductible_fen, use_fund_fen, use_large_fen) IN (0, 6)
            AND use_deductible_fen >= 0 AND use_fund_fen >= 0 AND use_large_fen >= 0
        )
    """,
    "COMMENT ON COLUMN claims.care_on IS 'The day of the bill; NULL = of a release that did not ask.'",
    "COMMENT ON COLUMN claims.mdtrt_id IS '就诊ID on the papers, or empty.'",
    "COMMENT ON COLUMN claims.use_year IS 'Whose values the approval uses; NULL = it uses nothing.'",
    "CREATE UNIQUE INDEX claims_payment ON claims (payment_id) WHERE payment_id IS NOT NULL",
    "CREATE INDEX claims_of_area ON claims (area, submitted_at, claim_id)",
    """
    CREATE INDEX claims_waiting ON claims (area, submitted_at, claim_id)
        WHERE state IN ('SUBMITTED', 'SECOND_LOOK', 'APPROVED')
    """,
    """
    CREATE FUNCTION count_claim_used() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO benefit_years AS y (psn_no, year, insutype, pool, deductible_fen, fund_fen, large_fen)
        VALUES (NEW.psn_no, NEW.use_year, NEW.use_insutype, NEW.use_pool, NEW.use_deductible_fen, NEW.use_fund_fen,
                NEW.use_large_fen)
        ON CONFLICT ON CONSTRAINT pk_benefit_years DO UPDATE SET
            deductible_fen = y.deductible_fen + excluded.deductible_fen, fund_fen = y.fund_fen + excluded.fund_fen,
            large_fen = y.large_fen + excluded.large_fen;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION count_claim_not_taken() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE benefit_years y SET
            deductible_fen = y.deductible_fen - c.use_deductible_fen, fund_fen = y.fund_fen - c.use_fund_fen,
            large_fen = y.large_fen - c.use_large_fen
          FROM claims c
         WHERE c.payment_id = ANY (ARRAY[NEW.payment_id]) AND c.use_insutype IS NOT NULL
           AND y.psn_no = ANY (ARRAY[c.psn_no]) AND y.year = c.use_year AND y.insutype = c.use_insutype
           AND y.pool = c.use_pool;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER claims_use_benefit AFTER UPDATE OF state, payment_id ON claims FOR EACH ROW
        WHEN (NEW.state = 'APPROVED' AND NEW.use_insutype IS NOT NULL
              AND (OLD.state <> 'APPROVED' OR OLD.payment_id IS DISTINCT FROM NEW.payment_id))
        EXECUTE FUNCTION count_claim_used()
    """,
    """
    CREATE TRIGGER payments_claim_not_taken AFTER UPDATE OF state ON payments FOR EACH ROW
        WHEN (OLD.state = 'TRYING' AND NEW.state = 'ABORTED' AND NEW.kind = 'CHARGE' AND NEW.infno = 'CLAIM')
        EXECUTE FUNCTION count_claim_not_taken()
    """,
    """
    COMMENT ON TABLE benefit_years IS
        'Σ of what a year''s settlements and claims used that were not given back; triggers on both keep it.'
    """,
)


def upgrade() -> None:
    """Adds them."""
    for statement in STATEMENTS:
        op.execute(statement)
