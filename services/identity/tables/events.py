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
    sa.Column(
        "changed_xid",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="The transaction that wrote the row (pg_current_xact_id), kept by a trigger.",
    ),
    comment="The last event of each aggregate, for a consumer that starts anew.",
)
sa.Index("latest_events_changed", LATEST_EVENTS.c.changed_xid, LATEST_EVENTS.c.aggregate)
