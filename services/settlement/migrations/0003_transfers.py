"""Transfers, whose receiver votes last. Adds columns and a kind that the release before never writes."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE payments
        ADD COLUMN accept_by TIMESTAMP WITH TIME ZONE,
        ADD COLUMN pending_at TIMESTAMP WITH TIME ZONE,
        DROP CONSTRAINT ck_payments_kind,
        DROP CONSTRAINT ck_payments_state_of_kind,
        DROP CONSTRAINT ck_payments_deadline,
        ADD CONSTRAINT ck_payments_kind CHECK (kind IN ('SETTLE', 'TRANSFER', 'REFUND', 'CREDIT', 'TOMBSTONE')),
        ADD CONSTRAINT ck_payments_state_of_kind
            CHECK (kind IN ('SETTLE', 'TRANSFER') OR (kind = 'TOMBSTONE' AND state = 'CLOSED')
                OR (kind <> 'TOMBSTONE' AND state IN ('COMMITTED', 'DONE'))),
        ADD CONSTRAINT ck_payments_deadline CHECK ((kind IN ('SETTLE', 'TRANSFER')) = (deadline_at IS NOT NULL)),
        ADD CONSTRAINT ck_payments_receiver CHECK ((kind = 'TRANSFER') = (accept_by IS NOT NULL)),
        ADD CONSTRAINT ck_payments_asked CHECK (CASE kind WHEN 'TRANSFER'
            THEN pending_at IS NOT NULL OR state NOT IN ('COMMITTED', 'DONE') ELSE pending_at IS NULL END)
    """,
    "COMMENT ON COLUMN payments.deadline_at IS 'Until when the ledgers may vote, then the receiver of a transfer.'",
    "COMMENT ON COLUMN payments.accept_by IS 'Until when the receiver of a transfer may accept.'",
    """
    COMMENT ON COLUMN payments.pending_at IS
        'Since when every ledger of a transfer holds and its receiver is asked; it stays.'
    """,
)


def upgrade() -> None:
    """Adds the columns, and widens what the constraints take."""
    for statement in STATEMENTS:
        op.execute(statement)
