"""Clearing between areas: the periods that were run, what each pair of areas came to, each share, what was carried."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)

from services.settlement.tables.metadata import METADATA

_PARTS: Final = "part IN ('FUND', 'OWN', 'WALLET', 'FUNDER', 'TRANSFER')"
_TWO_AREAS: Final = (
    "debtor_area ~ '^[1-9][0-9]{5}$' AND creditor_area ~ '^[1-9][0-9]{5}$' AND debtor_area <> creditor_area"
)
_CLR_TYPE: Final = "(clr_type = '') = (part = 'TRANSFER')"

CLEARING_RUNS: Final = Table(
    "clearing_runs",
    METADATA,
    Column("period", Text, primary_key=True, comment="The civil month in Asia/Shanghai: 2026-10."),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("ends_at", DateTime(timezone=True), nullable=False, comment="The first instant that is not in it."),
    Column("run_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("run_by", Text, nullable=False, comment="Who asked for it, as he declares himself."),
    Column("payments_count", BigInteger, nullable=False, comment="Booked payments that it counted."),
    Column("local_fen", BigInteger, nullable=False, comment="What areas would owe themselves: not cleared."),
    Column("lines_count", BigInteger, nullable=False),
    Column("lines_sha256", LargeBinary, nullable=False, comment="Of the file of all its lines, as it is exported."),
    Column("carried_in_count", Integer, nullable=False, comment="Payments of earlier periods that it counted."),
    Column("carried_on_count", Integer, nullable=False, comment="Of its own payments, those left to the next period."),
    Column("carry_reason", Text, nullable=False, comment="Why it was run while payments were open."),
    UniqueConstraint("starts_at"),
    UniqueConstraint("ends_at"),
    CheckConstraint(
        "(period || '-01')::timestamp = starts_at AT TIME ZONE 'Asia/Shanghai' AND ends_at AT TIME ZONE 'Asia/Shanghai'"
        " = starts_at AT TIME ZONE 'Asia/Shanghai' + interval '1 month'",
        name="month",
    ),
    CheckConstraint("run_at > ends_at", name="over"),
    CheckConstraint("octet_length(lines_sha256) = 32", name="lines_sha256"),
    CheckConstraint(
        "payments_count >= 0 AND lines_count >= 0 AND carried_in_count >= 0 AND carried_on_count >= 0", name="counts"
    ),
    CheckConstraint("run_by <> '' AND (carried_on_count > 0) = (carry_reason <> '')", name="said"),
    comment="Periods of clearing (清算), each run once; a trigger keeps rows from being changed.",
)

CLEARING_PAIRS: Final = Table(
    "clearing_pairs",
    METADATA,
    Column("period", Text, ForeignKey("clearing_runs.period"), primary_key=True),
    Column("debtor_area", Text, primary_key=True, comment="Whose ledger or fund paid."),
    Column("creditor_area", Text, primary_key=True, comment="The area of care; of a transfer, where it arrived."),
    Column("part", Text, primary_key=True),
    Column("clr_type", Text, primary_key=True, comment="清算类别; empty of a transfer."),
    Column("charges_count", BigInteger, nullable=False),
    Column("charged_fen", BigInteger, nullable=False),
    Column("refunds_count", BigInteger, nullable=False),
    Column("refunded_fen", BigInteger, nullable=False, comment="Not below zero: what it takes off."),
    CheckConstraint(_TWO_AREAS, name="areas"),
    CheckConstraint(_PARTS, name="part"),
    CheckConstraint(_CLR_TYPE, name="clr_type"),
    CheckConstraint(
        "charges_count >= 0 AND refunds_count >= 0 AND charges_count + refunds_count > 0"
        " AND (charges_count = 0) = (charged_fen = 0) AND (refunds_count = 0) = (refunded_fen = 0)"
        " AND charged_fen >= 0 AND refunded_fen >= 0",
        name="sums",
    ),
    comment="What one area owes another for a period, by what it is paid out of; a trigger keeps rows as they are.",
)

CLEARING_LINES: Final = Table(
    "clearing_lines",
    METADATA,
    Column("period", Text, primary_key=True, comment="No key to its run, which is written after all its lines."),
    Column("line_no", BigInteger, primary_key=True),
    Column("debtor_area", Text, nullable=False),
    Column("creditor_area", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("clr_type", Text, nullable=False),
    Column("payment_id", Uuid, nullable=False, comment="Its setl_id."),
    Column("leg_no", SmallInteger, nullable=False, comment="0 = the pooled fund's share, which no ledger holds."),
    Column("original_id", Uuid, comment="Of a refund: the settlement it gives back."),
    Column("fixmedins_code", Text, nullable=False, comment="Empty of a transfer."),
    Column("business_date", Date, nullable=False, comment="When it was decided, in Asia/Shanghai."),
    Column("amount_fen", BigInteger, nullable=False, comment="A refund's is below zero."),
    UniqueConstraint("payment_id", "leg_no"),
    CheckConstraint("line_no >= 1", name="line_no"),
    CheckConstraint(_TWO_AREAS, name="areas"),
    CheckConstraint(_PARTS, name="part"),
    CheckConstraint(_CLR_TYPE, name="clr_type"),
    CheckConstraint("(leg_no = 0) = (part = 'FUND') AND leg_no >= 0", name="leg_no"),
    CheckConstraint("(fixmedins_code = '') = (part = 'TRANSFER')", name="institution"),
    CheckConstraint("amount_fen <> 0 AND (amount_fen < 0) = (original_id IS NOT NULL)", name="amount"),
    comment="Each share that an area owes another, cleared once and for ever; a trigger keeps rows as they are.",
)

CLEARING_CARRIED: Final = Table(
    "clearing_carried",
    METADATA,
    Column("period", Text, ForeignKey("clearing_runs.period"), primary_key=True),
    Column("payment_id", Uuid, primary_key=True),
    comment="Payments that had begun and were not booked when their period was run: the next one looks for them.",
)
