"""A statement that updates rows fails by itself where one of them is not there, and so commits nothing.

The release before goes on working beside it: it never calls the function.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE FUNCTION all_there(what TEXT, changed INT8, wanted INT4) RETURNS VOID LANGUAGE plpgsql AS $$
    BEGIN
        IF changed <> wanted THEN
            RAISE no_data_found
                USING MESSAGE = format('%s rows of %s were to change, and %s did', wanted, what, changed);
        END IF;
    END
    $$
    """,
)


def upgrade() -> None:
    """Adds the function."""
    for statement in STATEMENTS:
        op.execute(statement)
