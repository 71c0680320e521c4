"""Cards, wards, attestations, refused codes."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE verifiers (
        verifier_no TEXT NOT NULL,
        name TEXT NOT NULL,
        is_sandbox BOOLEAN NOT NULL,
        registered_at TIMESTAMP WITH TIME ZONE NOT NULL,
        registered_by TEXT NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        ended_by TEXT,
        end_cause TEXT,
        PRIMARY KEY (verifier_no),
        CONSTRAINT verifiers_verifier_no CHECK (verifier_no ~ '^[0-9A-Za-z_-]{1,64}$'),
        CONSTRAINT verifiers_ended CHECK (
            (ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_cause IS NULL))
    )
    """,
    "COMMENT ON TABLE verifiers IS 'Who may vouch for a face: this room looks at none itself.'",
    """
    CREATE TABLE verifier_keys (
        verifier_no TEXT NOT NULL,
        kid TEXT NOT NULL,
        public_key BYTEA NOT NULL,
        registered_at TIMESTAMP WITH TIME ZONE NOT NULL,
        registered_by TEXT NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        ended_by TEXT,
        end_cause TEXT,
        CONSTRAINT verifier_keys_pkey PRIMARY KEY (verifier_no, kid),
        CONSTRAINT verifier_keys_public_key CHECK (octet_length(public_key) = 32),
        CONSTRAINT verifier_keys_ended CHECK (
            (ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_cause IS NULL)),
        FOREIGN KEY(verifier_no) REFERENCES verifiers (verifier_no)
    )
    """,
    """
    CREATE TABLE attestations (
        attestation_id UUID NOT NULL,
        verifier_no TEXT NOT NULL,
        out_biz_no TEXT NOT NULL,
        psn_no TEXT NOT NULL,
        purpose TEXT NOT NULL,
        attested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        verified_at TIMESTAMP WITH TIME ZONE NOT NULL,
        used_for TEXT,
        used_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (attestation_id),
        CONSTRAINT attestations_out_biz_no UNIQUE (verifier_no, out_biz_no),
        CONSTRAINT attestations_purpose CHECK (purpose IN (
            'REAL_NAME', 'JOIN_GROUP', 'ADD_WARD', 'ACTIVATE_CARD', 'UNLOCK_PIN', 'EXPORT_DATA', 'OPEN_WALLET',
            'BE_WARD')),
        CONSTRAINT attestations_used CHECK ((used_for IS NULL) = (used_at IS NULL)),
        FOREIGN KEY(verifier_no) REFERENCES verifiers (verifier_no),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no)
    )
    """,
    "CREATE INDEX attestations_psn_no ON attestations (psn_no)",
    "COMMENT ON TABLE attestations IS 'Whose face was verified, by whom, for what; each counts once.'",
    """
    CREATE TABLE cards (
        card_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        card_no_index BYTEA NOT NULL,
        card_no_sealed BYTEA NOT NULL,
        key_id TEXT NOT NULL,
        card_no_masked TEXT NOT NULL,
        state TEXT NOT NULL,
        issued_at TIMESTAMP WITH TIME ZONE NOT NULL,
        issued_by TEXT NOT NULL,
        activated_at TIMESTAMP WITH TIME ZONE,
        activated_place TEXT,
        ended_at TIMESTAMP WITH TIME ZONE,
        ended_by TEXT,
        end_cause TEXT,
        pin_hash BYTEA,
        pin_salt BYTEA,
        pin_tries INTEGER DEFAULT 0 NOT NULL,
        PRIMARY KEY (card_id),
        CONSTRAINT cards_card_no UNIQUE (card_no_index),
        CONSTRAINT cards_card_no_index CHECK (octet_length(card_no_index) = 32),
        CONSTRAINT cards_state CHECK (state IN ('ISSUED', 'ACTIVE', 'LOST', 'ENDED')),
        CONSTRAINT cards_activated CHECK (state <> 'ACTIVE' OR activated_at IS NOT NULL),
        CONSTRAINT cards_ended CHECK (
            (state IN ('LOST', 'ENDED')) = (ended_at IS NOT NULL)
            AND (ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_cause IS NULL)),
        CONSTRAINT cards_pin CHECK (
            (pin_hash IS NULL) = (pin_salt IS NULL) AND (state <> 'ACTIVE' OR pin_hash IS NOT NULL)),
        CONSTRAINT cards_pin_tries CHECK (pin_tries BETWEEN 0 AND 5),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no)
    )
    """,
    "CREATE INDEX cards_psn_no ON cards (psn_no)",
    "CREATE UNIQUE INDEX cards_one_held ON cards (psn_no) WHERE state IN ('ISSUED', 'ACTIVE')",
    "COMMENT ON COLUMN cards.card_no_index IS 'Keyed blind index over the card''s number.'",
    "COMMENT ON COLUMN cards.key_id IS 'The encryption key of the sealed number.'",
    "COMMENT ON COLUMN cards.pin_tries IS 'Tries begun since the last right PIN; counted before the PIN is looked at.'",
    """
    CREATE TABLE card_changes (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        card_id UUID NOT NULL,
        change TEXT NOT NULL,
        opter TEXT NOT NULL,
        cause TEXT DEFAULT '' NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT card_changes_change CHECK (
            change IN ('ISSUED', 'ACTIVATED', 'LOST', 'ENDED', 'PIN_CHANGED', 'PIN_UNLOCKED')),
        FOREIGN KEY(card_id) REFERENCES cards (card_id)
    )
    """,
    "CREATE INDEX card_changes_card_id ON card_changes (card_id, id)",
    "COMMENT ON TABLE card_changes IS 'What became of each card, and who did it; only ever added to.'",
    "COMMENT ON COLUMN card_changes.opter IS 'Who did it: an officer, a terminal, or the holder himself.'",
    """
    CREATE TABLE wards (
        guardian_psn_no TEXT NOT NULL,
        ward_psn_no TEXT NOT NULL,
        guardian_attestation_id UUID NOT NULL,
        ward_attestation_id UUID,
        added_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT wards_pkey PRIMARY KEY (guardian_psn_no, ward_psn_no),
        CONSTRAINT wards_with_self CHECK (guardian_psn_no <> ward_psn_no),
        FOREIGN KEY(guardian_psn_no) REFERENCES persons (psn_no),
        FOREIGN KEY(ward_psn_no) REFERENCES persons (psn_no),
        FOREIGN KEY(guardian_attestation_id) REFERENCES attestations (attestation_id),
        FOREIGN KEY(ward_attestation_id) REFERENCES attestations (attestation_id)
    )
    """,
    "CREATE INDEX wards_ward_psn_no ON wards (ward_psn_no)",
    "COMMENT ON TABLE wards IS 'Whose code a guardian may show on his own phone (亲情账户); moves no money.'",
    """
    CREATE TABLE ward_changes (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        guardian_psn_no TEXT NOT NULL,
        ward_psn_no TEXT NOT NULL,
        change TEXT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT ward_changes_change CHECK (change IN ('ADDED', 'REMOVED')),
        FOREIGN KEY(guardian_psn_no) REFERENCES persons (psn_no),
        FOREIGN KEY(ward_psn_no) REFERENCES persons (psn_no)
    )
    """,
    "CREATE INDEX ward_changes_guardian_psn_no ON ward_changes (guardian_psn_no, id)",
    "CREATE INDEX ward_changes_ward_psn_no ON ward_changes (ward_psn_no, id)",
    "COMMENT ON TABLE ward_changes IS 'Who could show whose code, and when; only ever added to.'",
    "ALTER TABLE used_codes ADD COLUMN mdtrt_cert_type TEXT DEFAULT '01' NOT NULL",
    "ALTER TABLE used_codes ADD COLUMN business_type TEXT DEFAULT '01301' NOT NULL",
    "ALTER TABLE used_codes ADD COLUMN mdtrt_id TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE used_codes ADD COLUMN token_jti UUID",
    "ALTER TABLE used_codes ADD COLUMN shown_by TEXT",
    "ALTER TABLE used_codes ADD COLUMN agent_sealed BYTEA",
    "ALTER TABLE used_codes ADD COLUMN agent_key_id TEXT",
    "ALTER TABLE used_codes ADD CONSTRAINT used_codes_mdtrt_cert_type CHECK (mdtrt_cert_type IN ('01', '02', '03'))",
    "ALTER TABLE used_codes ADD CONSTRAINT used_codes_agent CHECK ((agent_sealed IS NULL) = (agent_key_id IS NULL))",
    "CREATE INDEX used_codes_psn_no ON used_codes (psn_no, used_at)",
    "COMMENT ON COLUMN used_codes.jti IS 'The code''s; of a card or identity card, the ecToken''s.'",
    "COMMENT ON COLUMN used_codes.shown_by IS 'The guardian on whose phone a ward''s code was shown.'",
    "COMMENT ON COLUMN used_codes.agent_sealed IS 'Certificate and name of who fetches the medicine (代买药).'",
    """
    CREATE TABLE refused_decodings (
        fixmedins_code TEXT NOT NULL,
        terminal_no TEXT NOT NULL,
        reason TEXT NOT NULL,
        psn_no TEXT NOT NULL,
        minute TIMESTAMP WITH TIME ZONE NOT NULL,
        refusals BIGINT NOT NULL,
        jti UUID,
        first_at TIMESTAMP WITH TIME ZONE NOT NULL,
        last_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT refused_decodings_pkey PRIMARY KEY (minute, fixmedins_code, terminal_no, reason, psn_no),
        CONSTRAINT refused_decodings_refusals CHECK (refusals >= 1)
    )
    """,
    "CREATE INDEX refused_decodings_psn_no ON refused_decodings (psn_no, minute) WHERE psn_no <> ''",
    "COMMENT ON TABLE refused_decodings IS 'Refused codes and cards, one row for a minute however many there were.'",
    "COMMENT ON COLUMN refused_decodings.fixmedins_code IS 'Empty where no such institution is registered.'",
    "COMMENT ON COLUMN refused_decodings.terminal_no IS 'Empty where it is no terminal of that institution.'",
    "COMMENT ON COLUMN refused_decodings.psn_no IS 'Whose code it was; empty where that is not known.'",
    "COMMENT ON COLUMN refused_decodings.jti IS 'Of the last code refused, where it was one of ours.'",
)


def upgrade() -> None:
    """Make them all."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
