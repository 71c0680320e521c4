"""What a month took where the funder's account was before counts on where it is now. The release before works on.

Whatever that opens carries no month over.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE authorisations
        ADD COLUMN opened_month INT4,
        ADD COLUMN opened_month_fen INT8,
        ADD CONSTRAINT authorisations_opened_month CHECK (
            (opened_month IS NULL) = (opened_month_fen IS NULL)
            AND (opened_month IS NULL
                 OR counts_months AND 0 <= opened_month_fen AND opened_month_fen <= opened_used_fen)
        ) NOT VALID
    """,
    "COMMENT ON COLUMN authorisations.opened_month IS 'yyyymm: the month of which opened_month_fen was carried over.'",
)


def upgrade() -> None:
    """Adds them."""
    for statement in STATEMENTS:
        op.execute(statement)
