"""The ledger's first tables: accounts, authorisations, branches, entries, credits and what is left for people."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE ledger_state (
        one BOOLEAN DEFAULT true NOT NULL,
        area TEXT NOT NULL,
        epoch BIGINT DEFAULT 0 NOT NULL,
        CONSTRAINT ledger_state_pkey PRIMARY KEY (one),
        CONSTRAINT ledger_state_has_one_row CHECK (one)
    )
    """,
    """
    COMMENT ON TABLE ledger_state IS
        'One row: whose ledger this is, and the newest coordinator epoch heard of.'
    """,
    """
    CREATE TABLE accounts (
        psn_no TEXT NOT NULL,
        kind TEXT NOT NULL,
        year SMALLINT NOT NULL,
        past_fen BIGINT NOT NULL,
        current_fen BIGINT NOT NULL,
        held_past_fen BIGINT NOT NULL,
        held_current_fen BIGINT NOT NULL,
        frozen BOOLEAN NOT NULL,
        state TEXT NOT NULL,
        CONSTRAINT accounts_pkey PRIMARY KEY (psn_no, kind),
        CONSTRAINT accounts_kind_known CHECK (kind IN ('PERSONAL', 'WALLET')),
        CONSTRAINT accounts_state_known CHECK (state IN ('OPEN', 'CLOSING', 'CLOSED')),
        CONSTRAINT accounts_held_within_balance
            CHECK (0 <= held_past_fen AND held_past_fen <= past_fen
                AND 0 <= held_current_fen AND held_current_fen <= current_fen),
        CONSTRAINT accounts_wallet_has_one_part CHECK (kind <> 'WALLET' OR current_fen = 0),
        CONSTRAINT accounts_closed_is_empty CHECK (state <> 'CLOSED' OR (past_fen = 0 AND current_fen = 0))
    )
     WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE authorisations (
        authorisation_id UUID NOT NULL,
        state TEXT NOT NULL,
        funder_psn_no TEXT,
        beneficiary_psn_no TEXT,
        authorised_fen BIGINT,
        used_fen BIGINT NOT NULL,
        held_fen BIGINT NOT NULL,
        version BIGINT NOT NULL,
        opened_used_fen BIGINT NOT NULL,
        CONSTRAINT authorisations_pkey PRIMARY KEY (authorisation_id),
        CONSTRAINT authorisations_state_known CHECK (state IN ('OPEN', 'CLOSED')),
        CONSTRAINT authorisations_open_has_a_funder CHECK (state <> 'OPEN' OR funder_psn_no IS NOT NULL),
        CONSTRAINT authorisations_not_negative CHECK (0 <= used_fen AND 0 <= held_fen),
        CONSTRAINT authorisations_within_amount
            CHECK (authorised_fen IS NULL OR used_fen + held_fen <= authorised_fen)
    )
     WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE authorisation_events (
        authorisation_id UUID NOT NULL,
        step TEXT NOT NULL,
        version BIGINT NOT NULL,
        asked_fen BIGINT,
        after_state TEXT NOT NULL,
        after_authorised_fen BIGINT,
        after_used_fen BIGINT NOT NULL,
        after_held_fen BIGINT NOT NULL,
        after_version BIGINT NOT NULL,
        refusal_reason TEXT,
        refusal_metadata JSONB,
        booked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT authorisation_events_pkey PRIMARY KEY (authorisation_id, step, version),
        CONSTRAINT authorisation_events_step_known CHECK (step IN ('OPEN', 'AMEND', 'CLOSE'))
    )
    """,
    """
    CREATE TABLE branches (
        payment_id UUID NOT NULL,
        state TEXT NOT NULL,
        digest BYTEA NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        decided_at TIMESTAMP WITH TIME ZONE,
        inquire_at TIMESTAMP WITH TIME ZONE,
        next_inquire_at TIMESTAMP WITH TIME ZONE,
        last_inquired_at TIMESTAMP WITH TIME ZONE,
        inquiries INTEGER DEFAULT 0 NOT NULL,
        refusal_reason TEXT,
        refusal_leg_no SMALLINT,
        refusal_metadata JSONB,
        fixmedins_code TEXT DEFAULT '' NOT NULL,
        setl_id TEXT DEFAULT '' NOT NULL,
        care_area TEXT DEFAULT '' NOT NULL,
        CONSTRAINT branches_pkey PRIMARY KEY (payment_id),
        CONSTRAINT branches_state_known CHECK (state IN ('HELD', 'REFUSED', 'BLOCKED', 'CONFIRMED', 'CANCELLED')),
        CONSTRAINT branches_held_is_inquired CHECK (state <> 'HELD' OR next_inquire_at IS NOT NULL),
        CONSTRAINT branches_refused_has_a_reason CHECK ((state = 'REFUSED') = (refusal_reason IS NOT NULL))
    )
    """,
    "CREATE INDEX branches_due ON branches (next_inquire_at) WHERE state = 'HELD'",
    """
    CREATE TABLE branch_legs (
        payment_id UUID NOT NULL,
        leg_no SMALLINT NOT NULL,
        psn_no TEXT NOT NULL,
        account_kind TEXT NOT NULL,
        role TEXT NOT NULL,
        past_fen BIGINT NOT NULL,
        current_fen BIGINT NOT NULL,
        year SMALLINT NOT NULL,
        authorisation_id UUID,
        floor_fen BIGINT NOT NULL,
        floor_past BOOLEAN NOT NULL,
        floor_current BOOLEAN NOT NULL,
        refunded_fen BIGINT DEFAULT 0 NOT NULL,
        after_past_fen BIGINT NOT NULL,
        after_current_fen BIGINT NOT NULL,
        after_held_past_fen BIGINT NOT NULL,
        after_held_current_fen BIGINT NOT NULL,
        after_year SMALLINT NOT NULL,
        CONSTRAINT branch_legs_pkey PRIMARY KEY (payment_id, leg_no),
        CONSTRAINT branch_legs_role_known CHECK (role IN ('OWN', 'WALLET', 'FUNDER')),
        CONSTRAINT branch_legs_not_negative CHECK (0 <= past_fen AND 0 <= current_fen),
        CONSTRAINT branch_legs_refunds_within_charge
            CHECK (0 <= refunded_fen AND refunded_fen <= past_fen + current_fen),
        CONSTRAINT branch_legs_funder_is_authorised CHECK ((role = 'FUNDER') = (authorisation_id IS NOT NULL))
    )
    """,
    """
    COMMENT ON TABLE branch_legs IS
        'Legs of payments that were held here, as the plan says them: current_fen is of year.'
    """,
    """
    CREATE TABLE entries (
        entry_no BIGINT GENERATED ALWAYS AS IDENTITY,
        source_id UUID NOT NULL,
        leg_no SMALLINT NOT NULL,
        kind TEXT NOT NULL,
        book TEXT NOT NULL,
        psn_no TEXT,
        part TEXT,
        amount_fen BIGINT NOT NULL,
        balance_after_fen BIGINT,
        booked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT entries_pkey PRIMARY KEY (entry_no),
        CONSTRAINT entries_booked_once UNIQUE NULLS NOT DISTINCT (source_id, leg_no, kind, part),
        CONSTRAINT entries_kind_known
            CHECK (kind IN ('PAYMENT', 'REFUND', 'MONTHLY', 'WALLET', 'CARRIED_OVER', 'YEAR_TURN')),
        CONSTRAINT entries_book_known CHECK (book IN ('PERSONAL', 'WALLET', 'CLEARING', 'FUND_INFLOW', 'SUSPENSE')),
        CONSTRAINT entries_part_known CHECK (part IS NULL OR part IN ('PAST', 'CURRENT')),
        CONSTRAINT entries_account_or_contra
            CHECK ((book IN ('PERSONAL', 'WALLET')) = (psn_no IS NOT NULL)
                AND (psn_no IS NULL) = (part IS NULL)
                AND (psn_no IS NULL) = (balance_after_fen IS NULL)),
        CONSTRAINT entries_move_money CHECK (amount_fen <> 0)
    )
    """,
    "CREATE INDEX entries_of_account ON entries (psn_no, book, entry_no) WHERE psn_no IS NOT NULL",
    """
    COMMENT ON TABLE entries IS
        'Double entry: what one source_id (payment, credit, year turn) books sums to zero.'
    """,
    """
    CREATE TABLE credits (
        credit_id UUID NOT NULL,
        purpose TEXT NOT NULL,
        digest BYTEA NOT NULL,
        original_payment_id UUID,
        fixmedins_code TEXT DEFAULT '' NOT NULL,
        setl_id TEXT DEFAULT '' NOT NULL,
        care_area TEXT DEFAULT '' NOT NULL,
        booked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT credits_pkey PRIMARY KEY (credit_id),
        CONSTRAINT credits_purpose_known CHECK (purpose IN ('MONTHLY', 'WALLET', 'REFUND', 'CARRIED_OVER')),
        CONSTRAINT credits_refund_has_an_original CHECK ((purpose = 'REFUND') = (original_payment_id IS NOT NULL))
    )
    """,
    "CREATE INDEX credits_of_original ON credits (original_payment_id) WHERE original_payment_id IS NOT NULL",
    """
    CREATE TABLE credit_legs (
        credit_id UUID NOT NULL,
        leg_no SMALLINT NOT NULL,
        psn_no TEXT NOT NULL,
        account_kind TEXT NOT NULL,
        past_fen BIGINT NOT NULL,
        current_fen BIGINT NOT NULL,
        year SMALLINT NOT NULL,
        suspense BOOLEAN NOT NULL,
        after_past_fen BIGINT,
        after_current_fen BIGINT,
        after_held_past_fen BIGINT,
        after_held_current_fen BIGINT,
        after_year SMALLINT,
        after_frozen BOOLEAN,
        after_state TEXT,
        CONSTRAINT credit_legs_pkey PRIMARY KEY (credit_id, leg_no),
        CONSTRAINT credit_legs_not_negative CHECK (0 <= past_fen AND 0 <= current_fen),
        CONSTRAINT credit_legs_account_or_suspense CHECK (suspense = (after_year IS NULL))
    )
    """,
    """
    CREATE TABLE freeze_commands (
        command_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        frozen BOOLEAN NOT NULL,
        cause TEXT NOT NULL,
        after_past_fen BIGINT NOT NULL,
        after_current_fen BIGINT NOT NULL,
        after_held_past_fen BIGINT NOT NULL,
        after_held_current_fen BIGINT NOT NULL,
        after_year SMALLINT NOT NULL,
        after_state TEXT NOT NULL,
        booked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT freeze_commands_pkey PRIMARY KEY (command_id)
    )
    """,
    """
    CREATE TABLE suspense_tasks (
        credit_id UUID NOT NULL,
        leg_no SMALLINT NOT NULL,
        psn_no TEXT NOT NULL,
        account_kind TEXT NOT NULL,
        amount_fen BIGINT NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        done_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT suspense_tasks_pkey PRIMARY KEY (credit_id, leg_no)
    )
    """,
    """
    CREATE TABLE alarms (
        kind TEXT NOT NULL,
        subject_id UUID NOT NULL,
        raised_at TIMESTAMP WITH TIME ZONE NOT NULL,
        last_raised_at TIMESTAMP WITH TIME ZONE NOT NULL,
        times INTEGER DEFAULT 1 NOT NULL,
        done_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT alarms_pkey PRIMARY KEY (kind, subject_id)
    )
    """,
    """
    COMMENT ON TABLE alarms IS
        'Contradictions that no rule can mend, each with the payment or credit it is about.'
    """,
    """
    CREATE TABLE quarantine (
        command_kind TEXT NOT NULL,
        command_id UUID NOT NULL,
        command TEXT NOT NULL,
        problem TEXT NOT NULL,
        first_failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        last_failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        failures INTEGER DEFAULT 1 NOT NULL,
        done_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT quarantine_pkey PRIMARY KEY (command_kind, command_id)
    )
    """,
    """
    COMMENT ON TABLE quarantine IS
        'Commands that failed technically and got no reply; done_at once one passed.'
    """,
)
APPEND_ONLY = ("entries", "credits", "credit_legs", "freeze_commands", "authorisation_events")

REFUSE_CHANGE = """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'rows of % are written once and never changed', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END $$
"""


def upgrade() -> None:
    """Make every table, and keep history from being changed."""
    for statement in TABLES:
        op.execute(statement)
    op.execute(REFUSE_CHANGE)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    """There is nothing before the first revision."""
    raise NotImplementedError
