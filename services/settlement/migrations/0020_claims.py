"""Reimbursement claims, their decisions, and the orders of payout. Only adds tables."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE payout_orders (
        order_id UUID NOT NULL,
        area TEXT NOT NULL,
        opter TEXT NOT NULL,
        lines_count INTEGER NOT NULL,
        total_fen BIGINT NOT NULL,
        sha256 BYTEA NOT NULL,
        ordered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_payout_orders PRIMARY KEY (order_id),
        CONSTRAINT ck_payout_orders_area CHECK (area ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT ck_payout_orders_amounts CHECK (lines_count > 0 AND total_fen > 0),
        CONSTRAINT ck_payout_orders_sha256 CHECK (octet_length(sha256) = 32)
    )
    """,
    "COMMENT ON TABLE payout_orders IS 'What an area pays out at once.'",
    "COMMENT ON COLUMN payout_orders.order_id IS 'The request that made it.'",
    "COMMENT ON COLUMN payout_orders.opter IS '经办人.'",
    "COMMENT ON COLUMN payout_orders.sha256 IS 'Of its CSV.'",
    """
    CREATE TABLE claims (
        claim_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        area TEXT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        invoice_no TEXT NOT NULL,
        med_type TEXT NOT NULL,
        bill JSONB NOT NULL,
        documents JSONB NOT NULL,
        content BYTEA NOT NULL,
        state TEXT DEFAULT 'SUBMITTED' NOT NULL,
        attempt SMALLINT DEFAULT '0' NOT NULL,
        payment_id UUID,
        act_pay_dedc BIGINT DEFAULT '0' NOT NULL,
        hifp_pay BIGINT DEFAULT '0' NOT NULL,
        fund_fen BIGINT DEFAULT '0' NOT NULL,
        family_fen BIGINT DEFAULT '0' NOT NULL,
        appeal TEXT DEFAULT '' NOT NULL,
        payout_order_id UUID,
        submitted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_claims PRIMARY KEY (claim_id),
        CONSTRAINT ck_claims_area CHECK (area ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT ck_claims_state
            CHECK (state IN ('SUBMITTED', 'SECOND_LOOK', 'APPROVED', 'ORDERED', 'REFUSED')),
        CONSTRAINT ck_claims_payout_order CHECK ((state = 'ORDERED') = (payout_order_id IS NOT NULL)),
        CONSTRAINT ck_claims_amounts CHECK (fund_fen >= 0 AND family_fen >= 0 AND attempt >= 0),
        CONSTRAINT ck_claims_payable
            CHECK (state NOT IN ('APPROVED', 'ORDERED') OR fund_fen + family_fen > 0),
        CONSTRAINT ck_claims_family CHECK ((family_fen > 0) = (payment_id IS NOT NULL)),
        CONSTRAINT ck_claims_content CHECK (octet_length(content) = 32),
        CONSTRAINT fk_claims_payout_order_id_payout_orders
            FOREIGN KEY(payout_order_id) REFERENCES payout_orders (order_id)
    )
    """,
    "CREATE UNIQUE INDEX claims_invoice ON claims (fixmedins_code, invoice_no) WHERE state <> 'REFUSED'",
    "CREATE INDEX claims_approved ON claims (area, claim_id) WHERE state = 'APPROVED'",
    "CREATE INDEX claims_of_order ON claims (payout_order_id, claim_id) WHERE payout_order_id IS NOT NULL",
    "COMMENT ON TABLE claims IS '手工报销: bills paid in cash before.'",
    "COMMENT ON COLUMN claims.claim_id IS 'The request that filed it.'",
    "COMMENT ON COLUMN claims.psn_no IS 'Whose bill it was, and who is paid.'",
    "COMMENT ON COLUMN claims.area IS 'Where the claimant was insured when he filed it.'",
    "COMMENT ON COLUMN claims.bill IS 'Its amounts, as the papers say.'",
    "COMMENT ON COLUMN claims.documents IS 'Kinds and digests.'",
    "COMMENT ON COLUMN claims.content IS 'SHA-256 of what was filed.'",
    "COMMENT ON COLUMN claims.attempt IS 'Approvals that asked the ledgers.'",
    "COMMENT ON COLUMN claims.payment_id IS 'The last one''s payment; NULL = the family gives nothing.'",
    "COMMENT ON COLUMN claims.fund_fen IS 'What the funds pay.'",
    "COMMENT ON COLUMN claims.family_fen IS 'What its payment takes.'",
    "COMMENT ON COLUMN claims.appeal IS 'What the claimant objected.'",
    """
    CREATE TABLE claim_decisions (
        claim_id UUID NOT NULL,
        decision_no SMALLINT NOT NULL,
        approved BOOLEAN NOT NULL,
        opter TEXT NOT NULL,
        cause TEXT NOT NULL,
        decided_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_claim_decisions PRIMARY KEY (claim_id, decision_no),
        CONSTRAINT ck_claim_decisions_decision_no CHECK (decision_no >= 1),
        CONSTRAINT fk_claim_decisions_claim_id_claims FOREIGN KEY(claim_id) REFERENCES claims (claim_id)
    )
    """,
    "COMMENT ON TABLE claim_decisions IS 'What officers decided, and why.'",
    "COMMENT ON COLUMN claim_decisions.opter IS '经办人.'",
)


def upgrade() -> None:
    """Adds the tables."""
    for statement in STATEMENTS:
        op.execute(statement)
