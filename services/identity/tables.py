"""The tables of identity. Every CHECK repeats a rule of the domain; certificates and names stand sealed."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from chassis.outbox import outbox_table

metadata: Final = sa.MetaData()
OUTBOX: Final = outbox_table(metadata)

_INSTANT: Final = sa.DateTime(timezone=True)
_INDEX_BYTES: Final = 32


def _person(*, name: str = "psn_no") -> sa.Column[str]:
    return sa.Column(name, sa.Text, sa.ForeignKey("persons.psn_no"), nullable=False)


PERSONS: Final = sa.Table(
    "persons",
    metadata,
    sa.Column("psn_no", sa.Text, primary_key=True),
    sa.Column("certificate_kind", sa.Text, nullable=False),
    sa.Column("certno_sealed", BYTEA, nullable=False),
    sa.Column("name_sealed", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, comment="The encryption key of the two sealed columns."),
    sa.Column("certno_index", BYTEA, nullable=False, comment="Keyed blind index over kind and number."),
    sa.Column("name_masked", sa.Text, nullable=False),
    sa.Column("brdy", sa.Date, nullable=False),
    sa.Column("gend", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("registered_at", _INSTANT, nullable=False),
    sa.UniqueConstraint("certno_index", name="persons_certificate"),
    sa.CheckConstraint("psn_no ~ '^[0-9]{10,30}$'", name="persons_psn_no"),
    sa.CheckConstraint(f"octet_length(certno_index) = {_INDEX_BYTES}", name="persons_certno_index"),
    sa.CheckConstraint("gend IN ('1', '2')", name="persons_gend"),
    sa.CheckConstraint("version >= 1", name="persons_version"),
)

ENROLMENTS: Final = sa.Table(
    "enrolments",
    metadata,
    _person(),
    sa.Column("insutype", sa.Text, nullable=False),
    sa.Column("insuplc_admdvs", sa.Text, nullable=False),
    sa.Column("psn_insu_stas", sa.Text, nullable=False),
    sa.Column("changed_at", _INSTANT, nullable=False),
    sa.PrimaryKeyConstraint("psn_no", "insutype", name="enrolments_pkey"),
    sa.CheckConstraint("insutype IN ('310', '390')", name="enrolments_insutype"),
    sa.CheckConstraint("insuplc_admdvs ~ '^[1-9][0-9]{5}$'", name="enrolments_insuplc_admdvs"),
    sa.CheckConstraint("psn_insu_stas IN ('1', '2', '4')", name="enrolments_psn_insu_stas"),
)

ENROLMENT_CHANGES: Final = sa.Table(
    "enrolment_changes",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _person(),
    sa.Column("insutype", sa.Text, nullable=False),
    sa.Column("insuplc_admdvs", sa.Text, nullable=False),
    sa.Column("psn_insu_stas", sa.Text, nullable=False),
    sa.Column("changed_at", _INSTANT, nullable=False),
    comment="Where and how someone was insured, and since when; only ever added to.",
)
sa.Index("enrolment_changes_psn_no", ENROLMENT_CHANGES.c.psn_no, ENROLMENT_CHANGES.c.id)

_FROM: Final = "(from_at AT TIME ZONE 'Asia/Shanghai')"
_TO: Final = "(to_at AT TIME ZONE 'Asia/Shanghai')"
SANCTIONS: Final = sa.Table(
    "sanctions",
    metadata,
    sa.Column("sanction_id", sa.Uuid, primary_key=True),
    _person(),
    sa.Column("from_at", _INSTANT, nullable=False),
    sa.Column("to_at", _INSTANT, nullable=False),
    sa.Column("basis_clause", sa.Text, nullable=False),
    sa.Column("decision_no", sa.Text, nullable=False),
    sa.Column("organ", sa.Text, nullable=False),
    sa.Column("imposed_at", _INSTANT, nullable=False),
    sa.Column("lifted_at", _INSTANT),
    sa.Column("lift_cause", sa.Text),
    sa.UniqueConstraint("decision_no", name="sanctions_decision_no"),
    sa.CheckConstraint(
        f"{_TO} >= {_FROM} + interval '3 months' AND {_TO} <= {_FROM} + interval '12 months'",
        name="sanctions_term",
    ),
    sa.CheckConstraint("(lifted_at IS NULL) = (lift_cause IS NULL)", name="sanctions_lifted"),
)
sa.Index("sanctions_psn_no", SANCTIONS.c.psn_no)

KINSHIP_FACTS: Final = sa.Table(
    "kinship_facts",
    metadata,
    sa.Column("fact_id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    _person(),
    _person(name="other_psn_no"),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("from_date", sa.Date),
    sa.Column("to_date", sa.Date),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sa.Column("version", sa.BigInteger, nullable=False, comment="Events told of it; 0 before it was verified."),
    sa.Column("submitted_at", _INSTANT, nullable=False),
    sa.Column("reviewed_at", _INSTANT),
    sa.CheckConstraint("kind IN ('PARENT_OF', 'MARRIED_TO', 'SIBLING_OF')", name="kinship_facts_kind"),
    sa.CheckConstraint("state IN ('SUBMITTED', 'VERIFIED', 'REJECTED', 'REVOKED')", name="kinship_facts_state"),
    sa.CheckConstraint("psn_no <> other_psn_no", name="kinship_facts_with_self"),
    sa.CheckConstraint("(kind = 'MARRIED_TO') = (from_date IS NOT NULL)", name="kinship_facts_from_date"),
    sa.CheckConstraint("to_date IS NULL OR from_date < to_date", name="kinship_facts_to_date"),
    sa.CheckConstraint("state NOT IN ('REJECTED', 'REVOKED') OR cause <> ''", name="kinship_facts_cause"),
)
for _column in (KINSHIP_FACTS.c.psn_no, KINSHIP_FACTS.c.other_psn_no):
    sa.Index(
        f"kinship_facts_by_{_column.name}",
        _column,
        postgresql_where=KINSHIP_FACTS.c.state.in_(("SUBMITTED", "VERIFIED")),
    )

INSTITUTIONS: Final = sa.Table(
    "institutions",
    metadata,
    sa.Column("fixmedins_code", sa.Text, primary_key=True),
    sa.Column("fixmedins_name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("wallet_capable", sa.Boolean, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("changed_at", _INSTANT, nullable=False),
    sa.CheckConstraint("fixmedins_code ~ '^[HP][1-9][0-9]{10}$'", name="institutions_fixmedins_code"),
    sa.CheckConstraint("state IN ('DESIGNATED', 'SUSPENDED', 'ENDED')", name="institutions_state"),
    sa.CheckConstraint("version >= 1", name="institutions_version"),
)

SIGNING_KEYS: Final = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("public_key", BYTEA, nullable=False),
    sa.Column("seed_sealed", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, comment="The encryption key of the sealed seed."),
    sa.Column("not_before", _INSTANT, nullable=False),
    sa.Column("not_after", _INSTANT, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.CheckConstraint("octet_length(public_key) = 32", name="signing_keys_public_key"),
    sa.CheckConstraint("not_before < not_after", name="signing_keys_time"),
)

USED_CODES: Final = sa.Table(
    "used_codes",
    metadata,
    sa.Column("jti", sa.Uuid, primary_key=True),
    _person(),
    sa.Column("fixmedins_code", sa.Text, sa.ForeignKey("institutions.fixmedins_code"), nullable=False),
    sa.Column("terminal_no", sa.Text, nullable=False),
    sa.Column("used_at", _INSTANT, nullable=False),
    comment="A code counts once: its jti is inserted by whoever decodes it first.",
)

LOOKUPS: Final = sa.Table(
    "lookups",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _person(),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("looked_up_at", _INSTANT, nullable=False),
    comment="Who looked someone up, when and why (domain §10); only ever added to.",
)
sa.Index("lookups_psn_no", LOOKUPS.c.psn_no, LOOKUPS.c.id)

LATEST_EVENTS: Final = sa.Table(
    "latest_events",
    metadata,
    sa.Column("aggregate", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("payload", BYTEA, nullable=False),
    comment="The last event of each aggregate, for a consumer that starts anew.",
)

KEY_CHECKS: Final = sa.Table(
    "key_checks",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("fingerprint", BYTEA, nullable=False),
    comment="Which secrets this database was written with, without telling them.",
)
