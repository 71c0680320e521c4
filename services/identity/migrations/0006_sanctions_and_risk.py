"""Sanctions of institutions, appeals, risk events."""

from __future__ import annotations

from alembic import op

from chassis import inbox

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE sanctions
        ALTER COLUMN psn_no DROP NOT NULL,
        ADD COLUMN fixmedins_code TEXT REFERENCES institutions (fixmedins_code),
        ADD COLUMN kind TEXT DEFAULT 'SUSPEND_ONLINE_SETTLEMENT' NOT NULL,
        ADD COLUMN imposed_by TEXT DEFAULT '' NOT NULL,
        ADD COLUMN lifted_by TEXT,
        ADD CONSTRAINT sanctions_lifted_by CHECK (lifted_by IS NULL OR lifted_at IS NOT NULL),
        ADD CONSTRAINT sanctions_subject CHECK (num_nonnulls(psn_no, fixmedins_code) = 1),
        ADD CONSTRAINT sanctions_kind CHECK (kind = 'SUSPEND_ONLINE_SETTLEMENT')
    """,
    "CREATE INDEX sanctions_fixmedins_code ON sanctions (fixmedins_code) WHERE fixmedins_code IS NOT NULL",
    """
    CREATE TABLE appeals (
        appeal_id UUID NOT NULL,
        sanction_id UUID NOT NULL,
        appeal_no TEXT NOT NULL,
        filed_on DATE NOT NULL,
        state TEXT NOT NULL,
        filed_by TEXT NOT NULL,
        recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
        decision_no TEXT,
        cause TEXT,
        decided_by TEXT,
        decided_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (appeal_id),
        CONSTRAINT appeals_appeal_no UNIQUE (appeal_no),
        CONSTRAINT appeals_state CHECK (state IN ('FILED', 'UPHELD', 'GRANTED', 'WITHDRAWN')),
        CONSTRAINT appeals_decided CHECK (
            num_nulls(decision_no, cause, decided_by, decided_at) = CASE state WHEN 'FILED' THEN 4 ELSE 0 END),
        FOREIGN KEY(sanction_id) REFERENCES sanctions (sanction_id)
    )
    """,
    """
    COMMENT ON TABLE appeals IS '复议、诉讼 against a sanction, which stays in force until one of them is granted.'
    """,
    "CREATE INDEX appeals_sanction_id ON appeals (sanction_id)",
    "CREATE UNIQUE INDEX appeals_one_filed ON appeals (sanction_id) WHERE state = 'FILED'",
    "CREATE INDEX appeals_waiting ON appeals (appeal_id) WHERE state = 'FILED'",
    """
    CREATE TABLE credential_refusals (
        event_id UUID NOT NULL,
        patient_psn_no TEXT NOT NULL,
        presented_psn_no TEXT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        terminal_no TEXT NOT NULL,
        reason TEXT NOT NULL,
        refused_at TIMESTAMP WITH TIME ZONE NOT NULL,
        judged_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (event_id)
    )
    """,
    """
    COMMENT ON TABLE credential_refusals IS 'Somebody''s credential was shown for another''s bill, as settlement told.'
    """,
    "CREATE INDEX credential_refusals_unjudged ON credential_refusals (refused_at) WHERE judged_at IS NULL",
    "CREATE INDEX credential_refusals_refused_at ON credential_refusals USING brin (refused_at)",
    """
    CREATE TABLE pharmacy_buys (
        setl_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        patient_psn_no TEXT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        settled_at TIMESTAMP WITH TIME ZONE NOT NULL,
        judged_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pharmacy_buys_pkey PRIMARY KEY (setl_id, psn_no)
    )
    """,
    """
    COMMENT ON TABLE pharmacy_buys IS
        'Small pharmacy bills out of a funder''s account, as settlement told; kept while they may count.'
    """,
    "COMMENT ON COLUMN pharmacy_buys.psn_no IS 'The funder.'",
    "CREATE INDEX pharmacy_buys_psn_no ON pharmacy_buys (psn_no, settled_at)",
    "CREATE INDEX pharmacy_buys_unjudged ON pharmacy_buys (settled_at) WHERE judged_at IS NULL",
    "CREATE INDEX pharmacy_buys_settled_at ON pharmacy_buys USING brin (settled_at)",
    """
    CREATE TABLE refunded_buys (
        setl_id UUID NOT NULL,
        refunded_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (setl_id)
    )
    """,
    """
    COMMENT ON TABLE refunded_buys IS
        'Pharmacy bills whose money went back; they do not count, whichever of the two was heard of first.'
    """,
    "CREATE INDEX refunded_buys_refunded_at ON refunded_buys USING brin (refunded_at)",
    """
    CREATE TABLE risk_sweeps (
        kind TEXT NOT NULL,
        read_to TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (kind),
        CONSTRAINT risk_sweeps_kind CHECK (
            kind IN ('OTHERS_CREDENTIAL', 'FAR_TERMINALS', 'SMALL_PHARMACY_BUYS', 'REFUSED_CODES'))
    )
    """,
    """
    COMMENT ON TABLE risk_sweeps IS
        'Up to when what happened was judged; whoever holds a kind''s row judges it, one replica at a time.'
    """,
    """
    INSERT INTO risk_sweeps (kind, read_to)
    SELECT kind, now()
    FROM unnest(ARRAY['OTHERS_CREDENTIAL', 'FAR_TERMINALS', 'SMALL_PHARMACY_BUYS', 'REFUSED_CODES']) AS k (kind)
    """,
    """
    CREATE TABLE risk_events (
        risk_event_id UUID NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        psn_no TEXT,
        fixmedins_code TEXT,
        terminal_no TEXT NOT NULL,
        day DATE NOT NULL,
        state TEXT NOT NULL,
        raised_at TIMESTAMP WITH TIME ZONE NOT NULL,
        evidence_at TIMESTAMP WITH TIME ZONE NOT NULL,
        evidence_count INTEGER NOT NULL,
        cause TEXT,
        opter TEXT,
        decided_at TIMESTAMP WITH TIME ZONE,
        PRIMARY KEY (risk_event_id),
        CONSTRAINT risk_events_kind CHECK (
            kind IN ('OTHERS_CREDENTIAL', 'FAR_TERMINALS', 'SMALL_PHARMACY_BUYS', 'REFUSED_CODES')),
        CONSTRAINT risk_events_state CHECK (state IN ('OPEN', 'DISMISSED', 'CONFIRMED')),
        CONSTRAINT risk_events_subject CHECK (num_nonnulls(psn_no, fixmedins_code) = 1),
        CONSTRAINT risk_events_decided CHECK (
            num_nulls(cause, opter, decided_at) = CASE state WHEN 'OPEN' THEN 3 ELSE 0 END),
        CONSTRAINT risk_events_evidence_count CHECK (evidence_count >= 0),
        FOREIGN KEY(psn_no) REFERENCES persons (psn_no),
        FOREIGN KEY(fixmedins_code) REFERENCES institutions (fixmedins_code)
    )
    """,
    """
    COMMENT ON TABLE risk_events IS
        'What looks like misuse, for an officer to judge (domain §8); nothing follows by itself.'
    """,
    "COMMENT ON COLUMN risk_events.subject IS 'person:<psn_no> or terminal:<fixmedins_code>/<terminal_no>'",
    "CREATE UNIQUE INDEX risk_events_one_open ON risk_events (kind, subject, day) WHERE state = 'OPEN'",
    "CREATE INDEX risk_events_queue ON risk_events (state, risk_event_id)",
    "CREATE INDEX risk_events_psn_no ON risk_events (psn_no, risk_event_id)",
    """
    CREATE TABLE risk_evidence (
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        evidence_key TEXT NOT NULL,
        risk_event_id UUID NOT NULL,
        occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
        fixmedins_code TEXT NOT NULL,
        terminal_no TEXT NOT NULL,
        reason TEXT NOT NULL,
        setl_id UUID,
        patient_psn_no TEXT,
        occurrences BIGINT NOT NULL,
        earlier_at TIMESTAMP WITH TIME ZONE,
        earlier_fixmedins_code TEXT,
        earlier_terminal_no TEXT,
        distance_m INTEGER,
        CONSTRAINT risk_evidence_pkey PRIMARY KEY (kind, subject, evidence_key),
        CONSTRAINT risk_evidence_occurrences CHECK (occurrences >= 1),
        CONSTRAINT risk_evidence_earlier CHECK (
            num_nulls(earlier_at, earlier_fixmedins_code, earlier_terminal_no, distance_m) IN (0, 4)),
        FOREIGN KEY(risk_event_id) REFERENCES risk_events (risk_event_id)
    )
    """,
    "COMMENT ON COLUMN risk_evidence.evidence_key IS 'What happened, once: it counts for one event only.'",
    "CREATE INDEX risk_evidence_risk_event_id ON risk_evidence (risk_event_id, occurred_at)",
    "CREATE INDEX used_codes_used_at ON used_codes USING brin (used_at)",
)


def upgrade() -> None:
    """Make them all; and the inbox, for identity hears what settlement tells from now on."""
    for statement in (*STATEMENTS, *inbox.DDL_V1, *inbox.DDL_V2):
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only: an older release suits a newer schema."""
    raise NotImplementedError
