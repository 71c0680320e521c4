"""What belongs to a visit beside its plan: the bill's lines, and which settlements are of one stay in hospital."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.settlement.tables.metadata import METADATA

PLAN_LINES: Final = Table(
    "plan_lines",
    METADATA,
    Column("plan_id", Uuid, ForeignKey("plans.plan_id", ondelete="CASCADE"), primary_key=True),
    Column("lines", JSONB, nullable=False, comment="In the order presented."),
    CheckConstraint("jsonb_array_length(lines) BETWEEN 1 AND 500", name="lines"),
    comment="The lines of the bill that was planned (费用明细), where the institution told them.",
)

STAY_SETTLEMENTS: Final = Table(
    "stay_settlements",
    METADATA,
    Column("payment_id", Uuid, ForeignKey("payments.payment_id", ondelete="CASCADE"), primary_key=True),
    Column("psn_no", Text, nullable=False),
    Column("fixmedins_code", Text, nullable=False),
    Column("mdtrt_id", Text, nullable=False),
    Column("interim", Boolean, nullable=False, comment="中途结算; else it closes the stay while it stands."),
    Index("stay_settlements_of_stay", "psn_no", "fixmedins_code", "mdtrt_id"),
    comment="The settlements of a stay in hospital (一次住院), told when each begins.",
)
