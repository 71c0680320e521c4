"""Objections to uses of one's money, and whose account paid which bill. The previous release works beside it."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE funded_bills (
        setl_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        patient_psn_no TEXT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        settled_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT funded_bills_pkey PRIMARY KEY (setl_id, psn_no)
    )
    """,
    "COMMENT ON TABLE funded_bills IS 'Whose account paid for which bill, as settlement told; kept for objections.'",
    "COMMENT ON COLUMN funded_bills.psn_no IS 'Whose account it was.'",
    "CREATE INDEX funded_bills_psn_no ON funded_bills (psn_no, settled_at)",
    "CREATE INDEX funded_bills_patient_psn_no ON funded_bills (patient_psn_no, settled_at)",
    "CREATE INDEX funded_bills_settled_at ON funded_bills USING brin (settled_at)",
    "ALTER TABLE risk_events DROP CONSTRAINT risk_events_kind",
    """
    ALTER TABLE risk_events ADD CONSTRAINT risk_events_kind CHECK (
        kind IN ('OTHERS_CREDENTIAL', 'FAR_TERMINALS', 'SMALL_PHARMACY_BUYS', 'REFUSED_CODES', 'OBJECTION'))
    """,
)


def upgrade() -> None:
    """Adds the table and the kind."""
    for statement in STATEMENTS:
        op.execute(statement)
