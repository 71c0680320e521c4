"""One area's tables. CHECKs repeat the domain's invariants (I1, I5, I8, I9); history is inserted and never changed.

There are no foreign keys on what a settlement touches: one writer at a time keeps the rows together, and
``gongji verify`` compares them; a check for each leg would cost more than the leg.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

METADATA: Final = MetaData()
APPEND_ONLY: Final = ("entries", "entry_blocks", "credits", "credit_legs", "freeze_commands", "authorisation_events")
"""Tables whose rows a trigger keeps from being changed or deleted."""


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> Column[Any]:
    return Column(name, Text, nullable=nullable, server_default=default)


def _fen(name: str, *, nullable: bool = False, default: str | None = None) -> Column[Any]:
    return Column(name, BigInteger, nullable=nullable, server_default=text(default) if default else None)


def _time(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _uuid(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Uuid, nullable=nullable)


def _one_of(column: str, *values: str, name: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)


def _after(*, nullable: bool) -> list[Column[Any]]:
    """An account as it stood when a command was answered, so that its repetition gets the same answer."""
    fens = ("after_past_fen", "after_current_fen", "after_held_past_fen", "after_held_current_fen")
    return [*(_fen(name, nullable=nullable) for name in fens), Column("after_year", SmallInteger, nullable=nullable)]


def _memo() -> list[Column[Any]]:
    return [_text(name, default="") for name in ("fixmedins_code", "setl_id", "care_area")]


def _origin() -> Column[Any]:
    return Column(
        "origin",
        LargeBinary,
        nullable=False,
        server_default=text("''::bytea"),
        comment="The coordinator's own: its row is made anew from it after a restore.",
    )


ledger_state: Final = Table(
    "ledger_state",
    METADATA,
    Column("one", Boolean, nullable=False, server_default=text("true")),
    _text("area"),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("one", name="ledger_state_pkey"),
    CheckConstraint("one", name="ledger_state_has_one_row"),
    comment="One row: whose ledger this is, and the newest coordinator epoch heard of.",
)

accounts: Final = Table(
    "accounts",
    METADATA,
    _text("psn_no"),
    _text("kind"),
    Column("year", SmallInteger, nullable=False),
    _fen("past_fen"),
    _fen("current_fen"),
    _fen("held_past_fen"),
    _fen("held_current_fen"),
    Column("frozen", Boolean, nullable=False),
    _text("state"),
    PrimaryKeyConstraint("psn_no", "kind", name="accounts_pkey"),
    _one_of("kind", "PERSONAL", "WALLET", name="accounts_kind_known"),
    _one_of("state", "OPEN", "CLOSING", "CLOSED", name="accounts_state_known"),
    CheckConstraint(
        "0 <= held_past_fen AND held_past_fen <= past_fen"
        " AND 0 <= held_current_fen AND held_current_fen <= current_fen",
        name="accounts_held_within_balance",
    ),
    CheckConstraint("kind <> 'WALLET' OR current_fen = 0", name="accounts_wallet_has_one_part"),
    CheckConstraint("state <> 'CLOSED' OR (past_fen = 0 AND current_fen = 0)", name="accounts_closed_is_empty"),
    postgresql_with={"fillfactor": "80"},
)

authorisations: Final = Table(
    "authorisations",
    METADATA,
    _uuid("authorisation_id"),
    _text("state"),
    _text("funder_psn_no", nullable=True),
    _text("beneficiary_psn_no", nullable=True),
    _fen("authorised_fen", nullable=True),
    _fen("used_fen"),
    _fen("held_fen"),
    Column("version", BigInteger, nullable=False),
    _fen("opened_used_fen"),
    _fen("per_payment_fen", nullable=True),
    _fen("per_month_fen", nullable=True),
    Column("counts_months", Boolean, nullable=False, server_default=text("false")),
    Column("opened_month", Integer, comment="yyyymm: the month of which opened_month_fen was carried over."),
    _fen("opened_month_fen", nullable=True),
    PrimaryKeyConstraint("authorisation_id", name="authorisations_pkey"),
    _one_of("state", "OPEN", "CLOSED", name="authorisations_state_known"),
    CheckConstraint("state <> 'OPEN' OR funder_psn_no IS NOT NULL", name="authorisations_open_has_a_funder"),
    CheckConstraint("0 <= used_fen AND 0 <= held_fen", name="authorisations_not_negative"),
    CheckConstraint(
        "authorised_fen IS NULL OR used_fen + held_fen <= authorised_fen", name="authorisations_within_amount"
    ),
    CheckConstraint("per_payment_fen > 0 AND per_month_fen > 0", name="authorisations_limits_positive"),
    CheckConstraint("per_month_fen IS NULL OR counts_months", name="authorisations_months_counted"),
    CheckConstraint(
        "(opened_month IS NULL) = (opened_month_fen IS NULL)"
        " AND (opened_month IS NULL"
        " OR counts_months AND 0 <= opened_month_fen AND opened_month_fen <= opened_used_fen)",
        name="authorisations_opened_month",
    ),
    postgresql_with={"fillfactor": "80"},
)

authorisation_months: Final = Table(
    "authorisation_months",
    METADATA,
    _uuid("authorisation_id"),
    Column("month", Integer, nullable=False),
    _fen("used_fen"),
    _fen("held_fen"),
    _fen("limit_fen", nullable=True),
    PrimaryKeyConstraint("authorisation_id", "month", name="authorisation_months_pkey"),
    CheckConstraint(
        "month BETWEEN 200001 AND 220012 AND month % 100 BETWEEN 1 AND 12", name="authorisation_months_month"
    ),
    CheckConstraint("0 <= used_fen AND 0 <= held_fen", name="authorisation_months_not_negative"),
    CheckConstraint("used_fen + held_fen <= limit_fen", name="authorisation_months_within_limit"),
    comment="What each civil month (yyyymm) took where months are counted; limit_fen is the one of the latest hold.",
    postgresql_with={"fillfactor": "80"},
)

authorisation_events: Final = Table(
    "authorisation_events",
    METADATA,
    _uuid("authorisation_id"),
    _text("step"),
    Column("version", BigInteger, nullable=False),
    _fen("asked_fen", nullable=True),
    _fen("asked_per_payment_fen", nullable=True),
    _fen("asked_per_month_fen", nullable=True),
    _text("after_state"),
    _fen("after_authorised_fen", nullable=True),
    _fen("after_per_payment_fen", nullable=True),
    _fen("after_per_month_fen", nullable=True),
    _fen("after_used_fen"),
    _fen("after_held_fen"),
    Column("after_version", BigInteger, nullable=False),
    _text("refusal_reason", nullable=True),
    Column("refusal_metadata", JSONB, nullable=True),
    _time("booked_at"),
    PrimaryKeyConstraint("authorisation_id", "step", "version", name="authorisation_events_pkey"),
    _one_of("step", "OPEN", "AMEND", "CLOSE", name="authorisation_events_step_known"),
)

branches: Final = Table(
    "branches",
    METADATA,
    _uuid("payment_id"),
    _text("state"),
    Column("digest", LargeBinary, nullable=False),
    _time("created_at"),
    _time("decided_at", nullable=True),
    _time("inquire_at", nullable=True),
    _time("next_inquire_at", nullable=True),
    _time("last_inquired_at", nullable=True),
    Column("inquiries", Integer, nullable=False, server_default=text("0")),
    _text("refusal_reason", nullable=True),
    Column("refusal_leg_no", SmallInteger, nullable=True),
    Column("refusal_metadata", JSONB, nullable=True),
    *_memo(),
    _origin(),
    Column("month", Integer, nullable=True, comment="yyyymm; NULL = of a release without months."),
    PrimaryKeyConstraint("payment_id", name="branches_pkey"),
    _one_of("state", "HELD", "REFUSED", "BLOCKED", "CONFIRMED", "CANCELLED", name="branches_state_known"),
    CheckConstraint("state <> 'HELD' OR next_inquire_at IS NOT NULL", name="branches_held_is_inquired"),
    CheckConstraint("(state = 'REFUSED') = (refusal_reason IS NOT NULL)", name="branches_refused_has_a_reason"),
    Index("branches_due", "next_inquire_at", postgresql_where=text("state = 'HELD'")),
)

branch_legs: Final = Table(
    "branch_legs",
    METADATA,
    _uuid("payment_id"),
    Column("leg_no", SmallInteger, nullable=False),
    _text("psn_no"),
    _text("account_kind"),
    _text("role"),
    _fen("past_fen"),
    _fen("current_fen"),
    Column("year", SmallInteger, nullable=False),
    _uuid("authorisation_id", nullable=True),
    _fen("floor_fen"),
    Column("floor_past", Boolean, nullable=False),
    Column("floor_current", Boolean, nullable=False),
    _fen("refunded_fen", default="0"),
    *_after(nullable=True),
    PrimaryKeyConstraint("payment_id", "leg_no", name="branch_legs_pkey"),
    _one_of("role", "OWN", "WALLET", "FUNDER", "RECEIVER", name="branch_legs_role_known"),
    CheckConstraint("0 <= past_fen AND 0 <= current_fen", name="branch_legs_not_negative"),
    CheckConstraint(
        "0 <= refunded_fen AND refunded_fen <= past_fen + current_fen", name="branch_legs_refunds_within_charge"
    ),
    CheckConstraint("(role = 'FUNDER') = (authorisation_id IS NOT NULL)", name="branch_legs_funder_is_authorised"),
    CheckConstraint(
        "(role = 'RECEIVER') = (after_year IS NULL) AND (role <> 'RECEIVER' OR refunded_fen = 0)",
        name="branch_legs_receiver_holds_nothing",
    ),
    comment="Legs of payments that were held here, as the plan says them: current_fen is of year.",
)

entries: Final = Table(
    "entries",
    METADATA,
    Column("entry_no", BigInteger, Identity(always=True), nullable=False),
    _uuid("source_id"),
    Column("leg_no", SmallInteger, nullable=False),
    _text("kind"),
    _text("book"),
    _text("psn_no", nullable=True),
    _text("part", nullable=True),
    _fen("amount_fen"),
    _fen("balance_after_fen", nullable=True),
    _time("booked_at"),
    PrimaryKeyConstraint("entry_no", name="entries_pkey"),
    UniqueConstraint(
        "source_id", "leg_no", "kind", "part", name="entries_booked_once", postgresql_nulls_not_distinct=True
    ),
    _one_of(
        "kind",
        *("PAYMENT", "TRANSFER_IN", "REFUND", "MONTHLY", "WALLET", "CARRIED_OVER", "YEAR_TURN", "SUSPENSE", "CLOSING"),
        name="entries_kind_known",
    ),
    _one_of("book", "PERSONAL", "WALLET", "CLEARING", "FUND_INFLOW", "SUSPENSE", name="entries_book_known"),
    CheckConstraint("part IS NULL OR part IN ('PAST', 'CURRENT')", name="entries_part_known"),
    CheckConstraint(
        "(book IN ('PERSONAL', 'WALLET')) = (psn_no IS NOT NULL)"
        " AND (psn_no IS NULL) = (part IS NULL) AND (psn_no IS NULL) = (balance_after_fen IS NULL)",
        name="entries_account_or_contra",
    ),
    CheckConstraint("amount_fen <> 0", name="entries_move_money"),
    Index("entries_of_account", "psn_no", "book", "entry_no", postgresql_where=text("psn_no IS NOT NULL")),
    comment="Double entry: what one source_id (payment, credit, year turn) books sums to zero.",
)

entry_blocks: Final = Table(
    "entry_blocks",
    METADATA,
    Column("block_no", BigInteger, nullable=False, autoincrement=False),
    Column("first_entry_no", BigInteger, nullable=False),
    Column("last_entry_no", BigInteger, nullable=False),
    Column("entries", Integer, nullable=False),
    _time("sealed_at"),
    Column("previous_digest", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("entry_nos", ARRAY(BigInteger), nullable=False),
    Column("entry_digests", LargeBinary, nullable=False),
    PrimaryKeyConstraint("block_no", name="entry_blocks_pkey"),
    UniqueConstraint("last_entry_no", name="entry_blocks_sealed_once"),
    CheckConstraint("block_no > 0", name="entry_blocks_numbered"),
    CheckConstraint(
        "entries > 0 AND first_entry_no <= last_entry_no AND cardinality(entry_nos) = entries",
        name="entry_blocks_range",
    ),
    CheckConstraint("length(previous_digest) = 32 AND length(digest) = 32", name="entry_blocks_digests"),
    comment="Sealed entries in order, each block over the digest of the one before; entry_digests names what changed.",
)

credits_: Final = Table(
    "credits",
    METADATA,
    _uuid("credit_id"),
    _text("purpose"),
    Column("digest", LargeBinary, nullable=False),
    _uuid("original_payment_id", nullable=True),
    *_memo(),
    _origin(),
    _time("booked_at"),
    PrimaryKeyConstraint("credit_id", name="credits_pkey"),
    _one_of("purpose", "MONTHLY", "WALLET", "REFUND", "CARRIED_OVER", "SUSPENSE", name="credits_purpose_known"),
    CheckConstraint("(purpose = 'REFUND') = (original_payment_id IS NOT NULL)", name="credits_refund_has_an_original"),
    Index("credits_of_original", "original_payment_id", postgresql_where=text("original_payment_id IS NOT NULL")),
)

credit_legs: Final = Table(
    "credit_legs",
    METADATA,
    _uuid("credit_id"),
    Column("leg_no", SmallInteger, nullable=False),
    _text("psn_no"),
    _text("account_kind"),
    _fen("past_fen"),
    _fen("current_fen"),
    Column("year", SmallInteger, nullable=False),
    Column("suspense", Boolean, nullable=False),
    *_after(nullable=True),
    Column("after_frozen", Boolean, nullable=True),
    _text("after_state", nullable=True),
    PrimaryKeyConstraint("credit_id", "leg_no", name="credit_legs_pkey"),
    CheckConstraint("0 <= past_fen AND 0 <= current_fen", name="credit_legs_not_negative"),
    CheckConstraint("suspense = (after_year IS NULL)", name="credit_legs_account_or_suspense"),
)

freeze_commands: Final = Table(
    "freeze_commands",
    METADATA,
    _uuid("command_id"),
    _text("psn_no"),
    Column("frozen", Boolean, nullable=False),
    _text("cause"),
    *_after(nullable=False),
    _text("after_state"),
    _time("booked_at"),
    Column(
        "freeze_no",
        BigInteger,
        Identity(always=True),
        nullable=False,
        comment="The order in which they took effect; no clock tells it.",
    ),
    Column(
        "after_frozen",
        Boolean,
        nullable=True,
        comment="Whether the account was frozen then, by whatever cause. NULL = as frozen, of the release before.",
    ),
    PrimaryKeyConstraint("command_id", name="freeze_commands_pkey"),
    Index("freeze_commands_of_person", "psn_no", "freeze_no"),
)

closings: Final = Table(
    "closings",
    METADATA,
    _uuid("command_id"),
    _text("psn_no"),
    _text("account_kind"),
    _text("cause"),
    _time("booked_at"),
    _time("finished_at", nullable=True),
    PrimaryKeyConstraint("command_id", name="closings_pkey"),
    UniqueConstraint(
        "psn_no", "account_kind", "finished_at", name="closings_one_at_a_time", postgresql_nulls_not_distinct=True
    ),
    comment="Accounts that were to be closed; finished_at once the last hold had ended and what was left had gone.",
)

suspense_tasks: Final = Table(
    "suspense_tasks",
    METADATA,
    _uuid("credit_id"),
    Column("leg_no", SmallInteger, nullable=False),
    _text("psn_no"),
    _text("account_kind"),
    _fen("amount_fen"),
    _time("created_at"),
    _time("done_at", nullable=True),
    PrimaryKeyConstraint("credit_id", "leg_no", name="suspense_tasks_pkey"),
)

alarms: Final = Table(
    "alarms",
    METADATA,
    _text("kind"),
    _uuid("subject_id"),
    _time("raised_at"),
    _time("last_raised_at"),
    Column("times", Integer, nullable=False, server_default=text("1")),
    _time("done_at", nullable=True),
    PrimaryKeyConstraint("kind", "subject_id", name="alarms_pkey"),
    comment="Contradictions that no rule can mend, each with the payment or credit it is about.",
)

quarantine: Final = Table(
    "quarantine",
    METADATA,
    _text("command_kind"),
    _uuid("command_id"),
    _text("command"),
    _text("problem"),
    _time("first_failed_at"),
    _time("last_failed_at"),
    Column("failures", Integer, nullable=False, server_default=text("1")),
    _time("done_at", nullable=True),
    PrimaryKeyConstraint("command_kind", "command_id", name="quarantine_pkey"),
    comment="Commands that failed technically and got no reply; done_at once one passed.",
)
