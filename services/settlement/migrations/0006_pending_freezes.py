"""The freezes of one account that its ledger has not answered are found by an index, however many others there are."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index. What it indexes are a few rows at any time."""
    op.execute("""
        CREATE INDEX account_commands_pending ON account_commands (psn_no, area, created_at, request_id)
            WHERE state = 'PENDING'
    """)
