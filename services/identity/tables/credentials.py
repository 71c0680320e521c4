"""Keys that sign, codes that were used or refused, and which secrets the database was written with."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from services.identity.tables.metadata import INSTANT, METADATA, person_column

SIGNING_KEYS: Final = sa.Table(
    "signing_keys",
    METADATA,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("public_key", BYTEA, nullable=False),
    sa.Column("seed_sealed", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, comment="The encryption key of the sealed seed."),
    sa.Column("not_before", INSTANT, nullable=False),
    sa.Column("not_after", INSTANT, nullable=False),
    sa.Column("created_at", INSTANT, nullable=False),
    sa.Column("ended_at", INSTANT, comment="It leaked: nothing that it signed counts from then on."),
    sa.Column("ended_by", sa.Text),
    sa.Column("end_cause", sa.Text),
    sa.CheckConstraint("octet_length(public_key) = 32", name="signing_keys_public_key"),
    sa.CheckConstraint("not_before < not_after", name="signing_keys_time"),
    sa.CheckConstraint(
        "(ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_cause IS NULL)"
        " AND (ended_at IS NULL OR not_after <= ended_at)",
        name="signing_keys_ended",
    ),
)

USED_CODES: Final = sa.Table(
    "used_codes",
    METADATA,
    sa.Column("jti", sa.Uuid, primary_key=True, comment="The code's; of a card or identity card, the ecToken's."),
    person_column(),
    sa.Column("fixmedins_code", sa.Text, sa.ForeignKey("institutions.fixmedins_code"), nullable=False),
    sa.Column("terminal_no", sa.Text, nullable=False),
    sa.Column("used_at", INSTANT, nullable=False),
    sa.Column("mdtrt_cert_type", sa.Text, nullable=False, server_default="01"),
    sa.Column("business_type", sa.Text, nullable=False, server_default="01301"),
    sa.Column("mdtrt_id", sa.Text, nullable=False, server_default=""),
    sa.Column("token_jti", sa.Uuid),
    sa.Column("shown_by", sa.Text, comment="The guardian on whose phone a ward's code was shown."),
    sa.Column("agent_sealed", BYTEA, comment="Certificate and name of who fetches the medicine (代买药)."),
    sa.Column("agent_key_id", sa.Text),
    sa.CheckConstraint("mdtrt_cert_type IN ('01', '02', '03')", name="used_codes_mdtrt_cert_type"),
    sa.CheckConstraint("(agent_sealed IS NULL) = (agent_key_id IS NULL)", name="used_codes_agent"),
    comment="A code counts once: its jti is inserted by whoever decodes it first.",
)
sa.Index("used_codes_psn_no", USED_CODES.c.psn_no, USED_CODES.c.used_at)

REFUSED_DECODINGS: Final = sa.Table(
    "refused_decodings",
    METADATA,
    sa.Column("minute", INSTANT, nullable=False),
    sa.Column("fixmedins_code", sa.Text, nullable=False, comment="Empty where no such institution is registered."),
    sa.Column("terminal_no", sa.Text, nullable=False, comment="Empty where it is no terminal of that institution."),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("psn_no", sa.Text, nullable=False, comment="Whose code it was; empty where that is not known."),
    sa.Column("refusals", sa.BigInteger, nullable=False),
    sa.Column("jti", sa.Uuid, comment="Of the last code refused, where it was one of ours."),
    sa.Column("first_at", INSTANT, nullable=False),
    sa.Column("last_at", INSTANT, nullable=False),
    sa.PrimaryKeyConstraint(
        "minute", "fixmedins_code", "terminal_no", "reason", "psn_no", name="refused_decodings_pkey"
    ),
    sa.CheckConstraint("refusals >= 1", name="refused_decodings_refusals"),
    comment="Refused codes and cards, one row for a minute however many there were.",
)
sa.Index(
    "refused_decodings_psn_no",
    REFUSED_DECODINGS.c.psn_no,
    REFUSED_DECODINGS.c.minute,
    postgresql_where=REFUSED_DECODINGS.c.psn_no != sa.literal_column("''"),
)

KEY_CHECKS: Final = sa.Table(
    "key_checks",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("fingerprint", BYTEA, nullable=False),
    comment="Which secrets this database was written with, without telling them.",
)
