"""What settlement knows of other rooms, from their events: persons, institutions, terminals, signing keys, bindings.

Each row is the latest public state of one aggregate of its owner; ``version`` is that aggregate's own, and an older or
equal one is ignored. Nothing here is decided here, so nothing here is ever corrected by hand: it is read again.
"""

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
    Table,
    Text,
    Uuid,
    text,
)

from services.settlement.tables.metadata import METADATA

_VERSION: Final = "Its owner's; 0 where it counts from before a restore."

PERSONS: Final = Table(
    "persons",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, comment=_VERSION),
    Column("name_masked", Text, nullable=False),
    Column("brdy", Text, nullable=False, comment="yyyy-MM-dd, or empty where identity does not tell it."),
    Column("deceased", Boolean, nullable=False, server_default="false", comment="Whether a death is on record."),
    Column("merged_into", Text, comment="The number that counts, where this one was a double."),
    CheckConstraint("version >= 0", name="version"),
    Index("persons_merged", "merged_into", "psn_no", postgresql_where=text("merged_into IS NOT NULL")),
    comment="Persons as identity last told of them.",
)

ENROLMENTS: Final = Table(
    "enrolments",
    METADATA,
    Column("psn_no", Text, ForeignKey("persons.psn_no", ondelete="CASCADE"), primary_key=True),
    Column("insutype", Text, primary_key=True),
    Column("insuplc_admdvs", Text, nullable=False),
    Column("psn_insu_stas", Text, nullable=False),
    Column(
        "psn_type",
        Text,
        nullable=False,
        server_default="",
        comment="Working, retired, resident (人员类别); empty = not told.",
    ),
    CheckConstraint("insuplc_admdvs ~ '^[1-9][0-9]{5}$'", name="area"),
    comment="A person's enrolments (参保), the latest of each insutype.",
)

SANCTIONS: Final = Table(
    "sanctions",
    METADATA,
    Column("psn_no", Text, ForeignKey("persons.psn_no", ondelete="CASCADE"), primary_key=True),
    Column("sanction_id", Uuid, primary_key=True),
    Column("from_at", DateTime(timezone=True), nullable=False),
    Column("to_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("from_at < to_at", name="period"),
    comment="Suspensions from online settlement, in force or to come (domain §8).",
)

INSTITUTIONS: Final = Table(
    "institutions",
    METADATA,
    Column("fixmedins_code", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, comment=_VERSION),
    Column("state", Text, nullable=False),
    Column("wallet_capable", Boolean, nullable=False),
    Column("inpatient", Boolean, nullable=False, server_default="true", comment="Whether it settles 住院."),
    Column("agreement_from", Date, comment="The agreement's first day; NULL = open."),
    Column("agreement_to", Date, comment="Its last day; NULL = open."),
    Column("level", Text, comment="医院等级; NULL = not told, and of a pharmacy."),
    CheckConstraint("version >= 0", name="version"),
    CheckConstraint("level IN ('UNGRADED', 'ONE', 'TWO', 'THREE')", name="level"),
    CheckConstraint("fixmedins_code ~ '^[HP][1-9][0-9]{10}$'", name="code"),
    CheckConstraint("state IN ('DESIGNATED', 'SUSPENDED', 'ENDED')", name="state"),
    comment="Designated institutions (定点医药机构).",
)

INSTITUTION_SANCTIONS: Final = Table(
    "institution_sanctions",
    METADATA,
    Column("sanction_id", Uuid, primary_key=True),
    Column("fixmedins_code", Text, ForeignKey("institutions.fixmedins_code", ondelete="CASCADE"), nullable=False),
    Column("from_at", DateTime(timezone=True), nullable=False),
    Column("to_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("from_at < to_at", name="period"),
    Index(None, "fixmedins_code"),
    comment="Institutions' suspensions from online settlement, in force or to come (domain §8).",
)

TERMINALS: Final = Table(
    "terminals",
    METADATA,
    Column("fixmedins_code", Text, primary_key=True),
    Column("terminal_no", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, comment=_VERSION),
    Column("state", Text, nullable=False),
    Column("sign_no", Text, nullable=False, comment="The last sign-in (签到编号), empty when it was ended."),
    Column("sign_ends_at", DateTime(timezone=True), comment="Before this the sign-in counts."),
    CheckConstraint("version >= 0", name="version"),
    CheckConstraint("state IN ('ACTIVE', 'RETIRED')", name="state"),
    CheckConstraint("(sign_no = '') = (sign_ends_at IS NULL)", name="sign_in"),
    comment="Terminals as identity last told of them. No key to institutions: the two are told apart.",
)

SIGNING_KEYS: Final = Table(
    "signing_keys",
    METADATA,
    Column("kid", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, comment=_VERSION),
    Column("public_key", LargeBinary, nullable=False),
    Column("not_before_at", DateTime(timezone=True), nullable=False),
    Column("not_after_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("version >= 0", name="version"),
    CheckConstraint("octet_length(public_key) = 32", name="ed25519"),
    CheckConstraint("not_before_at < not_after_at", name="period"),
    comment="The public halves of the keys that sign ecTokens.",
)

BINDINGS: Final = Table(
    "bindings",
    METADATA,
    Column("binding_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("funder_psn_no", Text, nullable=False),
    Column("beneficiary_psn_no", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("cause", Text, nullable=False, comment="Why it is SUSPENDED; empty otherwise."),
    Column("relation", Text, nullable=False, comment="What the funder is to the beneficiary."),
    Column("authorised_fen", BigInteger, comment="授权金额; NULL = no limit. What is left is the ledger's to say."),
    Column("deduct_order", Integer, comment="扣款顺序 from 1; NULL = last."),
    Column("bound_at", DateTime(timezone=True), nullable=False),
    Column("authorisation_id", Uuid),
    Column("funder_area", Text, nullable=False, comment="The area whose ledger keeps the authorisation."),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("funder_psn_no <> beneficiary_psn_no", name="two_persons"),
    CheckConstraint("state IN ('OPENING', 'ACTIVE', 'CLOSING', 'UNBOUND', 'SUSPENDED')", name="state"),
    CheckConstraint("state <> 'ACTIVE' OR authorisation_id IS NOT NULL", name="active"),
    CheckConstraint("authorised_fen >= 0", name="authorised"),
    CheckConstraint("deduct_order >= 1", name="deduct_order"),
    CheckConstraint("funder_area ~ '^[1-9][0-9]{5}$'", name="funder_area"),
    Index(None, "beneficiary_psn_no"),
    comment="Who may be paid for out of whose account, as family last told.",
)

PROJECTION_SOURCES: Final = Table(
    "projection_sources",
    METADATA,
    Column("source", Text, primary_key=True, comment="The service that speaks: identity or family."),
    Column("snapshot_at", DateTime(timezone=True), nullable=False),
    comment="Whose snapshot has been read whole; from then on its stream suffices.",
)

PROJECTION_FRESHNESS: Final = Table(
    "projection_freshness",
    METADATA,
    Column("source", Text, primary_key=True, comment="The service that was asked: identity."),
    Column("cursor", BigInteger, nullable=False, comment="What to ask it after the next time; its own."),
    Column(
        "as_of", DateTime(timezone=True), nullable=False, comment="All that it committed before this, by its clock."
    ),
    Column("asked_at", DateTime(timezone=True), nullable=False, comment="When it was asked, by this database's clock."),
    comment="How recently a source said that nothing is missing here.",
)
