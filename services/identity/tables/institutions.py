"""Designated institutions, their terminals, and what was decided about them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from services.identity.tables.metadata import INSTANT, METADATA

_STATES: Final = "state IN ('DESIGNATED', 'SUSPENDED', 'ENDED')"
_PLACE: Final = (
    "num_nonnulls(longitude_udeg, latitude_udeg, place_admdvs) = 0 OR num_nonnulls(longitude_udeg, latitude_udeg) = 2"
    " AND longitude_udeg BETWEEN 73000000 AND 136000000 AND latitude_udeg BETWEEN 3000000 AND 54000000"
)
"""Both or neither, and within the country: what was written in the wrong order is not."""


def _institution_column() -> sa.Column[str]:
    return sa.Column("fixmedins_code", sa.Text, sa.ForeignKey("institutions.fixmedins_code"), nullable=False)


INSTITUTIONS: Final = sa.Table(
    "institutions",
    METADATA,
    sa.Column("fixmedins_code", sa.Text, primary_key=True),
    sa.Column("fixmedins_name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("wallet_capable", sa.Boolean, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.Column("level", sa.Text),
    sa.Column("agreement_from", sa.Date, comment="The agreement's first day."),
    sa.Column("agreement_to", sa.Date, comment="Its last day."),
    sa.Column("capabilities", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("longitude_udeg", sa.Integer, comment="Millionths of a degree."),
    sa.Column("latitude_udeg", sa.Integer),
    sa.Column("place_admdvs", sa.Text, comment="The address's area, where it is another than the code's."),
    sa.CheckConstraint("fixmedins_code ~ '^[HP][1-9][0-9]{10}$'", name="institutions_fixmedins_code"),
    sa.CheckConstraint(_STATES, name="institutions_state"),
    sa.CheckConstraint("version >= 1", name="institutions_version"),
    sa.CheckConstraint("level IN ('UNGRADED', 'ONE', 'TWO', 'THREE')", name="institutions_level"),
    sa.CheckConstraint("agreement_from <= agreement_to", name="institutions_agreement"),
    sa.CheckConstraint("capabilities <@ '{CHRONIC,DUAL_CHANNEL,INPATIENT}'::text[]", name="institutions_capabilities"),
    sa.CheckConstraint(
        "fixmedins_code LIKE 'H%' OR NOT 'INPATIENT' = ANY (capabilities)", name="institutions_inpatient"
    ),
    sa.CheckConstraint(_PLACE, name="institutions_place"),
)

INSTITUTION_DECISIONS: Final = sa.Table(
    "institution_decisions",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _institution_column(),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("opter", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False, comment="Empty of a registration and of a change of description."),
    sa.Column("decided_at", INSTANT, nullable=False),
    sa.CheckConstraint(_STATES, name="institution_decisions_state"),
    comment="Who decided what about an institution, and why; only ever added to.",
)
sa.Index("institution_decisions_fixmedins_code", INSTITUTION_DECISIONS.c.fixmedins_code, INSTITUTION_DECISIONS.c.id)

TERMINALS: Final = sa.Table(
    "terminals",
    METADATA,
    _institution_column(),
    sa.Column("terminal_no", sa.Text, nullable=False),
    sa.Column("terminal_name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("longitude_udeg", sa.Integer, comment="Where it does not stand at its institution's place."),
    sa.Column("latitude_udeg", sa.Integer),
    sa.Column("place_admdvs", sa.Text),
    sa.Column("sign_no", sa.Text, comment="The last sign-in, unless it was ended before its time."),
    sa.Column("sign_opter", sa.Text),
    sa.Column("signed_in_at", INSTANT),
    sa.Column("sign_ends_at", INSTANT),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("opter", sa.Text, nullable=False, comment="Who registered, changed or retired it last."),
    sa.Column("cause", sa.Text, nullable=False, comment="Why it was retired; empty otherwise."),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.PrimaryKeyConstraint("fixmedins_code", "terminal_no", name="terminals_pkey"),
    sa.CheckConstraint("terminal_no ~ '^[0-9A-Za-z_-]{1,32}$'", name="terminals_terminal_no"),
    sa.CheckConstraint("state IN ('ACTIVE', 'RETIRED')", name="terminals_state"),
    sa.CheckConstraint(_PLACE, name="terminals_place"),
    sa.CheckConstraint(
        "num_nonnulls(sign_no, sign_opter, signed_in_at, sign_ends_at) IN (0, 4)", name="terminals_sign_in"
    ),
    sa.CheckConstraint("signed_in_at < sign_ends_at", name="terminals_sign_time"),
    sa.CheckConstraint("state = 'ACTIVE' OR sign_no IS NULL", name="terminals_retired"),
    sa.CheckConstraint("version >= 1", name="terminals_version"),
)

SIGN_INS: Final = sa.Table(
    "sign_ins",
    METADATA,
    sa.Column("sign_no", sa.Text, primary_key=True),
    sa.Column("fixmedins_code", sa.Text, nullable=False),
    sa.Column("terminal_no", sa.Text, nullable=False),
    sa.Column("opter", sa.Text, nullable=False),
    sa.Column("signed_in_at", INSTANT, nullable=False),
    sa.Column("ends_at", INSTANT, nullable=False, comment="By itself."),
    sa.Column("ended_at", INSTANT, comment="Before its time."),
    sa.Column("ended_by", sa.Text),
    sa.ForeignKeyConstraint(
        ["fixmedins_code", "terminal_no"],
        ["terminals.fixmedins_code", "terminals.terminal_no"],
        name="sign_ins_terminal",
    ),
    sa.CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="sign_ins_ended"),
    sa.CheckConstraint("ended_by IN ('SIGNED_OUT', 'REPLACED', 'RETIRED')", name="sign_ins_ended_by"),
    comment="Who worked at which terminal, and when (9001, 9002).",
)
sa.Index("sign_ins_terminal", SIGN_INS.c.fixmedins_code, SIGN_INS.c.terminal_no, SIGN_INS.c.signed_in_at)
