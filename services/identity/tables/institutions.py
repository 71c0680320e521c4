"""Designated institutions."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from services.identity.tables.metadata import INSTANT, METADATA

INSTITUTIONS: Final = sa.Table(
    "institutions",
    METADATA,
    sa.Column("fixmedins_code", sa.Text, primary_key=True),
    sa.Column("fixmedins_name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("wallet_capable", sa.Boolean, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.CheckConstraint("fixmedins_code ~ '^[HP][1-9][0-9]{10}$'", name="institutions_fixmedins_code"),
    sa.CheckConstraint("state IN ('DESIGNATED', 'SUSPENDED', 'ENDED')", name="institutions_state"),
    sa.CheckConstraint("version >= 1", name="institutions_version"),
)
