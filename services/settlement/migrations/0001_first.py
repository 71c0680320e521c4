"""The first tables of settlement: payments and plans, projections of other rooms, outbox and inbox."""

from __future__ import annotations

from alembic import op

from chassis import inbox, outbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE account_commands (
        request_id UUID NOT NULL,
        area TEXT NOT NULL,
        psn_no TEXT NOT NULL,
        frozen BOOLEAN NOT NULL,
        cause TEXT NOT NULL,
        state TEXT NOT NULL,
        refusal TEXT DEFAULT '' NOT NULL,
        balance JSONB,
        traceparent TEXT DEFAULT '' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        next_drive_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        attempts INTEGER DEFAULT '0' NOT NULL,
        CONSTRAINT pk_account_commands PRIMARY KEY (request_id),
        CONSTRAINT ck_account_commands_state CHECK (state IN ('PENDING', 'DONE', 'REFUSED')),
        CONSTRAINT ck_account_commands_finished CHECK ((state = 'PENDING') = (finished_at IS NULL)),
        CONSTRAINT ck_account_commands_balance CHECK ((state = 'DONE') = (balance IS NOT NULL)),
        CONSTRAINT ck_account_commands_refusal CHECK ((state = 'REFUSED') = (refusal <> '')),
        CONSTRAINT ck_account_commands_area CHECK (area ~ '^[1-9][0-9]{5}$')
    )
    """,
    "CREATE INDEX account_commands_due ON account_commands (next_drive_at) WHERE state = 'PENDING'",
    "COMMENT ON TABLE account_commands IS 'Freezes and their ends, from the request to the ledger''s answer.'",
    "COMMENT ON COLUMN account_commands.frozen IS 'What the account shall be.'",
    "COMMENT ON COLUMN account_commands.refusal IS 'The ledger''s reason when REFUSED.'",
    "COMMENT ON COLUMN account_commands.balance IS 'The account after it, as the ledger answered.'",
    """
    CREATE TABLE bindings (
        binding_id UUID NOT NULL,
        version BIGINT NOT NULL,
        funder_psn_no TEXT NOT NULL,
        beneficiary_psn_no TEXT NOT NULL,
        state TEXT NOT NULL,
        cause TEXT NOT NULL,
        relation TEXT NOT NULL,
        authorised_fen BIGINT,
        deduct_order INTEGER,
        bound_at TIMESTAMP WITH TIME ZONE NOT NULL,
        authorisation_id UUID,
        funder_area TEXT NOT NULL,
        CONSTRAINT pk_bindings PRIMARY KEY (binding_id),
        CONSTRAINT ck_bindings_version CHECK (version >= 1),
        CONSTRAINT ck_bindings_two_persons CHECK (funder_psn_no <> beneficiary_psn_no),
        CONSTRAINT ck_bindings_state CHECK (state IN ('OPENING', 'ACTIVE', 'CLOSING', 'UNBOUND', 'SUSPENDED')),
        CONSTRAINT ck_bindings_active CHECK (state <> 'ACTIVE' OR authorisation_id IS NOT NULL),
        CONSTRAINT ck_bindings_authorised CHECK (authorised_fen >= 0),
        CONSTRAINT ck_bindings_deduct_order CHECK (deduct_order >= 1),
        CONSTRAINT ck_bindings_funder_area CHECK (funder_area ~ '^[1-9][0-9]{5}$')
    )
    """,
    "CREATE INDEX ix_bindings_beneficiary_psn_no ON bindings (beneficiary_psn_no)",
    "COMMENT ON TABLE bindings IS 'Who may be paid for out of whose account, as family last told.'",
    "COMMENT ON COLUMN bindings.cause IS 'Why it is SUSPENDED; empty otherwise.'",
    "COMMENT ON COLUMN bindings.relation IS 'What the funder is to the beneficiary.'",
    "COMMENT ON COLUMN bindings.authorised_fen IS '授权金额; NULL = no limit. What is left is the ledger''s to say.'",
    "COMMENT ON COLUMN bindings.deduct_order IS '扣款顺序 from 1; NULL = last.'",
    "COMMENT ON COLUMN bindings.funder_area IS 'The area whose ledger keeps the authorisation.'",
    """
    CREATE TABLE coordinator (
        singleton BOOLEAN DEFAULT 'true' NOT NULL,
        epoch BIGINT NOT NULL,
        CONSTRAINT pk_coordinator PRIMARY KEY (singleton),
        CONSTRAINT ck_coordinator_one_row CHECK (singleton)
    )
    """,
    "COMMENT ON TABLE coordinator IS 'One row.'",
    "COMMENT ON COLUMN coordinator.epoch IS 'Ledgers refuse commands of an older one (protocol, Restore).'",
    """
    CREATE TABLE institutions (
        fixmedins_code TEXT NOT NULL,
        version BIGINT NOT NULL,
        state TEXT NOT NULL,
        wallet_capable BOOLEAN NOT NULL,
        CONSTRAINT pk_institutions PRIMARY KEY (fixmedins_code),
        CONSTRAINT ck_institutions_version CHECK (version >= 1),
        CONSTRAINT ck_institutions_code CHECK (fixmedins_code ~ '^[HP][1-9][0-9]{10}$'),
        CONSTRAINT ck_institutions_state CHECK (state IN ('DESIGNATED', 'SUSPENDED', 'ENDED'))
    )
    """,
    "COMMENT ON TABLE institutions IS 'Designated institutions (定点医药机构).'",
    """
    CREATE TABLE patient_years (
        psn_no TEXT NOT NULL,
        year SMALLINT NOT NULL,
        version BIGINT NOT NULL,
        CONSTRAINT pk_patient_years PRIMARY KEY (psn_no, year),
        CONSTRAINT ck_patient_years_version CHECK (version >= 0)
    )
    """,
    "COMMENT ON TABLE patient_years IS 'Moves on with each settlement and refund; a plan of another version is stale.'",
    """
    CREATE TABLE payments (
        payment_id UUID NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        infno TEXT NOT NULL,
        msgid TEXT NOT NULL,
        request_hash BYTEA NOT NULL,
        psn_no TEXT,
        year SMALLINT NOT NULL,
        plan_id UUID,
        original_id UUID,
        legs JSONB NOT NULL,
        amount_fen BIGINT NOT NULL,
        reason TEXT DEFAULT '' NOT NULL,
        refused_leg_no SMALLINT DEFAULT '0' NOT NULL,
        balances_after JSONB,
        replanned BOOLEAN DEFAULT 'false' NOT NULL,
        replan_plan_id UUID,
        quarantine TEXT DEFAULT '' NOT NULL,
        epoch BIGINT NOT NULL,
        traceparent TEXT DEFAULT '' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        deadline_at TIMESTAMP WITH TIME ZONE,
        decided_at TIMESTAMP WITH TIME ZONE,
        finished_at TIMESTAMP WITH TIME ZONE,
        next_drive_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        attempts INTEGER DEFAULT '0' NOT NULL,
        CONSTRAINT pk_payments PRIMARY KEY (payment_id),
        CONSTRAINT payments_key UNIQUE (fixmedins_code, infno, msgid),
        CONSTRAINT ck_payments_kind CHECK (kind IN ('SETTLE', 'REFUND', 'CREDIT', 'TOMBSTONE')),
        CONSTRAINT ck_payments_state CHECK (state IN ('TRYING', 'COMMITTED', 'DONE', 'ABORTED', 'CLOSED')),
        CONSTRAINT ck_payments_state_of_kind
            CHECK (kind = 'SETTLE' OR (kind = 'TOMBSTONE' AND state = 'CLOSED')
            OR (kind <> 'TOMBSTONE' AND state IN ('COMMITTED', 'DONE'))),
        CONSTRAINT ck_payments_deadline CHECK ((kind = 'SETTLE') = (deadline_at IS NOT NULL)),
        CONSTRAINT ck_payments_plan CHECK ((kind = 'SETTLE') = (plan_id IS NOT NULL)),
        CONSTRAINT ck_payments_original CHECK ((kind = 'REFUND') = (original_id IS NOT NULL)),
        CONSTRAINT ck_payments_person CHECK ((kind = 'TOMBSTONE') = (psn_no IS NULL)),
        CONSTRAINT ck_payments_request_hash
            CHECK (octet_length(request_hash) = CASE kind WHEN 'TOMBSTONE' THEN 0 ELSE 32 END),
        CONSTRAINT ck_payments_decided CHECK ((state = 'TRYING') = (decided_at IS NULL)),
        CONSTRAINT ck_payments_finished CHECK ((state IN ('DONE', 'CLOSED')) = (finished_at IS NOT NULL)),
        CONSTRAINT ck_payments_reason CHECK ((state IN ('ABORTED', 'CLOSED')) = (reason <> '')),
        CONSTRAINT ck_payments_amount
            CHECK (amount_fen >= 0 AND (amount_fen > 0 OR kind IN ('SETTLE', 'REFUND', 'TOMBSTONE'))),
        CONSTRAINT ck_payments_replan
            CHECK (replan_plan_id IS NULL OR (replanned AND state IN ('ABORTED', 'CLOSED')))
    )
    """,
    "CREATE INDEX payments_due ON payments (next_drive_at) WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED')",
    "CREATE UNIQUE INDEX payments_live_refund ON payments (original_id) WHERE original_id IS NOT NULL",
    "CREATE INDEX payments_quarantined ON payments (payment_id) WHERE quarantine <> ''",
    "CREATE UNIQUE INDEX payments_trying_patient ON payments (psn_no) WHERE kind = 'SETTLE' AND state = 'TRYING'",
    "COMMENT ON TABLE payments IS 'Everything durable of a payment; what must still be sent is a function of the row.'",
    "COMMENT ON COLUMN payments.fixmedins_code IS 'Of a credit: the area.'",
    "COMMENT ON COLUMN payments.infno IS 'Of a credit: CREDIT; of a reversal: 2601/<original''s>.'",
    "COMMENT ON COLUMN payments.msgid IS 'Of a credit: the row id; of a reversal: the original''s.'",
    "COMMENT ON COLUMN payments.request_hash IS 'SHA-256 of the rest of the request; a tombstone has none.'",
    "COMMENT ON COLUMN payments.psn_no IS 'The patient; of a credit, whose account it is.'",
    "COMMENT ON COLUMN payments.year IS 'Which year''s current part the legs mean; 0 of a tombstone.'",
    "COMMENT ON COLUMN payments.original_id IS 'Of a refund: whose money it gives back.'",
    "COMMENT ON COLUMN payments.amount_fen IS 'Σ legs: charged, returned or credited.'",
    "COMMENT ON COLUMN payments.reason IS 'Why it was aborted.'",
    "COMMENT ON COLUMN payments.balances_after IS 'The legs'' accounts as the ledgers told them with their votes.'",
    "COMMENT ON COLUMN payments.replanned IS 'The answer to a refusal is settled.'",
    "COMMENT ON COLUMN payments.quarantine IS 'Why a person must look at it.'",
    "COMMENT ON COLUMN payments.deadline_at IS 'Until when the ledgers may vote.'",
    """
    CREATE TABLE persons (
        psn_no TEXT NOT NULL,
        version BIGINT NOT NULL,
        name_masked TEXT NOT NULL,
        brdy TEXT NOT NULL,
        CONSTRAINT pk_persons PRIMARY KEY (psn_no),
        CONSTRAINT ck_persons_version CHECK (version >= 1)
    )
    """,
    "COMMENT ON TABLE persons IS 'Persons as identity last told of them.'",
    "COMMENT ON COLUMN persons.brdy IS 'yyyy-MM-dd, or empty where identity does not tell it.'",
    """
    CREATE TABLE plans (
        plan_id UUID NOT NULL,
        digest BYTEA NOT NULL,
        psn_no TEXT NOT NULL,
        year SMALLINT NOT NULL,
        patient_version BIGINT NOT NULL,
        fixmedins_code TEXT NOT NULL,
        infno TEXT NOT NULL,
        legs JSONB NOT NULL,
        amount_fen BIGINT NOT NULL,
        document JSONB NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_plans PRIMARY KEY (plan_id),
        CONSTRAINT ck_plans_digest CHECK (octet_length(digest) = 32),
        CONSTRAINT ck_plans_amount CHECK (amount_fen >= 0),
        CONSTRAINT ck_plans_period CHECK (created_at < expires_at)
    )
    """,
    "COMMENT ON TABLE plans IS 'Who would pay what; a plan never changes.'",
    "COMMENT ON COLUMN plans.infno IS 'The transaction it was planned with.'",
    "COMMENT ON COLUMN plans.amount_fen IS 'Σ legs.'",
    "COMMENT ON COLUMN plans.document IS 'The whole plan.'",
    """
    CREATE TABLE projection_sources (
        source TEXT NOT NULL,
        snapshot_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_projection_sources PRIMARY KEY (source)
    )
    """,
    "COMMENT ON TABLE projection_sources IS 'Whose snapshot has been read whole; from then on its stream suffices.'",
    "COMMENT ON COLUMN projection_sources.source IS 'The service that speaks: identity or family.'",
    """
    CREATE TABLE signing_keys (
        kid TEXT NOT NULL,
        version BIGINT NOT NULL,
        public_key BYTEA NOT NULL,
        not_before_at TIMESTAMP WITH TIME ZONE NOT NULL,
        not_after_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_signing_keys PRIMARY KEY (kid),
        CONSTRAINT ck_signing_keys_version CHECK (version >= 1),
        CONSTRAINT ck_signing_keys_ed25519 CHECK (octet_length(public_key) = 32),
        CONSTRAINT ck_signing_keys_period CHECK (not_before_at < not_after_at)
    )
    """,
    "COMMENT ON TABLE signing_keys IS 'The public halves of the keys that sign ecTokens.'",
    """
    CREATE TABLE enrolments (
        psn_no TEXT NOT NULL,
        insutype TEXT NOT NULL,
        insuplc_admdvs TEXT NOT NULL,
        psn_insu_stas TEXT NOT NULL,
        CONSTRAINT pk_enrolments PRIMARY KEY (psn_no, insutype),
        CONSTRAINT ck_enrolments_area CHECK (insuplc_admdvs ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT fk_enrolments_psn_no_persons FOREIGN KEY(psn_no) REFERENCES persons (psn_no) ON DELETE CASCADE
    )
    """,
    "COMMENT ON TABLE enrolments IS 'A person''s enrolments (参保), the latest of each insutype.'",
    """
    CREATE TABLE sanctions (
        sanction_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        from_at TIMESTAMP WITH TIME ZONE NOT NULL,
        to_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_sanctions PRIMARY KEY (sanction_id),
        CONSTRAINT ck_sanctions_period CHECK (from_at < to_at),
        CONSTRAINT fk_sanctions_psn_no_persons FOREIGN KEY(psn_no) REFERENCES persons (psn_no) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_sanctions_psn_no ON sanctions (psn_no)",
    "COMMENT ON TABLE sanctions IS 'Suspensions from online settlement, in force or to come (domain §8).'",
    "INSERT INTO coordinator (epoch) VALUES (1)",
)


def upgrade() -> None:
    """Makes every table."""
    for statement in (*TABLES, *outbox.DDL_V1, *inbox.DDL_V1):
        op.execute(statement)
