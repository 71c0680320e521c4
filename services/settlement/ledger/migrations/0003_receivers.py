"""Legs that receive: they hold nothing, and what they bring is an entry of its own kind.

The release before goes on working beside it: it writes none of the new values, and is never sent a leg that receives
without refusing it.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE branch_legs
        ALTER COLUMN after_past_fen DROP NOT NULL,
        ALTER COLUMN after_current_fen DROP NOT NULL,
        ALTER COLUMN after_held_past_fen DROP NOT NULL,
        ALTER COLUMN after_held_current_fen DROP NOT NULL,
        ALTER COLUMN after_year DROP NOT NULL,
        DROP CONSTRAINT branch_legs_role_known,
        ADD CONSTRAINT branch_legs_role_known CHECK (role IN ('OWN', 'WALLET', 'FUNDER', 'RECEIVER')),
        ADD CONSTRAINT branch_legs_receiver_holds_nothing
            CHECK ((role = 'RECEIVER') = (after_year IS NULL) AND (role <> 'RECEIVER' OR refunded_fen = 0))
    """,
    """
    ALTER TABLE entries
        DROP CONSTRAINT entries_kind_known,
        ADD CONSTRAINT entries_kind_known CHECK
            (kind IN ('PAYMENT', 'TRANSFER_IN', 'REFUND', 'MONTHLY', 'WALLET', 'CARRIED_OVER', 'YEAR_TURN'))
    """,
)


def upgrade() -> None:
    """Widens what the two tables take."""
    for statement in STATEMENTS:
        op.execute(statement)
