"""Lets a binding be stopped when its kinship falls. Adds a column, widens a CHECK: the previous release works on."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DDL = (
    "ALTER TABLE bindings ADD COLUMN kinship_check_at timestamptz",
    "COMMENT ON COLUMN bindings.kinship_check_at IS 'When identity is asked about the two; NULL = not due.'",
    "CREATE INDEX bindings_kinship_due ON bindings (kinship_check_at) WHERE kinship_check_at IS NOT NULL",
    "ALTER TABLE bindings DROP CONSTRAINT bindings_cause",
    """ALTER TABLE bindings ADD CONSTRAINT bindings_cause CHECK (
        CASE state WHEN 'SUSPENDED' THEN cause <> '' WHEN 'CLOSING' THEN true ELSE cause = '' END
    ) NOT VALID""",
    "ALTER TABLE bindings VALIDATE CONSTRAINT bindings_cause",
)


def upgrade() -> None:
    """Adds them."""
    for statement in DDL:
        op.execute(statement)
