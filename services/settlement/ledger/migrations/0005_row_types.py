"""What every payment writes, as types: the rows of a batch travel as one parameter for each of these.

Nothing is stored in them, so the release before goes on working beside it.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TYPE account_row AS (
        psn_no TEXT, kind TEXT, year INT2, past_fen INT8, current_fen INT8, held_past_fen INT8, held_current_fen INT8,
        frozen BOOL, state TEXT
    )
    """,
    """
    CREATE TYPE authorisation_row AS (
        authorisation_id UUID, state TEXT, authorised_fen INT8, used_fen INT8, held_fen INT8, version INT8
    )
    """,
    """
    CREATE TYPE held_branch_row AS (
        payment_id UUID, digest BYTEA, inquire_at TIMESTAMPTZ, fixmedins_code TEXT, setl_id TEXT, care_area TEXT,
        origin BYTEA
    )
    """,
    """
    CREATE TYPE branch_leg_row AS (
        payment_id UUID, leg_no INT2, psn_no TEXT, account_kind TEXT, role TEXT, past_fen INT8, current_fen INT8,
        year INT2, authorisation_id UUID, floor_fen INT8, floor_past BOOL, floor_current BOOL, refunded_fen INT8,
        after_past_fen INT8, after_current_fen INT8, after_held_past_fen INT8, after_held_current_fen INT8,
        after_year INT2
    )
    """,
    """
    CREATE TYPE entry_row AS (
        source_id UUID, leg_no INT2, kind TEXT, book TEXT, psn_no TEXT, part TEXT, amount_fen INT8,
        balance_after_fen INT8
    )
    """,
)


def upgrade() -> None:
    """Adds the types."""
    for statement in STATEMENTS:
        op.execute(statement)
