"""Who may vouch for a face, with which keys, and what they vouched for."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from services.identity.tables.metadata import INSTANT, METADATA, person_column

_ENDED: Final = "(ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_cause IS NULL)"
_PURPOSES: Final = (
    "'REAL_NAME', 'JOIN_GROUP', 'ADD_WARD', 'ACTIVATE_CARD', 'UNLOCK_PIN', 'EXPORT_DATA', 'OPEN_WALLET', 'BE_WARD'"
)

VERIFIERS: Final = sa.Table(
    "verifiers",
    METADATA,
    sa.Column("verifier_no", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("is_sandbox", sa.Boolean, nullable=False),
    sa.Column("registered_at", INSTANT, nullable=False),
    sa.Column("registered_by", sa.Text, nullable=False),
    sa.Column("ended_at", INSTANT),
    sa.Column("ended_by", sa.Text),
    sa.Column("end_cause", sa.Text),
    sa.CheckConstraint("verifier_no ~ '^[0-9A-Za-z_-]{1,64}$'", name="verifiers_verifier_no"),
    sa.CheckConstraint(_ENDED, name="verifiers_ended"),
    comment="Who may vouch for a face: this room looks at none itself.",
)

VERIFIER_KEYS: Final = sa.Table(
    "verifier_keys",
    METADATA,
    sa.Column("verifier_no", sa.Text, sa.ForeignKey("verifiers.verifier_no"), nullable=False),
    sa.Column("kid", sa.Text, nullable=False),
    sa.Column("public_key", BYTEA, nullable=False),
    sa.Column("registered_at", INSTANT, nullable=False),
    sa.Column("registered_by", sa.Text, nullable=False),
    sa.Column("ended_at", INSTANT),
    sa.Column("ended_by", sa.Text),
    sa.Column("end_cause", sa.Text),
    sa.PrimaryKeyConstraint("verifier_no", "kid", name="verifier_keys_pkey"),
    sa.CheckConstraint("octet_length(public_key) = 32", name="verifier_keys_public_key"),
    sa.CheckConstraint(_ENDED, name="verifier_keys_ended"),
)

ATTESTATIONS: Final = sa.Table(
    "attestations",
    METADATA,
    sa.Column("attestation_id", sa.Uuid, primary_key=True),
    sa.Column("verifier_no", sa.Text, sa.ForeignKey("verifiers.verifier_no"), nullable=False),
    sa.Column("out_biz_no", sa.Text, nullable=False),
    person_column(),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("attested_at", INSTANT, nullable=False),
    sa.Column("verified_at", INSTANT, nullable=False),
    sa.Column("used_for", sa.Text),
    sa.Column("used_at", INSTANT),
    sa.Column(
        "kid",
        sa.Text,
        nullable=False,
        server_default="",
        comment="The key that signed it; empty where an older release kept it.",
    ),
    sa.UniqueConstraint("verifier_no", "out_biz_no", name="attestations_out_biz_no"),
    sa.CheckConstraint(f"purpose IN ({_PURPOSES})", name="attestations_purpose"),
    sa.CheckConstraint("(used_for IS NULL) = (used_at IS NULL)", name="attestations_used"),
    comment="Whose face was verified, by whom, for what; each counts once.",
)
sa.Index("attestations_psn_no", ATTESTATIONS.c.psn_no)
