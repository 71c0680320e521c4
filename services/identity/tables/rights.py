"""Corrections that people ask for; the wanted values stand sealed. And what an export needs to find its rows."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from services.identity.tables.credentials import USED_CODES
from services.identity.tables.metadata import INSTANT, METADATA, person_column

CORRECTIONS: Final = sa.Table(
    "corrections",
    METADATA,
    sa.Column("correction_id", sa.Uuid, primary_key=True),
    person_column(),
    sa.Column("field", sa.Text, nullable=False),
    sa.Column("certificate_kind", sa.Text),
    sa.Column("value_sealed", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, comment="The encryption key of the sealed value."),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("requested_at", INSTANT, nullable=False),
    sa.Column("opter", sa.Text),
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sa.Column("decided_at", INSTANT),
    sa.CheckConstraint("field IN ('NAME', 'BIRTH_DATE', 'SEX', 'CERTIFICATE')", name="corrections_field"),
    sa.CheckConstraint("(field = 'CERTIFICATE') = (certificate_kind IS NOT NULL)", name="corrections_certificate_kind"),
    sa.CheckConstraint("state IN ('REQUESTED', 'GRANTED', 'REFUSED')", name="corrections_state"),
    sa.CheckConstraint(
        "(state = 'REQUESTED') = (decided_at IS NULL) AND (opter IS NULL) = (decided_at IS NULL)",
        name="corrections_decided",
    ),
    sa.CheckConstraint("state <> 'REFUSED' OR cause <> ''", name="corrections_cause"),
    comment="What people ask to have put right of their record, and what was decided.",
)
sa.Index(
    "corrections_waiting",
    CORRECTIONS.c.psn_no,
    CORRECTIONS.c.field,
    unique=True,
    postgresql_where=CORRECTIONS.c.state == "REQUESTED",
)
sa.Index("corrections_psn_no", CORRECTIONS.c.psn_no, CORRECTIONS.c.correction_id)
sa.Index("corrections_state_id", CORRECTIONS.c.state, CORRECTIONS.c.correction_id)

sa.Index(
    "used_codes_shown_by",
    USED_CODES.c.shown_by,
    USED_CODES.c.used_at,
    postgresql_where=USED_CODES.c.shown_by.is_not(None),
)
