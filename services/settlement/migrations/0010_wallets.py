"""Wallets: where each is used, what still follows it, whose transfers count for which day. Only adds tables."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE wallets (
        psn_no TEXT NOT NULL,
        wallet_id UUID NOT NULL,
        area TEXT NOT NULL,
        opener_psn_no TEXT,
        opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
        version BIGINT NOT NULL,
        CONSTRAINT pk_wallets PRIMARY KEY (psn_no),
        CONSTRAINT ck_wallets_version CHECK (version >= 1),
        CONSTRAINT ck_wallets_area CHECK (area ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT ck_wallets_opener CHECK (opener_psn_no <> psn_no),
        CONSTRAINT uq_wallets_wallet_id UNIQUE (wallet_id)
    )
    """,
    "COMMENT ON TABLE wallets IS 'Medical wallets (医保钱包).'",
    "COMMENT ON COLUMN wallets.wallet_id IS 'The request that opened it.'",
    "COMMENT ON COLUMN wallets.area IS 'Whose ledger keeps its money.'",
    "COMMENT ON COLUMN wallets.opener_psn_no IS '代开通: the relative who opened it; NULL = its person.'",
    """
    CREATE TABLE wallet_changes (
        request_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        area TEXT NOT NULL,
        attestation_id UUID,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_wallet_changes PRIMARY KEY (request_id),
        CONSTRAINT ck_wallet_changes_area CHECK (area ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT fk_wallet_changes_psn_no_wallets FOREIGN KEY(psn_no) REFERENCES wallets (psn_no)
    )
    """,
    "CREATE INDEX ix_wallet_changes_psn_no ON wallet_changes (psn_no)",
    "COMMENT ON TABLE wallet_changes IS 'Each opening and each change of area, once for each request.'",
    "COMMENT ON COLUMN wallet_changes.area IS 'Where it is used from then on.'",
    "COMMENT ON COLUMN wallet_changes.attestation_id IS 'Of an opening: the face of the opener.'",
    """
    CREATE TABLE wallet_moves (
        move_id UUID NOT NULL,
        psn_no TEXT NOT NULL,
        from_area TEXT NOT NULL,
        to_area TEXT,
        carried_fen BIGINT,
        carries INTEGER DEFAULT '0' NOT NULL,
        looks INTEGER DEFAULT '0' NOT NULL,
        next_look_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_wallet_moves PRIMARY KEY (move_id),
        CONSTRAINT uq_wallet_moves_psn_no_from_area UNIQUE (psn_no, from_area),
        CONSTRAINT ck_wallet_moves_from_area CHECK (from_area ~ '^[1-9][0-9]{5}$'),
        CONSTRAINT ck_wallet_moves_carried CHECK (carried_fen > 0),
        CONSTRAINT ck_wallet_moves_to_area CHECK ((carried_fen IS NULL) = (to_area IS NULL)),
        CONSTRAINT fk_wallet_moves_psn_no_wallets FOREIGN KEY(psn_no) REFERENCES wallets (psn_no)
    )
    """,
    "CREATE INDEX wallet_moves_due ON wallet_moves (next_look_at)",
    "COMMENT ON TABLE wallet_moves IS 'Areas that a wallet was used in before: what comes back there follows it.'",
    "COMMENT ON COLUMN wallet_moves.to_area IS 'Where what is carried goes.'",
    "COMMENT ON COLUMN wallet_moves.carried_fen IS 'What is on its way; NULL = nothing.'",
    "COMMENT ON COLUMN wallet_moves.carries IS 'How many have begun.'",
    "COMMENT ON COLUMN wallet_moves.looks IS 'In vain, one after another.'",
    """
    CREATE TABLE wallet_transfers (
        payment_id UUID NOT NULL,
        request_id UUID NOT NULL,
        giver_psn_no TEXT NOT NULL,
        receiver_psn_no TEXT NOT NULL,
        source TEXT NOT NULL,
        relation TEXT NOT NULL,
        amount_fen BIGINT NOT NULL,
        day DATE NOT NULL,
        CONSTRAINT pk_wallet_transfers PRIMARY KEY (payment_id),
        CONSTRAINT uq_wallet_transfers_giver_psn_no_request_id UNIQUE (giver_psn_no, request_id),
        CONSTRAINT ck_wallet_transfers_two_persons CHECK (giver_psn_no <> receiver_psn_no),
        CONSTRAINT ck_wallet_transfers_source CHECK (source IN ('OWN', 'WALLET')),
        CONSTRAINT ck_wallet_transfers_amount CHECK (amount_fen > 0)
    )
    """,
    "CREATE INDEX wallet_transfers_of_day ON wallet_transfers (giver_psn_no, day)",
    "CREATE INDEX wallet_transfers_of_giver ON wallet_transfers (giver_psn_no, payment_id)",
    "CREATE INDEX wallet_transfers_of_receiver ON wallet_transfers (receiver_psn_no, payment_id)",
    "COMMENT ON TABLE wallet_transfers IS 'Transfers between relatives, as both of them list them.'",
    "COMMENT ON COLUMN wallet_transfers.payment_id IS 'The payment that keeps its state.'",
    "COMMENT ON COLUMN wallet_transfers.relation IS 'What the giver is to the receiver.'",
    "COMMENT ON COLUMN wallet_transfers.day IS 'The civil day (Asia/Shanghai) for which it counts.'",
)


def upgrade() -> None:
    """Adds the tables."""
    for statement in STATEMENTS:
        op.execute(statement)
