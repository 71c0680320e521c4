"""The tables of the notify database, each with the CHECKs that repeat the domain's invariants."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)

from chassis.inbox import inbox_tables

METADATA: Final = MetaData()

INBOXES: Final = Table(
    "inboxes",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("last_message_no", BigInteger, nullable=False),
    CheckConstraint("last_message_no >= 1", name="inboxes_last"),
    comment="The last message_no each person was given.",
)

MESSAGES: Final = Table(
    "messages",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("message_no", BigInteger, primary_key=True, comment="Grows by one; per person."),
    Column("cause_id", Uuid, nullable=False, comment="The event; for a sanction the sanction itself."),
    Column("topic", Text, nullable=False),
    Column("text_zh", Text, nullable=False),
    Column("text_en", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("setl_id", Text, nullable=False),
    Column("written_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("message_no >= 1", name="messages_number"),
    CheckConstraint("amount_fen >= 0", name="messages_amount"),
    UniqueConstraint("cause_id", "psn_no", "topic", name="messages_once"),
    comment="What people were told. Never a diagnosis or a drug.",
)

PERSONS: Final = Table(
    "persons",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, comment="Of identity's aggregate; 0 = asked for, no event yet."),
    Column("name_masked", Text, nullable=False),
    Column("merged_into", Text, comment="The number that counts, where this one was a double."),
    CheckConstraint("version >= 0", name="persons_version"),
    comment="Masked names, as identity last told them.",
)

PROJECTION_SOURCES: Final = Table(
    "projection_sources",
    METADATA,
    Column("source", Text, primary_key=True),
    Column("snapshot_at", DateTime(timezone=True), nullable=False),
    comment="Whose snapshot has been read whole; from then on its stream suffices.",
)

inbox_tables(METADATA)
