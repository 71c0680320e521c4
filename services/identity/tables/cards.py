"""Social-security cards with their PINs; numbers stand sealed, of PINs only what proves one."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from services.identity.tables.metadata import INSTANT, METADATA, person_column

_ENDED: Final = (
    "(state IN ('LOST', 'ENDED')) = (ended_at IS NOT NULL)"
    " AND (ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_cause IS NULL)"
)
_PIN: Final = "(pin_hash IS NULL) = (pin_salt IS NULL) AND (state <> 'ACTIVE' OR pin_hash IS NOT NULL)"

CARDS: Final = sa.Table(
    "cards",
    METADATA,
    sa.Column("card_id", sa.Uuid, primary_key=True),
    person_column(),
    sa.Column("card_no_index", BYTEA, nullable=False, comment="Keyed blind index over the card's number."),
    sa.Column("card_no_sealed", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, comment="The encryption key of the sealed number."),
    sa.Column("card_no_masked", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("issued_at", INSTANT, nullable=False),
    sa.Column("issued_by", sa.Text, nullable=False),
    sa.Column("activated_at", INSTANT),
    sa.Column("activated_place", sa.Text),
    sa.Column("ended_at", INSTANT),
    sa.Column("ended_by", sa.Text),
    sa.Column("end_cause", sa.Text),
    sa.Column("pin_hash", BYTEA),
    sa.Column("pin_salt", BYTEA),
    sa.Column(
        "pin_tries",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Tries begun since the last right PIN; counted before the PIN is looked at.",
    ),
    sa.UniqueConstraint("card_no_index", name="cards_card_no"),
    sa.CheckConstraint("octet_length(card_no_index) = 32", name="cards_card_no_index"),
    sa.CheckConstraint("state IN ('ISSUED', 'ACTIVE', 'LOST', 'ENDED')", name="cards_state"),
    sa.CheckConstraint("state <> 'ACTIVE' OR activated_at IS NOT NULL", name="cards_activated"),
    sa.CheckConstraint(_ENDED, name="cards_ended"),
    sa.CheckConstraint(_PIN, name="cards_pin"),
    sa.CheckConstraint("pin_tries BETWEEN 0 AND 5", name="cards_pin_tries"),
)
sa.Index("cards_psn_no", CARDS.c.psn_no)
sa.Index("cards_one_held", CARDS.c.psn_no, unique=True, postgresql_where=CARDS.c.state.in_(("ISSUED", "ACTIVE")))

CARD_CHANGES: Final = sa.Table(
    "card_changes",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("card_id", sa.Uuid, sa.ForeignKey("cards.card_id"), nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("opter", sa.Text, nullable=False, comment="Who did it: an officer, a terminal, or the holder himself."),
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.CheckConstraint(
        "change IN ('ISSUED', 'ACTIVATED', 'LOST', 'ENDED', 'PIN_CHANGED', 'PIN_UNLOCKED')", name="card_changes_change"
    ),
    comment="What became of each card, and who did it; only ever added to.",
)
sa.Index("card_changes_card_id", CARD_CHANGES.c.card_id, CARD_CHANGES.c.id)
