"""Wallets, what changed of them, the areas their money still follows from, and whose transfers count for which day."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)

from services.settlement.tables.metadata import METADATA

_AREA: Final = "area ~ '^[1-9][0-9]{5}$'"

WALLETS: Final = Table(
    "wallets",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("wallet_id", Uuid, nullable=False, unique=True, comment="The request that opened it."),
    Column("area", Text, nullable=False, comment="Whose ledger keeps its money."),
    Column("opener_psn_no", Text, comment="代开通: the relative who opened it; NULL = its person."),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint(_AREA, name="area"),
    CheckConstraint("opener_psn_no <> psn_no", name="opener"),
    comment="Medical wallets (医保钱包).",
)

WALLET_CHANGES: Final = Table(
    "wallet_changes",
    METADATA,
    Column("request_id", Uuid, primary_key=True),
    Column("psn_no", Text, ForeignKey("wallets.psn_no"), nullable=False),
    Column("area", Text, nullable=False, comment="Where it is used from then on."),
    Column("attestation_id", Uuid, comment="Of an opening: the face of the opener."),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    CheckConstraint(_AREA, name="area"),
    Index(None, "psn_no"),
    comment="Each opening and each change of area, once for each request.",
)

WALLET_MOVES: Final = Table(
    "wallet_moves",
    METADATA,
    Column("move_id", Uuid, primary_key=True),
    Column("psn_no", Text, ForeignKey("wallets.psn_no"), nullable=False),
    Column("from_area", Text, nullable=False),
    Column("to_area", Text, comment="Where what is carried goes."),
    Column("carried_fen", BigInteger, comment="What is on its way; NULL = nothing."),
    Column("carries", Integer, nullable=False, server_default="0", comment="How many have begun."),
    Column("looks", Integer, nullable=False, server_default="0", comment="In vain, one after another."),
    Column("next_look_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("psn_no", "from_area"),
    CheckConstraint("from_area ~ '^[1-9][0-9]{5}$'", name="from_area"),
    CheckConstraint("carried_fen > 0", name="carried"),
    CheckConstraint("(carried_fen IS NULL) = (to_area IS NULL)", name="to_area"),
    Index("wallet_moves_due", "next_look_at"),
    comment="Areas that a wallet was used in before: what comes back there follows it.",
)

WALLET_TRANSFERS: Final = Table(
    "wallet_transfers",
    METADATA,
    Column("payment_id", Uuid, primary_key=True, comment="The payment that keeps its state."),
    Column("request_id", Uuid, nullable=False),
    Column("giver_psn_no", Text, nullable=False),
    Column("receiver_psn_no", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("relation", Text, nullable=False, comment="What the giver is to the receiver."),
    Column("amount_fen", BigInteger, nullable=False),
    Column("day", Date, nullable=False, comment="The civil day (Asia/Shanghai) for which it counts."),
    UniqueConstraint("giver_psn_no", "request_id"),
    CheckConstraint("giver_psn_no <> receiver_psn_no", name="two_persons"),
    CheckConstraint("source IN ('OWN', 'WALLET')", name="source"),
    CheckConstraint("amount_fen > 0", name="amount"),
    Index("wallet_transfers_of_giver", "giver_psn_no", "payment_id"),
    Index("wallet_transfers_of_receiver", "receiver_psn_no", "payment_id"),
    Index("wallet_transfers_of_day", "giver_psn_no", "day"),
    comment="Transfers between relatives, as both of them list them.",
)
