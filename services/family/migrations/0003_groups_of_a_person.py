"""Finds the groups of a person. Only adds indexes, so the previous release works beside it."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "CREATE INDEX members_of_person ON members (psn_no, group_id)",
    "CREATE INDEX invitations_of_invitee ON invitations (invitee_psn_no, group_id)",
)


def upgrade() -> None:
    """Adds the indexes."""
    for statement in _STATEMENTS:
        op.execute(statement)
