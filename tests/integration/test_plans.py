"""The check of plans itself: it must refuse what it is there for."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chassis.db import Database
from ops.embedded.databases import Databases
from tests.integration.plans import check_plan

TABLES = """
CREATE TABLE visits (area text, number bigint, ward text, bed bigint, PRIMARY KEY (area, number));
CREATE INDEX visits_ward ON visits (ward);
CREATE INDEX visits_bed ON visits (bed);
CREATE TABLE notes (number bigint);
CREATE TABLE coordinator (epoch bigint);
VACUUM ANALYZE"""
BY_KEY = {
    "equal to one": "SELECT * FROM visits WHERE area = $1 AND number = $2",
    "equal to some": "SELECT * FROM visits WHERE area = ANY ($1)",
    "equal to each": """
        SELECT v.* FROM unnest($1::text[], $2::bigint[]) AS q (area, number)
        JOIN visits v ON v.area = ANY (ARRAY[q.area]) AND v.number = q.number""",
    "by two indexes": "SELECT * FROM visits WHERE ward = $1 OR bed = $2",
    "changed": "UPDATE visits SET ward = $2 WHERE area = $1",
    "of one row": "SELECT * FROM coordinator WHERE epoch = $1",
    "of no table": "SELECT clock_timestamp()",
    "within a batch": """
        WITH found AS MATERIALIZED (SELECT * FROM visits WHERE area = $1)
        SELECT FROM found a JOIN found b ON a.number < b.number""",
}
NOT_BY_KEY = {
    "walks an index for its order": ("SELECT * FROM visits ORDER BY area, number LIMIT $1", "visits_pkey is walked"),
    "walks an index by its second column": ("SELECT * FROM visits WHERE number = $1", "visits_pkey is walked"),
    "walks an index from somewhere on": ("SELECT * FROM visits WHERE bed > $1", "visits_bed is walked"),
    "walks an index beside bitmaps, whose conditions are two": (
        "SELECT ARRAY(SELECT number FROM visits WHERE ward = $1 OR bed = $2), (SELECT min(area) FROM visits)",
        "visits_pkey is walked",
    ),
    "walks an index for each of a batch": (
        "SELECT v.* FROM unnest($1::text[]) AS q (area) JOIN visits v ON v.area = q.area",
        "visits_pkey is walked",
    ),
    "reads a table": ("SELECT * FROM notes WHERE number = $1", "notes is read from end to end: Seq Scan"),
    "changes a table": ("DELETE FROM notes WHERE number = $1", "notes is read from end to end: Seq Scan"),
    "reads a table at random": ("SELECT * FROM notes TABLESAMPLE system ($1)", "notes is read from end to end"),
    "joins by a filter what it finds by key": (
        """
        SELECT FROM visits a JOIN visits b ON a.bed < b.bed WHERE a.area = $1 AND b.area = $2""",
        "joined by trying them all: (a.bed < b.bed)",
    ),
    "joins a batch by a filter": (
        """
        SELECT FROM unnest($1::bigint[]) AS q (bed) JOIN visits v ON q.bed < v.bed WHERE v.area = $2""",
        "joined by trying them all: (q.bed < v.bed)",
    ),
}


@pytest.fixture(scope="module")
async def connection(postgres: Databases) -> AsyncIterator[Any]:
    """A connection to a database with these tables, empty and known to be so."""
    name = f"test_{uuid.uuid4().hex}"
    url = await postgres.create_database(name)
    async with Database(url, pool_size=1, by_key=True) as opened, opened.driver_connection() as lent:
        for statement in TABLES.split(";"):
            await lent.execute(statement)
        yield lent
    await postgres.drop_database(name)


@pytest.mark.parametrize("query", BY_KEY.values(), ids=BY_KEY)
async def test_what_finds_its_rows_by_key_passes(connection: Any, query: str) -> None:  # noqa: ANN401  Untyped driver.
    """Else the check would forbid what the statements are written as."""
    await check_plan(connection, query)


@pytest.mark.parametrize(("query", "fault"), NOT_BY_KEY.values(), ids=NOT_BY_KEY)
async def test_what_does_not_is_refused(connection: Any, query: str, fault: str) -> None:  # noqa: ANN401  As above.
    """Each by the node that is at fault, however many others of the plan are as they should be."""
    with pytest.raises(AssertionError) as refused:
        await check_plan(connection, query)
    assert fault in str(refused.value).split(query)[0]
