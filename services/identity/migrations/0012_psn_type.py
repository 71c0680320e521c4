"""Working or retired (人员类别), for each enrolment. The release before leaves it as it is, or empty of a new one."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE enrolments ADD COLUMN psn_type TEXT DEFAULT '' NOT NULL",
    "COMMENT ON COLUMN enrolments.psn_type IS 'Empty = not told.'",
    """
    ALTER TABLE enrolments ADD CONSTRAINT enrolments_psn_type CHECK (
        psn_type = '' OR psn_type ~ CASE insutype WHEN '310' THEN '^1[123]([0-9]{2})?$' ELSE '^1[456]([0-9]{2})?$' END
    ) NOT VALID
    """,
    "ALTER TABLE enrolments VALIDATE CONSTRAINT enrolments_psn_type",
    "ALTER TABLE enrolment_changes ADD COLUMN psn_type TEXT DEFAULT '' NOT NULL",
    "COMMENT ON COLUMN enrolment_changes.psn_type IS 'Empty = not told.'",
)


def upgrade() -> None:
    """Adds the columns."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
