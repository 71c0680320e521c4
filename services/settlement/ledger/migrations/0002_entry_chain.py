"""A chain of digests over the entries, so that one changed, removed or slipped in afterwards is found and named."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ENTRY_BLOCKS = """
    CREATE TABLE entry_blocks (
        block_no BIGINT NOT NULL,
        first_entry_no BIGINT NOT NULL,
        last_entry_no BIGINT NOT NULL,
        entries INTEGER NOT NULL,
        sealed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        previous_digest BYTEA NOT NULL,
        digest BYTEA NOT NULL,
        entry_nos BIGINT[] NOT NULL,
        entry_digests BYTEA NOT NULL,
        CONSTRAINT entry_blocks_pkey PRIMARY KEY (block_no),
        CONSTRAINT entry_blocks_sealed_once UNIQUE (last_entry_no),
        CONSTRAINT entry_blocks_numbered CHECK (block_no > 0),
        CONSTRAINT entry_blocks_range
            CHECK (entries > 0 AND first_entry_no <= last_entry_no AND cardinality(entry_nos) = entries),
        CONSTRAINT entry_blocks_digests CHECK (length(previous_digest) = 32 AND length(digest) = 32)
    )
"""
COMMENT = """
    COMMENT ON TABLE entry_blocks IS
        'Sealed entries in order, each block over the digest of the one before; entry_digests names what changed.'
"""
APPEND_ONLY = """
    CREATE TRIGGER entry_blocks_append_only BEFORE UPDATE OR DELETE ON entry_blocks
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    """Make the table of blocks; the ledger seals what stands already, beginning with the first entry."""
    for statement in (ENTRY_BLOCKS, COMMENT, APPEND_ONLY):
        op.execute(statement)


def downgrade() -> None:
    """The release before does not read the table."""
    op.execute("DROP TABLE entry_blocks")
