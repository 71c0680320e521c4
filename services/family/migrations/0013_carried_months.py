"""What of a moved binding's use counts on in its month. Adds; the previous release works on, and carries none over."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

DDL = (
    """
    ALTER TABLE bindings
        ADD COLUMN carried_month integer,
        ADD COLUMN carried_month_fen bigint,
        ADD CONSTRAINT bindings_carried_month CHECK (
            (carried_month IS NULL) = (carried_month_fen IS NULL)
            AND (carried_month_fen IS NULL OR 0 <= carried_month_fen AND carried_month_fen <= carried_fen)
        ) NOT VALID
    """,
    "COMMENT ON COLUMN bindings.carried_month IS 'yyyymm: the month of which carried_month_fen counts on.'",
)


def upgrade() -> None:
    """Adds them."""
    for statement in DDL:
        op.execute(statement)
