"""Payments, the plans they pay, the versions of a patient's year, freezes under way, the coordinator's epoch."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from chassis.inbox import inbox_tables
from chassis.outbox import outbox_table
from services.settlement.tables.metadata import METADATA

OPEN: Final = "state IN ('TRYING', 'COMMITTED', 'ABORTED')"
"""What recovery looks for; a statement that says exactly this uses the index payments_due."""

ON_BOOKS: Final = "kind IN ('SETTLE', 'REFUND') AND state IN ('COMMITTED', 'DONE')"
"""What an institution's books have as well; a statement that says exactly this uses payments_of_institution."""

CLR_TYPE: Final = """CASE WHEN kind IN ('SETTLE', 'REFUND') THEN
    CASE
        WHEN infno IN ('2207', '2208', '2601/2207') THEN '11'
        WHEN infno IN ('2304', '2305', '2601/2304') THEN '21'
        WHEN infno IN ('2102', '2103', '2601/2102') THEN '41'
    END
END"""
"""清算类别 as the transaction says it; ``domain.payment.clr_type_of`` says the same."""

PAYMENTS: Final = Table(
    "payments",
    METADATA,
    Column("payment_id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("fixmedins_code", Text, nullable=False, comment="Of a credit or charge: the area."),
    Column("infno", Text, nullable=False, comment="Of a credit: CREDIT; of a reversal: 2601/<original's>."),
    Column("msgid", Text, nullable=False, comment="Of a credit: the row id; of a reversal: the original's."),
    Column(
        "request_hash", LargeBinary, nullable=False, comment="SHA-256 of the rest of the request; a tombstone has none."
    ),
    Column("psn_no", Text, comment="The patient; of a credit, whose account it is."),
    Column("year", SmallInteger, nullable=False, comment="Which year's current part the legs mean; 0 of a tombstone."),
    Column("plan_id", Uuid),
    Column("original_id", Uuid, comment="Of a refund: whose money it gives back."),
    Column("legs", JSONB, nullable=False),
    Column("amount_fen", BigInteger, nullable=False, comment="Σ legs: charged, returned or credited."),
    Column("reason", Text, nullable=False, server_default="", comment="Why it was aborted."),
    Column("refused_leg_no", SmallInteger, nullable=False, server_default="0"),
    Column("balances_after", JSONB, comment="The legs' accounts as the ledgers told them with their votes."),
    Column("replanned", Boolean, nullable=False, server_default="false", comment="The answer to a refusal is settled."),
    Column("replan_plan_id", Uuid),
    Column("quarantine", Text, nullable=False, server_default="", comment="Why a person must look at it."),
    Column("epoch", BigInteger, nullable=False),
    Column("traceparent", Text, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column(
        "deadline_at",
        DateTime(timezone=True),
        comment="Until when the ledgers may vote, then the receiver of a transfer.",
    ),
    Column("accept_by", DateTime(timezone=True), comment="Until when the receiver of a transfer may accept."),
    Column(
        "pending_at",
        DateTime(timezone=True),
        comment="Since when every ledger of a transfer holds and its receiver is asked; it stays.",
    ),
    Column("decided_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("next_drive_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column(
        "clr_type",
        Text,
        Computed(CLR_TYPE, persisted=False),
        comment="清算类别 of a settlement and its refund: 11 outpatient, 21 inpatient, 41 pharmacy.",
    ),
    UniqueConstraint("fixmedins_code", "infno", "msgid", name="payments_key"),
    CheckConstraint("kind IN ('SETTLE', 'TRANSFER', 'CHARGE', 'REFUND', 'CREDIT', 'TOMBSTONE')", name="kind"),
    CheckConstraint("state IN ('TRYING', 'COMMITTED', 'DONE', 'ABORTED', 'CLOSED')", name="state"),
    CheckConstraint(
        "kind IN ('SETTLE', 'TRANSFER', 'CHARGE') OR (kind = 'TOMBSTONE' AND state = 'CLOSED')"
        " OR (kind <> 'TOMBSTONE' AND state IN ('COMMITTED', 'DONE'))",
        name="state_of_kind",
    ),
    CheckConstraint("(kind IN ('SETTLE', 'TRANSFER', 'CHARGE')) = (deadline_at IS NOT NULL)", name="deadline"),
    CheckConstraint("(kind = 'TRANSFER') = (accept_by IS NOT NULL)", name="receiver"),
    CheckConstraint(
        "CASE kind WHEN 'TRANSFER'"
        " THEN pending_at IS NOT NULL OR state NOT IN ('COMMITTED', 'DONE') ELSE pending_at IS NULL END",
        name="asked",
    ),
    CheckConstraint("(kind = 'SETTLE') = (plan_id IS NOT NULL)", name="plan"),
    CheckConstraint("(kind = 'REFUND') = (original_id IS NOT NULL)", name="original"),
    CheckConstraint("(kind = 'TOMBSTONE') = (psn_no IS NULL)", name="person"),
    CheckConstraint("octet_length(request_hash) = CASE kind WHEN 'TOMBSTONE' THEN 0 ELSE 32 END", name="request_hash"),
    CheckConstraint("(state = 'TRYING') = (decided_at IS NULL)", name="decided"),
    CheckConstraint("(state IN ('DONE', 'CLOSED')) = (finished_at IS NOT NULL)", name="finished"),
    CheckConstraint("(state IN ('ABORTED', 'CLOSED')) = (reason <> '')", name="reason"),
    CheckConstraint("amount_fen >= 0 AND (amount_fen > 0 OR kind IN ('SETTLE', 'REFUND', 'TOMBSTONE'))", name="amount"),
    CheckConstraint("replan_plan_id IS NULL OR (replanned AND state IN ('ABORTED', 'CLOSED'))", name="replan"),
    Index(
        "payments_trying_patient",
        "psn_no",
        unique=True,
        postgresql_where=text("kind = 'SETTLE' AND state = 'TRYING' AND quarantine <> 'RESTORED_UNCLEAR'"),
    ),
    Index(
        "payments_trying_claim",
        "psn_no",
        postgresql_where=text("kind = 'CHARGE' AND infno = 'CLAIM' AND state = 'TRYING'"),
    ),
    Index("payments_live_refund", "original_id", unique=True, postgresql_where=text("original_id IS NOT NULL")),
    Index("payments_due", "next_drive_at", postgresql_where=text(OPEN)),
    Index("payments_of_institution", "fixmedins_code", "decided_at", "payment_id", postgresql_where=text(ON_BOOKS)),
    Index("payments_quarantined", "payment_id", postgresql_where=text("quarantine <> ''")),
    Index("payments_decided", "decided_at", postgresql_using="brin"),
    comment="Everything durable of a payment; what must still be sent is a function of the row.",
)

PLANS: Final = Table(
    "plans",
    METADATA,
    Column("plan_id", Uuid, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("psn_no", Text, nullable=False),
    Column("year", SmallInteger, nullable=False),
    Column("patient_version", BigInteger, nullable=False),
    Column("fixmedins_code", Text, nullable=False),
    Column("infno", Text, nullable=False, comment="The transaction it was planned with."),
    Column("legs", JSONB, nullable=False),
    Column("amount_fen", BigInteger, nullable=False, comment="Σ legs."),
    Column("document", JSONB, nullable=False, comment="The whole plan."),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("insutype", Text, comment="Of whose year it uses something; NULL = it uses nothing."),
    Column("pool", Text, comment="Of which pool of the benefit table; empty = the one without a name."),
    Column("deductible_fen", BigInteger, comment="act_pay_dedc."),
    Column("fund_fen", BigInteger, comment="hifp_pay."),
    Column("large_fen", BigInteger, comment="hifob_pay of an employee, hifmi_pay of a resident."),
    Column("inputs", JSONB, comment="All that the figures were computed from; never read to settle."),
    CheckConstraint(
        "num_nonnulls(insutype, pool, deductible_fen, fund_fen, large_fen) IN (0, 5)"
        " AND deductible_fen >= 0 AND fund_fen >= 0 AND large_fen >= 0",
        name="use",
    ),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
    CheckConstraint("amount_fen >= 0", name="amount"),
    CheckConstraint("created_at < expires_at", name="period"),
    comment="Who would pay what; a plan never changes.",
)

PATIENT_YEARS: Final = Table(
    "patient_years",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("year", SmallInteger, primary_key=True),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("version >= 0", name="version"),
    comment="Moves on with each settlement and refund; a plan of another version is stale.",
)

BENEFIT_YEARS: Final = Table(
    "benefit_years",
    METADATA,
    Column("psn_no", Text, primary_key=True),
    Column("year", SmallInteger, primary_key=True),
    Column("insutype", Text, primary_key=True),
    Column("pool", Text, primary_key=True),
    Column("deductible_fen", BigInteger, nullable=False),
    Column("fund_fen", BigInteger, nullable=False),
    Column("large_fen", BigInteger, nullable=False),
    CheckConstraint("deductible_fen >= 0 AND fund_fen >= 0 AND large_fen >= 0", name="amounts"),
    comment="Σ of what a year's settlements and claims used that were not given back; triggers on both keep it.",
)

ACCOUNT_COMMANDS: Final = Table(
    "account_commands",
    METADATA,
    Column("request_id", Uuid, primary_key=True),
    Column("area", Text, nullable=False),
    Column("psn_no", Text, nullable=False),
    Column("frozen", Boolean, nullable=False, comment="What the account shall be."),
    Column("cause", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("refusal", Text, nullable=False, server_default="", comment="The ledger's reason when REFUSED."),
    Column("balance", JSONB, comment="The account after it, as the ledger answered."),
    Column("traceparent", Text, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Column("next_drive_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    CheckConstraint("state IN ('PENDING', 'DONE', 'REFUSED')", name="state"),
    CheckConstraint("(state = 'PENDING') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("(state = 'DONE') = (balance IS NOT NULL)", name="balance"),
    CheckConstraint("(state = 'REFUSED') = (refusal <> '')", name="refusal"),
    CheckConstraint("area ~ '^[1-9][0-9]{5}$'", name="area"),
    Index("account_commands_due", "next_drive_at", postgresql_where=text("state = 'PENDING'")),
    Index(
        "account_commands_pending",
        *("psn_no", "area", "created_at", "request_id"),
        postgresql_where=text("state = 'PENDING'"),
    ),
    comment="Freezes and their ends, from the request to the ledger's answer.",
)

ACCOUNT_ENDINGS: Final = Table(
    "account_endings",
    METADATA,
    Column("request_id", Uuid, primary_key=True),
    Column("psn_no", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("area", Text, nullable=False),
    Column("to_area", Text, comment="Of a move; NULL = it is only closed."),
    Column("cause", Text, nullable=False),
    Column("past_fen", BigInteger, nullable=False, comment="What a move transfers, by part."),
    Column("current_fen", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0", comment="Transfers that came to nothing."),
    Column("state", Text, nullable=False, server_default="PENDING"),
    Column("refusal", Text, nullable=False, server_default="", comment="The reason when REFUSED."),
    Column("traceparent", Text, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Column("next_drive_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    CheckConstraint("state IN ('PENDING', 'CLOSING', 'CLOSED', 'REFUSED')", name="state"),
    CheckConstraint("(state IN ('CLOSED', 'REFUSED')) = (finished_at IS NOT NULL)", name="finished"),
    CheckConstraint("(state = 'REFUSED') = (refusal <> '')", name="refusal"),
    CheckConstraint("role IN ('OWN', 'WALLET') AND (to_area IS NULL OR role = 'OWN')", name="role"),
    CheckConstraint("area ~ '^[1-9][0-9]{5}$' AND to_area ~ '^[1-9][0-9]{5}$' AND to_area <> area", name="areas"),
    CheckConstraint("past_fen >= 0 AND current_fen >= 0 AND tries >= 0", name="amounts"),
    CheckConstraint("to_area IS NOT NULL OR past_fen + current_fen = 0", name="moved"),
    Index("account_endings_due", "next_drive_at", postgresql_where=text("finished_at IS NULL")),
    comment="Accounts that are closed or move to another area, from the request to the end of the old account.",
)

COORDINATOR: Final = Table(
    "coordinator",
    METADATA,
    Column("singleton", Boolean, primary_key=True, server_default="true"),
    Column("epoch", BigInteger, nullable=False, comment="Ledgers refuse commands of an older one (protocol, Restore)."),
    Column("restore_id", Uuid, comment="The last restore, under which its audit records stand."),
    Column("restoring_since", DateTime(timezone=True), comment="While it is set, nothing is decided."),
    Column(
        "restored_until",
        DateTime(timezone=True),
        comment="A request made before this that is unknown here is refused: its answer may have been lost.",
    ),
    CheckConstraint("singleton", name="one_row"),
    CheckConstraint("restoring_since IS NULL OR restore_id IS NOT NULL", name="restore"),
    comment="One row.",
)

OUTBOX: Final = outbox_table(METADATA)
inbox_tables(METADATA)
