"""Which key signed an attestation, so that it ends with that key. The release before leaves it empty."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE attestations ADD COLUMN kid TEXT DEFAULT '' NOT NULL",
    "COMMENT ON COLUMN attestations.kid IS 'The key that signed it; empty where an older release kept it.'",
)


def upgrade() -> None:
    """Adds the column."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
