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
    Identity,
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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from chassis.inbox import inbox_tables
from chassis.outbox import outbox_table

METADATA: Final = MetaData()

PLEDGE_TEXTS: Final = Table(
    "pledge_texts",
    METADATA,
    Column("text_version", Text, primary_key=True),
    Column("language", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("content", Text, nullable=False),
    Column("opter", Text, nullable=False),
    Column("registered_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("octet_length(sha256) = 32", name="pledge_texts_sha256"),
    comment="Texts of the 《个人账户家庭共济承诺书》; none ever changes.",
)

PLEDGES: Final = Table(
    "pledges",
    METADATA,
    Column("pledge_id", Uuid, primary_key=True),
    Column("psn_no", Text, nullable=False),
    Column("text_version", Text, nullable=False),
    Column("text_sha256", LargeBinary, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    Column("language", Text, nullable=False, server_default="zh-CN"),
    Column("channel", Text, nullable=False, server_default="APP"),
    CheckConstraint("octet_length(text_sha256) = 32", name="pledges_sha256"),
    CheckConstraint("channel IN ('APP', 'COUNTER')", name="pledges_channel"),
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
    Column("dissolving_at", DateTime(timezone=True)),
    Column("dissolved_at", DateTime(timezone=True)),
    CheckConstraint("dissolved_at IS NULL OR dissolving_at IS NOT NULL", name="groups_dissolved"),
    UniqueConstraint("request_id", name="groups_request"),
    comment="家庭成员组.",
)

MEMBERS: Final = Table(
    "members",
    METADATA,
    Column("group_id", Uuid, ForeignKey("groups.group_id"), primary_key=True),
    Column("psn_no", Text, primary_key=True),
    Column("joined_at", DateTime(timezone=True), nullable=False),
    Column(
        "version",
        BigInteger,
        nullable=False,
        server_default="1",
        comment="Of the membership's last event; who comes back counts on.",
    ),
    CheckConstraint("version >= 1", name="members_version"),
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
    Column("attestation_id", Uuid, comment="The face with which it was accepted."),
    CheckConstraint("state IN ('PENDING', 'ACCEPTED', 'EXPIRED', 'DECLINED', 'WITHDRAWN')", name="invitations_state"),
    CheckConstraint("inviter_psn_no <> invitee_psn_no", name="invitations_two_people"),
    CheckConstraint("version >= 1", name="invitations_version"),
    UniqueConstraint("request_id", name="invitations_request"),
    Index("invitations_group", "group_id"),
    Index("invitations_of_invitee", "invitee_psn_no", "group_id"),
    Index("invitations_of_inviter", "inviter_psn_no"),
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
    Column("per_payment_fen", BigInteger, comment="单笔限额 as the ledger keeps it; NULL = no limit."),
    Column("per_month_fen", BigInteger, comment="月限额 as the ledger keeps it; NULL = no limit."),
    Column("wanted_per_payment_fen", BigInteger, comment="While amending, as wanted_fen."),
    Column("wanted_per_month_fen", BigInteger, comment="While amending, as wanted_fen."),
    Column("requested_per_payment_fen", BigInteger),
    Column("requested_per_month_fen", BigInteger),
    Column("judge_at", DateTime(timezone=True), comment="When it is judged whether it still stands; NULL = not due."),
    Column("vouched", Boolean, nullable=False, server_default=text("true"), comment="By identity, since it was made."),
    Column("ended_at", DateTime(timezone=True), comment="When a person ended it while it stood."),
    Column("next_drive_at", DateTime(timezone=True), comment="When the ledger is told again; NULL = nothing is due."),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("moving_to", Text, comment="While it leaves its area's ledger: where its funder's account has gone."),
    Column("moves", Integer, nullable=False, server_default="0", comment="How often it followed that account."),
    Column("carried_fen", BigInteger, nullable=False, server_default="0", comment="Used in the areas it has left."),
    Column("carried_month", Integer, comment="yyyymm: the month of which carried_month_fen counts on."),
    Column("carried_month_fen", BigInteger),
    CheckConstraint("moving_to IS NULL OR (state = 'CLOSING' AND cause <> '')", name="bindings_moving"),
    CheckConstraint(
        "(carried_month IS NULL) = (carried_month_fen IS NULL)"
        " AND (carried_month_fen IS NULL OR 0 <= carried_month_fen AND carried_month_fen <= carried_fen)",
        name="bindings_carried_month",
    ),
    CheckConstraint("moving_to ~ '^[1-9][0-9]{5}$' AND moves >= 0 AND carried_fen >= 0", name="bindings_moves"),
    CheckConstraint("state IN ('OPENING', 'ACTIVE', 'CLOSING', 'UNBOUND', 'SUSPENDED')", name="bindings_state"),
    CheckConstraint("funder_psn_no <> beneficiary_psn_no", name="bindings_two_people"),
    CheckConstraint("authorised_fen >= 0 AND wanted_fen >= 0 AND requested_fen >= 0", name="bindings_amounts"),
    CheckConstraint(
        "per_payment_fen > 0 AND per_month_fen > 0 AND wanted_per_payment_fen > 0 AND wanted_per_month_fen > 0"
        " AND requested_per_payment_fen > 0 AND requested_per_month_fen > 0",
        name="bindings_limits",
    ),
    CheckConstraint("NOT amending OR state = 'ACTIVE' OR moving_to IS NOT NULL", name="bindings_amending"),
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
    Index("bindings_pair", "funder_psn_no", "beneficiary_psn_no"),
    Index("bindings_beneficiary", "beneficiary_psn_no"),
    Index(
        "bindings_live_funder",
        "funder_psn_no",
        postgresql_where=text("state IN ('OPENING', 'ACTIVE') OR moving_to IS NOT NULL"),
    ),
    Index(
        "bindings_live_pair",
        "beneficiary_psn_no",
        "funder_psn_no",
        unique=True,
        postgresql_where=text("state IN ('OPENING', 'ACTIVE') OR moving_to IS NOT NULL"),
    ),
    Index("bindings_to_judge", "judge_at", postgresql_where=text("judge_at IS NOT NULL")),
    Index("bindings_due", "next_drive_at", postgresql_where=text("next_drive_at IS NOT NULL")),
    comment="共济绑定.",
)

LEFT_AUTHORISATIONS: Final = Table(
    "left_authorisations",
    METADATA,
    Column("authorisation_id", Uuid, primary_key=True),
    Column("binding_id", Uuid, ForeignKey("bindings.binding_id"), nullable=False),
    Column("area", Text, nullable=False),
    Column("used_fen", BigInteger, nullable=False, comment="As it was left; what comes back later counts there."),
    Column("left_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("area ~ '^[1-9][0-9]{5}$' AND used_fen >= 0", name="left_authorisations_told"),
    Index("left_authorisations_binding", "binding_id"),
    comment="Authorisations under which a binding stood in areas that its funder's account has left.",
)

ACCOUNT_PLACES: Final = Table(
    "account_places",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("area", Text, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("area ~ '^[1-9][0-9]{5}$'", name="account_places_area"),
    comment="Where personal accounts were last moved to, as settlement told it.",
)

DEPARTURES: Final = Table(
    "departures",
    METADATA,
    Column("departure_id", Uuid, primary_key=True),
    Column("group_id", Uuid, ForeignKey("groups.group_id"), nullable=False),
    Column("psn_no", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("by_psn_no", Text, nullable=False),
    Column("began_at", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True)),
    Column("member_version", BigInteger, nullable=False, comment="Of the event that tells it."),
    CheckConstraint("cause IN ('LEFT', 'REMOVED', 'DISSOLVED', 'MERGED')", name="departures_cause"),
    Index("departures_open", "group_id", "psn_no", unique=True, postgresql_where=text("done_at IS NULL")),
    Index("departures_of_member", "group_id", "psn_no", "member_version"),
    Index("departures_of_person", "psn_no"),
    comment="How members went; one that is not done waits for ledgers.",
)

COUNTER_DEEDS: Final = Table(
    "counter_deeds",
    METADATA,
    Column("deed_no", BigInteger, Identity(always=True), primary_key=True),
    Column("deed", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="What it was done to: invitation:<id>, binding:<id> and the like."),
    Column("opter", Text, nullable=False),
    Column("second_opter", Text),
    Column("documents", JSONB, nullable=False),
    Column("done_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("second_opter <> opter", name="counter_deeds_four_eyes"),
    Index("counter_deeds_subject", "subject"),
    Index(
        "counter_deeds_documents", "documents", postgresql_using="gin", postgresql_ops={"documents": "jsonb_path_ops"}
    ),
    Index("counter_deeds_opter", "opter", "deed_no"),
    Index("counter_deeds_done_at", "done_at"),
    comment="What officers did for people, and which documents they saw; no numbers.",
)

COUNTER_LOOKUPS: Final = Table(
    "counter_lookups",
    METADATA,
    Column("lookup_no", BigInteger, Identity(always=True), primary_key=True),
    Column("asked_by", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("psn_nos", ARRAY(Text), nullable=False),
    Column("looked_at", DateTime(timezone=True), nullable=False),
    Index("counter_lookups_psn_nos", "psn_nos", postgresql_using="gin"),
    comment="Who read deeds done at the counter, and of whom.",
)

USES: Final = Table(
    "uses",
    METADATA,
    Column("payment_id", Uuid, primary_key=True),
    Column("funder_psn_no", Text, primary_key=True),
    Column("use_no", BigInteger, Identity(always=True), nullable=False),
    Column("original_id", Uuid, comment="Of money that came back: the payment it was taken by."),
    Column("beneficiary_psn_no", Text, nullable=False),
    Column("authorisation_id", Uuid, comment="Of the binding; NULL = settlement did not tell."),
    Column("used_at", DateTime(timezone=True), nullable=False),
    Column("institution_kind", Text, nullable=False),
    Column("institution_area", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False, comment="Below 0: it came back."),
    CheckConstraint("funder_psn_no <> beneficiary_psn_no", name="uses_two_people"),
    CheckConstraint("CASE WHEN original_id IS NULL THEN amount_fen > 0 ELSE amount_fen < 0 END", name="uses_amount"),
    CheckConstraint("institution_kind IN ('HOSPITAL', 'PHARMACY')", name="uses_institution_kind"),
    CheckConstraint("institution_area ~ '^[1-9][0-9]{5}$'", name="uses_institution_area"),
    Index("uses_given", "funder_psn_no", "used_at", "use_no"),
    Index("uses_received", "beneficiary_psn_no", "used_at", "use_no"),
    Index("uses_under", "authorisation_id", "used_at", "use_no"),
    comment="What each funder gave for each bill, as settlement told it; not what it was for.",
)

PERSONS: Final = Table(
    "persons",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, comment="Of identity's aggregate; 0 = asked for, no event yet."),
    Column("name_masked", Text, nullable=False),
    Column("birth_date", Date),
    Column("died_on", Date),
    Column("merged_into", Text, comment="The number that counts, where this one was a double."),
    Column("enrolments", JSONB, nullable=False),
    Column("sanctions", JSONB, nullable=False),
    CheckConstraint("version >= 0", name="persons_version"),
    Index("persons_merged", "merged_into", "psn_no", postgresql_where=text("merged_into IS NOT NULL")),
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
