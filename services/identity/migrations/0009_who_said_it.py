"""Who submitted a kinship fact, who loaded a row of the civil registry, who added or removed a ward."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE kinship_facts ADD COLUMN submitted_by TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE registry_rows ADD COLUMN loaded_by TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE ward_changes ADD COLUMN changed_by TEXT DEFAULT '' NOT NULL",
    "COMMENT ON COLUMN kinship_facts.submitted_by IS 'What the caller said of itself; empty before that was kept.'",
    "COMMENT ON COLUMN registry_rows.loaded_by IS 'What the caller said of itself; empty before that was kept.'",
    "COMMENT ON COLUMN ward_changes.changed_by IS 'What the caller said of itself; empty before that was kept.'",
)


def upgrade() -> None:
    """Columns with a default, which the release before need not write."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
