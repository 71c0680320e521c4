"""Accounts are closed: what waits for the last hold, and the entries that empty the account.

The release before goes on working beside it. A hold that ends there on an account that is being closed leaves it
CLOSING, which refuses holds all the same; it is closed by the next command that ends one, or by the same command again.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE closings (
        command_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        account_kind TEXT NOT NULL,
        cause TEXT NOT NULL,
        booked_at TIMESTAMPTZ NOT NULL,
        finished_at TIMESTAMPTZ,
        CONSTRAINT closings_pkey PRIMARY KEY (command_id),
        CONSTRAINT closings_one_at_a_time UNIQUE NULLS NOT DISTINCT (psn_no, account_kind, finished_at)
    )
    """,
    """
    COMMENT ON TABLE closings IS
        'Accounts that were to be closed; finished_at once the last hold had ended and what was left had gone.'
    """,
    """
    ALTER TABLE entries
        DROP CONSTRAINT entries_kind_known,
        ADD CONSTRAINT entries_kind_known CHECK
            (kind IN ('PAYMENT', 'TRANSFER_IN', 'REFUND', 'MONTHLY', 'WALLET', 'CARRIED_OVER', 'YEAR_TURN', 'SUSPENSE',
                      'CLOSING')) NOT VALID
    """,
)


def upgrade() -> None:
    """Adds the table and widens what an entry may be."""
    for statement in STATEMENTS:
        op.execute(statement)
