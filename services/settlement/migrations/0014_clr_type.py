"""清算类别 of a payment, by which the desk's totals and clearing are told apart.

It is a function of the transaction, so it is said once, here, for every row that there is and every one that a release
before this one still writes. Virtual: no row is rewritten, so nobody waits, however big the table.
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
)


def upgrade() -> None:
    """Adds the column."""
    for statement in STATEMENTS:
        op.execute(statement)
