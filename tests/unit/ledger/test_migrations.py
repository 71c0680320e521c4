"""A ledger's migrations keep out of its writers' way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from services.settlement.ledger.app import MIGRATIONS

CHANGES_ROWS: Final = re.compile(
    r"\b(UPDATE\s+(ONLY\s+)?\w+(\s+(AS\s+)?\w+)?\s+SET|INSERT\s+INTO|DELETE\s+FROM|TRUNCATE|MERGE\s+INTO|bulk_insert)\b",
    re.IGNORECASE,
)
TAKES_THE_LOCK: Final = "pg_advisory_xact_lock"


def keeps_the_rule(source: str) -> bool:
    """Rows are changed under the area's lock: between a batch's reading and its writing nothing else is locked."""
    return TAKES_THE_LOCK in source or not CHANGES_ROWS.search(source)


@pytest.mark.parametrize("path", sorted(MIGRATIONS.glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_a_migration_that_changes_rows_takes_the_areas_lock(path: Path) -> None:
    """ADR 18: a batch that had read them before would write over what the migration changed."""
    assert keeps_the_rule(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "statement", ["UPDATE accounts SET n = 0", "UPDATE accounts AS a\n SET n = 0", "insert into accounts"]
)
def test_the_rule_is_looked_for(statement: str) -> None:
    """Otherwise the test above could not fail."""
    assert not keeps_the_rule(statement)
    assert keeps_the_rule(f"SELECT {TAKES_THE_LOCK}(1, 2); {statement}")


def looks_through_a_table(source: str) -> bool:
    """Whether a constraint is held against the rows of a table that is there, while everybody waits for it."""
    altered = re.findall(r"ALTER TABLE(?:(?!ALTER TABLE|CREATE TABLE).)*", source, re.DOTALL)
    return any(it.count("ADD CONSTRAINT") > it.count("NOT VALID") for it in altered)


@pytest.mark.parametrize(
    "path", [it for it in sorted(MIGRATIONS.glob("[0-9]*.py")) if it.stem >= "0007"], ids=lambda path: path.stem
)
def test_a_migration_does_not_look_through_a_table_while_payments_wait(path: Path) -> None:
    """Entries and branches are long: what is added NOT VALID the migrator proves afterwards, beside the payments."""
    assert not looks_through_a_table(path.read_text(encoding="utf-8"))


def test_a_constraint_that_is_looked_through_at_once_is_found() -> None:
    """Otherwise the test above could not fail."""
    assert looks_through_a_table("ALTER TABLE entries\n DROP CONSTRAINT a,\n ADD CONSTRAINT a CHECK (n > 0)")
    assert not looks_through_a_table("ALTER TABLE entries ADD CONSTRAINT a CHECK (n > 0) NOT VALID")
