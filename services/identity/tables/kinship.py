"""Kinship facts with their evidence."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from services.identity.tables.metadata import INSTANT, METADATA, person_column

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
    sa.CheckConstraint("kind IN ('PARENT_OF', 'MARRIED_TO', 'SIBLING_OF')", name="kinship_facts_kind"),
    sa.CheckConstraint("state IN ('SUBMITTED', 'VERIFIED', 'REJECTED', 'REVOKED')", name="kinship_facts_state"),
    sa.CheckConstraint("psn_no <> other_psn_no", name="kinship_facts_with_self"),
    sa.CheckConstraint("(kind = 'MARRIED_TO') = (from_date IS NOT NULL)", name="kinship_facts_from_date"),
    sa.CheckConstraint("to_date IS NULL OR from_date < to_date", name="kinship_facts_to_date"),
    sa.CheckConstraint("state NOT IN ('REJECTED', 'REVOKED') OR cause <> ''", name="kinship_facts_cause"),
)
for _column in (KINSHIP_FACTS.c.psn_no, KINSHIP_FACTS.c.other_psn_no):
    sa.Index(
        f"kinship_facts_by_{_column.name}",
        _column,
        postgresql_where=KINSHIP_FACTS.c.state.in_(("SUBMITTED", "VERIFIED")),
    )
