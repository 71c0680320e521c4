"""What the tables of identity share."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()
INSTANT: Final = sa.DateTime(timezone=True)


def caller_column(name: str) -> sa.Column[str]:
    """A column that says who asked for what the row tells; empty in rows of a release that did not keep it."""
    comment = "What the caller said of itself; empty before that was kept."
    return sa.Column(name, sa.Text, nullable=False, server_default="", comment=comment)


def person_column(*, name: str = "psn_no") -> sa.Column[str]:
    """A column that names a person on record."""
    return sa.Column(name, sa.Text, sa.ForeignKey("persons.psn_no"), nullable=False)
