"""The tables of the family database, each with the CHECKs and indexes that repeat the domain's invariants."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from chassis.inbox import inbox_tables
from chassis.outbox import outbox_table

METADATA: Final = MetaData()

PLEDGES: Final = Table(
    "pledges",
    METADATA,
    Column("pledge_id", Uuid, primary_key=True),
    Column("psn_no", Text, nullable=False),
    Column("text_version", Text, nullable=False),
    Column("text_sha256", LargeBinary, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("octet_length(text_sha256) = 32", name="pledges_sha256"),
    UniqueConstraint("psn_no", "text_version", "text_sha256", name="pledges_once"),
    comment="Signed 《个人账户家庭共济承诺书》.",
)

GROUPS: Final = Table(
    "groups",
    METADATA,
    Column("group_id", Uuid, primary_key=True),
    Column("founder_psn_no", Text, nullable=False),
    Column("request_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("request_id", name="groups_request"),
    comment="家庭成员组.",
)

MEMBERS: Final = Table(
    "members",
    METADATA,
    Column("group_id", Uuid, ForeignKey("groups.group_id"), primary_key=True),
    Column("psn_no", Text, primary_key=True),
    Column("joined_at", DateTime(timezone=True), nullable=False),
    Index("members_of_person", "psn_no", "group_id"),
)

INVITATIONS: Final = Table(
    "invitations",
    METADATA,
    Column("invitation_id", Uuid, primary_key=True),
    Column("group_id", Uuid, ForeignKey("groups.group_id"), nullable=False),
    Column("inviter_psn_no", Text, nullable=False),
    Column("invitee_psn_no", Text, nullable=False),
    Column("relation", Text, nullable=False, comment="What the invitee is to the inviter."),
    Column("state", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("request_id", Uuid, nullable=False),
    CheckConstraint("state IN ('PENDING', 'ACCEPTED', 'EXPIRED')", name="invitations_state"),
    CheckConstraint("inviter_psn_no <> invitee_psn_no", name="invitations_two_people"),
    CheckConstraint("version >= 1", name="invitations_version"),
    UniqueConstraint("request_id", name="invitations_request"),
    Index("invitations_group", "group_id"),
    Index("invitations_of_invitee", "invitee_psn_no", "group_id"),
    Index("invitations_pending", "expires_at", postgresql_where=text("state = 'PENDING'")),
)

BINDINGS: Final = Table(
    "bindings",
    METADATA,
    Column("binding_id", Uuid, primary_key=True),
    Column("group_id", Uuid, ForeignKey("groups.group_id"), nullable=False),
    Column("funder_psn_no", Text, nullable=False),
    Column("beneficiary_psn_no", Text, nullable=False),
    Column("relation", Text, nullable=False, comment="What the funder is to the beneficiary."),
    Column("state", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("authorised_fen", BigInteger, comment="授权金额 as the ledger keeps it; NULL = no limit."),
    Column("wanted_fen", BigInteger, comment="While amending: what the ledger has been asked for; NULL = no limit."),
    Column("amending", Boolean, nullable=False),
    Column("deduct_order", Integer, comment="扣款顺序 from 1; NULL = last."),
    Column("bound_at", DateTime(timezone=True), nullable=False),
    Column("authorisation_id", Uuid, nullable=False),
    Column("authorisation_version", Integer, nullable=False),
    Column("funder_area", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("request_id", Uuid, nullable=False),
    Column("requested_fen", BigInteger),
    Column("judge_at", DateTime(timezone=True), comment="When it is judged whether it still stands; NULL = not due."),
    Column("vouched", Boolean, nullable=False, server_default=text("true"), comment="By identity, since it was made."),
    Column("next_drive_at", DateTime(timezone=True), comment="When the ledger is told again; NULL = nothing is due."),
    Column("attempts", Integer, nullable=False, server_default="0"),
    CheckConstraint("state IN ('OPENING', 'ACTIVE', 'CLOSING', 'UNBOUND', 'SUSPENDED')", name="bindings_state"),
    CheckConstraint("funder_psn_no <> beneficiary_psn_no", name="bindings_two_people"),
    CheckConstraint("authorised_fen >= 0 AND wanted_fen >= 0 AND requested_fen >= 0", name="bindings_amounts"),
    CheckConstraint("NOT amending OR state = 'ACTIVE'", name="bindings_amending"),
    CheckConstraint("deduct_order >= 1", name="bindings_order"),
    CheckConstraint(
        "CASE state WHEN 'SUSPENDED' THEN cause <> '' WHEN 'CLOSING' THEN true ELSE cause = '' END",
        name="bindings_cause",
    ),
    CheckConstraint("funder_area ~ '^[1-9][0-9]{5}$'", name="bindings_area"),
    CheckConstraint("version >= 1 AND authorisation_version >= 1", name="bindings_versions"),
    CheckConstraint(
        "(next_drive_at IS NOT NULL) = (state IN ('OPENING', 'CLOSING') OR amending)", name="bindings_drive"
    ),
    UniqueConstraint("request_id", name="bindings_request"),
    UniqueConstraint("authorisation_id", name="bindings_authorisation"),
    Index("bindings_group", "group_id"),
    Index(
        "bindings_live_pair",
        "beneficiary_psn_no",
        "funder_psn_no",
        unique=True,
        postgresql_where=text("state IN ('OPENING', 'ACTIVE')"),
    ),
    Index("bindings_to_judge", "judge_at", postgresql_where=text("judge_at IS NOT NULL")),
    Index("bindings_due", "next_drive_at", postgresql_where=text("next_drive_at IS NOT NULL")),
    comment="共济绑定.",
)

PERSONS: Final = Table(
    "persons",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, comment="Of identity's aggregate; 0 = asked for, no event yet."),
    Column("name_masked", Text, nullable=False),
    Column("birth_date", Date),
    Column("enrolments", JSONB, nullable=False),
    Column("sanctions", JSONB, nullable=False),
    CheckConstraint("version >= 0", name="persons_version"),
    comment="Persons as identity last told of them.",
)

PROJECTION_SOURCES: Final = Table(
    "projection_sources",
    METADATA,
    Column("source", Text, primary_key=True),
    Column("snapshot_at", DateTime(timezone=True), nullable=False),
    comment="Whose snapshot has been read whole; from then on its stream suffices.",
)

outbox_table(METADATA)
inbox_tables(METADATA)
