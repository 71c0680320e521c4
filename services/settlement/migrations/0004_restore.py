"""What a coordinator restored from an older backup must keep of itself, and dead letters that are tried again.

Only adds columns with defaults, so the previous release works beside it.
"""

from __future__ import annotations

from alembic import op

from chassis.inbox import DDL_V2

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE coordinator
        ADD COLUMN restore_id UUID,
        ADD COLUMN restoring_since TIMESTAMP WITH TIME ZONE,
        ADD COLUMN restored_until TIMESTAMP WITH TIME ZONE,
        ADD CONSTRAINT ck_coordinator_restore CHECK (restoring_since IS NULL OR restore_id IS NOT NULL)
    """,
    "COMMENT ON COLUMN coordinator.restore_id IS 'The last restore, under which its audit records stand.'",
    "COMMENT ON COLUMN coordinator.restoring_since IS 'While it is set, nothing is decided.'",
    """
    COMMENT ON COLUMN coordinator.restored_until IS
        'A request made before this that is unknown here is refused: its answer may have been lost.'
    """,
    "DROP INDEX payments_trying_patient",
    """
    CREATE UNIQUE INDEX payments_trying_patient ON payments (psn_no)
        WHERE kind = 'SETTLE' AND state = 'TRYING' AND quarantine <> 'RESTORED_UNCLEAR'
    """,
)


def upgrade() -> None:
    """Adds the columns, and lets an unclear settlement keep no other one of its patient waiting."""
    for statement in (*STATEMENTS, *DDL_V2):
        op.execute(statement)
