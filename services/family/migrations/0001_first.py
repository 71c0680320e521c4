"""The family room's first tables: pledges, groups, invitations, bindings, and persons as identity tells them."""

from __future__ import annotations

from alembic import op

from chassis.inbox import DDL_V1 as INBOX
from chassis.outbox import DDL_V1 as OUTBOX

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE groups (
        group_id UUID NOT NULL,
        founder_psn_no TEXT NOT NULL,
        request_id UUID NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (group_id),
        CONSTRAINT groups_request UNIQUE (request_id)
    )
    """,
    "COMMENT ON TABLE groups IS '家庭成员组.'",
    """
    CREATE TABLE persons (
        psn_no TEXT NOT NULL,
        version BIGINT NOT NULL,
        name_masked TEXT NOT NULL,
        birth_date DATE,
        enrolments JSONB NOT NULL,
        sanctions JSONB NOT NULL,
        PRIMARY KEY (psn_no),
        CONSTRAINT persons_version CHECK (version >= 0)
    )
    """,
    "COMMENT ON TABLE persons IS 'Persons as identity last told of them.'",
    "COMMENT ON COLUMN persons.version IS 'Of identity''s aggregate; 0 = asked for, no event yet.'",
    """
    CREATE TABLE pledges (
        pledge_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        text_version TEXT NOT NULL,
        text_sha256 BYTEA NOT NULL,
        signed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (pledge_id),
        CONSTRAINT pledges_sha256 CHECK (octet_length(text_sha256) = 32),
        CONSTRAINT pledges_once UNIQUE (psn_no, text_version, text_sha256)
    )
    """,
    "COMMENT ON TABLE pledges IS 'Signed 《个人账户家庭共济承诺书》.'",
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
    """
    CREATE TABLE bindings (
        binding_id UUID NOT NULL,
        group_id UUID NOT NULL,
        funder_psn_no TEXT NOT NULL,
        beneficiary_psn_no TEXT NOT NULL,
        relation TEXT NOT NULL,
        state TEXT NOT NULL,
        cause TEXT NOT NULL,
        authorised_fen BIGINT,
        wanted_fen BIGINT,
        amending BOOLEAN NOT NULL,
        deduct_order INTEGER,
        bound_at TIMESTAMP WITH TIME ZONE NOT NULL,
        authorisation_id UUID NOT NULL,
        authorisation_version INTEGER NOT NULL,
        funder_area TEXT NOT NULL,
        version BIGINT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        request_id UUID NOT NULL,
        requested_fen BIGINT,
        next_drive_at TIMESTAMP WITH TIME ZONE,
        attempts INTEGER DEFAULT '0' NOT NULL,
        PRIMARY KEY (binding_id),
        CONSTRAINT bindings_state CHECK (state IN ('OPENING', 'ACTIVE', 'CLOSING', 'UNBOUND', 'SUSPENDED')),
        CONSTRAINT bindings_two_people CHECK (funder_psn_no <> beneficiary_psn_no),
        CONSTRAINT bindings_amounts CHECK (authorised_fen >= 0 AND wanted_fen >= 0 AND requested_fen >= 0),
        CONSTRAINT bindings_amending CHECK (NOT amending OR state = 'ACTIVE'),
        CONSTRAINT bindings_order CHECK (deduct_order >= 1),
        CONSTRAINT bindings_cause CHECK ((state = 'SUSPENDED') = (cause <> '')),
        CONSTRAINT bindings_area CHECK (funder_area ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT bindings_versions CHECK (version >= 1 AND authorisation_version >= 1),
        CONSTRAINT bindings_drive CHECK ((next_drive_at IS NOT NULL) = (state IN ('OPENING', 'CLOSING') OR amending)),
        CONSTRAINT bindings_request UNIQUE (request_id),
        CONSTRAINT bindings_authorisation UNIQUE (authorisation_id),
        FOREIGN KEY(group_id) REFERENCES groups (group_id)
    )
    """,
    "CREATE INDEX bindings_due ON bindings (next_drive_at) WHERE next_drive_at IS NOT NULL",
    "CREATE INDEX bindings_group ON bindings (group_id)",
    """
    CREATE UNIQUE INDEX bindings_live_pair ON bindings (beneficiary_psn_no, funder_psn_no)
        WHERE state IN ('OPENING', 'ACTIVE')
    """,
    "COMMENT ON TABLE bindings IS '共济绑定.'",
    "COMMENT ON COLUMN bindings.relation IS 'What the funder is to the beneficiary.'",
    "COMMENT ON COLUMN bindings.authorised_fen IS '授权金额 as the ledger keeps it; NULL = no limit.'",
    """
    COMMENT ON COLUMN bindings.wanted_fen IS 'While amending: what the ledger has been asked for; NULL = no limit.'
    """,
    "COMMENT ON COLUMN bindings.deduct_order IS '扣款顺序 from 1; NULL = last.'",
    "COMMENT ON COLUMN bindings.next_drive_at IS 'When the ledger is told again; NULL = nothing is due.'",
    """
    CREATE TABLE invitations (
        invitation_id UUID NOT NULL,
        group_id UUID NOT NULL,
        inviter_psn_no TEXT NOT NULL,
        invitee_psn_no TEXT NOT NULL,
        relation TEXT NOT NULL,
        state TEXT NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        version BIGINT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        request_id UUID NOT NULL,
        PRIMARY KEY (invitation_id),
        CONSTRAINT invitations_state CHECK (state IN ('PENDING', 'ACCEPTED', 'EXPIRED')),
        CONSTRAINT invitations_two_people CHECK (inviter_psn_no <> invitee_psn_no),
        CONSTRAINT invitations_version CHECK (version >= 1),
        CONSTRAINT invitations_request UNIQUE (request_id),
        FOREIGN KEY(group_id) REFERENCES groups (group_id)
    )
    """,
    "CREATE INDEX invitations_group ON invitations (group_id)",
    "CREATE INDEX invitations_pending ON invitations (expires_at) WHERE state = 'PENDING'",
    "COMMENT ON COLUMN invitations.relation IS 'What the invitee is to the inviter.'",
    """
    CREATE TABLE members (
        group_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        joined_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (group_id, psn_no),
        FOREIGN KEY(group_id) REFERENCES groups (group_id)
    )
    """,
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in (*TABLES, *OUTBOX, *INBOX):
        op.execute(statement)
