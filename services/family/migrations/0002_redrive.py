"""Lets a person have a dead letter tried again. Only adds columns, so the previous release works beside it."""

from __future__ import annotations

from alembic import op

from chassis.inbox import DDL_V2

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    for statement in DDL_V2:
        op.execute(statement)
