"""Which number counts, where identity found one to be a double. The previous release works on."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE persons ADD COLUMN merged_into TEXT",
    "COMMENT ON COLUMN persons.merged_into IS 'The number that counts, where this one was a double.'",
    "CREATE INDEX persons_merged ON persons (merged_into, psn_no) WHERE merged_into IS NOT NULL",
)


def upgrade() -> None:
    """Adds it. What was merged before it is learned by reading identity anew (the runbook has it)."""
    for statement in STATEMENTS:
        op.execute(statement)
