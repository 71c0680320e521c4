"""Policies through time: every version of every area's file, and the set in force on a civil day (domain §7).

A version counts from its first day in Asia/Shanghai until the day before the area's next version, or until a last day
of its own. Nothing is written when one takes effect: whoever asks names the day.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Final, Protocol, Self

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs
from kernel.policy.parameters import (
    PARAMETER_NAMES,
    Layer,
    contradictory,
    parameter_of,
    parsed_layer,
    text_keyed,
    wrong_type,
)
from kernel.policy.policy_set import DEFAULT_LAYER, PolicySet, known_area, plain

_DOCUMENT_KEYS: Final = frozenset({"area", "preset", "name", "effective_from", "effective_to", "policy", "sources"})
_EVER: Final = date.min
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """What one file says: of which area (or ``default``) or preset, from when until when, and where it stands."""

    name: str
    is_preset: bool
    effective_from: date
    effective_to: date | None
    layer: Layer
    notes: Mapping[str, str]
    """For each parameter where its value comes from, or ``unconfirmed``."""
    source: str

    @property
    def field(self) -> str:
        """The key of the file that names it."""
        return "preset" if self.is_preset else "area"

    @property
    def unsourced(self) -> tuple[str, ...]:
        """The parameters that it states without saying where their values come from."""
        return tuple(sorted({parameter_of(stated) for stated in self.layer} - self.notes.keys()))

    def counts(self, on: date) -> bool:
        """Whether it is in force that day, as far as it says itself: a later version may have taken its place."""
        return self.effective_from <= on and (self.effective_to is None or on <= self.effective_to)


@dataclass(frozen=True, slots=True)
class StatedValue:
    """One parameter of an area on a day: the value in JSON's terms, and the version that says it (None: built in)."""

    parameter: str
    value: object
    by: PolicyVersion | None


class Policies(Protocol):
    """The policies of every day, as whoever judges by them sees them."""

    def on(self, day: date) -> PolicySet:
        """The policies in force that civil day of Asia/Shanghai."""
        ...


class PolicyBook:
    """All versions of all policies; immutable."""

    def __init__(self, versions: Sequence[PolicyVersion], *, preset: str | None) -> None:
        self._versions = tuple(versions)
        self._preset = preset
        self._of: dict[tuple[bool, str], list[PolicyVersion]] = {}
        days = {_EVER}
        for version in sorted(self._versions, key=lambda version: version.effective_from):
            self._of.setdefault((version.is_preset, version.name), []).append(version)
            days.add(version.effective_from)
            if version.effective_to is not None and version.effective_to != date.max:
                days.add(version.effective_to + timedelta(days=1))
        self._days = sorted(days)
        self._sets = [self._set(day) for day in self._days]

    @classmethod
    def of_documents(cls, documents: Mapping[str, object], *, preset: str | None = None) -> Self:
        """A book from policy files: file name to content, each naming its ``area`` (or ``default``) or its ``preset``.

        ``preset`` names the one to lay above all areas; the others are read and checked, and not used. Refusals carry
        ``source`` (the file name) and ``field`` (the path inside it): those of ``PolicySet.of``, and
        POLICY_KEY_UNKNOWN, POLICY_VALUE_WRONG_TYPE, POLICY_VALUE_OUT_OF_RANGE (a day that does not exist),
        POLICY_VERSIONS_OVERLAP, POLICY_PRESET_UNKNOWN.
        """
        versions: dict[tuple[bool, str], list[PolicyVersion]] = {}
        for source, document in documents.items():
            with _located(source):
                version = _read_document(document, source)
            versions.setdefault((version.is_preset, version.name), []).append(version)
        if preset is not None and (True, preset) not in versions:
            raise Failure(Kind.INVALID, "POLICY_PRESET_UNKNOWN", field="preset", preset=preset)
        for of_one in versions.values():
            of_one.sort(key=lambda version: version.effective_from)
            _check_apart(of_one)
        book = cls([version for of_one in versions.values() for version in of_one], preset=preset)
        book._check()
        return book

    def check_followed_by(self, after: PolicyBook) -> None:
        """Whether ``after`` may take this book's place while processes run.

        POLICY_LOST (``policy``: the area's code, ``default`` or the preset's name; ``file``): nothing is stated any
        more of what this book states, as when a file was deleted. Floors and limits would be gone without a word.
        """
        for kept, versions in self._of.items():
            if kept not in after._of:
                raise Failure(Kind.INVALID, "POLICY_LOST", policy=kept[1], file=versions[-1].source)

    def on(self, day: date) -> PolicySet:
        """The policies in force that civil day of Asia/Shanghai."""
        return self._sets[bisect_right(self._days, day) - 1]

    def stated(self, area: AdmDvs, *, on: date) -> list[StatedValue]:
        """Every parameter of the area on that day, by name, with the version that decides it.

        POLICY_AREA_UNKNOWN for an area of no province, AREA_MALFORMED for what is no area code.
        """
        policies = self.on(on)
        values = policies.plain_values(area)
        by: dict[str, PolicyVersion] = {}
        for name in policies.layer_names(area):
            version = self._in_force(name, is_preset=False, on=on)
            if version is not None:
                by |= dict.fromkeys(version.layer, version)
        if self._preset is not None and (above := self._in_force(self._preset, is_preset=True, on=on)) is not None:
            by |= dict.fromkeys(above.layer, above)
        return [StatedValue(parameter, value, by.get(parameter)) for parameter, value in sorted(values.items())]

    @property
    def versions(self) -> tuple[PolicyVersion, ...]:
        """Every version, an area's in the order of their days."""
        return self._versions

    @property
    def days(self) -> tuple[date, ...]:
        """The days on which a version begins or has ended, in order; those since ever left out."""
        return tuple(self._days[1:])

    def next_change(self, area: AdmDvs, *, after: date) -> date | None:
        """The next day on which the area's policy is another one; None where none is known of."""
        was = self.on(after).plain_values(area)
        return next((day for day in self.days if day > after and self.on(day).plain_values(area) != was), None)

    def _in_force(self, name: str, *, is_preset: bool, on: date) -> PolicyVersion | None:
        """The latest version that has begun; None where there is none, or it has ended without a successor."""
        of_one = self._of.get((is_preset, name), [])
        begun = bisect_right(of_one, on, key=lambda version: version.effective_from)
        return of_one[begun - 1] if begun and of_one[begun - 1].counts(on) else None

    def _set(self, day: date) -> PolicySet:
        names = [name for is_preset, name in self._of if not is_preset]
        layers = {name: found.layer for name in names if (found := self._in_force(name, is_preset=False, on=day))}
        above = None if self._preset is None else self._in_force(self._preset, is_preset=True, on=day)
        return PolicySet(
            default=layers.pop(DEFAULT_LAYER, {}),
            areas={AdmDvs(name): layer for name, layer in layers.items()},
            preset={} if above is None else above.layer,
        )

    def _check(self) -> None:
        """Every area of every set; POLICY_CONTRADICTORY carries the file that begins on that day, or the area's."""
        for day, policies in zip(self._days, self._sets, strict=True):
            for name in (DEFAULT_LAYER, *policies.areas()):
                version = self._in_force(name, is_preset=False, on=day)
                with _located("" if version is None else version.source):
                    policies.check_area(name, field="policy")
                    policies.check_computes(name, field="policy")


class PolicyShelf:
    """The book that counts now. A process has one, and puts another book there when its files have changed.

    Whoever judges takes the set of his day once and judges by it to the end: what was begun by one book is not ended by
    another.
    """

    def __init__(self, book: PolicyBook) -> None:
        self._book = book

    def exchange(self, book: PolicyBook) -> None:
        """From now on this book counts."""
        self._book = book

    def on(self, day: date) -> PolicySet:
        """The policies in force that civil day of Asia/Shanghai, by the book that counts now."""
        return self._book.on(day)


def plain_layer(version: PolicyVersion) -> Mapping[str, object]:
    """What the version says, in JSON's terms."""
    return {parameter: plain(value) for parameter, value in version.layer.items()}


def _check_apart(versions: Sequence[PolicyVersion]) -> None:
    for earlier, later in pairwise(versions):
        if earlier.effective_from == later.effective_from or (
            earlier.effective_to is not None and later.effective_from <= earlier.effective_to
        ):
            raise Failure(
                Kind.INVALID,
                "POLICY_VERSIONS_OVERLAP",
                source=later.source,
                field="effective_from" if later.effective_from != _EVER else later.field,
                first_source=earlier.source,
            )


@contextmanager
def _located(source: str) -> Iterator[None]:
    """Names the file in every refusal raised inside."""
    try:
        yield
    except Failure as failure:
        if source:
            failure.metadata.setdefault("source", source)
        raise


def _read_document(document: object, source: str) -> PolicyVersion:
    stated = text_keyed(document, "document")
    for key in stated:
        if key not in _DOCUMENT_KEYS:
            raise Failure(Kind.INVALID, "POLICY_KEY_UNKNOWN", field=key)
    if ("area" in stated) == ("preset" in stated):
        raise contradictory("area", "a policy file names either its area or its preset")
    is_preset = "preset" in stated
    key = "preset" if is_preset else "area"
    name = stated[key]
    if not isinstance(name, str) or not name:
        raise wrong_type(key, "text")
    if not is_preset and name != DEFAULT_LAYER:
        known_area(name, field=key)
    if not isinstance(stated.get("name", ""), str):
        raise wrong_type("name", "text")
    effective_from = _day(stated, "effective_from") or _EVER
    effective_to = _day(stated, "effective_to")
    if effective_to is not None and effective_to < effective_from:
        raise contradictory("effective_to", "it ends before it begins")
    layer = parsed_layer(stated.get("policy"), where="policy")
    return PolicyVersion(
        name, is_preset, effective_from, effective_to, layer, _notes(stated.get("sources", {})), source
    )


def _notes(value: object) -> Mapping[str, str]:
    notes: dict[str, str] = {}
    for parameter, note in text_keyed(value, "sources").items():
        if parameter not in PARAMETER_NAMES:
            raise Failure(Kind.INVALID, "POLICY_KEY_UNKNOWN", field=f"sources.{parameter}")
        if not isinstance(note, str) or not note:
            raise wrong_type(f"sources.{parameter}", "text")
        notes[parameter] = note
    return notes


def _day(stated: Mapping[str, object], field: str) -> date | None:
    value = stated.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise wrong_type(field, "a day as text, yyyy-MM-dd")
    try:
        return plain_day(value)
    except ValueError:
        raise Failure(
            Kind.INVALID, "POLICY_VALUE_OUT_OF_RANGE", field=field, expected="a day that exists, yyyy-MM-dd"
        ) from None


def plain_day(text: str) -> date:
    """A civil day, yyyy-MM-dd and nothing else that ISO 8601 has (20260101, 2026-W01-4); ValueError otherwise."""
    if not _DAY.fullmatch(text):
        raise ValueError(f"{text!r} is no day; write it as yyyy-MM-dd")
    return date.fromisoformat(text)
