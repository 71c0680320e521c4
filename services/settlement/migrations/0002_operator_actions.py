"""The audit record of operators' commands. Only adds a table, so the previous release works beside it."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE operator_actions (
        action_no BIGINT GENERATED ALWAYS AS IDENTITY,
        acted_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
        operator TEXT NOT NULL,
        command TEXT NOT NULL,
        subject_id UUID NOT NULL,
        reason TEXT NOT NULL,
        change JSONB NOT NULL,
        CONSTRAINT pk_operator_actions PRIMARY KEY (action_no),
        CONSTRAINT ck_operator_actions_said CHECK (operator <> '' AND command <> '' AND reason <> '')
    )
    """,
    "CREATE INDEX operator_actions_subject ON operator_actions (subject_id)",
    """
    COMMENT ON TABLE operator_actions IS
        'The audit record of commands that change something; a trigger keeps rows from being changed.'
    """,
    "COMMENT ON COLUMN operator_actions.operator IS 'Who: a name of the operations team, never a psn_no.'",
    "COMMENT ON COLUMN operator_actions.command IS 'Which command, as it is typed: payments drive.'",
    "COMMENT ON COLUMN operator_actions.subject_id IS 'What it was about: a payment.'",
    "COMMENT ON COLUMN operator_actions.change IS 'What it changed: before and after, by column.'",
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'rows of % are written once and never changed', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER operator_actions_append_only BEFORE UPDATE OR DELETE ON operator_actions
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
)


def upgrade() -> None:
    """Makes the table and its guard."""
    for statement in STATEMENTS:
        op.execute(statement)
