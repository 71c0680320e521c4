"""The notify room's first tables: messages, the numbers given to them, and names."""

from __future__ import annotations

from alembic import op

from chassis.inbox import DDL_V1 as INBOX

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE inboxes (
        psn_no TEXT NOT NULL,
        last_message_no BIGINT NOT NULL,
        PRIMARY KEY (psn_no),
        CONSTRAINT inboxes_last CHECK (last_message_no >= 1)
    )
    """,
    "COMMENT ON TABLE inboxes IS 'The last message_no each person was given.'",
    """
    CREATE TABLE messages (
        psn_no TEXT NOT NULL,
        message_no BIGINT NOT NULL,
        cause_id UUID NOT NULL,
        topic TEXT NOT NULL,
        text_zh TEXT NOT NULL,
        text_en TEXT NOT NULL,
        occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
        amount_fen BIGINT NOT NULL,
        setl_id TEXT NOT NULL,
        written_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        PRIMARY KEY (psn_no, message_no),
        CONSTRAINT messages_number CHECK (message_no >= 1),
        CONSTRAINT messages_amount CHECK (amount_fen >= 0),
        CONSTRAINT messages_once UNIQUE (cause_id, psn_no, topic)
    )
    """,
    "COMMENT ON TABLE messages IS 'What people were told. Never a diagnosis or a drug.'",
    "COMMENT ON COLUMN messages.message_no IS 'Grows by one; per person.'",
    "COMMENT ON COLUMN messages.cause_id IS 'The event; for a sanction the sanction itself.'",
    """
    CREATE TABLE persons (
        psn_no TEXT NOT NULL,
        version BIGINT NOT NULL,
        name_masked TEXT NOT NULL,
        PRIMARY KEY (psn_no),
        CONSTRAINT persons_version CHECK (version >= 0)
    )
    """,
    "COMMENT ON TABLE persons IS 'Masked names, as identity last told them.'",
    "COMMENT ON COLUMN persons.version IS 'Of identity''s aggregate; 0 = asked for, no event yet.'",
    """
    CREATE TABLE projection_sources (
        source TEXT NOT NULL,
        snapshot_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (source)
    )
    """,
    """
    COMMENT ON TABLE projection_sources IS 'Whose snapshot has been read whole; from then on its stream suffices.'
    """,
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in (*TABLES, *INBOX):
        op.execute(statement)
