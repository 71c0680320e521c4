"""Policies for a person: versions, an area's values with who says them, and what a change would do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kernel.money import yuan_text
from kernel.policy import Insutype, PolicyBook, PolicyVersion, StatedValue
from ops.policy.comparing import Compared

UNCONFIRMED: Final = "unconfirmed"
BUILT_IN: Final = "built in"
BENEFIT_TABLE: Final = "benefit_table"
_SHOWN_AMOUNTS: Final = ("deductible", "the fund's ratio", "ceiling")
_AMOUNTS: Final = frozenset(_SHOWN_AMOUNTS)
_WIDTH_MIN: Final = 120


def show_versions(book: PolicyBook) -> None:
    """A line for each file: whose, from when until when, how many values, how many of them unconfirmed."""
    table = Table(box=None, header_style="dim")
    for column in ("area or preset", "from", "until", "values", "unconfirmed", "file"):
        table.add_column(column, justify="right" if column in {"values", "unconfirmed"} else "left")
    for version in book.versions:
        doubtful = sum(UNCONFIRMED in note for note in version.notes.values())
        first, last = days_of(version)
        table.add_row(version.name, first, last, str(len(version.layer)), str(doubtful), escape(version.source))
    _console().print(table)


def show_values(area: str, on: date, stated: Sequence[StatedValue], *, until: date | None) -> None:
    """Every parameter of an area on a day: its value, which file decides it, and where that has it from.

    ``until`` is the day on which something of it changes next.
    """
    console = _console()
    changes = "" if until is None else f"; it changes on {until.isoformat()}"
    console.print(f"[bold]{area}[/bold] on {on.isoformat()}{changes}")
    table = Table(box=None, header_style="dim")
    for column in ("parameter", "value", "decided by", "source"):
        table.add_column(column, overflow="fold")
    by_name = {each.parameter: each.value for each in stated}
    for each in stated:
        text = value_text(each.value)
        if each.parameter == BENEFIT_TABLE and isinstance(each.value, list):
            text = f"{len(each.value)} cases{'' if by_name['benefit'] == 'table' else ', not in use'}: see below"
        table.add_row(each.parameter, escape(text), escape(decided_by(each)), escape(note_of(each)))
    console.print(table)
    if isinstance(rows := by_name[BENEFIT_TABLE], list):
        console.print(_benefit_table(rows))


def _benefit_table(rows: Sequence[Mapping[str, object]]) -> Table:
    table = Table(title="benefit_table, amounts of a year in yuan", title_justify="left", box=None, header_style="dim")
    for column in ("insutype", "med_type", "level", "person", *_SHOWN_AMOUNTS, "above", "pool"):
        table.add_column(column, justify="right" if column in _AMOUNTS else "left")
    for row in rows:
        working = "working" if row["insutype"] == Insutype.EMPLOYEE.value else "resident"
        table.add_row(
            *(str(row[key]) for key in ("insutype", "med_type", "level")),
            "retired" if row["retired"] else working,
            amount_text(row["deductible_fen"]),
            str(row["ratio"]),
            amount_text(row["ceiling_fen"]),
            _large_text(row["large"]),
            str(row["pool"]),
        )
    return table


def _large_text(large: object) -> str:
    """The fund's share above the ceiling, and up to which amount."""
    if not isinstance(large, Mapping):
        return ""
    ceiling = "" if large["ceiling_fen"] is None else f" to {amount_text(large['ceiling_fen'])}"
    return f"{large['ratio']}{ceiling}"


def show_changes(compared: Sequence[Compared], on: date, *, later: Sequence[date]) -> None:
    """Each scenario whose split would be another on that day, what changes in yuan; the days not looked at."""
    console = _console()
    changed = [each for each in compared if each.changes]
    for each in changed:
        console.print(f"[bold]{escape(each.scenario)}[/bold] {escape(each.title)}")
        for name, (before, after) in each.changes.items():
            console.print(f"  {name}: {escape(amount_text(before))} → {escape(amount_text(after))}")
    console.print(f"on {on.isoformat()}, {len(changed)} of {len(compared)} scenarios change")
    if later:
        console.print(f"not looked at: versions that begin or end on {', '.join(map(str, later))}; use --on")


def days_of(version: PolicyVersion) -> tuple[str, str]:
    """The first and the last day as text; empty where it is open."""
    first = "" if version.effective_from == date.min else version.effective_from.isoformat()
    return first, "" if version.effective_to is None else version.effective_to.isoformat()


def decided_by(stated: StatedValue) -> str:
    """Which file says it, and since when."""
    if stated.by is None:
        return BUILT_IN
    first, _ = days_of(stated.by)
    return f"{Path(stated.by.source).name}{f' since {first}' if first else ''}"


def note_of(stated: StatedValue) -> str:
    """Where the file has the value from."""
    return "" if stated.by is None else stated.by.notes.get(stated.parameter.partition(".")[0], "")


def value_text(value: object) -> str:
    """The value on one line."""
    return ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def amount_text(value: object) -> str:
    """An amount in yuan; funders with what they give, or why they are left out; a dash for what is not there."""
    match value:
        case None:
            return "–"
        case list():
            return ", ".join(_person_text(person) for person in value if isinstance(person, Mapping)) or "nobody"
        case int():
            return yuan_text(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _person_text(person: Mapping[str, object]) -> str:
    said = (text if isinstance(text := person[key], str) else f"{key} {amount_text(text)}" for key in person)
    return " ".join(said)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, _WIDTH_MIN))
