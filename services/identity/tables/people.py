"""Persons, where they are insured, and who looked them up; certificates and names stand sealed."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from services.identity.tables.metadata import INSTANT, METADATA, person_column

_INDEX_BYTES: Final = 32

PERSONS: Final = sa.Table(
    "persons",
    METADATA,
    sa.Column("psn_no", sa.Text, primary_key=True),
    sa.Column("certificate_kind", sa.Text, nullable=False),
    sa.Column("certno_sealed", BYTEA, nullable=False),
    sa.Column("name_sealed", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, comment="The encryption key of the two sealed columns."),
    sa.Column("certno_index", BYTEA, comment="Keyed blind index over kind and number; none once merged."),
    sa.Column("name_masked", sa.Text, nullable=False),
    sa.Column("brdy", sa.Date, nullable=False),
    sa.Column("gend", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("registered_at", INSTANT, nullable=False),
    sa.Column("death_date", sa.Date),
    sa.Column("death_evidence", sa.Text),
    sa.Column("merged_into", sa.Text, sa.ForeignKey("persons.psn_no")),
    sa.Column("real_name_at", INSTANT, comment="When a face was last verified to be this person's."),
    sa.UniqueConstraint("certno_index", name="persons_certificate"),
    sa.CheckConstraint("psn_no ~ '^[0-9]{10,30}$'", name="persons_psn_no"),
    sa.CheckConstraint(f"octet_length(certno_index) = {_INDEX_BYTES}", name="persons_certno_index"),
    sa.CheckConstraint("gend IN ('1', '2')", name="persons_gend"),
    sa.CheckConstraint("version >= 1", name="persons_version"),
    sa.CheckConstraint("(death_date IS NULL) = (death_evidence IS NULL)", name="persons_death"),
    sa.CheckConstraint("death_date >= brdy", name="persons_death_date"),
    sa.CheckConstraint("(merged_into IS NULL) = (certno_index IS NOT NULL)", name="persons_merged"),
    sa.CheckConstraint("merged_into <> psn_no", name="persons_merged_with_self"),
)
sa.Index("persons_merged_into", PERSONS.c.merged_into, postgresql_where=PERSONS.c.merged_into.is_not(None))

FORMER_CERTIFICATES: Final = sa.Table(
    "former_certificates",
    METADATA,
    sa.Column("certno_index", BYTEA, primary_key=True),
    person_column(),
    sa.Column("certificate_kind", sa.Text, nullable=False),
    sa.Column("certno_sealed", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, comment="The encryption key of the sealed number."),
    sa.Column("until_at", INSTANT, nullable=False),
    sa.CheckConstraint(f"octet_length(certno_index) = {_INDEX_BYTES}", name="former_certificates_certno_index"),
    comment="Certificates that were replaced, and those of merged doubles; they go on finding the person.",
)
sa.Index("former_certificates_psn_no", FORMER_CERTIFICATES.c.psn_no)

PERSON_CHANGES: Final = sa.Table(
    "person_changes",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    person_column(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column(
        "fields", sa.Text, nullable=False, comment="Which fields were changed, parted by commas; never their values."
    ),
    sa.Column("other_psn_no", sa.Text, sa.ForeignKey("persons.psn_no"), comment="Merging: the other record."),
    sa.Column("opter", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.CheckConstraint(
        "kind IN ('PARTICULARS', 'CERTIFICATE', 'DEATH', 'DEATH_WITHDRAWN', 'MERGED', 'DOUBLE_TAKEN_IN')",
        name="person_changes_kind",
    ),
    comment="Who changed what is on record of a person, when and why; only ever added to.",
)
sa.Index("person_changes_psn_no", PERSON_CHANGES.c.psn_no, PERSON_CHANGES.c.id)

ENROLMENTS: Final = sa.Table(
    "enrolments",
    METADATA,
    person_column(),
    sa.Column("insutype", sa.Text, nullable=False),
    sa.Column("insuplc_admdvs", sa.Text, nullable=False),
    sa.Column("psn_insu_stas", sa.Text, nullable=False),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.Column("psn_type", sa.Text, nullable=False, server_default="", comment="Empty = not told."),
    sa.PrimaryKeyConstraint("psn_no", "insutype", name="enrolments_pkey"),
    sa.CheckConstraint("insutype IN ('310', '390')", name="enrolments_insutype"),
    sa.CheckConstraint("insuplc_admdvs ~ '^[1-9][0-9]{5}$'", name="enrolments_insuplc_admdvs"),
    sa.CheckConstraint("psn_insu_stas IN ('1', '2', '4')", name="enrolments_psn_insu_stas"),
    sa.CheckConstraint(
        "psn_type = '' OR psn_type ~"
        " CASE insutype WHEN '310' THEN '^1[123]([0-9]{2})?$' ELSE '^1[456]([0-9]{2})?$' END",
        name="enrolments_psn_type",
    ),
)

ENROLMENT_CHANGES: Final = sa.Table(
    "enrolment_changes",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    person_column(),
    sa.Column("insutype", sa.Text, nullable=False),
    sa.Column("insuplc_admdvs", sa.Text, nullable=False),
    sa.Column("psn_insu_stas", sa.Text, nullable=False),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.Column("psn_type", sa.Text, nullable=False, server_default="", comment="Empty = not told."),
    comment="Where and how someone was insured, and since when; only ever added to.",
)
sa.Index("enrolment_changes_psn_no", ENROLMENT_CHANGES.c.psn_no, ENROLMENT_CHANGES.c.id)

LOOKUPS: Final = sa.Table(
    "lookups",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    person_column(),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("looked_up_at", INSTANT, nullable=False),
    sa.Column(
        "declared",
        sa.Boolean,
        nullable=False,
        server_default=sa.true(),
        comment="asked_by is what the caller said of itself; nobody checked it.",
    ),
    comment="Who looked someone up, when and why (domain §10); only ever added to.",
)
sa.Index("lookups_psn_no", LOOKUPS.c.psn_no, LOOKUPS.c.id)
