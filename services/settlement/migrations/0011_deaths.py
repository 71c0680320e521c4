"""Who has died: nothing more is given by him or to him. The previous release works on."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE persons ADD COLUMN deceased BOOLEAN DEFAULT false NOT NULL",
    "COMMENT ON COLUMN persons.deceased IS 'Whether a death is on record.'",
    "DELETE FROM projection_freshness WHERE source = 'identity'",
)


def upgrade() -> None:
    """What was projected before does not say it: identity is read anew from its beginning (the runbook has it)."""
    for statement in STATEMENTS:
        op.execute(statement)
