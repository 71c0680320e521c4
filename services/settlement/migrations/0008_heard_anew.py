"""A sanction may move with the record of a person; and after a restore of identity its versions begin anew.

Only loosens what was demanded, so the previous release works beside it.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_VERSIONED = ("persons", "institutions", "terminals", "signing_keys")


def upgrade() -> None:
    """Of two records that became one, whichever is told first: both may name the sanction for a moment."""
    op.execute("""
        ALTER TABLE sanctions DROP CONSTRAINT pk_sanctions,
            ADD CONSTRAINT pk_sanctions PRIMARY KEY (psn_no, sanction_id)
    """)
    op.execute("DROP INDEX ix_sanctions_psn_no")
    for table in _VERSIONED:
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_version, "
            f"ADD CONSTRAINT ck_{table}_version CHECK (version >= 0)"
        )
        op.execute(f"COMMENT ON COLUMN {table}.version IS 'Its owner''s; 0 where it counts from before a restore.'")
