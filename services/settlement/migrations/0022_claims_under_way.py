"""Whether a claim's family part is under way, of one person: asked for each plan.

On a big table it is built beforehand, CONCURRENTLY, under this name.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE INDEX IF NOT EXISTS payments_trying_claim ON payments (psn_no)
        WHERE kind = 'CHARGE' AND infno = 'CLAIM' AND state = 'TRYING'
    """,
)


def upgrade() -> None:
    """Adds the index."""
    for statement in STATEMENTS:
        op.execute(statement)
