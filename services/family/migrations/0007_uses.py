"""What was used of whose account for whom. The previous release works on."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

DDL = (
    """
    CREATE TABLE uses (
        payment_id uuid NOT NULL,
        funder_psn_no text NOT NULL,
        use_no bigint GENERATED ALWAYS AS IDENTITY,
        original_id uuid,
        beneficiary_psn_no text NOT NULL,
        authorisation_id uuid,
        used_at timestamptz NOT NULL,
        institution_kind text NOT NULL,
        institution_area text NOT NULL,
        amount_fen bigint NOT NULL,
        PRIMARY KEY (payment_id, funder_psn_no),
        CONSTRAINT uses_two_people CHECK (funder_psn_no <> beneficiary_psn_no),
        CONSTRAINT uses_amount CHECK (CASE WHEN original_id IS NULL THEN amount_fen > 0 ELSE amount_fen < 0 END),
        CONSTRAINT uses_institution_kind CHECK (institution_kind IN ('HOSPITAL', 'PHARMACY')),
        CONSTRAINT uses_institution_area CHECK (institution_area ~ '^[1-9][0-9]{5}$')
    )
    """,
    "COMMENT ON TABLE uses IS 'What each funder gave for each bill, as settlement told it; not what it was for.'",
    "COMMENT ON COLUMN uses.original_id IS 'Of money that came back: the payment it was taken by.'",
    "COMMENT ON COLUMN uses.authorisation_id IS 'Of the binding; NULL = settlement did not tell.'",
    "COMMENT ON COLUMN uses.amount_fen IS 'Below 0: it came back.'",
    "CREATE INDEX uses_given ON uses (funder_psn_no, used_at, use_no)",
    "CREATE INDEX uses_received ON uses (beneficiary_psn_no, used_at, use_no)",
    "CREATE INDEX uses_under ON uses (authorisation_id, used_at, use_no)",
)


def upgrade() -> None:
    """Adds them."""
    for statement in DDL:
        op.execute(statement)
