"""Reimbursement claims, the officers' decisions about them, and the orders by which they are paid out."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.settlement.tables.metadata import METADATA

WAITING: Final = "state IN ('SUBMITTED', 'SECOND_LOOK', 'APPROVED')"
"""Of a claim with which something is still to be done; a statement that says exactly this uses claims_waiting."""
_AREA: Final = "area ~ '^[1-9][0-9]{5}$'"

PAYOUT_ORDERS: Final = Table(
    "payout_orders",
    METADATA,
    Column("order_id", Uuid, primary_key=True, comment="The request that made it."),
    Column("area", Text, nullable=False),
    Column("opter", Text, nullable=False, comment="经办人."),
    Column("lines_count", Integer, nullable=False),
    Column("total_fen", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False, comment="Of its CSV."),
    Column("ordered_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(_AREA, name="area"),
    CheckConstraint("lines_count > 0 AND total_fen > 0", name="amounts"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    comment="What an area pays out at once.",
)

CLAIMS: Final = Table(
    "claims",
    METADATA,
    Column("claim_id", Uuid, primary_key=True, comment="The request that filed it."),
    Column("psn_no", Text, nullable=False, comment="Whose bill it was, and who is paid."),
    Column("area", Text, nullable=False, comment="Where the claimant was insured when he filed it."),
    Column("fixmedins_code", Text, nullable=False),
    Column("invoice_no", Text, nullable=False),
    Column("med_type", Text, nullable=False),
    Column("bill", JSONB, nullable=False, comment="Its amounts, as the papers say."),
    Column("documents", JSONB, nullable=False, comment="Kinds and digests."),
    Column("content", LargeBinary, nullable=False, comment="SHA-256 of what was filed."),
    Column("state", Text, nullable=False, server_default="SUBMITTED"),
    Column("attempt", SmallInteger, nullable=False, server_default="0", comment="Approvals that asked the ledgers."),
    Column("payment_id", Uuid, comment="The last one's payment; NULL = the family gives nothing."),
    Column("act_pay_dedc", BigInteger, nullable=False, server_default="0"),
    Column("hifp_pay", BigInteger, nullable=False, server_default="0"),
    Column("fund_fen", BigInteger, nullable=False, server_default="0", comment="What the funds pay."),
    Column("family_fen", BigInteger, nullable=False, server_default="0", comment="What its payment takes."),
    Column("appeal", Text, nullable=False, server_default="", comment="What the claimant objected."),
    Column("payout_order_id", Uuid, ForeignKey("payout_orders.order_id")),
    Column("submitted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("care_on", Date, comment="The day of the bill; NULL = of a release that did not ask."),
    Column("mdtrt_id", Text, nullable=False, server_default="", comment="就诊ID on the papers, or empty."),
    Column("use_year", SmallInteger, comment="Whose values the approval uses; NULL = it uses nothing."),
    Column("use_insutype", Text),
    Column("use_pool", Text),
    Column("use_deductible_fen", BigInteger),
    Column("use_fund_fen", BigInteger),
    Column("use_large_fen", BigInteger),
    CheckConstraint(_AREA, name="area"),
    CheckConstraint("state IN ('SUBMITTED', 'SECOND_LOOK', 'APPROVED', 'ORDERED', 'REFUSED')", name="state"),
    CheckConstraint("(state = 'ORDERED') = (payout_order_id IS NOT NULL)", name="payout_order"),
    CheckConstraint("fund_fen >= 0 AND family_fen >= 0 AND attempt >= 0", name="amounts"),
    CheckConstraint("state NOT IN ('APPROVED', 'ORDERED') OR fund_fen + family_fen > 0", name="payable"),
    CheckConstraint("(family_fen > 0) = (payment_id IS NOT NULL)", name="family"),
    CheckConstraint("octet_length(content) = 32", name="content"),
    CheckConstraint(
        "num_nonnulls(use_year, use_insutype, use_pool, use_deductible_fen, use_fund_fen, use_large_fen) IN (0, 6)"
        " AND use_deductible_fen >= 0 AND use_fund_fen >= 0 AND use_large_fen >= 0",
        name="use",
    ),
    Index("claims_payment", "payment_id", unique=True, postgresql_where=text("payment_id IS NOT NULL")),
    Index("claims_of_area", "area", "submitted_at", "claim_id"),
    Index("claims_waiting", "area", "submitted_at", "claim_id", postgresql_where=text(WAITING)),
    Index(
        "claims_invoice",
        *("fixmedins_code", "invoice_no"),
        unique=True,
        postgresql_where=text("state <> 'REFUSED'"),
    ),
    Index("claims_approved", "area", "claim_id", postgresql_where=text("state = 'APPROVED'")),
    Index("claims_of_order", "payout_order_id", "claim_id", postgresql_where=text("payout_order_id IS NOT NULL")),
    comment="手工报销: bills paid in cash before.",
)

CLAIM_DECISIONS: Final = Table(
    "claim_decisions",
    METADATA,
    Column("claim_id", Uuid, ForeignKey("claims.claim_id"), primary_key=True),
    Column("decision_no", SmallInteger, primary_key=True),
    Column("approved", Boolean, nullable=False),
    Column("opter", Text, nullable=False, comment="经办人."),
    Column("cause", Text, nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("decision_no >= 1", name="decision_no"),
    comment="What officers decided, and why.",
)
