"""Whether a statement finds all its rows by an index (ADR 16): PostgreSQL's plan of it, judged node by node."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

OF_ONE_ROW: Final = frozenset({"coordinator", "ledger_state", "outbox_stream"})
"""Tables that may be read from end to end."""
OF_WHAT_IS_OPEN: Final = frozenset(
    {
        "account_commands_due",
        "account_endings_due",
        "payments_due",
        "outbox_unpublished",
        "reconciliation_uploads_due",
        "reconciliation_differences_cleared",
        "reconciliation_differences_open",
    }
)
"""Indexes of the few rows that wait for something; a sweep reads them from the beginning."""
OF_THE_LAST_ROW: Final = frozenset({"uq_clearing_runs_ends_at"})
"""Indexes that are read at their end alone: a month has one row there."""

_BY_INDEX: Final = frozenset({"Index Scan", "Index Only Scan", "Bitmap Index Scan"})
_BY_ANOTHER_NODE: Final = frozenset({"Bitmap Heap Scan", "ModifyTable"})
"""They touch the rows that a node beneath them has found."""
_LEADING: Final = """
SELECT c.relname, pg_get_indexdef(i.indexrelid, 1, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = current_schema()::regnamespace"""

Node: TypeAlias = Mapping[str, Any]


async def check_plan(connection: Any, query: str) -> None:  # noqa: ANN401  Untyped driver.
    """Fails with the plan when any node of it may cost more with more rows in the tables than with few.

    The connection is one of a ``Database(..., by_key=True)``, and its tables are empty and vacuumed: known to be empty,
    they are where PostgreSQL is most tempted.
    """
    plan = await _plan_of(connection, query)
    leading: dict[str, str] = dict(await connection.fetch(_LEADING))
    faults = [fault for node in _nodes(plan) for fault in _faults_of(node, leading)]
    assert not faults, "\n".join([*faults, query, json.dumps(plan, indent=1)])


async def _plan_of(connection: Any, query: str) -> Node:  # noqa: ANN401  As above.
    nulls = ", ".join(["NULL"] * max((int(number) for number in re.findall(r"\$([0-9]+)", query)), default=0))
    await connection.execute(f"PREPARE explained AS {query}")
    try:
        (answer,) = await connection.fetch(
            f"EXPLAIN (FORMAT JSON) EXECUTE explained{f'({nulls})' if nulls else ''}"  # The types are the statement's.
        )
    finally:
        await connection.execute("DEALLOCATE explained")
    plan: Node = answer[0][0]["Plan"]
    return plan


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _faults_of(node: Node, leading: Mapping[str, str]) -> Iterator[str]:
    kind, table = node["Node Type"], node.get("Relation Name")
    if kind in _BY_INDEX:
        index = node["Index Name"]
        if table not in OF_ONE_ROW and index not in OF_WHAT_IS_OPEN | OF_THE_LAST_ROW:
            # A condition on a later column alone walks the index as none does.
            condition = node.get("Index Cond", "none")
            if not re.match(rf"\(+{re.escape(leading[index])} = ", condition):
                yield f"{index} is walked; its condition: {condition}"
    elif table is not None and kind not in _BY_ANOTHER_NODE and table not in OF_ONE_ROW:
        yield f"{table} is read from end to end: {kind}"
    condition = node.get("Join Filter")
    if condition is not None and any(map(_reads_a_table, _joined(node))):
        yield f"rows of a table are joined by trying them all: {condition}"


def _joined(node: Node) -> Iterator[Node]:
    """What a join joins; not the CTEs and subqueries that are planned beside it."""
    return (child for child in node["Plans"] if child["Parent Relationship"] in {"Outer", "Inner"})


def _reads_a_table(side: Node) -> bool:
    """Whether this side of a join comes out of a table at once; rows that a CTE holds are a batch's own."""
    return any("Relation Name" in node for node in _nodes(side))
