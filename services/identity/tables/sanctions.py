"""Sanctions of persons and institutions, each with the decision it rests on, and the appeals against them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from services.identity.tables.metadata import INSTANT, METADATA

_FROM: Final = "(from_at AT TIME ZONE 'Asia/Shanghai')"
_TO: Final = "(to_at AT TIME ZONE 'Asia/Shanghai')"
SANCTIONS: Final = sa.Table(
    "sanctions",
    METADATA,
    sa.Column("sanction_id", sa.Uuid, primary_key=True),
    sa.Column("psn_no", sa.Text, sa.ForeignKey("persons.psn_no")),
    sa.Column("from_at", INSTANT, nullable=False),
    sa.Column("to_at", INSTANT, nullable=False),
    sa.Column("basis_clause", sa.Text, nullable=False),
    sa.Column("decision_no", sa.Text, nullable=False),
    sa.Column("organ", sa.Text, nullable=False),
    sa.Column("imposed_at", INSTANT, nullable=False),
    sa.Column("lifted_at", INSTANT),
    sa.Column("lift_cause", sa.Text),
    sa.Column("fixmedins_code", sa.Text, sa.ForeignKey("institutions.fixmedins_code")),
    sa.Column("kind", sa.Text, nullable=False, server_default="SUSPEND_ONLINE_SETTLEMENT"),
    sa.Column("imposed_by", sa.Text, nullable=False, server_default=""),
    sa.Column("lifted_by", sa.Text),
    sa.UniqueConstraint("decision_no", name="sanctions_decision_no"),
    sa.CheckConstraint(
        f"{_TO} >= {_FROM} + interval '3 months' AND {_TO} <= {_FROM} + interval '12 months'",
        name="sanctions_term",
    ),
    sa.CheckConstraint("(lifted_at IS NULL) = (lift_cause IS NULL)", name="sanctions_lifted"),
    sa.CheckConstraint("lifted_by IS NULL OR lifted_at IS NOT NULL", name="sanctions_lifted_by"),
    sa.CheckConstraint("num_nonnulls(psn_no, fixmedins_code) = 1", name="sanctions_subject"),
    sa.CheckConstraint("kind = 'SUSPEND_ONLINE_SETTLEMENT'", name="sanctions_kind"),
)
sa.Index("sanctions_psn_no", SANCTIONS.c.psn_no)
sa.Index(
    "sanctions_fixmedins_code",
    SANCTIONS.c.fixmedins_code,
    postgresql_where=SANCTIONS.c.fixmedins_code.is_not(None),
)

APPEALS: Final = sa.Table(
    "appeals",
    METADATA,
    sa.Column("appeal_id", sa.Uuid, primary_key=True),
    sa.Column("sanction_id", sa.Uuid, sa.ForeignKey("sanctions.sanction_id"), nullable=False),
    sa.Column("appeal_no", sa.Text, nullable=False),
    sa.Column("filed_on", sa.Date, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("filed_by", sa.Text, nullable=False),
    sa.Column("recorded_at", INSTANT, nullable=False),
    sa.Column("decision_no", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", INSTANT),
    sa.UniqueConstraint("appeal_no", name="appeals_appeal_no"),
    sa.CheckConstraint("state IN ('FILED', 'UPHELD', 'GRANTED', 'WITHDRAWN')", name="appeals_state"),
    sa.CheckConstraint(
        "num_nulls(decision_no, cause, decided_by, decided_at) = CASE state WHEN 'FILED' THEN 4 ELSE 0 END",
        name="appeals_decided",
    ),
    comment="复议、诉讼 against a sanction, which stays in force until one of them is granted.",
)
sa.Index("appeals_sanction_id", APPEALS.c.sanction_id)
sa.Index("appeals_one_filed", APPEALS.c.sanction_id, unique=True, postgresql_where=sa.text("state = 'FILED'"))
sa.Index("appeals_waiting", APPEALS.c.appeal_id, postgresql_where=sa.text("state = 'FILED'"))
