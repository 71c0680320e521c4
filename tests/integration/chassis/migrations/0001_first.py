"""Outbox, inbox and one table of our own, for the chassis' tests."""

from alembic import op

from chassis import inbox, outbox

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    for statement in (*outbox.DDL_V1, *inbox.DDL_V1, *inbox.DDL_V2):
        op.execute(statement)
    op.execute(
        "CREATE TABLE person (psn_no text CONSTRAINT person_pk PRIMARY KEY,"
        " version bigint NOT NULL CONSTRAINT person_version_positive CHECK (version > 0))"
    )
