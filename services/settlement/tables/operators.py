"""What people of the operations team changed by a command, each action once and for ever."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Identity, Index, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from services.settlement.tables.metadata import METADATA

OPERATOR_ACTIONS: Final = Table(
    "operator_actions",
    METADATA,
    Column("action_no", BigInteger, Identity(always=True), primary_key=True),
    Column("acted_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("operator", Text, nullable=False, comment="Who: a name of the operations team, never a psn_no."),
    Column("command", Text, nullable=False, comment="Which command, as it is typed: payments drive."),
    Column("subject_id", Uuid, nullable=False, comment="What it was about: a payment."),
    Column("reason", Text, nullable=False),
    Column("change", JSONB, nullable=False, comment="What it changed: before and after, by column."),
    CheckConstraint("operator <> '' AND command <> '' AND reason <> ''", name="said"),
    Index("operator_actions_subject", "subject_id"),
    comment="The audit record of commands that change something; a trigger keeps rows from being changed.",
)
