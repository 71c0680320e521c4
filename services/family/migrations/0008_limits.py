"""Limits of a binding per payment and per month. The previous release works on, and leaves them as they are.

It tells a ledger no limits: while it still runs, an amount that it amends clears the limits of that binding.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

DDL = (
    """
    ALTER TABLE bindings
        ADD COLUMN per_payment_fen bigint,
        ADD COLUMN per_month_fen bigint,
        ADD COLUMN wanted_per_payment_fen bigint,
        ADD COLUMN wanted_per_month_fen bigint,
        ADD COLUMN requested_per_payment_fen bigint,
        ADD COLUMN requested_per_month_fen bigint,
        ADD CONSTRAINT bindings_limits CHECK (
            per_payment_fen > 0 AND per_month_fen > 0 AND wanted_per_payment_fen > 0 AND wanted_per_month_fen > 0
            AND requested_per_payment_fen > 0 AND requested_per_month_fen > 0
        ) NOT VALID
    """,
    "COMMENT ON COLUMN bindings.per_payment_fen IS '单笔限额 as the ledger keeps it; NULL = no limit.'",
    "COMMENT ON COLUMN bindings.per_month_fen IS '月限额 as the ledger keeps it; NULL = no limit.'",
    "COMMENT ON COLUMN bindings.wanted_per_payment_fen IS 'While amending, as wanted_fen.'",
    "COMMENT ON COLUMN bindings.wanted_per_month_fen IS 'While amending, as wanted_fen.'",
)


def upgrade() -> None:
    """Adds them."""
    for statement in DDL:
        op.execute(statement)
