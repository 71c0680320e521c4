"""A freeze is lifted by its own cause: the order of freezes, and whether the account was frozen after each.

The release before works on beside it: it lifts whatever stands, and what it lifted is over here too.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE freeze_commands
        ADD COLUMN freeze_no BIGINT GENERATED ALWAYS AS IDENTITY,
        ADD COLUMN after_frozen BOOLEAN
    """,
    "COMMENT ON COLUMN freeze_commands.freeze_no IS 'The order in which they took effect; no clock tells it.'",
    """
    COMMENT ON COLUMN freeze_commands.after_frozen IS
        'Whether the account was frozen then, by whatever cause. NULL = as frozen, of the release before.'
    """,
    "CREATE INDEX freeze_commands_of_person ON freeze_commands (psn_no, freeze_no)",
)


def upgrade() -> None:
    """Adds them."""
    for statement in STATEMENTS:
        op.execute(statement)
