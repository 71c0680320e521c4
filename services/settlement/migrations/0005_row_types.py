"""What every settlement writes, as types: the rows of a batch travel as one parameter for each of these.

Nothing is stored in them, so the release before goes on working beside it.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TYPE begin_row AS (
        n INT8, payment_id UUID, fixmedins_code TEXT, infno TEXT, msgid TEXT, request_hash BYTEA, plan_id UUID,
        plan_digest BYTEA, plan_infno TEXT, traceparent TEXT
    )
    """,
    """
    CREATE TYPE write_row AS (
        payment_id UUID, expected TEXT, to_state TEXT, reason TEXT, refused_leg_no INT2, balances_after TEXT,
        quarantine TEXT, expected_pending BOOL, asks_receiver BOOL, in_time BOOL,
        event_id UUID, aggregate TEXT, version INT8, subject TEXT, payload BYTEA, traceparent TEXT,
        occurred_at TIMESTAMPTZ
    )
    """,
)


def upgrade() -> None:
    """Adds the types."""
    for statement in STATEMENTS:
        op.execute(statement)
