"""Whose code somebody may show on his own phone."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from services.identity.tables.metadata import INSTANT, METADATA, caller_column, person_column

WARDS: Final = sa.Table(
    "wards",
    METADATA,
    person_column(name="guardian_psn_no"),
    person_column(name="ward_psn_no"),
    sa.Column("guardian_attestation_id", sa.Uuid, sa.ForeignKey("attestations.attestation_id"), nullable=False),
    sa.Column("ward_attestation_id", sa.Uuid, sa.ForeignKey("attestations.attestation_id")),
    sa.Column("added_at", INSTANT, nullable=False),
    sa.PrimaryKeyConstraint("guardian_psn_no", "ward_psn_no", name="wards_pkey"),
    sa.CheckConstraint("guardian_psn_no <> ward_psn_no", name="wards_with_self"),
    comment="Whose code a guardian may show on his own phone (亲情账户); moves no money.",
)
sa.Index("wards_ward_psn_no", WARDS.c.ward_psn_no)

WARD_CHANGES: Final = sa.Table(
    "ward_changes",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    person_column(name="guardian_psn_no"),
    person_column(name="ward_psn_no"),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("changed_at", INSTANT, nullable=False),
    caller_column("changed_by"),
    sa.CheckConstraint("change IN ('ADDED', 'REMOVED')", name="ward_changes_change"),
    comment="Who could show whose code, and when; only ever added to.",
)
sa.Index("ward_changes_guardian_psn_no", WARD_CHANGES.c.guardian_psn_no, WARD_CHANGES.c.id)
sa.Index("ward_changes_ward_psn_no", WARD_CHANGES.c.ward_psn_no, WARD_CHANGES.c.id)
