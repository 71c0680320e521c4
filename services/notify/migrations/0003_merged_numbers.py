"""Which number counts, where identity found one to be a double. The previous release works on."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.execute("ALTER TABLE persons ADD COLUMN merged_into TEXT")
    op.execute("COMMENT ON COLUMN persons.merged_into IS 'The number that counts, where this one was a double.'")
