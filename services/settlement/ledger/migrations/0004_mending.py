"""What mends a restored system: the coordinator's origin of each payment, and money that leaves suspense.

The release before goes on working beside it: it writes none of the new values and leaves origins empty.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE branches ADD COLUMN origin BYTEA DEFAULT ''::bytea NOT NULL",
    "ALTER TABLE credits ADD COLUMN origin BYTEA DEFAULT ''::bytea NOT NULL",
    "COMMENT ON COLUMN branches.origin IS 'The coordinator''s own: its row is made anew from it after a restore.'",
    "COMMENT ON COLUMN credits.origin IS 'The coordinator''s own: its row is made anew from it after a restore.'",
    """
    ALTER TABLE entries
        DROP CONSTRAINT entries_kind_known,
        ADD CONSTRAINT entries_kind_known CHECK
            (kind IN ('PAYMENT', 'TRANSFER_IN', 'REFUND', 'MONTHLY', 'WALLET', 'CARRIED_OVER', 'YEAR_TURN', 'SUSPENSE'))
    """,
    """
    ALTER TABLE credits
        DROP CONSTRAINT credits_purpose_known,
        ADD CONSTRAINT credits_purpose_known CHECK
            (purpose IN ('MONTHLY', 'WALLET', 'REFUND', 'CARRIED_OVER', 'SUSPENSE'))
    """,
)


def upgrade() -> None:
    """Adds the columns and widens what the two tables take."""
    for statement in STATEMENTS:
        op.execute(statement)
