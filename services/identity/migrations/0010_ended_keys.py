"""Keys that leaked are ended: when, by whom and why. The previous release works beside it: it goes by not_after."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE signing_keys ADD COLUMN ended_at TIMESTAMP WITH TIME ZONE",
    "ALTER TABLE signing_keys ADD COLUMN ended_by TEXT",
    "ALTER TABLE signing_keys ADD COLUMN end_cause TEXT",
    """
    ALTER TABLE signing_keys ADD CONSTRAINT signing_keys_ended CHECK (
        (ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_cause IS NULL)
        AND (ended_at IS NULL OR not_after <= ended_at))
    """,
    "COMMENT ON COLUMN signing_keys.ended_at IS 'It leaked: nothing that it signed counts from then on.'",
)


def upgrade() -> None:
    """Adds the columns."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
