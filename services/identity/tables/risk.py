"""Risk events with their evidence, and what settlement told that they are made of; ids, times, places and counts."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from chassis.inbox import inbox_tables
from services.identity.tables.credentials import USED_CODES
from services.identity.tables.metadata import INSTANT, METADATA

inbox_tables(METADATA)

_KINDS: Final = "'OTHERS_CREDENTIAL', 'FAR_TERMINALS', 'SMALL_PHARMACY_BUYS', 'REFUSED_CODES'"

CREDENTIAL_REFUSALS: Final = sa.Table(
    "credential_refusals",
    METADATA,
    sa.Column("event_id", sa.Uuid, primary_key=True),
    sa.Column("patient_psn_no", sa.Text, nullable=False),
    sa.Column("presented_psn_no", sa.Text, nullable=False),
    sa.Column("fixmedins_code", sa.Text, nullable=False),
    sa.Column("terminal_no", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("refused_at", INSTANT, nullable=False),
    sa.Column("judged_at", INSTANT),
    comment="Somebody's credential was shown for another's bill, as settlement told.",
)
sa.Index(
    "credential_refusals_unjudged",
    CREDENTIAL_REFUSALS.c.refused_at,
    postgresql_where=CREDENTIAL_REFUSALS.c.judged_at.is_(None),
)
sa.Index("credential_refusals_refused_at", CREDENTIAL_REFUSALS.c.refused_at, postgresql_using="brin")

PHARMACY_BUYS: Final = sa.Table(
    "pharmacy_buys",
    METADATA,
    sa.Column("setl_id", sa.Uuid, nullable=False),
    sa.Column("psn_no", sa.Text, nullable=False, comment="The funder."),
    sa.Column("patient_psn_no", sa.Text, nullable=False),
    sa.Column("fixmedins_code", sa.Text, nullable=False),
    sa.Column("settled_at", INSTANT, nullable=False),
    sa.Column("judged_at", INSTANT),
    sa.PrimaryKeyConstraint("setl_id", "psn_no", name="pharmacy_buys_pkey"),
    comment="Small pharmacy bills out of a funder's account, as settlement told; kept while they may count.",
)
sa.Index("pharmacy_buys_psn_no", PHARMACY_BUYS.c.psn_no, PHARMACY_BUYS.c.settled_at)
sa.Index("pharmacy_buys_unjudged", PHARMACY_BUYS.c.settled_at, postgresql_where=PHARMACY_BUYS.c.judged_at.is_(None))
sa.Index("pharmacy_buys_settled_at", PHARMACY_BUYS.c.settled_at, postgresql_using="brin")

REFUNDED_BUYS: Final = sa.Table(
    "refunded_buys",
    METADATA,
    sa.Column("setl_id", sa.Uuid, primary_key=True),
    sa.Column("refunded_at", INSTANT, nullable=False),
    comment="Pharmacy bills whose money went back; they do not count, whichever of the two was heard of first.",
)
sa.Index("refunded_buys_refunded_at", REFUNDED_BUYS.c.refunded_at, postgresql_using="brin")

FUNDED_BILLS: Final = sa.Table(
    "funded_bills",
    METADATA,
    sa.Column("setl_id", sa.Uuid, nullable=False),
    sa.Column("psn_no", sa.Text, nullable=False, comment="Whose account it was."),
    sa.Column("patient_psn_no", sa.Text, nullable=False),
    sa.Column("fixmedins_code", sa.Text, nullable=False),
    sa.Column("settled_at", INSTANT, nullable=False),
    sa.PrimaryKeyConstraint("setl_id", "psn_no", name="funded_bills_pkey"),
    comment="Whose account paid for which bill, as settlement told; kept for objections.",
)
sa.Index("funded_bills_psn_no", FUNDED_BILLS.c.psn_no, FUNDED_BILLS.c.settled_at)
sa.Index("funded_bills_patient_psn_no", FUNDED_BILLS.c.patient_psn_no, FUNDED_BILLS.c.settled_at)
sa.Index("funded_bills_settled_at", FUNDED_BILLS.c.settled_at, postgresql_using="brin")

RISK_SWEEPS: Final = sa.Table(
    "risk_sweeps",
    METADATA,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("read_to", INSTANT, nullable=False),
    sa.CheckConstraint(f"kind IN ({_KINDS})", name="risk_sweeps_kind"),
    comment="Up to when what happened was judged; whoever holds a kind's row judges it, one replica at a time.",
)

RISK_EVENTS: Final = sa.Table(
    "risk_events",
    METADATA,
    sa.Column("risk_event_id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False, comment="person:<psn_no> or terminal:<fixmedins_code>/<terminal_no>"),
    sa.Column("psn_no", sa.Text, sa.ForeignKey("persons.psn_no")),
    sa.Column("fixmedins_code", sa.Text, sa.ForeignKey("institutions.fixmedins_code")),
    sa.Column("terminal_no", sa.Text, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("raised_at", INSTANT, nullable=False),
    sa.Column("evidence_at", INSTANT, nullable=False),
    sa.Column("evidence_count", sa.Integer, nullable=False),
    sa.Column("cause", sa.Text),
    sa.Column("opter", sa.Text),
    sa.Column("decided_at", INSTANT),
    sa.CheckConstraint(f"kind IN ({_KINDS}, 'OBJECTION')", name="risk_events_kind"),
    sa.CheckConstraint("state IN ('OPEN', 'DISMISSED', 'CONFIRMED')", name="risk_events_state"),
    sa.CheckConstraint("num_nonnulls(psn_no, fixmedins_code) = 1", name="risk_events_subject"),
    sa.CheckConstraint(
        "num_nulls(cause, opter, decided_at) = CASE state WHEN 'OPEN' THEN 3 ELSE 0 END", name="risk_events_decided"
    ),
    sa.CheckConstraint("evidence_count >= 0", name="risk_events_evidence_count"),
    comment="What looks like misuse, for an officer to judge (domain §8); nothing follows by itself.",
)
sa.Index(
    "risk_events_one_open",
    RISK_EVENTS.c.kind,
    RISK_EVENTS.c.subject,
    RISK_EVENTS.c.day,
    unique=True,
    postgresql_where=sa.text("state = 'OPEN'"),
)
sa.Index("risk_events_queue", RISK_EVENTS.c.state, RISK_EVENTS.c.risk_event_id)
sa.Index("risk_events_psn_no", RISK_EVENTS.c.psn_no, RISK_EVENTS.c.risk_event_id)

RISK_EVIDENCE: Final = sa.Table(
    "risk_evidence",
    METADATA,
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("evidence_key", sa.Text, nullable=False, comment="What happened, once: it counts for one event only."),
    sa.Column("risk_event_id", sa.Uuid, sa.ForeignKey("risk_events.risk_event_id"), nullable=False),
    sa.Column("occurred_at", INSTANT, nullable=False),
    sa.Column("fixmedins_code", sa.Text, nullable=False),
    sa.Column("terminal_no", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("setl_id", sa.Uuid),
    sa.Column("patient_psn_no", sa.Text),
    sa.Column("occurrences", sa.BigInteger, nullable=False),
    sa.Column("earlier_at", INSTANT),
    sa.Column("earlier_fixmedins_code", sa.Text),
    sa.Column("earlier_terminal_no", sa.Text),
    sa.Column("distance_m", sa.Integer),
    sa.PrimaryKeyConstraint("kind", "subject", "evidence_key", name="risk_evidence_pkey"),
    sa.CheckConstraint("occurrences >= 1", name="risk_evidence_occurrences"),
    sa.CheckConstraint(
        "num_nulls(earlier_at, earlier_fixmedins_code, earlier_terminal_no, distance_m) IN (0, 4)",
        name="risk_evidence_earlier",
    ),
)
sa.Index("risk_evidence_risk_event_id", RISK_EVIDENCE.c.risk_event_id, RISK_EVIDENCE.c.occurred_at)

sa.Index("used_codes_used_at", USED_CODES.c.used_at, postgresql_using="brin")
