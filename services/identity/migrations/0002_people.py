"""Death, merging of doubles, real names, certificates of earlier times, and who changed what is on record."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE persons ALTER COLUMN certno_index DROP NOT NULL",
    """
    ALTER TABLE persons
        ADD COLUMN death_date DATE,
        ADD COLUMN death_evidence TEXT,
        ADD COLUMN merged_into TEXT REFERENCES persons (psn_no),
        ADD COLUMN real_name_at TIMESTAMP WITH TIME ZONE,
        ADD CONSTRAINT persons_death CHECK ((death_date IS NULL) = (death_evidence IS NULL)),
        ADD CONSTRAINT persons_death_date CHECK (death_date >= brdy),
        ADD CONSTRAINT persons_merged CHECK ((merged_into IS NULL) = (certno_index IS NOT NULL)),
        ADD CONSTRAINT persons_merged_with_self CHECK (merged_into <> psn_no)
    """,
    "COMMENT ON COLUMN persons.certno_index IS 'Keyed blind index over kind and number; none once merged.'",
    "COMMENT ON COLUMN persons.real_name_at IS 'When a face was last verified to be this person''s.'",
    "CREATE INDEX persons_merged_into ON persons (merged_into) WHERE merged_into IS NOT NULL",
    """
    CREATE TABLE former_certificates (
        certno_index BYTEA NOT NULL,
        psn_no TEXT NOT NULL,
        certificate_kind TEXT NOT NULL,
        certno_sealed BYTEA NOT NULL,
        key_id TEXT NOT NULL,
        until_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (certno_index),
        CONSTRAINT former_certificates_certno_index CHECK (octet_length(certno_index) = 32),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no)
    )
    """,
    "COMMENT ON COLUMN former_certificates.key_id IS 'The encryption key of the sealed number.'",
    """
    COMMENT ON TABLE former_certificates IS
        'Certificates that were replaced, and those of merged doubles; they go on finding the person.'
    """,
    "CREATE INDEX former_certificates_psn_no ON former_certificates (psn_no)",
    """
    CREATE TABLE person_changes (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        psn_no TEXT NOT NULL,
        kind TEXT NOT NULL,
        fields TEXT NOT NULL,
        other_psn_no TEXT,
        opter TEXT NOT NULL,
        cause TEXT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT person_changes_kind CHECK (
            kind IN ('PARTICULARS', 'CERTIFICATE', 'DEATH', 'DEATH_WITHDRAWN', 'MERGED', 'DOUBLE_TAKEN_IN')),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no),
        FOREIGN KEY(other_psn_no) REFERENCES persons (psn_no)
    )
    """,
    "COMMENT ON COLUMN person_changes.fields IS 'Which fields were changed, parted by commas; never their values.'",
    "COMMENT ON COLUMN person_changes.other_psn_no IS 'Merging: the other record.'",
    "CREATE INDEX person_changes_psn_no ON person_changes (psn_no, id)",
    """
    COMMENT ON TABLE person_changes IS
        'Who changed what is on record of a person, when and why; only ever added to.'
    """,
)


def upgrade() -> None:
    """Make them all."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
