"""Premiums: what areas ask for, who has filed, and their payments, which are charges (a kind of payment of its own).

Adds tables. The payments' CHECKs let one more kind in; every row that stands there passes them as before.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE payments
        DROP CONSTRAINT ck_payments_kind,
        ADD CONSTRAINT ck_payments_kind
            CHECK (kind IN ('SETTLE', 'TRANSFER', 'CHARGE', 'REFUND', 'CREDIT', 'TOMBSTONE')) NOT VALID,
        DROP CONSTRAINT ck_payments_state_of_kind,
        ADD CONSTRAINT ck_payments_state_of_kind
            CHECK (kind IN ('SETTLE', 'TRANSFER', 'CHARGE') OR (kind = 'TOMBSTONE' AND state = 'CLOSED')
                   OR (kind <> 'TOMBSTONE' AND state IN ('COMMITTED', 'DONE'))) NOT VALID,
        DROP CONSTRAINT ck_payments_deadline,
        ADD CONSTRAINT ck_payments_deadline
            CHECK ((kind IN ('SETTLE', 'TRANSFER', 'CHARGE')) = (deadline_at IS NOT NULL)) NOT VALID
    """,
    "COMMENT ON COLUMN payments.fixmedins_code IS 'Of a credit or charge: the area.'",
    """
    CREATE TABLE premium_tariffs (
        area TEXT NOT NULL,
        year SMALLINT NOT NULL,
        amount_fen BIGINT NOT NULL,
        opens_on DATE NOT NULL,
        closes_on DATE NOT NULL,
        revocable_until DATE NOT NULL,
        opter TEXT NOT NULL,
        set_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_premium_tariffs PRIMARY KEY (area, year),
        CONSTRAINT ck_premium_tariffs_area CHECK (area ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT ck_premium_tariffs_amount CHECK (amount_fen > 0),
        CONSTRAINT ck_premium_tariffs_days CHECK (opens_on <= closes_on AND closes_on <= revocable_until)
    )
    """,
    "COMMENT ON TABLE premium_tariffs IS '居民医保个人缴费: what an area asks for a year.'",
    "COMMENT ON COLUMN premium_tariffs.year IS 'Of cover.'",
    "COMMENT ON COLUMN premium_tariffs.opens_on IS 'The first day on which it is paid (Asia/Shanghai).'",
    "COMMENT ON COLUMN premium_tariffs.closes_on IS 'The last.'",
    "COMMENT ON COLUMN premium_tariffs.revocable_until IS 'The last day on which a payment is taken back.'",
    "COMMENT ON COLUMN premium_tariffs.opter IS '经办人 who set it last.'",
    """
    CREATE TABLE premium_filings (
        filing_id UUID NOT NULL,
        payer_psn_no TEXT NOT NULL,
        insured_psn_no TEXT NOT NULL,
        opter TEXT NOT NULL,
        filed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        ended_by TEXT,
        CONSTRAINT pk_premium_filings PRIMARY KEY (filing_id),
        CONSTRAINT ck_premium_filings_two_persons CHECK (payer_psn_no <> insured_psn_no),
        CONSTRAINT ck_premium_filings_ended CHECK ((ended_at IS NULL) = (ended_by IS NULL))
    )
    """,
    """
    CREATE UNIQUE INDEX premium_filings_live ON premium_filings (payer_psn_no, insured_psn_no)
        WHERE ended_at IS NULL
    """,
    "COMMENT ON TABLE premium_filings IS '代缴备案: who pays for whom, where the area wants it recorded first.'",
    "COMMENT ON COLUMN premium_filings.filing_id IS 'The request that made it.'",
    "COMMENT ON COLUMN premium_filings.opter IS '经办人.'",
    "COMMENT ON COLUMN premium_filings.ended_by IS '经办人.'",
    """
    CREATE TABLE premium_payments (
        payment_id UUID NOT NULL,
        request_id UUID NOT NULL,
        payer_psn_no TEXT NOT NULL,
        insured_psn_no TEXT NOT NULL,
        year SMALLINT NOT NULL,
        area TEXT NOT NULL,
        source TEXT NOT NULL,
        relation TEXT NOT NULL,
        amount_fen BIGINT NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_premium_payments PRIMARY KEY (payment_id),
        CONSTRAINT uq_premium_payments_payer_psn_no_request_id UNIQUE (payer_psn_no, request_id),
        CONSTRAINT ck_premium_payments_area CHECK (area ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT ck_premium_payments_source CHECK (source IN ('OWN', 'WALLET')),
        CONSTRAINT ck_premium_payments_amount CHECK (amount_fen > 0)
    )
    """,
    """
    CREATE UNIQUE INDEX premium_payments_live ON premium_payments (insured_psn_no, year)
        WHERE ended_at IS NULL
    """,
    "CREATE INDEX premium_payments_of_payer ON premium_payments (payer_psn_no, payment_id)",
    "CREATE INDEX premium_payments_of_insured ON premium_payments (insured_psn_no, payment_id)",
    "CREATE INDEX premium_payments_of_area ON premium_payments (area, year, payment_id)",
    "COMMENT ON TABLE premium_payments IS 'Premiums'' payments: of each person and year one that has not ended.'",
    "COMMENT ON COLUMN premium_payments.payment_id IS 'The payment that keeps its state.'",
    "COMMENT ON COLUMN premium_payments.year IS 'Of cover.'",
    "COMMENT ON COLUMN premium_payments.area IS 'The insured''s, whose tariff it pays.'",
    "COMMENT ON COLUMN premium_payments.relation IS 'What the payer is to the insured; empty of his own.'",
    """COMMENT ON COLUMN premium_payments.ended_at IS
        'Since when another may be made: it was taken back, or was found refused.'""",
)


def upgrade() -> None:
    """Adds the tables and the kind."""
    for statement in STATEMENTS:
        op.execute(statement)
