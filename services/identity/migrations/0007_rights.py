"""Corrections; whether the one who looked somebody up is known by more than his own word."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE lookups ADD COLUMN declared BOOLEAN DEFAULT true NOT NULL",
    "COMMENT ON COLUMN lookups.declared IS 'asked_by is what the caller said of itself; nobody checked it.'",
    """
    CREATE TABLE corrections (
        correction_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        field TEXT NOT NULL,
        certificate_kind TEXT,
        value_sealed BYTEA NOT NULL,
        key_id TEXT NOT NULL,
        evidence TEXT NOT NULL,
        state TEXT NOT NULL,
        requested_by TEXT NOT NULL,
        requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        opter TEXT,
        cause TEXT DEFAULT '' NOT NULL,
        decided_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (correction_id),
        CONSTRAINT corrections_field CHECK (field IN ('NAME', 'BIRTH_DATE', 'SEX', 'CERTIFICATE')),
        CONSTRAINT corrections_certificate_kind CHECK ((field = 'CERTIFICATE') = (certificate_kind IS NOT NULL)),
        CONSTRAINT corrections_state CHECK (state IN ('REQUESTED', 'GRANTED', 'REFUSED')),
        CONSTRAINT corrections_decided CHECK (
            (state = 'REQUESTED') = (decided_at IS NULL) AND (opter IS NULL) = (decided_at IS NULL)),
        CONSTRAINT corrections_cause CHECK (state <> 'REFUSED' OR cause <> ''),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no)
    )
    """,
    "CREATE UNIQUE INDEX corrections_waiting ON corrections (psn_no, field) WHERE state = 'REQUESTED'",
    "CREATE INDEX corrections_psn_no ON corrections (psn_no, correction_id)",
    "CREATE INDEX corrections_state_id ON corrections (state, correction_id)",
    "CREATE INDEX used_codes_shown_by ON used_codes (shown_by, used_at) WHERE shown_by IS NOT NULL",
    "COMMENT ON TABLE corrections IS 'What people ask to have put right of their record, and what was decided.'",
    "COMMENT ON COLUMN corrections.key_id IS 'The encryption key of the sealed value.'",
)


def upgrade() -> None:
    """A column with a default, which the release before need not write; a table of its own."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
