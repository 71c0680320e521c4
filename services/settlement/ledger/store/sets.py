"""Rows as arrays: any number of sets of rows, each for a table, written by one statement on the raw driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import asyncpg

Connection: TypeAlias = Any
"""An asyncpg connection; the driver publishes no types."""
Row: TypeAlias = Sequence[object]

_TEXTS_MAX: Final = 64
"""As many combinations of sets are kept as text; in practice there are a handful."""


@dataclass(frozen=True, slots=True, eq=False)
class Manner:
    """What is done with the rows of a set: SQL with ``${}`` wherever a parameter's number belongs.

    ``same`` are columns with one value for the whole set. The others are those of ``row_type``, a type of the schema
    with the same columns in the same order, and all rows are one parameter; where there is no such type, each column
    is an array. One parameter costs both ends much less, so what every payment writes has a type.
    """

    table: str
    columns: Mapping[str, str]
    row_type: str
    sql: str
    parameters: int
    must_be_there: bool

    @staticmethod
    def insert(
        table: str,
        columns: Mapping[str, str],
        *,
        same: Mapping[str, str] | None = None,
        constant: Mapping[str, str] | None = None,
        conflict: str = "",
        row_type: str = "",
    ) -> Manner:
        """Inserts the rows. Columns map to their SQL types; ``constant`` ones to an expression over the row.

        ``conflict`` is an ON CONFLICT clause.
        """
        same, constant = same or {}, constant or {}
        names = ", ".join([*same, *constant, *columns])
        values = ", ".join(
            [
                *(f"${{}}::{kind}" for kind in same.values()),
                *constant.values(),
                *(f"{name}::jsonb" if kind == "jsonb" else name for name, kind in columns.items()),
            ]
        )
        rows, parameters = _rows(columns, row_type)
        sql = f"INSERT INTO {table} ({names}) SELECT {values} FROM {rows} {conflict}"  # noqa: S608  Constants.
        return Manner(table, columns, row_type, sql, len(same) + parameters, must_be_there=False)

    @staticmethod
    def update(
        table: str,
        key: Mapping[str, str],
        columns: Mapping[str, str],
        *,
        same: Mapping[str, str] | None = None,
        row_type: str = "",
    ) -> Manner:
        """Updates rows, all of which must be there, by their key. A row is its key's values, then the new ones."""
        same = same or {}
        new = [*(f"{name} = ${{}}::{kind}" for name, kind in same.items()), *(f"{name} = v.{name}" for name in columns)]
        first, *others = key
        # Not t.x = v.x: planned while the table was small, that would walk all of its index for ever after.
        where = [f"t.{first} = ANY (ARRAY[v.{first}])", *(f"t.{name} = v.{name}" for name in others)]
        rows, parameters = _rows({**key, **columns}, row_type)
        sql = f"UPDATE {table} AS t SET {', '.join(new)} FROM {rows} WHERE {' AND '.join(where)}"  # noqa: S608  Constants.
        return Manner(table, {**key, **columns}, row_type, sql, len(same) + parameters, must_be_there=True)


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows, and what is done with them. Two sets of one statement never hold the same row of a table."""

    manner: Manner
    rows: Sequence[Row]
    same: tuple[object, ...] = ()

    @property
    def parameters(self) -> Iterable[object]:
        """In the order of the manner's."""
        return *self.same, *((self.rows,) if self.manner.row_type else zip(*self.rows, strict=True))


async def write_sets(connection: Connection, sets: Sequence[RowSet]) -> None:
    """Writes all sets in one statement; nothing at all is sent when they are empty.

    LookupError, and nothing is written, if a row that was to be updated is not there.
    """
    filled = [it for it in sets if it.rows]
    if not filled:
        return
    values = [value for it in filled for value in it.parameters]
    try:
        await connection.execute(_statement(tuple(it.manner for it in filled)), *values)
    except asyncpg.NoDataFoundError as error:
        raise LookupError(str(error)) from None


@lru_cache(maxsize=_TEXTS_MAX)
def _statement(manners: tuple[Manner, ...]) -> str:
    """One WITH query for each set; it fails unless each update has found as many rows as it was given."""
    queries: list[str] = []
    checks: list[str] = []
    next_number = 1
    for index, manner in enumerate(manners):
        query = manner.sql.format(*range(next_number, next_number + manner.parameters))
        next_number += manner.parameters
        if manner.must_be_there:
            query += " RETURNING 1"
            found = f"(SELECT count(*) FROM set_{index})"  # noqa: S608  Constants.
            checks.append(f"all_there('{manner.table}', {found}, cardinality(${next_number - 1}))")
        queries.append(f"set_{index} AS ({query})")
    return f"WITH {', '.join(queries)} SELECT {', '.join(checks)}"


def _rows(columns: Mapping[str, str], row_type: str) -> tuple[str, int]:
    """The rows as a table ``v``, and how many parameters it takes."""
    # JSON travels as text, so that it does not matter which codec the driver was given for it.
    types = [row_type] if row_type else ["text" if kind == "jsonb" else kind for kind in columns.values()]
    arrays = ", ".join(f"${{}}::{kind}[]" for kind in types)
    return f"unnest({arrays}) AS v({', '.join(columns)})", len(types)
