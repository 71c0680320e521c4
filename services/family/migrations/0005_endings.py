"""What else a binding rests on. Adds columns and an index, so the previous release works beside it."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

DDL = (
    "ALTER TABLE persons ADD COLUMN died_on date, ADD COLUMN merged_into text",
    "COMMENT ON COLUMN persons.merged_into IS 'The number that counts, where this one was a double.'",
    "CREATE INDEX bindings_live_funder ON bindings (funder_psn_no) WHERE state IN ('OPENING', 'ACTIVE')",
)


def upgrade() -> None:
    """Adds them."""
    for statement in DDL:
        op.execute(statement)
