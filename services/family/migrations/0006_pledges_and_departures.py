"""Texts of the pledge, invitations said no to, people who go, and what officers do. The previous release works on."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DDL = (
    """
    CREATE TABLE pledge_texts (
        text_version text NOT NULL,
        language text NOT NULL,
        sha256 bytea NOT NULL,
        content text NOT NULL,
        opter text NOT NULL,
        registered_at timestamptz NOT NULL,
        PRIMARY KEY (text_version, language),
        CONSTRAINT pledge_texts_sha256 CHECK (octet_length(sha256) = 32)
    )
    """,
    "COMMENT ON TABLE pledge_texts IS 'Texts of the 《个人账户家庭共济承诺书》; none ever changes.'",
    """
    ALTER TABLE pledges
        ADD COLUMN language text NOT NULL DEFAULT 'zh-CN',
        ADD COLUMN channel text NOT NULL DEFAULT 'APP'
    """,
    "ALTER TABLE pledges ADD CONSTRAINT pledges_channel CHECK (channel IN ('APP', 'COUNTER')) NOT VALID",
    "ALTER TABLE pledges VALIDATE CONSTRAINT pledges_channel",
    "ALTER TABLE groups ADD COLUMN dissolving_at timestamptz, ADD COLUMN dissolved_at timestamptz",
    """
    ALTER TABLE groups ADD CONSTRAINT groups_dissolved CHECK (dissolved_at IS NULL OR dissolving_at IS NOT NULL)
        NOT VALID
    """,
    "ALTER TABLE groups VALIDATE CONSTRAINT groups_dissolved",
    "ALTER TABLE members ADD COLUMN version bigint NOT NULL DEFAULT 1",
    "COMMENT ON COLUMN members.version IS 'Of the membership''s last event; who comes back counts on.'",
    "ALTER TABLE members ADD CONSTRAINT members_version CHECK (version >= 1) NOT VALID",
    "ALTER TABLE members VALIDATE CONSTRAINT members_version",
    "ALTER TABLE invitations ADD COLUMN attestation_id uuid",
    "COMMENT ON COLUMN invitations.attestation_id IS 'The face with which it was accepted.'",
    "ALTER TABLE invitations DROP CONSTRAINT invitations_state",
    """
    ALTER TABLE invitations ADD CONSTRAINT invitations_state
        CHECK (state IN ('PENDING', 'ACCEPTED', 'EXPIRED', 'DECLINED', 'WITHDRAWN')) NOT VALID
    """,
    "ALTER TABLE invitations VALIDATE CONSTRAINT invitations_state",
    """
    CREATE TABLE departures (
        departure_id uuid NOT NULL,
        group_id uuid NOT NULL,
        psn_no text NOT NULL,
        cause text NOT NULL,
        by_psn_no text NOT NULL,
        began_at timestamptz NOT NULL,
        done_at timestamptz,
        member_version bigint NOT NULL,
        PRIMARY KEY (departure_id),
        FOREIGN KEY (group_id) REFERENCES groups (group_id),
        CONSTRAINT departures_cause CHECK (cause IN ('LEFT', 'REMOVED', 'DISSOLVED'))
    )
    """,
    "COMMENT ON TABLE departures IS 'How members went; one that is not done waits for ledgers.'",
    "COMMENT ON COLUMN departures.member_version IS 'Of the event that tells it.'",
    "CREATE UNIQUE INDEX departures_open ON departures (group_id, psn_no) WHERE done_at IS NULL",
    "CREATE INDEX departures_of_member ON departures (group_id, psn_no, member_version)",
    """
    CREATE TABLE counter_deeds (
        deed_no bigint GENERATED ALWAYS AS IDENTITY,
        deed text NOT NULL,
        subject text NOT NULL,
        opter text NOT NULL,
        second_opter text,
        documents jsonb NOT NULL,
        done_at timestamptz NOT NULL,
        PRIMARY KEY (deed_no),
        CONSTRAINT counter_deeds_four_eyes CHECK (second_opter <> opter)
    )
    """,
    "COMMENT ON TABLE counter_deeds IS 'What officers did for people, and which documents they saw; no numbers.'",
    "COMMENT ON COLUMN counter_deeds.subject IS 'What it was done to: invitation:<id>, binding:<id> and the like.'",
    "CREATE INDEX counter_deeds_subject ON counter_deeds (subject)",
    "CREATE INDEX bindings_pair ON bindings (funder_psn_no, beneficiary_psn_no)",
)


def upgrade() -> None:
    """Adds them."""
    for statement in DDL:
        op.execute(statement)
