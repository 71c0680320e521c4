"""Accounts that are closed or move to another area, so that recovery goes on with them. Only adds a table."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE account_endings (
        request_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        role TEXT NOT NULL,
        area TEXT NOT NULL,
        to_area TEXT,
        cause TEXT NOT NULL,
        past_fen BIGINT NOT NULL,
        current_fen BIGINT NOT NULL,
        tries INTEGER DEFAULT '0' NOT NULL,
        state TEXT DEFAULT 'PENDING' NOT NULL,
        refusal TEXT DEFAULT '' NOT NULL,
        traceparent TEXT DEFAULT '' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        next_drive_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        attempts INTEGER DEFAULT '0' NOT NULL,
        CONSTRAINT pk_account_endings PRIMARY KEY (request_id),
        CONSTRAINT ck_account_endings_state CHECK (state IN ('PENDING', 'CLOSING', 'CLOSED', 'REFUSED')),
        CONSTRAINT ck_account_endings_finished
            CHECK ((state IN ('CLOSED', 'REFUSED')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_account_endings_refusal CHECK ((state = 'REFUSED') = (refusal <> '')),
        CONSTRAINT ck_account_endings_role
            CHECK (role IN ('OWN', 'WALLET') AND (to_area IS NULL OR role = 'OWN')),
        CONSTRAINT ck_account_endings_areas
            CHECK (area ~ '^[1-9][0-9]{5}$' AND to_area ~ '^[1-9][0-9]{5}$' AND to_area <> area),
        CONSTRAINT ck_account_endings_amounts CHECK (past_fen >= 0 AND current_fen >= 0 AND tries >= 0),
        CONSTRAINT ck_account_endings_moved CHECK (to_area IS NOT NULL OR past_fen + current_fen = 0)
    )
    """,
    """COMMENT ON TABLE account_endings IS
        'Accounts that are closed or move to another area, from the request to the end of the old account.'""",
    "COMMENT ON COLUMN account_endings.to_area IS 'Of a move; NULL = it is only closed.'",
    "COMMENT ON COLUMN account_endings.past_fen IS 'What a move transfers, by part.'",
    "COMMENT ON COLUMN account_endings.tries IS 'Transfers that came to nothing.'",
    "COMMENT ON COLUMN account_endings.refusal IS 'The reason when REFUSED.'",
    "CREATE INDEX account_endings_due ON account_endings (next_drive_at) WHERE finished_at IS NULL",
)


def upgrade() -> None:
    """Adds the table."""
    for statement in STATEMENTS:
        op.execute(statement)
