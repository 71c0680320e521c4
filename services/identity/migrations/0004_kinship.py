"""Expiry of evidence, who decided what, and the civil registry's rows."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE kinship_facts
        ADD COLUMN issued_on DATE,
        ADD COLUMN expires_on DATE,
        ADD COLUMN finding TEXT,
        DROP CONSTRAINT kinship_facts_state,
        DROP CONSTRAINT kinship_facts_cause,
        ADD CONSTRAINT kinship_facts_state CHECK (
            state IN ('SUBMITTED', 'VERIFIED', 'REJECTED', 'REVOKED', 'EXPIRED')),
        ADD CONSTRAINT kinship_facts_cause CHECK (state IN ('SUBMITTED', 'VERIFIED') OR cause <> ''),
        ADD CONSTRAINT kinship_facts_evidence_dates CHECK (issued_on < expires_on),
        ADD CONSTRAINT kinship_facts_finding CHECK (finding IN ('CONFIRMED', 'DENIED', 'UNKNOWN'))
    """,
    "COMMENT ON COLUMN kinship_facts.expires_on IS 'The first day on which the document proves nothing any more.'",
    "COMMENT ON COLUMN kinship_facts.finding IS 'What the civil registry said; nothing if it was not asked.'",
    "CREATE INDEX kinship_facts_of_psn_no ON kinship_facts (psn_no, fact_id)",
    "CREATE INDEX kinship_facts_of_other_psn_no ON kinship_facts (other_psn_no, fact_id)",
    "DROP INDEX kinship_facts_by_psn_no",
    "DROP INDEX kinship_facts_by_other_psn_no",
    "CREATE INDEX kinship_facts_waiting ON kinship_facts (submitted_at, fact_id) WHERE state = 'SUBMITTED'",
    """
    CREATE INDEX kinship_facts_expiring ON kinship_facts (expires_on, fact_id)
        WHERE state IN ('SUBMITTED', 'VERIFIED') AND expires_on IS NOT NULL
    """,
    """
    CREATE TABLE kinship_decisions (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        fact_id UUID NOT NULL,
        state TEXT NOT NULL,
        decider TEXT NOT NULL,
        opter TEXT NOT NULL,
        cause TEXT NOT NULL,
        decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT kinship_decisions_state CHECK (state IN ('VERIFIED', 'REJECTED', 'REVOKED', 'EXPIRED')),
        CONSTRAINT kinship_decisions_decider CHECK (decider IN ('OFFICER', 'REGISTRY', 'ROOM')),
        CONSTRAINT kinship_decisions_opter CHECK ((decider = 'OFFICER') = (opter <> '')),
        FOREIGN KEY(fact_id) REFERENCES kinship_facts (fact_id)
    )
    """,
    "CREATE INDEX kinship_decisions_fact_id ON kinship_decisions (fact_id, id)",
    "COMMENT ON TABLE kinship_decisions IS 'Who decided what about a fact, when and why; only ever added to.'",
    """
    CREATE TABLE registry_rows (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        kind TEXT NOT NULL,
        a_index BYTEA NOT NULL,
        b_index BYTEA NOT NULL,
        from_date DATE NOT NULL,
        to_date DATE,
        loaded_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT registry_rows_said UNIQUE (a_index, b_index, kind, from_date),
        CONSTRAINT registry_rows_kind CHECK (kind IN ('PARENT_OF', 'MARRIED_TO', 'SIBLING_OF')),
        CONSTRAINT registry_rows_indexes CHECK (octet_length(a_index) = 32 AND octet_length(b_index) = 32),
        CONSTRAINT registry_rows_order CHECK (kind = 'PARENT_OF' OR a_index < b_index),
        CONSTRAINT registry_rows_from_date CHECK ((kind = 'MARRIED_TO') = (from_date > '0001-01-01')),
        CONSTRAINT registry_rows_to_date CHECK (from_date < to_date)
    )
    """,
    "CREATE INDEX registry_rows_b_index ON registry_rows (b_index)",
    "COMMENT ON COLUMN registry_rows.from_date IS 'The wedding; 0001-01-01 where the kind has no dates.'",
    "COMMENT ON TABLE registry_rows IS 'The civil registry as its batch file told it: keyed blind indexes alone.'",
)


def upgrade() -> None:
    """Make them all."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
