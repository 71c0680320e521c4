"""Lets bindings follow their funder's account to another area. Adds; what it drops and makes anew lets more through."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_LIVE = "WHERE state IN ('OPENING', 'ACTIVE') OR moving_to IS NOT NULL"

DDL = (
    """
    CREATE TABLE left_authorisations (
        authorisation_id uuid PRIMARY KEY,
        binding_id uuid NOT NULL REFERENCES bindings (binding_id),
        area text NOT NULL,
        used_fen bigint NOT NULL,
        left_at timestamptz NOT NULL,
        CONSTRAINT left_authorisations_told CHECK (area ~ '^[1-9][0-9]{5}$' AND used_fen >= 0)
    )
    """,
    """COMMENT ON TABLE left_authorisations IS
        'Authorisations under which a binding stood in areas that its funder''s account has left.'""",
    "COMMENT ON COLUMN left_authorisations.used_fen IS 'As it was left; what comes back later counts there.'",
    "CREATE INDEX left_authorisations_binding ON left_authorisations (binding_id)",
    """
    CREATE TABLE account_places (
        psn_no text PRIMARY KEY,
        area text NOT NULL,
        moved_at timestamptz NOT NULL,
        CONSTRAINT account_places_area CHECK (area ~ '^[1-9][0-9]{5}$')
    )
    """,
    "COMMENT ON TABLE account_places IS 'Where personal accounts were last moved to, as settlement told it.'",
    """ALTER TABLE bindings ADD COLUMN moving_to text, ADD COLUMN moves integer NOT NULL DEFAULT 0,
        ADD COLUMN carried_fen bigint NOT NULL DEFAULT 0""",
    """COMMENT ON COLUMN bindings.moving_to IS
        'While it leaves its area''s ledger: where its funder''s account has gone.'""",
    "COMMENT ON COLUMN bindings.moves IS 'How often it followed that account.'",
    "COMMENT ON COLUMN bindings.carried_fen IS 'Used in the areas it has left.'",
    """ALTER TABLE bindings
        ADD CONSTRAINT bindings_moving CHECK (moving_to IS NULL OR (state = 'CLOSING' AND cause <> '')) NOT VALID,
        ADD CONSTRAINT bindings_moves
            CHECK (moving_to ~ '^[1-9][0-9]{5}$' AND moves >= 0 AND carried_fen >= 0) NOT VALID,
        DROP CONSTRAINT bindings_amending,
        ADD CONSTRAINT bindings_amending
            CHECK (NOT amending OR state = 'ACTIVE' OR moving_to IS NOT NULL) NOT VALID""",
    "ALTER TABLE bindings VALIDATE CONSTRAINT bindings_moving",
    "ALTER TABLE bindings VALIDATE CONSTRAINT bindings_moves",
    "ALTER TABLE bindings VALIDATE CONSTRAINT bindings_amending",
    "DROP INDEX bindings_live_funder",
    f"CREATE INDEX bindings_live_funder ON bindings (funder_psn_no) {_LIVE}",
    "DROP INDEX bindings_live_pair",
    f"CREATE UNIQUE INDEX bindings_live_pair ON bindings (beneficiary_psn_no, funder_psn_no) {_LIVE}",
)


def upgrade() -> None:
    """Adds them."""
    for statement in DDL:
        op.execute(statement)
