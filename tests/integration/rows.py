"""Whether the values of a row come to the columns that they are meant for, when rows travel as a type (ADR 17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_COLUMNS: Final = """
SELECT attname, typname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""


async def columns_of(connection: Any, relation: str) -> dict[str, str]:  # noqa: ANN401  Untyped driver.
    """The SQL types of a table's or a type's columns, by name, in their order."""
    return {row["attname"]: row["typname"] for row in await connection.fetch(_COLUMNS, relation)}


async def check_rows(
    connection: Any,  # noqa: ANN401  As above.
    row_type: str,
    rows: Sequence[Sequence[object]],
    meant: Sequence[Mapping[str, object]],
) -> None:
    """Fails unless the server has each value under the name it is meant for, and any two in each other's place would.

    For that no two values of a row are the same; and of flags, which cannot all differ, each is the only one set once.
    """
    for row in meant:
        telling = [value for value in row.values() if not isinstance(value, bool)]
        assert len(set(telling)) == len(telling), f"two values of a {row_type} could change places unseen"
    flags = {name for name, value in meant[0].items() if isinstance(value, bool)}
    assert {frozenset(name for name in flags if row[name]) for row in meant} >= {frozenset({name}) for name in flags}
    names = list(await columns_of(connection, row_type))
    assert [len(row) for row in rows] == [len(names)] * len(meant)
    found = await connection.fetch(f"SELECT it.* FROM unnest($1::{row_type}[]) AS it", rows)  # noqa: S608  A type's name.
    assert [dict(row) for row in found] == [{name: row[name] for name in names} for row in meant]
