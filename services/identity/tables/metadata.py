"""What the tables of identity share."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()
INSTANT: Final = sa.DateTime(timezone=True)


def person_column(*, name: str = "psn_no") -> sa.Column[str]:
    """A column that names a person on record."""
    return sa.Column(name, sa.Text, sa.ForeignKey("persons.psn_no"), nullable=False)
