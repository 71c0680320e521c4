"""Day's end: what institutions sent of their books, and what differs from ours until somebody has settled it."""

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
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.settlement.tables.metadata import METADATA

_DECIDED: Final = "state IN ('EXPLAINED', 'RESOLVED')"

RECONCILIATION_UPLOADS: Final = Table(
    "reconciliation_uploads",
    METADATA,
    Column("upload_id", Uuid, primary_key=True),
    Column("fixmedins_code", Text, nullable=False),
    Column("stmt_date", Date, nullable=False, comment="The civil day (Asia/Shanghai) whose records they are."),
    Column("state", Text, nullable=False, server_default="RECEIVING"),
    Column("rows_cnt", Integer, nullable=False, comment="As announced; the rows that are there once it is COMPARED."),
    Column("digest", LargeBinary, comment="SHA-256 over the rows in their order."),
    Column("ours_cnt", Integer, comment="How many records our books had."),
    Column("rows_kept", Text, nullable=False, server_default="WHOLE", comment="Whether its rows are there."),
    Column("keep_until", DateTime(timezone=True), nullable=False, comment="Afterwards its rows are deleted."),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("compared_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('RECEIVING', 'COMPARED')", name="state"),
    CheckConstraint(
        "(state = 'COMPARED') = (digest IS NOT NULL AND ours_cnt IS NOT NULL AND compared_at IS NOT NULL)",
        name="compared",
    ),
    CheckConstraint("rows_kept IN ('WHOLE', 'PURGING', 'GONE')", name="rows_kept"),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
    CheckConstraint("rows_cnt >= 0 AND ours_cnt >= 0", name="counts"),
    Index("reconciliation_uploads_due", "keep_until", postgresql_where=text("rows_kept <> 'GONE'")),
    comment="Each sending of an institution's records of a day.",
)

RECONCILIATION_ROWS: Final = Table(
    "reconciliation_rows",
    METADATA,
    Column("upload_id", Uuid, primary_key=True),
    Column("row_no", Integer, primary_key=True),
    Column("record_id", Uuid, nullable=False, comment="The setl_id; or stands for a request that is not known here."),
    Column("setl_id", Uuid, comment="As it was stated."),
    Column("infno", Text, nullable=False),
    Column("msgid", Text, nullable=False),
    Column("is_refund", Boolean, nullable=False),
    Column("insutype", Text, nullable=False),
    Column("clr_type", Text, nullable=False),
    Column("medfee_sumamt", BigInteger, nullable=False),
    Column("fund_pay_sumamt", BigInteger, nullable=False),
    Column("acct_pay", BigInteger, nullable=False),
    Column("acct_mulaid_pay", BigInteger, nullable=False),
    Column("psn_cash_pay", BigInteger, nullable=False),
    Column("wallet_pay", BigInteger, nullable=False),
    UniqueConstraint("upload_id", "record_id", name="reconciliation_rows_record"),
    CheckConstraint("row_no >= 1", name="row_no"),
    CheckConstraint("setl_id IS NULL OR setl_id = record_id", name="record"),
    comment="The institution's records of a day, as it sent them. Without a key to the upload, for there are many.",
)

RECONCILIATION_DAYS: Final = Table(
    "reconciliation_days",
    METADATA,
    Column("fixmedins_code", Text, primary_key=True),
    Column("stmt_date", Date, primary_key=True),
    Column("comparing_id", Uuid, nullable=False, comment="The upload that was last begun to be compared."),
    Column("compared_id", Uuid, comment="The upload that was last compared to its end."),
    comment="An institution's day; its row is the lock under which it is compared.",
)

RECONCILIATION_DIFFERENCES: Final = Table(
    "reconciliation_differences",
    METADATA,
    Column("difference_id", Uuid, primary_key=True),
    Column("fixmedins_code", Text, nullable=False),
    Column("stmt_date", Date, nullable=False),
    Column("area", Text, nullable=False, comment="Of care: whose officers decide."),
    Column("record_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("fields", ARRAY(Text), nullable=False, comment="Which differ."),
    Column("theirs", JSONB, comment="The record as the institution has it."),
    Column("ours", JSONB, comment="The record as our books have it."),
    Column("ours_standing", Text, comment="How it stands on our books; NULL = nothing is known of it."),
    Column("ours_date", Date, comment="The day to which ours belongs."),
    Column("fingerprint", LargeBinary, nullable=False, comment="SHA-256 of all it says."),
    Column("upload_id", Uuid, nullable=False, comment="The upload that showed it last."),
    Column("found_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("cause", Text, nullable=False, server_default="", comment="Why the officer decided so."),
    Column("opter", Text, nullable=False, server_default=""),
    UniqueConstraint("fixmedins_code", "stmt_date", "record_id", name="reconciliation_differences_record"),
    CheckConstraint("kind IN ('ONLY_OURS', 'ONLY_THEIRS', 'AMOUNT', 'STATE')", name="kind"),
    CheckConstraint("state IN ('OPEN', 'CLEARED', 'EXPLAINED', 'RESOLVED')", name="state"),
    CheckConstraint("ours_standing IN ('SETTLED', 'REFUSED', 'REVERSED', 'IN_PROGRESS')", name="standing"),
    CheckConstraint("(kind = 'ONLY_OURS') = (theirs IS NULL)", name="theirs"),
    CheckConstraint("(kind = 'ONLY_THEIRS') = (ours_standing IS NULL)", name="ours"),
    CheckConstraint("(kind IN ('AMOUNT', 'STATE')) = (cardinality(fields) > 0)", name="fields"),
    CheckConstraint(f"({_DECIDED}) = (opter <> '') AND ({_DECIDED}) = (cause <> '')", name="decided"),
    CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint"),
    Index("reconciliation_differences_open", "stmt_date", "difference_id", postgresql_where=text("state = 'OPEN'")),
    Index(
        "reconciliation_differences_open_of_area",
        *("area", "stmt_date", "difference_id"),
        postgresql_where=text("state = 'OPEN'"),
    ),
    Index("reconciliation_differences_cleared", "changed_at", postgresql_where=text("state = 'CLEARED'")),
    comment="What differs between an institution's books and ours, until somebody has settled it.",
)

RECONCILIATION_DECISIONS: Final = Table(
    "reconciliation_decisions",
    METADATA,
    Column("decision_no", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "difference_id",
        Uuid,
        ForeignKey("reconciliation_differences.difference_id", name="reconciliation_decisions_difference"),
        nullable=False,
    ),
    Column("state", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("opter", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False, comment="Of the difference as the officer saw it."),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    CheckConstraint(_DECIDED, name="state"),
    CheckConstraint("opter <> '' AND cause <> ''", name="officer"),
    Index(None, "difference_id"),
    comment="What officers decided of differences; it stays when one opens again.",
)
