"""Terminals, institutions' agreements and sanctions, and how recently identity was heard.

Only adds tables, and columns with defaults, so the previous release works beside it.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE institutions
        ADD COLUMN inpatient BOOLEAN DEFAULT true NOT NULL,
        ADD COLUMN agreement_from DATE,
        ADD COLUMN agreement_to DATE
    """,
    "COMMENT ON COLUMN institutions.inpatient IS 'Whether it settles 住院.'",
    "COMMENT ON COLUMN institutions.agreement_from IS 'The agreement''s first day; NULL = open.'",
    "COMMENT ON COLUMN institutions.agreement_to IS 'Its last day; NULL = open.'",
    """
    CREATE TABLE institution_sanctions (
        sanction_id UUID NOT NULL,
        fixmedins_code TEXT NOT NULL,
        from_at TIMESTAMP WITH TIME ZONE NOT NULL,
        to_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_institution_sanctions PRIMARY KEY (sanction_id),
        CONSTRAINT ck_institution_sanctions_period CHECK (from_at < to_at),
        CONSTRAINT fk_institution_sanctions_fixmedins_code_institutions FOREIGN KEY(fixmedins_code)
            REFERENCES institutions (fixmedins_code) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_institution_sanctions_fixmedins_code ON institution_sanctions (fixmedins_code)",
    """
    COMMENT ON TABLE institution_sanctions IS
        'Institutions'' suspensions from online settlement, in force or to come (domain §8).'
    """,
    """
    CREATE TABLE terminals (
        fixmedins_code TEXT NOT NULL,
        terminal_no TEXT NOT NULL,
        version BIGINT NOT NULL,
        state TEXT NOT NULL,
        sign_no TEXT NOT NULL,
        sign_ends_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_terminals PRIMARY KEY (fixmedins_code, terminal_no),
        CONSTRAINT ck_terminals_version CHECK (version >= 1),
        CONSTRAINT ck_terminals_state CHECK (state IN ('ACTIVE', 'RETIRED')),
        CONSTRAINT ck_terminals_sign_in CHECK ((sign_no = '') = (sign_ends_at IS NULL))
    )
    """,
    """
    COMMENT ON TABLE terminals IS
        'Terminals as identity last told of them. No key to institutions: the two are told apart.'
    """,
    "COMMENT ON COLUMN terminals.sign_no IS 'The last sign-in (签到编号), empty when it was ended.'",
    "COMMENT ON COLUMN terminals.sign_ends_at IS 'Before this the sign-in counts.'",
    """
    CREATE TABLE projection_freshness (
        source TEXT NOT NULL,
        cursor BIGINT NOT NULL,
        as_of TIMESTAMP WITH TIME ZONE NOT NULL,
        asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_projection_freshness PRIMARY KEY (source)
    )
    """,
    "COMMENT ON TABLE projection_freshness IS 'How recently a source said that nothing is missing here.'",
    "COMMENT ON COLUMN projection_freshness.source IS 'The service that was asked: identity.'",
    "COMMENT ON COLUMN projection_freshness.cursor IS 'What to ask it after the next time; its own.'",
    """
    COMMENT ON COLUMN projection_freshness.as_of IS 'All that it committed before this, by its clock.'
    """,
    """
    COMMENT ON COLUMN projection_freshness.asked_at IS 'When it was asked, by this database''s clock.'
    """,
)


def upgrade() -> None:
    """Adds them. What was projected before says nothing of agreements and sanctions: identity tells of it anew."""
    for statement in STATEMENTS:
        op.execute(statement)
