"""Lets a binding be stopped when its kinship falls. Adds a column, widens a CHECK: the previous release works on."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DDL = (
    "ALTER TABLE bindings ADD COLUMN judge_at timestamptz, ADD COLUMN vouched boolean NOT NULL DEFAULT true",
    "COMMENT ON COLUMN bindings.judge_at IS 'When it is judged whether it still stands; NULL = not due.'",
    "COMMENT ON COLUMN bindings.vouched IS 'By identity, since it was made.'",
    "CREATE INDEX bindings_to_judge ON bindings (judge_at) WHERE judge_at IS NOT NULL",
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
