"""Rows as arrays: one statement for a whole set of rows, on the raw driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Connection: TypeAlias = Any
"""An asyncpg connection; the driver publishes no types."""
Row: TypeAlias = Sequence[object]


@dataclass(frozen=True, slots=True)
class InsertSet:
    """Inserts any number of rows into a table. ``columns`` maps each column to its SQL type, in the order of a row."""

    sql: str

    @staticmethod
    def into(table: str, columns: Mapping[str, str], *, conflict: str = "") -> InsertSet:
        """The statement for a table; ``conflict`` is an ON CONFLICT clause."""
        names = ", ".join(columns)
        values = ", ".join(f"{name}::jsonb" if kind == "jsonb" else name for name, kind in columns.items())
        rows = f"{_unnest(columns)} AS v({names})"
        return InsertSet(f"INSERT INTO {table} ({names}) SELECT {values} FROM {rows} {conflict}")  # noqa: S608  Constants.

    async def __call__(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Inserts the rows; nothing at all is sent when there are none."""
        if rows:
            await connection.execute(self.sql, *zip(*rows, strict=True))


@dataclass(frozen=True, slots=True)
class UpdateSet:
    """Updates any number of rows of a table by their key. A row is its key's values, then the new ones."""

    sql: str

    @staticmethod
    def of(table: str, key: Mapping[str, str], columns: Mapping[str, str]) -> UpdateSet:
        """The statement for a table."""
        everything = {**key, **columns}
        new = ", ".join(f"{name} = v.{name}" for name in columns)
        same = " AND ".join(f"t.{name} = v.{name}" for name in key)
        values = f"{_unnest(everything)} AS v({', '.join(everything)})"
        return UpdateSet(f"UPDATE {table} AS t SET {new} FROM {values} WHERE {same}")  # noqa: S608  Constants.

    async def __call__(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Updates the rows; LookupError if one of them is not there (the transaction must not be committed)."""
        if rows:
            told: str = await connection.execute(self.sql, *zip(*rows, strict=True))
            if told != f"UPDATE {len(rows)}":
                raise LookupError(f"{told}, but {len(rows)} rows were to change")


def _unnest(columns: Mapping[str, str]) -> str:
    # JSON travels as text, so that it does not matter which codec the driver was given for it.
    kinds = ("text" if kind == "jsonb" else kind for kind in columns.values())
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, start=1))
    return f"unnest({arrays})"
