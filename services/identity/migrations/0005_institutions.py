"""Agreements, places, terminals and sign-ins; and which transaction told of an aggregate last.

The last is kept by a trigger, so that whoever writes a latest event, of whatever release, cannot forget it.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PLACE = """CHECK (
    num_nonnulls(longitude_udeg, latitude_udeg, place_admdvs) = 0 OR num_nonnulls(longitude_udeg, latitude_udeg) = 2
    AND longitude_udeg BETWEEN 73000000 AND 136000000 AND latitude_udeg BETWEEN 3000000 AND 54000000)"""
STATEMENTS = (
    f"""
    ALTER TABLE institutions
        ADD COLUMN level TEXT,
        ADD COLUMN agreement_from DATE,
        ADD COLUMN agreement_to DATE,
        ADD COLUMN capabilities TEXT[] DEFAULT '{{}}' NOT NULL,
        ADD COLUMN longitude_udeg INTEGER,
        ADD COLUMN latitude_udeg INTEGER,
        ADD COLUMN place_admdvs TEXT,
        ADD CONSTRAINT institutions_level CHECK (level IN ('UNGRADED', 'ONE', 'TWO', 'THREE')),
        ADD CONSTRAINT institutions_agreement CHECK (agreement_from <= agreement_to),
        ADD CONSTRAINT institutions_capabilities
            CHECK (capabilities <@ ARRAY['CHRONIC', 'DUAL_CHANNEL', 'INPATIENT']::text[]),
        ADD CONSTRAINT institutions_inpatient
            CHECK (fixmedins_code LIKE 'H%' OR NOT 'INPATIENT' = ANY (capabilities)),
        ADD CONSTRAINT institutions_place {PLACE}
    """,
    "COMMENT ON COLUMN institutions.agreement_from IS 'The agreement''s first day.'",
    "COMMENT ON COLUMN institutions.agreement_to IS 'Its last day.'",
    "COMMENT ON COLUMN institutions.longitude_udeg IS 'Millionths of a degree.'",
    """
    COMMENT ON COLUMN institutions.place_admdvs IS 'The address''s area, where it is another than the code''s.'
    """,
    """
    CREATE TABLE institution_decisions (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        fixmedins_code TEXT NOT NULL,
        state TEXT NOT NULL,
        opter TEXT NOT NULL,
        cause TEXT NOT NULL,
        decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT institution_decisions_state CHECK (state IN ('DESIGNATED', 'SUSPENDED', 'ENDED')),
        FOREIGN KEY(fixmedins_code) REFERENCES institutions (fixmedins_code)
    )
    """,
    "CREATE INDEX institution_decisions_fixmedins_code ON institution_decisions (fixmedins_code, id)",
    """
    COMMENT ON TABLE institution_decisions IS
        'Who decided what about an institution, and why; only ever added to.'
    """,
    """
    COMMENT ON COLUMN institution_decisions.cause IS 'Empty of a registration and of a change of description.'
    """,
    f"""
    CREATE TABLE terminals (
        fixmedins_code TEXT NOT NULL,
        terminal_no TEXT NOT NULL,
        terminal_name TEXT NOT NULL,
        state TEXT NOT NULL,
        longitude_udeg INTEGER,
        latitude_udeg INTEGER,
        place_admdvs TEXT,
        sign_no TEXT,
        sign_opter TEXT,
        signed_in_at TIMESTAMP WITH TIME ZONE,
        sign_ends_at TIMESTAMP WITH TIME ZONE,
        version BIGINT NOT NULL,
        opter TEXT NOT NULL,
        cause TEXT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT terminals_pkey PRIMARY KEY (fixmedins_code, terminal_no),
        CONSTRAINT terminals_terminal_no CHECK (terminal_no ~ '^[0-9A-Za-z_-]{{1,32}}$'),
        CONSTRAINT terminals_state CHECK (state IN ('ACTIVE', 'RETIRED')),
        CONSTRAINT terminals_place {PLACE},
        CONSTRAINT terminals_sign_in CHECK (num_nonnulls(sign_no, sign_opter, signed_in_at, sign_ends_at) IN (0, 4)),
        CONSTRAINT terminals_sign_time CHECK (signed_in_at < sign_ends_at),
        CONSTRAINT terminals_retired CHECK (state = 'ACTIVE' OR sign_no IS NULL),
        CONSTRAINT terminals_version CHECK (version >= 1),
        FOREIGN KEY(fixmedins_code) REFERENCES institutions (fixmedins_code)
    )
    """,
    "COMMENT ON COLUMN terminals.longitude_udeg IS 'Where it does not stand at its institution''s place.'",
    "COMMENT ON COLUMN terminals.sign_no IS 'The last sign-in, unless it was ended before its time.'",
    "COMMENT ON COLUMN terminals.opter IS 'Who registered, changed or retired it last.'",
    "COMMENT ON COLUMN terminals.cause IS 'Why it was retired; empty otherwise.'",
    """
    CREATE TABLE sign_ins (
        sign_no TEXT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        terminal_no TEXT NOT NULL,
        opter TEXT NOT NULL,
        signed_in_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        ended_by TEXT,
        PRIMARY KEY (sign_no),
        CONSTRAINT sign_ins_terminal FOREIGN KEY(fixmedins_code, terminal_no)
            REFERENCES terminals (fixmedins_code, terminal_no),
        CONSTRAINT sign_ins_ended CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
        CONSTRAINT sign_ins_ended_by CHECK (ended_by IN ('SIGNED_OUT', 'REPLACED', 'RETIRED'))
    )
    """,
    "CREATE INDEX sign_ins_terminal ON sign_ins (fixmedins_code, terminal_no, signed_in_at)",
    "COMMENT ON TABLE sign_ins IS 'Who worked at which terminal, and when (9001, 9002).'",
    "COMMENT ON COLUMN sign_ins.ends_at IS 'By itself.'",
    "COMMENT ON COLUMN sign_ins.ended_at IS 'Before its time.'",
    # Rows of before count as told by the first transaction there ever was: only who asks from the beginning wants them.
    "ALTER TABLE latest_events ADD COLUMN changed_xid BIGINT DEFAULT 0 NOT NULL",
    """
    COMMENT ON COLUMN latest_events.changed_xid IS
        'The transaction that wrote the row (pg_current_xact_id), kept by a trigger.'
    """,
    """
    CREATE FUNCTION note_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.changed_xid = pg_current_xact_id()::text::bigint;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER latest_events_changed BEFORE INSERT OR UPDATE ON latest_events
        FOR EACH ROW EXECUTE FUNCTION note_transaction()
    """,
    "CREATE INDEX latest_events_changed ON latest_events (changed_xid, aggregate)",
)


def upgrade() -> None:
    """Make them all. What is added to tables that stand there has a default, so the previous release goes on."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
