"""清算类别 of a payment, by which the desk's totals and clearing are told apart; lines of bills, settlements of stays.

The class is a function of the transaction, so it is said once, here, for every row that there is and every one that a
release before this one still writes. Virtual: no row is rewritten, so nobody waits, however big the table.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE payments ADD COLUMN clr_type TEXT GENERATED ALWAYS AS (
        CASE WHEN kind IN ('SETTLE', 'REFUND') THEN
            CASE
                WHEN infno IN ('2207', '2208', '2601/2207') THEN '11'
                WHEN infno IN ('2304', '2305', '2601/2304') THEN '21'
                WHEN infno IN ('2102', '2103', '2601/2102') THEN '41'
            END
        END
    ) VIRTUAL
    """,
    """COMMENT ON COLUMN payments.clr_type IS
        '清算类别 of a settlement and its refund: 11 outpatient, 21 inpatient, 41 pharmacy.'""",
    """
    CREATE TABLE plan_lines (
        plan_id UUID NOT NULL,
        lines JSONB NOT NULL,
        CONSTRAINT pk_plan_lines PRIMARY KEY (plan_id),
        CONSTRAINT ck_plan_lines_lines CHECK (jsonb_array_length(lines) BETWEEN 1 AND 500),
        CONSTRAINT fk_plan_lines_plan_id_plans FOREIGN KEY(plan_id) REFERENCES plans (plan_id) ON DELETE CASCADE
    )
    """,
    """COMMENT ON TABLE plan_lines IS
        'The lines of the bill that was planned (费用明细), where the institution told them.'""",
    "COMMENT ON COLUMN plan_lines.lines IS 'In the order presented.'",
    """
    CREATE TABLE stay_settlements (
        payment_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        mdtrt_id TEXT NOT NULL,
        interim BOOLEAN NOT NULL,
        CONSTRAINT pk_stay_settlements PRIMARY KEY (payment_id),
        CONSTRAINT fk_stay_settlements_payment_id_payments
            FOREIGN KEY(payment_id) REFERENCES payments (payment_id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX stay_settlements_of_stay ON stay_settlements (psn_no, fixmedins_code, mdtrt_id)",
    """COMMENT ON TABLE stay_settlements IS
        'The settlements of a stay in hospital (一次住院), told when each begins.'""",
    "COMMENT ON COLUMN stay_settlements.interim IS '中途结算; else it closes the stay while it stands.'",
)


def upgrade() -> None:
    """Adds the column and the tables."""
    for statement in STATEMENTS:
        op.execute(statement)
