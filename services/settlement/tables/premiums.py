"""What areas ask for a year's cover, who has filed to pay for whom, and the premiums' payments."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from services.settlement.tables.metadata import METADATA

_AREA: Final = "area ~ '^[1-9][0-9]{5}$'"

PREMIUM_TARIFFS: Final = Table(
    "premium_tariffs",
    METADATA,
    Column("area", Text, primary_key=True),
    Column("year", SmallInteger, primary_key=True, comment="Of cover."),
    Column("amount_fen", BigInteger, nullable=False),
    Column("opens_on", Date, nullable=False, comment="The first day on which it is paid (Asia/Shanghai)."),
    Column("closes_on", Date, nullable=False, comment="The last."),
    Column("revocable_until", Date, nullable=False, comment="The last day on which a payment is taken back."),
    Column("opter", Text, nullable=False, comment="经办人 who set it last."),
    Column("set_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(_AREA, name="area"),
    CheckConstraint("amount_fen > 0", name="amount"),
    CheckConstraint("opens_on <= closes_on AND closes_on <= revocable_until", name="days"),
    comment="居民医保个人缴费: what an area asks for a year.",
)

PREMIUM_FILINGS: Final = Table(
    "premium_filings",
    METADATA,
    Column("filing_id", Uuid, primary_key=True, comment="The request that made it."),
    Column("payer_psn_no", Text, nullable=False),
    Column("insured_psn_no", Text, nullable=False),
    Column("opter", Text, nullable=False, comment="经办人."),
    Column("filed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_at", DateTime(timezone=True)),
    Column("ended_by", Text, comment="经办人."),
    CheckConstraint("payer_psn_no <> insured_psn_no", name="two_persons"),
    CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="ended"),
    Index(
        "premium_filings_live",
        *("payer_psn_no", "insured_psn_no"),
        unique=True,
        postgresql_where=text("ended_at IS NULL"),
    ),
    comment="代缴备案: who pays for whom, where the area wants it recorded first.",
)

PREMIUM_PAYMENTS: Final = Table(
    "premium_payments",
    METADATA,
    Column("payment_id", Uuid, primary_key=True, comment="The payment that keeps its state."),
    Column("request_id", Uuid, nullable=False),
    Column("payer_psn_no", Text, nullable=False),
    Column("insured_psn_no", Text, nullable=False),
    Column("year", SmallInteger, nullable=False, comment="Of cover."),
    Column("area", Text, nullable=False, comment="The insured's, whose tariff it pays."),
    Column("source", Text, nullable=False),
    Column("relation", Text, nullable=False, comment="What the payer is to the insured; empty of his own."),
    Column("amount_fen", BigInteger, nullable=False),
    Column(
        "ended_at",
        DateTime(timezone=True),
        comment="Since when another may be made: it was taken back, or was found refused.",
    ),
    UniqueConstraint("payer_psn_no", "request_id"),
    CheckConstraint(_AREA, name="area"),
    CheckConstraint("source IN ('OWN', 'WALLET')", name="source"),
    CheckConstraint("amount_fen > 0", name="amount"),
    Index(
        "premium_payments_live",
        *("insured_psn_no", "year"),
        unique=True,
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index("premium_payments_of_payer", "payer_psn_no", "payment_id"),
    Index("premium_payments_of_insured", "insured_psn_no", "payment_id"),
    Index("premium_payments_of_area", "area", "year", "payment_id"),
    comment="Premiums' payments: of each person and year one that has not ended.",
)
