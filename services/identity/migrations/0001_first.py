"""The first tables of identity."""

from __future__ import annotations

from alembic import op

from chassis import outbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE institutions (
        fixmedins_code TEXT NOT NULL,
        fixmedins_name TEXT NOT NULL,
        state TEXT NOT NULL,
        wallet_capable BOOLEAN NOT NULL,
        version BIGINT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (fixmedins_code),
        CONSTRAINT institutions_fixmedins_code CHECK (fixmedins_code ~ '^[HP][1-9][0-9]{10}$'),
        CONSTRAINT institutions_state CHECK (state IN ('DESIGNATED', 'SUSPENDED', 'ENDED')),
        CONSTRAINT institutions_version CHECK (version >= 1)
    )
    """,
    """
    CREATE TABLE key_checks (
        name TEXT NOT NULL,
        fingerprint BYTEA NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    "COMMENT ON TABLE key_checks IS 'Which secrets this database was written with, without telling them.'",
    """
    CREATE TABLE latest_events (
        aggregate TEXT NOT NULL,
        version BIGINT NOT NULL,
        payload BYTEA NOT NULL,
        PRIMARY KEY (aggregate)
    )
    """,
    "COMMENT ON TABLE latest_events IS 'The last event of each aggregate, for a consumer that starts anew.'",
    """
    CREATE TABLE persons (
        psn_no TEXT NOT NULL,
        certificate_kind TEXT NOT NULL,
        certno_sealed BYTEA NOT NULL,
        name_sealed BYTEA NOT NULL,
        key_id TEXT NOT NULL,
        certno_index BYTEA NOT NULL,
        name_masked TEXT NOT NULL,
        brdy DATE NOT NULL,
        gend TEXT NOT NULL,
        version BIGINT NOT NULL,
        registered_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (psn_no),
        CONSTRAINT persons_certificate UNIQUE (certno_index),
        CONSTRAINT persons_psn_no CHECK (psn_no ~ '^[0-9]{10,30}$'),
        CONSTRAINT persons_certno_index CHECK (octet_length(certno_index) = 32),
        CONSTRAINT persons_gend CHECK (gend IN ('1', '2')),
        CONSTRAINT persons_version CHECK (version >= 1)
    )
    """,
    "COMMENT ON COLUMN persons.key_id IS 'The encryption key of the two sealed columns.'",
    "COMMENT ON COLUMN persons.certno_index IS 'Keyed blind index over kind and number.'",
    """
    CREATE TABLE signing_keys (
        kid TEXT NOT NULL,
        public_key BYTEA NOT NULL,
        seed_sealed BYTEA NOT NULL,
        key_id TEXT NOT NULL,
        not_before TIMESTAMP WITH TIME ZONE NOT NULL,
        not_after TIMESTAMP WITH TIME ZONE NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (kid),
        CONSTRAINT signing_keys_public_key CHECK (octet_length(public_key) = 32),
        CONSTRAINT signing_keys_time CHECK (not_before < not_after)
    )
    """,
    "COMMENT ON COLUMN signing_keys.key_id IS 'The encryption key of the sealed seed.'",
    """
    CREATE TABLE enrolment_changes (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        psn_no TEXT NOT NULL,
        insutype TEXT NOT NULL,
        insuplc_admdvs TEXT NOT NULL,
        psn_insu_stas TEXT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no)
    )
    """,
    "CREATE INDEX enrolment_changes_psn_no ON enrolment_changes (psn_no, id)",
    """
    COMMENT ON TABLE enrolment_changes IS 'Where and how someone was insured, and since when; only ever added to.'
    """,
    """
    CREATE TABLE enrolments (
        psn_no TEXT NOT NULL,
        insutype TEXT NOT NULL,
        insuplc_admdvs TEXT NOT NULL,
        psn_insu_stas TEXT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT enrolments_pkey PRIMARY KEY (psn_no, insutype),
        CONSTRAINT enrolments_insutype CHECK (insutype IN ('310', '390')),
        CONSTRAINT enrolments_insuplc_admdvs CHECK (insuplc_admdvs ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT enrolments_psn_insu_stas CHECK (psn_insu_stas IN ('1', '2', '4')),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no)
    )
    """,
    """
    CREATE TABLE kinship_facts (
        fact_id UUID NOT NULL,
        kind TEXT NOT NULL,
        psn_no TEXT NOT NULL,
        other_psn_no TEXT NOT NULL,
        evidence TEXT NOT NULL,
        from_date DATE,
        to_date DATE,
        state TEXT NOT NULL,
        cause TEXT DEFAULT '' NOT NULL,
        version BIGINT NOT NULL,
        submitted_at TIMESTAMP WITH TIME ZONE NOT NULL,
        reviewed_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (fact_id),
        CONSTRAINT kinship_facts_kind CHECK (kind IN ('PARENT_OF', 'MARRIED_TO', 'SIBLING_OF')),
        CONSTRAINT kinship_facts_state CHECK (state IN ('SUBMITTED', 'VERIFIED', 'REJECTED', 'REVOKED')),
        CONSTRAINT kinship_facts_with_self CHECK (psn_no <> other_psn_no),
        CONSTRAINT kinship_facts_from_date CHECK ((kind = 'MARRIED_TO') = (from_date IS NOT NULL)),
        CONSTRAINT kinship_facts_to_date CHECK (to_date IS NULL OR from_date < to_date),
        CONSTRAINT kinship_facts_cause CHECK (state NOT IN ('REJECTED', 'REVOKED') OR cause <> ''),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no),
        FOREIGN KEY(other_psn_no) REFERENCES persons (psn_no)
    )
    """,
    """
    CREATE INDEX kinship_facts_by_other_psn_no ON kinship_facts (other_psn_no) WHERE state IN ('SUBMITTED', 'VERIFIED')
    """,
    "CREATE INDEX kinship_facts_by_psn_no ON kinship_facts (psn_no) WHERE state IN ('SUBMITTED', 'VERIFIED')",
    "COMMENT ON COLUMN kinship_facts.version IS 'Events told of it; 0 before it was verified.'",
    """
    CREATE TABLE lookups (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        psn_no TEXT NOT NULL,
        purpose TEXT NOT NULL,
        asked_by TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        looked_up_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no)
    )
    """,
    "CREATE INDEX lookups_psn_no ON lookups (psn_no, id)",
    "COMMENT ON TABLE lookups IS 'Who looked someone up, when and why (domain §10); only ever added to.'",
    """
    CREATE TABLE sanctions (
        sanction_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        from_at TIMESTAMP WITH TIME ZONE NOT NULL,
        to_at TIMESTAMP WITH TIME ZONE NOT NULL,
        basis_clause TEXT NOT NULL,
        decision_no TEXT NOT NULL,
        organ TEXT NOT NULL,
        imposed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        lifted_at TIMESTAMP WITH TIME ZONE,
        lift_cause TEXT,
        PRIMARY KEY (sanction_id),
        CONSTRAINT sanctions_decision_no UNIQUE (decision_no),
        CONSTRAINT sanctions_term CHECK (
            (to_at AT TIME ZONE 'Asia/Shanghai') >= (from_at AT TIME ZONE 'Asia/Shanghai') + interval '3 months'
            AND (to_at AT TIME ZONE 'Asia/Shanghai') <= (from_at AT TIME ZONE 'Asia/Shanghai') + interval '12 months'),
        CONSTRAINT sanctions_lifted CHECK ((lifted_at IS NULL) = (lift_cause IS NULL)),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no)
    )
    """,
    "CREATE INDEX sanctions_psn_no ON sanctions (psn_no)",
    """
    CREATE TABLE used_codes (
        jti UUID NOT NULL,
        psn_no TEXT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        terminal_no TEXT NOT NULL,
        used_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (jti),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no),
        FOREIGN KEY(fixmedins_code) REFERENCES institutions (fixmedins_code)
    )
    """,
    "COMMENT ON TABLE used_codes IS 'A code counts once: its jti is inserted by whoever decodes it first.'",
)


def upgrade() -> None:
    """Make them all."""
    for statement in (*TABLES, *outbox.DDL_V1):
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
