"""Clearing between areas (清算). Only adds tables, and an index over when payments were decided.

The index is a BRIN one: small, hardly felt by a write, and right for whole months. Building it reads all payments once
while nobody may write them. Where there are many, build it beforehand beside the work, as docs/clearing.md says; then
nothing is left to do here.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None

APPEND_ONLY = ("clearing_runs", "clearing_pairs", "clearing_lines", "clearing_carried")
STATEMENTS = (
    """
    CREATE TABLE clearing_runs (
        period TEXT NOT NULL,
        starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
        run_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
        run_by TEXT NOT NULL,
        payments_count BIGINT NOT NULL,
        local_fen BIGINT NOT NULL,
        lines_count BIGINT NOT NULL,
        lines_sha256 BYTEA NOT NULL,
        carried_in_count INTEGER NOT NULL,
        carried_on_count INTEGER NOT NULL,
        carry_reason TEXT NOT NULL,
        CONSTRAINT pk_clearing_runs PRIMARY KEY (period),
        CONSTRAINT uq_clearing_runs_starts_at UNIQUE (starts_at),
        CONSTRAINT uq_clearing_runs_ends_at UNIQUE (ends_at),
        CONSTRAINT ck_clearing_runs_month
            CHECK ((period || '-01')::timestamp = starts_at AT TIME ZONE 'Asia/Shanghai' AND ends_at AT
            TIME ZONE 'Asia/Shanghai' = starts_at AT TIME ZONE 'Asia/Shanghai' + interval '1 month'),
        CONSTRAINT ck_clearing_runs_over CHECK (run_at > ends_at),
        CONSTRAINT ck_clearing_runs_lines_sha256 CHECK (octet_length(lines_sha256) = 32),
        CONSTRAINT ck_clearing_runs_counts
            CHECK (payments_count >= 0 AND lines_count >= 0 AND carried_in_count >= 0 AND
            carried_on_count >= 0),
        CONSTRAINT ck_clearing_runs_said CHECK (run_by <> '' AND (carried_on_count > 0) = (carry_reason <> ''))
    )
    """,
    """
    COMMENT ON TABLE clearing_runs IS
        'Periods of clearing (清算), each run once; a trigger keeps rows from being changed.'
    """,
    "COMMENT ON COLUMN clearing_runs.period IS 'The civil month in Asia/Shanghai: 2026-10.'",
    "COMMENT ON COLUMN clearing_runs.ends_at IS 'The first instant that is not in it.'",
    "COMMENT ON COLUMN clearing_runs.run_by IS 'Who asked for it, as he declares himself.'",
    "COMMENT ON COLUMN clearing_runs.payments_count IS 'Booked payments that it counted.'",
    "COMMENT ON COLUMN clearing_runs.local_fen IS 'What areas would owe themselves: not cleared.'",
    "COMMENT ON COLUMN clearing_runs.lines_sha256 IS 'Of the file of all its lines, as it is exported.'",
    "COMMENT ON COLUMN clearing_runs.carried_in_count IS 'Payments of earlier periods that it counted.'",
    "COMMENT ON COLUMN clearing_runs.carried_on_count IS 'Of its own payments, those left to the next period.'",
    "COMMENT ON COLUMN clearing_runs.carry_reason IS 'Why it was run while payments were open.'",
    """
    CREATE TABLE clearing_pairs (
        period TEXT NOT NULL,
        debtor_area TEXT NOT NULL,
        creditor_area TEXT NOT NULL,
        part TEXT NOT NULL,
        clr_type TEXT NOT NULL,
        charges_count BIGINT NOT NULL,
        charged_fen BIGINT NOT NULL,
        refunds_count BIGINT NOT NULL,
        refunded_fen BIGINT NOT NULL,
        CONSTRAINT pk_clearing_pairs PRIMARY KEY (period, debtor_area, creditor_area, part, clr_type),
        CONSTRAINT ck_clearing_pairs_areas
            CHECK (debtor_area ~ '^[1-9][0-9]{5}$' AND creditor_area ~ '^[1-9][0-9]{5}$' AND debtor_area
            <> creditor_area),
        CONSTRAINT ck_clearing_pairs_part CHECK (part IN ('FUND', 'OWN', 'WALLET', 'FUNDER', 'TRANSFER')),
        CONSTRAINT ck_clearing_pairs_clr_type CHECK ((clr_type = '') = (part = 'TRANSFER')),
        CONSTRAINT ck_clearing_pairs_sums
            CHECK (charges_count >= 0 AND refunds_count >= 0 AND charges_count + refunds_count > 0 AND
            (charges_count = 0) = (charged_fen = 0) AND (refunds_count = 0) = (refunded_fen = 0) AND
            charged_fen >= 0 AND refunded_fen >= 0),
        CONSTRAINT fk_clearing_pairs_period_clearing_runs FOREIGN KEY(period) REFERENCES clearing_runs (period)
    )
    """,
    """
    COMMENT ON TABLE clearing_pairs IS
        'What one area owes another for a period, by what it is paid out of; a trigger keeps rows as they are.'
    """,
    "COMMENT ON COLUMN clearing_pairs.debtor_area IS 'Whose ledger or fund paid.'",
    "COMMENT ON COLUMN clearing_pairs.creditor_area IS 'The area of care; of a transfer, where it arrived.'",
    "COMMENT ON COLUMN clearing_pairs.clr_type IS '清算类别; empty of a transfer.'",
    "COMMENT ON COLUMN clearing_pairs.refunded_fen IS 'Not below zero: what it takes off.'",
    """
    CREATE TABLE clearing_lines (
        period TEXT NOT NULL,
        line_no BIGINT NOT NULL,
        debtor_area TEXT NOT NULL,
        creditor_area TEXT NOT NULL,
        part TEXT NOT NULL,
        clr_type TEXT NOT NULL,
        payment_id UUID NOT NULL,
        leg_no SMALLINT NOT NULL,
        original_id UUID,
        fixmedins_code TEXT NOT NULL,
        business_date DATE NOT NULL,
        amount_fen BIGINT NOT NULL,
        CONSTRAINT pk_clearing_lines PRIMARY KEY (period, line_no),
        CONSTRAINT uq_clearing_lines_payment_id_leg_no UNIQUE (payment_id, leg_no),
        CONSTRAINT ck_clearing_lines_line_no CHECK (line_no >= 1),
        CONSTRAINT ck_clearing_lines_areas
            CHECK (debtor_area ~ '^[1-9][0-9]{5}$' AND creditor_area ~ '^[1-9][0-9]{5}$' AND debtor_area
            <> creditor_area),
        CONSTRAINT ck_clearing_lines_part CHECK (part IN ('FUND', 'OWN', 'WALLET', 'FUNDER', 'TRANSFER')),
        CONSTRAINT ck_clearing_lines_clr_type CHECK ((clr_type = '') = (part = 'TRANSFER')),
        CONSTRAINT ck_clearing_lines_leg_no CHECK ((leg_no = 0) = (part = 'FUND') AND leg_no >= 0),
        CONSTRAINT ck_clearing_lines_institution CHECK ((fixmedins_code = '') = (part = 'TRANSFER')),
        CONSTRAINT ck_clearing_lines_amount
            CHECK (amount_fen <> 0 AND (amount_fen < 0) = (original_id IS NOT NULL))
    )
    """,
    """
    COMMENT ON TABLE clearing_lines IS
        'Each share that an area owes another, cleared once and for ever; a trigger keeps rows as they are.'
    """,
    "COMMENT ON COLUMN clearing_lines.period IS 'No key to its run, which is written after all its lines.'",
    "COMMENT ON COLUMN clearing_lines.payment_id IS 'Its setl_id.'",
    "COMMENT ON COLUMN clearing_lines.leg_no IS '0 = the pooled fund''s share, which no ledger holds.'",
    "COMMENT ON COLUMN clearing_lines.original_id IS 'Of a refund: the settlement it gives back.'",
    "COMMENT ON COLUMN clearing_lines.fixmedins_code IS 'Empty of a transfer.'",
    "COMMENT ON COLUMN clearing_lines.business_date IS 'When it was decided, in Asia/Shanghai.'",
    "COMMENT ON COLUMN clearing_lines.amount_fen IS 'A refund''s is below zero.'",
    """
    CREATE TABLE clearing_carried (
        period TEXT NOT NULL,
        payment_id UUID NOT NULL,
        CONSTRAINT pk_clearing_carried PRIMARY KEY (period, payment_id),
        CONSTRAINT fk_clearing_carried_period_clearing_runs
            FOREIGN KEY(period) REFERENCES clearing_runs (period)
    )
    """,
    """
    COMMENT ON TABLE clearing_carried IS
        'Payments that had begun and were not booked when their period was run: the next one looks for them.'
    """,
    "CREATE INDEX IF NOT EXISTS payments_decided ON payments USING brin (decided_at)",
    *(
        f"""
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION refuse_change()
        """
        for table in APPEND_ONLY
    ),
)


def upgrade() -> None:
    """Makes the tables, their guards and the index."""
    for statement in STATEMENTS:
        op.execute(statement)
