"""The document of everything held about a person: its form, its words, and that nothing is missing from it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from services.identity.domain import rights
from services.identity.domain.rights_sections import SECTIONS, Section
from services.identity.store.arrays import any_of
from services.identity.store.rights import _QUERIES
from services.identity.tables import METADATA

SCHEMA_FILE = Path(__file__).resolve().parents[3] / "docs" / "person-export.schema.json"
NAMES_PEOPLE = {
    *("psn_no", "other_psn_no", "guardian_psn_no", "ward_psn_no", "patient_psn_no", "presented_psn_no"),
    *("shown_by", "merged_into"),
}
"""How a column that names a person is called, where no foreign key says so."""
LEFT_OUT = {
    ("person_changes", "other_psn_no"): "the other record of a merging; merged_numbers tells it",
    ("risk_evidence", "patient_psn_no"): "another person's bill; the funder is told of his own events",
}
"""Columns that name people and lead nobody to his own data, with the reason."""


def people_columns() -> set[tuple[str, str]]:
    """Every column of every table that names a person."""
    persons = METADATA.tables["persons"].c.psn_no
    return {
        (table.name, column.name)
        for table in METADATA.sorted_tables
        for column in table.c
        if column.name in NAMES_PEOPLE or any(key.column is persons for key in column.foreign_keys)
    }


def asked_columns() -> set[tuple[str, str]]:
    """Every column by which the export finds what is a person's."""
    found: set[tuple[str, str]] = set()
    for query in _QUERIES.values():
        for each in sa.sql.visitors.iterate(query(any_of([]))):
            if isinstance(each, sa.BinaryExpression) and isinstance(each.right, sa.sql.elements.CollectionAggregate):
                column = each.left
                assert isinstance(column, sa.Column)
                assert isinstance(column.table, sa.Table | sa.Alias)
                found.add((column.table.name, column.name))
    return found


def test_no_table_that_names_people_is_missing() -> None:
    """Each column that names a person is one by which the export finds rows, or is left out for a reason given here."""
    assert people_columns() - asked_columns() == set(LEFT_OUT)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_query_gives_what_its_section_holds(section: Section) -> None:
    """Names in clear as the section has them; of the others, sealed columns to read them from."""
    given = {column.key for column in _QUERIES[section.name](any_of([])).selected_columns}
    wanted = {item.name for item in section.items}
    assert {f"{name}_sealed" for name in wanted - given} <= given


def test_there_is_a_query_for_each_section_and_no_other() -> None:
    """A section that nobody asks for, or a query that nobody shows, is a slip."""
    assert _QUERIES.keys() == {section.name for section in SECTIONS}


def test_the_schema_in_the_docs_is_that_of_the_document() -> None:
    """`gongji identity export-schema` prints docs/person-export.schema.json."""
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == rights.json_schema()


def test_every_section_and_value_has_words_in_both_languages() -> None:
    """The document tells a person what each name in it means."""
    head = json.loads(rights.beginning(exported_at=datetime(2026, 7, 1, tzinfo=UTC)) + rights.END)
    assert head["format"] == rights.FORMAT
    assert head["exported_time"] == "2026-07-01T08:00:00+08:00"
    for section in SECTIONS:
        words = head["labels"][section.name]
        assert words["zh"]
        assert words["en"]
        assert list(words["items"]) == [item.name for item in section.items]
        assert all(each["zh"] and each["en"] for each in words["items"].values())


NUMBERS = next(section for section in SECTIONS if section.name == "merged_numbers")
LOOKUPS = next(section for section in SECTIONS if section.name == "lookups")


def document(section: Section, rows: list[dict[str, object]]) -> Any:  # noqa: ANN401  Whatever JSON has.
    """The section as a reader of the document gets it."""
    text = rights.beginning(exported_at=datetime(2026, 7, 1, tzinfo=UTC)) + rights.section_beginning(section)
    for place, row in enumerate(rows):
        text += rights.row_text(section, row, first=place == 0)
    return json.loads(text + rights.section_end(section, empty=not rows) + rights.END)[section.name]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_list_of_any_length_is_json(count: int) -> None:
    """None, one or several rows: a list each time."""
    rows: list[dict[str, object]] = [{"psn_no": str(n)} for n in range(count)]
    assert document(NUMBERS, rows) == rows


def test_values_stand_in_the_sections_order_and_as_json_has_them() -> None:
    """Instants in Shanghai's time, flags as flags, nothing as null, whatever order the row came in."""
    row: dict[str, object] = {
        "declared": True,
        "asked_by": "",
        "purpose": "看病",
        "looked_up_time": datetime(2026, 7, 1, tzinfo=UTC),
    }
    (told,) = document(LOOKUPS, [row])
    assert list(told.items()) == [
        ("looked_up_time", "2026-07-01T08:00:00+08:00"),
        ("purpose", "看病"),
        ("asked_by", None),
        ("declared", True),
    ]


@pytest.mark.parametrize("row", [{}, {"psn_no": "1", "certno": "2"}])
def test_a_row_with_other_names_is_a_slip(row: dict[str, object]) -> None:
    """Nothing gets into the document that its form does not name, and nothing is left out."""
    with pytest.raises(ValueError, match="merged_numbers"):
        rights.row_text(NUMBERS, row, first=True)


def test_bytes_never_get_into_the_document() -> None:
    """A sealed value that somebody forgot to open is a slip, not a text."""
    with pytest.raises(ValueError, match="bytes"):
        rights.row_text(NUMBERS, {"psn_no": b"sealed"}, first=True)


def test_days_and_ids_are_texts() -> None:
    """A day is written yyyy-MM-dd and an id with its hyphens, both in quotes."""
    assert rights._json(date(2026, 7, 1)) == "2026-07-01"
    assert rights._json(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"
