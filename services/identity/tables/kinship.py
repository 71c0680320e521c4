"""Kinship facts with their evidence, what was decided about them, and the civil registry's rows."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from services.identity.tables.metadata import INSTANT, METADATA, caller_column, person_column

_KINDS: Final = "kind IN ('PARENT_OF', 'MARRIED_TO', 'SIBLING_OF')"

KINSHIP_FACTS: Final = sa.Table(
    "kinship_facts",
    METADATA,
    sa.Column("fact_id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    person_column(),
    person_column(name="other_psn_no"),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("from_date", sa.Date),
    sa.Column("to_date", sa.Date),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sa.Column("version", sa.BigInteger, nullable=False, comment="Events told of it; 0 before it was verified."),
    sa.Column("submitted_at", INSTANT, nullable=False),
    sa.Column("reviewed_at", INSTANT),
    sa.Column("issued_on", sa.Date),
    sa.Column("expires_on", sa.Date, comment="The first day on which the document proves nothing any more."),
    sa.Column("finding", sa.Text, comment="What the civil registry said; nothing if it was not asked."),
    caller_column("submitted_by"),
    sa.CheckConstraint(_KINDS, name="kinship_facts_kind"),
    sa.CheckConstraint(
        "state IN ('SUBMITTED', 'VERIFIED', 'REJECTED', 'REVOKED', 'EXPIRED')", name="kinship_facts_state"
    ),
    sa.CheckConstraint("psn_no <> other_psn_no", name="kinship_facts_with_self"),
    sa.CheckConstraint("(kind = 'MARRIED_TO') = (from_date IS NOT NULL)", name="kinship_facts_from_date"),
    sa.CheckConstraint("to_date IS NULL OR from_date < to_date", name="kinship_facts_to_date"),
    sa.CheckConstraint("state IN ('SUBMITTED', 'VERIFIED') OR cause <> ''", name="kinship_facts_cause"),
    sa.CheckConstraint("issued_on < expires_on", name="kinship_facts_evidence_dates"),
    sa.CheckConstraint("finding IN ('CONFIRMED', 'DENIED', 'UNKNOWN')", name="kinship_facts_finding"),
)
for _column in (KINSHIP_FACTS.c.psn_no, KINSHIP_FACTS.c.other_psn_no):
    sa.Index(f"kinship_facts_of_{_column.name}", _column, KINSHIP_FACTS.c.fact_id)
sa.Index(
    "kinship_facts_waiting",
    KINSHIP_FACTS.c.submitted_at,
    KINSHIP_FACTS.c.fact_id,
    postgresql_where=KINSHIP_FACTS.c.state == "SUBMITTED",
)
sa.Index(
    "kinship_facts_expiring",
    KINSHIP_FACTS.c.expires_on,
    KINSHIP_FACTS.c.fact_id,
    postgresql_where=sa.and_(
        KINSHIP_FACTS.c.state.in_(("SUBMITTED", "VERIFIED")), KINSHIP_FACTS.c.expires_on.is_not(None)
    ),
)

KINSHIP_DECISIONS: Final = sa.Table(
    "kinship_decisions",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("fact_id", sa.Uuid, sa.ForeignKey("kinship_facts.fact_id"), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("decider", sa.Text, nullable=False),
    sa.Column("opter", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("decided_at", INSTANT, nullable=False),
    sa.CheckConstraint("state IN ('VERIFIED', 'REJECTED', 'REVOKED', 'EXPIRED')", name="kinship_decisions_state"),
    sa.CheckConstraint("decider IN ('OFFICER', 'REGISTRY', 'ROOM')", name="kinship_decisions_decider"),
    sa.CheckConstraint("(decider = 'OFFICER') = (opter <> '')", name="kinship_decisions_opter"),
    comment="Who decided what about a fact, when and why; only ever added to.",
)
sa.Index("kinship_decisions_fact_id", KINSHIP_DECISIONS.c.fact_id, KINSHIP_DECISIONS.c.id)

REGISTRY_ROWS: Final = sa.Table(
    "registry_rows",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("a_index", BYTEA, nullable=False),
    sa.Column("b_index", BYTEA, nullable=False),
    sa.Column("from_date", sa.Date, nullable=False, comment="The wedding; 0001-01-01 where the kind has no dates."),
    sa.Column("to_date", sa.Date),
    sa.Column("loaded_at", INSTANT, nullable=False),
    caller_column("loaded_by"),
    sa.UniqueConstraint("a_index", "b_index", "kind", "from_date", name="registry_rows_said"),
    sa.CheckConstraint(_KINDS, name="registry_rows_kind"),
    sa.CheckConstraint("octet_length(a_index) = 32 AND octet_length(b_index) = 32", name="registry_rows_indexes"),
    sa.CheckConstraint("kind = 'PARENT_OF' OR a_index < b_index", name="registry_rows_order"),
    sa.CheckConstraint("(kind = 'MARRIED_TO') = (from_date > '0001-01-01')", name="registry_rows_from_date"),
    sa.CheckConstraint("from_date < to_date", name="registry_rows_to_date"),
    comment="The civil registry as its batch file told it: keyed blind indexes alone.",
)
sa.Index("registry_rows_b_index", REGISTRY_ROWS.c.b_index)
