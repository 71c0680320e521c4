"""Everything that identity holds about a person, as one JSON document (PIPL; domain §10): its form.

``rights_sections`` says what stands in it; ``json_schema`` tells the same to machines and is kept as
docs/person-export.schema.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from kernel.clock import SHANGHAI
from services.identity.domain.rights_sections import SECTIONS, Form, Item, Section

FORMAT: Final = "gongji-person-export/1"
SCHEMA_ID: Final = "https://json-schema.org/draft/2020-12/schema"


def beginning(*, exported_at: datetime) -> str:
    """The document's first lines: its form, when it was made, and the words for every name in it."""
    head = {
        "format": FORMAT,
        "exported_time": _json(exported_at),
        "labels": {
            section.name: {
                "zh": section.zh,
                "en": section.en,
                "items": {item.name: {"zh": item.zh, "en": item.en} for item in section.items},
            }
            for section in SECTIONS
        },
    }
    return json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}")


def section_beginning(section: Section) -> str:
    """What stands before a section's rows."""
    return f',\n "{section.name}": ' + ("" if section.single else "[")


def section_end(section: Section, *, empty: bool) -> str:
    """What stands behind them."""
    return "" if section.single else "]" if empty else "\n ]"


END: Final = "\n}\n"
"""The document's last line."""


def row_text(section: Section, row: Mapping[str, object], *, first: bool) -> str:
    """One row with its values in the section's order; ValueError if it does not hold exactly them."""
    names = [item.name for item in section.items]
    if row.keys() != set(names):
        raise ValueError(f"{section.name}: {sorted(row.keys() ^ set(names))}")
    text = json.dumps({name: _json(row[name]) for name in names}, ensure_ascii=False)
    if section.single:
        return text
    return ("\n  " if first else ",\n  ") + text


def json_schema() -> dict[str, Any]:
    """The document's form as a JSON Schema (draft 2020-12)."""
    properties: dict[str, Any] = {
        "format": {"const": FORMAT},
        "exported_time": {"type": "string", "format": "date-time"},
        "labels": {"type": "object", "description": "zh and en words for every section and every value."},
    }
    properties |= {section.name: _schema_of(section) for section in SECTIONS}
    return {
        "$schema": SCHEMA_ID,
        "title": FORMAT,
        "description": "Everything that identity holds about one person. Times carry their offset; null: not so.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _schema_of(section: Section) -> dict[str, Any]:
    row = {
        "type": "object",
        "properties": {item.name: dict(_value_schema(item)) for item in section.items},
        "required": [item.name for item in section.items],
        "additionalProperties": False,
    }
    described = {"title": section.en, "description": section.zh}
    return described | (row if section.single else {"type": "array", "items": row})


def _value_schema(item: Item) -> Iterator[tuple[str, object]]:
    yield "description", f"{item.zh} / {item.en}"
    match item.form:
        case Form.DATE | Form.TIME:
            yield "type", ["string", "null"]
            yield "format", item.form.value
        case _:
            yield "type", [item.form.value, "null"]


def _json(value: object) -> str | int | bool | None:
    """A value as JSON has it; instants in Shanghai's time, empty texts as null."""
    match value:
        case datetime():
            return value.astimezone(SHANGHAI).isoformat()
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case "" | None:
            return None
        case bool() | int() | str():
            return value
        case _:
            raise ValueError(f"no value of the document: {type(value).__name__}")
