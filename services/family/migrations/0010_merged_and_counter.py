"""Whose number counts, who read what officers did at the counter, and departures by a merge.

Only adds and loosens, so the previous release works beside it.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE INDEX persons_merged ON persons (merged_into, psn_no) WHERE merged_into IS NOT NULL",
    """
    ALTER TABLE departures DROP CONSTRAINT departures_cause,
        ADD CONSTRAINT departures_cause CHECK (cause IN ('LEFT', 'REMOVED', 'DISSOLVED', 'MERGED'))
            NOT VALID
    """,
    "CREATE INDEX departures_of_person ON departures (psn_no)",
    "CREATE INDEX invitations_of_inviter ON invitations (inviter_psn_no)",
    "CREATE INDEX bindings_beneficiary ON bindings (beneficiary_psn_no)",
    "CREATE INDEX counter_deeds_documents ON counter_deeds USING gin (documents jsonb_path_ops)",
    "CREATE INDEX counter_deeds_opter ON counter_deeds (opter, deed_no)",
    "CREATE INDEX counter_deeds_done_at ON counter_deeds (done_at)",
    """
    CREATE TABLE counter_lookups (
        lookup_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        asked_by text NOT NULL,
        trace_id text NOT NULL,
        psn_nos text[] NOT NULL,
        looked_at timestamptz NOT NULL
    )
    """,
    "COMMENT ON TABLE counter_lookups IS 'Who read deeds done at the counter, and of whom.'",
    "CREATE INDEX counter_lookups_psn_nos ON counter_lookups USING gin (psn_nos)",
)


def upgrade() -> None:
    """Adds them."""
    for statement in STATEMENTS:
        op.execute(statement)
