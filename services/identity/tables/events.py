"""What was told to other rooms."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from chassis.outbox import outbox_table
from services.identity.tables.metadata import METADATA

OUTBOX: Final = outbox_table(METADATA)
LATEST_EVENTS: Final = sa.Table(
    "latest_events",
    METADATA,
    sa.Column("aggregate", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("payload", BYTEA, nullable=False),
    comment="The last event of each aggregate, for a consumer that starts anew.",
)
