"""Keys that sign, codes that were used, and which secrets the database was written with."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from services.identity.tables.metadata import INSTANT, METADATA, person_column

SIGNING_KEYS: Final = sa.Table(
    "signing_keys",
    METADATA,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("public_key", BYTEA, nullable=False),
    sa.Column("seed_sealed", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, comment="The encryption key of the sealed seed."),
    sa.Column("not_before", INSTANT, nullable=False),
    sa.Column("not_after", INSTANT, nullable=False),
    sa.Column("created_at", INSTANT, nullable=False),
    sa.CheckConstraint("octet_length(public_key) = 32", name="signing_keys_public_key"),
    sa.CheckConstraint("not_before < not_after", name="signing_keys_time"),
)

USED_CODES: Final = sa.Table(
    "used_codes",
    METADATA,
    sa.Column("jti", sa.Uuid, primary_key=True),
    person_column(),
    sa.Column("fixmedins_code", sa.Text, sa.ForeignKey("institutions.fixmedins_code"), nullable=False),
    sa.Column("terminal_no", sa.Text, nullable=False),
    sa.Column("used_at", INSTANT, nullable=False),
    comment="A code counts once: its jti is inserted by whoever decodes it first.",
)

KEY_CHECKS: Final = sa.Table(
    "key_checks",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("fingerprint", BYTEA, nullable=False),
    comment="Which secrets this database was written with, without telling them.",
)
