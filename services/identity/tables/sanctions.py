"""Sanctions, each with the decision it rests on."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from services.identity.tables.metadata import INSTANT, METADATA, person_column

_FROM: Final = "(from_at AT TIME ZONE 'Asia/Shanghai')"
_TO: Final = "(to_at AT TIME ZONE 'Asia/Shanghai')"
SANCTIONS: Final = sa.Table(
    "sanctions",
    METADATA,
    sa.Column("sanction_id", sa.Uuid, primary_key=True),
    person_column(),
    sa.Column("from_at", INSTANT, nullable=False),
    sa.Column("to_at", INSTANT, nullable=False),
    sa.Column("basis_clause", sa.Text, nullable=False),
    sa.Column("decision_no", sa.Text, nullable=False),
    sa.Column("organ", sa.Text, nullable=False),
    sa.Column("imposed_at", INSTANT, nullable=False),
    sa.Column("lifted_at", INSTANT),
    sa.Column("lift_cause", sa.Text),
    sa.UniqueConstraint("decision_no", name="sanctions_decision_no"),
    sa.CheckConstraint(
        f"{_TO} >= {_FROM} + interval '3 months' AND {_TO} <= {_FROM} + interval '12 months'",
        name="sanctions_term",
    ),
    sa.CheckConstraint("(lifted_at IS NULL) = (lift_cause IS NULL)", name="sanctions_lifted"),
)
sa.Index("sanctions_psn_no", SANCTIONS.c.psn_no)
