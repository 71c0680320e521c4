"""Many values given to a statement as one."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY


def any_of(texts: Iterable[str]) -> sa.ColumnElement[bool]:
    """``= ANY`` of these numbers or names: one prepared statement serves any count of them."""
    return sa.any_(sa.cast(sa.literal(list(texts), ARRAY(sa.Text)), ARRAY(sa.Text)))
