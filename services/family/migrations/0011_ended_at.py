"""When a person ended a binding that stood; of an end before it, the row's last change is the best that is known.

Adds a column, so the previous release works beside it; what that ends meanwhile counts for no year.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

DDL = (
    "ALTER TABLE bindings ADD COLUMN ended_at timestamptz",
    "COMMENT ON COLUMN bindings.ended_at IS 'When a person ended it while it stood.'",
    "UPDATE bindings SET ended_at = changed_at WHERE state IN ('CLOSING', 'UNBOUND') AND cause = ''",
)


def upgrade() -> None:
    """Adds it."""
    for statement in DDL:
        op.execute(statement)
