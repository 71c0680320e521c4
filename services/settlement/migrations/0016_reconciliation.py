"""Day's end: what institutions sent of their books, what differs, and our books by institution and day.

Adds tables and a type. The index of payments takes minutes on a table of many millions, in which nobody could write;
so it is built beforehand while the previous release runs (docs/reconciliation.md, "Before the upgrade"), and made here
only where it is missing. One that was given up half-way counts as missing.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    DO $$ BEGIN
        IF EXISTS (
            SELECT FROM pg_index WHERE indexrelid = to_regclass('payments_of_institution') AND NOT indisvalid
        ) THEN
            DROP INDEX payments_of_institution;
        END IF;
    END $$
    """,
    """
    CREATE INDEX IF NOT EXISTS payments_of_institution ON payments (fixmedins_code, decided_at, payment_id)
        WHERE kind IN ('SETTLE', 'REFUND') AND state IN ('COMMITTED', 'DONE')
    """,
    """
    CREATE TYPE reconciliation_row AS (
        row_no INT4, setl_id UUID, fallback_id UUID, infno TEXT, msgid TEXT, is_refund BOOL, insutype TEXT,
        clr_type TEXT, medfee_sumamt INT8, fund_pay_sumamt INT8, acct_pay INT8, acct_mulaid_pay INT8, psn_cash_pay INT8,
        wallet_pay INT8
    )
    """,
    """
    CREATE TABLE reconciliation_uploads (
        upload_id UUID NOT NULL,
        fixmedins_code TEXT NOT NULL,
        stmt_date DATE NOT NULL,
        state TEXT DEFAULT 'RECEIVING' NOT NULL,
        rows_cnt INTEGER NOT NULL,
        digest BYTEA,
        ours_cnt INTEGER,
        rows_kept TEXT DEFAULT 'WHOLE' NOT NULL,
        keep_until TIMESTAMP WITH TIME ZONE NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        compared_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_reconciliation_uploads PRIMARY KEY (upload_id),
        CONSTRAINT ck_reconciliation_uploads_state CHECK (state IN ('RECEIVING', 'COMPARED')),
        CONSTRAINT ck_reconciliation_uploads_compared
            CHECK ((state = 'COMPARED') = (digest IS NOT NULL AND ours_cnt IS NOT NULL AND compared_at IS NOT NULL)),
        CONSTRAINT ck_reconciliation_uploads_rows_kept CHECK (rows_kept IN ('WHOLE', 'PURGING', 'GONE')),
        CONSTRAINT ck_reconciliation_uploads_digest CHECK (octet_length(digest) = 32),
        CONSTRAINT ck_reconciliation_uploads_counts CHECK (rows_cnt >= 0 AND ours_cnt >= 0)
    )
    """,
    "CREATE INDEX reconciliation_uploads_due ON reconciliation_uploads (keep_until) WHERE rows_kept <> 'GONE'",
    "COMMENT ON TABLE reconciliation_uploads IS 'Each sending of an institution''s records of a day.'",
    """COMMENT ON COLUMN reconciliation_uploads.stmt_date IS
        'The civil day (Asia/Shanghai) whose records they are.'""",
    """COMMENT ON COLUMN reconciliation_uploads.rows_cnt IS
        'As announced; the rows that are there once it is COMPARED.'""",
    "COMMENT ON COLUMN reconciliation_uploads.digest IS 'SHA-256 over the rows in their order.'",
    "COMMENT ON COLUMN reconciliation_uploads.ours_cnt IS 'How many records our books had.'",
    "COMMENT ON COLUMN reconciliation_uploads.keep_until IS 'Afterwards its rows are deleted.'",
    "COMMENT ON COLUMN reconciliation_uploads.rows_kept IS 'Whether its rows are there.'",
    """
    CREATE TABLE reconciliation_rows (
        upload_id UUID NOT NULL,
        row_no INTEGER NOT NULL,
        record_id UUID NOT NULL,
        setl_id UUID,
        infno TEXT NOT NULL,
        msgid TEXT NOT NULL,
        is_refund BOOLEAN NOT NULL,
        insutype TEXT NOT NULL,
        clr_type TEXT NOT NULL,
        medfee_sumamt BIGINT NOT NULL,
        fund_pay_sumamt BIGINT NOT NULL,
        acct_pay BIGINT NOT NULL,
        acct_mulaid_pay BIGINT NOT NULL,
        psn_cash_pay BIGINT NOT NULL,
        wallet_pay BIGINT NOT NULL,
        CONSTRAINT pk_reconciliation_rows PRIMARY KEY (upload_id, row_no),
        CONSTRAINT reconciliation_rows_record UNIQUE (upload_id, record_id),
        CONSTRAINT ck_reconciliation_rows_row_no CHECK (row_no >= 1),
        CONSTRAINT ck_reconciliation_rows_record CHECK (setl_id IS NULL OR setl_id = record_id)
    )
    """,
    """COMMENT ON TABLE reconciliation_rows IS
        'The institution''s records of a day, as it sent them. Without a key to the upload, for there are many.'
    """,
    """COMMENT ON COLUMN reconciliation_rows.record_id IS
        'The setl_id; or stands for a request that is not known here.'""",
    "COMMENT ON COLUMN reconciliation_rows.setl_id IS 'As it was stated.'",
    """
    CREATE TABLE reconciliation_days (
        fixmedins_code TEXT NOT NULL,
        stmt_date DATE NOT NULL,
        comparing_id UUID NOT NULL,
        compared_id UUID,
        CONSTRAINT pk_reconciliation_days PRIMARY KEY (fixmedins_code, stmt_date)
    )
    """,
    """COMMENT ON TABLE reconciliation_days IS
        'An institution''s day; its row is the lock under which it is compared.'""",
    "COMMENT ON COLUMN reconciliation_days.comparing_id IS 'The upload that was last begun to be compared.'",
    "COMMENT ON COLUMN reconciliation_days.compared_id IS 'The upload that was last compared to its end.'",
    """
    CREATE TABLE reconciliation_differences (
        difference_id UUID NOT NULL,
        fixmedins_code TEXT NOT NULL,
        stmt_date DATE NOT NULL,
        area TEXT NOT NULL,
        record_id UUID NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        fields TEXT[] NOT NULL,
        theirs JSONB,
        ours JSONB,
        ours_standing TEXT,
        ours_date DATE,
        fingerprint BYTEA NOT NULL,
        upload_id UUID NOT NULL,
        found_at TIMESTAMP WITH TIME ZONE NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        cause TEXT DEFAULT '' NOT NULL,
        opter TEXT DEFAULT '' NOT NULL,
        CONSTRAINT pk_reconciliation_differences PRIMARY KEY (difference_id),
        CONSTRAINT reconciliation_differences_record UNIQUE (fixmedins_code, stmt_date, record_id),
        CONSTRAINT ck_reconciliation_differences_kind
            CHECK (kind IN ('ONLY_OURS', 'ONLY_THEIRS', 'AMOUNT', 'STATE')),
        CONSTRAINT ck_reconciliation_differences_state
            CHECK (state IN ('OPEN', 'CLEARED', 'EXPLAINED', 'RESOLVED')),
        CONSTRAINT ck_reconciliation_differences_standing
            CHECK (ours_standing IN ('SETTLED', 'REFUSED', 'REVERSED', 'IN_PROGRESS')),
        CONSTRAINT ck_reconciliation_differences_theirs CHECK ((kind = 'ONLY_OURS') = (theirs IS NULL)),
        CONSTRAINT ck_reconciliation_differences_ours CHECK ((kind = 'ONLY_THEIRS') = (ours_standing IS NULL)),
        CONSTRAINT ck_reconciliation_differences_fields
            CHECK ((kind IN ('AMOUNT', 'STATE')) = (cardinality(fields) > 0)),
        CONSTRAINT ck_reconciliation_differences_decided
            CHECK ((state IN ('EXPLAINED', 'RESOLVED')) = (opter <> '')
                AND (state IN ('EXPLAINED', 'RESOLVED')) = (cause <> '')),
        CONSTRAINT ck_reconciliation_differences_fingerprint CHECK (octet_length(fingerprint) = 32)
    )
    """,
    """CREATE INDEX reconciliation_differences_open ON reconciliation_differences (stmt_date, difference_id)
        WHERE state = 'OPEN'""",
    """CREATE INDEX reconciliation_differences_open_of_area ON reconciliation_differences
        (area, stmt_date, difference_id) WHERE state = 'OPEN'""",
    """CREATE INDEX reconciliation_differences_cleared ON reconciliation_differences (changed_at)
        WHERE state = 'CLEARED'""",
    """COMMENT ON TABLE reconciliation_differences IS
        'What differs between an institution''s books and ours, until somebody has settled it.'""",
    "COMMENT ON COLUMN reconciliation_differences.area IS 'Of care: whose officers decide.'",
    "COMMENT ON COLUMN reconciliation_differences.fields IS 'Which differ.'",
    "COMMENT ON COLUMN reconciliation_differences.theirs IS 'The record as the institution has it.'",
    "COMMENT ON COLUMN reconciliation_differences.ours IS 'The record as our books have it.'",
    """COMMENT ON COLUMN reconciliation_differences.ours_standing IS
        'How it stands on our books; NULL = nothing is known of it.'""",
    "COMMENT ON COLUMN reconciliation_differences.ours_date IS 'The day to which ours belongs.'",
    "COMMENT ON COLUMN reconciliation_differences.fingerprint IS 'SHA-256 of all it says.'",
    "COMMENT ON COLUMN reconciliation_differences.upload_id IS 'The upload that showed it last.'",
    "COMMENT ON COLUMN reconciliation_differences.cause IS 'Why the officer decided so.'",
    """
    CREATE TABLE reconciliation_decisions (
        decision_no BIGINT GENERATED ALWAYS AS IDENTITY,
        difference_id UUID NOT NULL,
        state TEXT NOT NULL,
        cause TEXT NOT NULL,
        opter TEXT NOT NULL,
        fingerprint BYTEA NOT NULL,
        decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_reconciliation_decisions PRIMARY KEY (decision_no),
        CONSTRAINT ck_reconciliation_decisions_state CHECK (state IN ('EXPLAINED', 'RESOLVED')),
        CONSTRAINT ck_reconciliation_decisions_officer CHECK (opter <> '' AND cause <> ''),
        CONSTRAINT reconciliation_decisions_difference FOREIGN KEY(difference_id)
            REFERENCES reconciliation_differences (difference_id)
    )
    """,
    "CREATE INDEX ix_reconciliation_decisions_difference_id ON reconciliation_decisions (difference_id)",
    """COMMENT ON TABLE reconciliation_decisions IS
        'What officers decided of differences; it stays when one opens again.'""",
    "COMMENT ON COLUMN reconciliation_decisions.fingerprint IS 'Of the difference as the officer saw it.'",
)


def upgrade() -> None:
    """Adds the tables, the type, and the index where it is missing."""
    for statement in STATEMENTS:
        op.execute(statement)
