"""Limits of an authorisation per payment and per month, and what each month took.

The release before goes on working beside it, but knows no limits: an authorisation is given its first limit only once
every process of the area's ledger is of this release. What was held before this release counts in no month.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE authorisations
        ADD COLUMN per_payment_fen INT8,
        ADD COLUMN per_month_fen INT8,
        ADD COLUMN counts_months BOOL NOT NULL DEFAULT false,
        ADD CONSTRAINT authorisations_limits_positive CHECK (per_payment_fen > 0 AND per_month_fen > 0) NOT VALID,
        ADD CONSTRAINT authorisations_months_counted CHECK (per_month_fen IS NULL OR counts_months) NOT VALID
    """,
    """
    ALTER TABLE authorisation_events
        ADD COLUMN asked_per_payment_fen INT8,
        ADD COLUMN asked_per_month_fen INT8,
        ADD COLUMN after_per_payment_fen INT8,
        ADD COLUMN after_per_month_fen INT8
    """,
    "ALTER TABLE branches ADD COLUMN month INT4",
    "COMMENT ON COLUMN branches.month IS 'yyyymm; NULL = of a release without months.'",
    """
    CREATE TYPE held_branch_in_month_row AS (
        payment_id UUID, digest BYTEA, inquire_at TIMESTAMPTZ, month INT4, fixmedins_code TEXT, setl_id TEXT,
        care_area TEXT, origin BYTEA
    )
    """,
    """
    CREATE TABLE authorisation_months (
        authorisation_id UUID NOT NULL,
        month INT4 NOT NULL,
        used_fen INT8 NOT NULL,
        held_fen INT8 NOT NULL,
        limit_fen INT8,
        CONSTRAINT authorisation_months_pkey PRIMARY KEY (authorisation_id, month),
        CONSTRAINT authorisation_months_month
            CHECK (month BETWEEN 200001 AND 220012 AND month % 100 BETWEEN 1 AND 12),
        CONSTRAINT authorisation_months_not_negative CHECK (0 <= used_fen AND 0 <= held_fen),
        CONSTRAINT authorisation_months_within_limit CHECK (used_fen + held_fen <= limit_fen)
    ) WITH (fillfactor = 80)
    """,
    """
    COMMENT ON TABLE authorisation_months IS
        'What each civil month (yyyymm) took where months are counted; limit_fen is the one of the latest hold.'
    """,
)


def upgrade() -> None:
    """Adds them."""
    for statement in STATEMENTS:
        op.execute(statement)
