"""The civil registry as far as we know it: rows of its batch file, and what they say of a submitted fact.

People stand in it as keyed blind indexes of their certificates. Nothing follows from its silence: only two parents on
record speak against a third, only a marriage of the same time against another.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Final, TypeAlias

from kernel.failures import Failure, Kind
from services.identity.domain.certificate import Certificate, CertificateKind, parsed_certificate
from services.identity.domain.kinship import Fact, FactKind
from services.identity.domain.kinship_rules import check_marriage_dates

PARENTS_KNOWN: Final = 2
"""So many parents on record leave no room for another."""

_FORMS: Final = (
    (re.compile(r"9[0-9]{16}[0-9X]|[A-Z]{3}[0-9]{12}"), CertificateKind.FOREIGN_PERMANENT_RESIDENT),
    (re.compile(r"[HM][0-9]{8}"), CertificateKind.HK_MACAU_PERMIT),
    (re.compile(r"[0-9]{8}"), CertificateKind.TAIWAN_PERMIT),
    (re.compile(r"[A-Z][0-9]{9}"), CertificateKind.BIRTH_CERTIFICATE),
)
"""The file tells numbers without their kind; no two kinds share a form."""

Indexes: TypeAlias = Collection[bytes]
"""One person, by all certificates he has had."""


class Finding(Enum):
    """What the registry says of a fact; the value is what the database keeps."""

    CONFIRMED = "CONFIRMED"  # The same.
    DENIED = "DENIED"  # Otherwise; an officer decides.
    UNKNOWN = "UNKNOWN"  # Nothing; an officer decides.


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """One row of the registry. Of a marriage or of siblings either may come first."""

    kind: FactKind
    a: bytes = field(repr=False)
    b: bytes = field(repr=False)
    from_date: date | None = None
    to_date: date | None = None


@dataclass(frozen=True, slots=True)
class StatedRow:
    """A row of the file, checked; its people by their certificates."""

    kind: FactKind
    a: Certificate
    b: Certificate
    from_date: date | None
    to_date: date | None


def checked_row(
    *, kind: str, certno_a: str, certno_b: str, from_date: date | None, to_date: date | None, today: date
) -> StatedRow:
    """A row of the file whose parts hold, first refusal that applies.

    INVALID REGISTRY_KIND_UNKNOWN, CERTIFICATE_… (as ``parsed_certificate``), KINSHIP_WITH_SELF, then as
    ``check_marriage_dates``; each names its column.
    """
    try:
        fact_kind = FactKind(kind)
    except ValueError:
        raise Failure(Kind.INVALID, "REGISTRY_KIND_UNKNOWN", field="kind") from None
    a = _certificate(certno_a, column="certno_a", today=today)
    b = _certificate(certno_b, column="certno_b", today=today)
    if (a.kind, a.number) == (b.kind, b.number):
        raise Failure(Kind.INVALID, "KINSHIP_WITH_SELF", field="certno_b")
    check_marriage_dates(fact_kind, from_date, to_date, today=today)
    return StatedRow(fact_kind, a, b, from_date, to_date)


def normal(row: RegistryRow) -> RegistryRow:
    """The row as it is kept: of a symmetrical one, the smaller index first, so that it is there once."""
    if row.kind is FactKind.PARENT_OF or row.a <= row.b:
        return row
    return RegistryRow(row.kind, row.b, row.a, row.from_date, row.to_date)


def finding(fact: Fact, *, person: Indexes, other: Indexes, rows: Iterable[RegistryRow]) -> Finding:
    """What the rows that name either of the two say of the fact."""
    known = tuple(rows)
    match fact.kind:
        case FactKind.PARENT_OF:
            return _of_parents(person, _parents(other, known))
        case FactKind.MARRIED_TO:
            return _of_marriage(fact, person, other, known)
        case FactKind.SIBLING_OF:
            return _of_siblings(person, other, known)


def _of_parents(person: Indexes, parents: set[bytes]) -> Finding:
    if parents & set(person):
        return Finding.CONFIRMED
    return Finding.DENIED if len(parents) >= PARENTS_KNOWN else Finding.UNKNOWN


def _of_siblings(person: Indexes, other: Indexes, rows: tuple[RegistryRow, ...]) -> Finding:
    one, two = _parents(person, rows), _parents(other, rows)
    named = any(row.kind is FactKind.SIBLING_OF and _joins(row, person, other) for row in rows)
    if named or one & two:
        return Finding.CONFIRMED
    return Finding.DENIED if min(len(one), len(two)) >= PARENTS_KNOWN else Finding.UNKNOWN


def _of_marriage(fact: Fact, person: Indexes, other: Indexes, rows: tuple[RegistryRow, ...]) -> Finding:
    marriages = [row for row in rows if row.kind is FactKind.MARRIED_TO]
    theirs = [row for row in marriages if _joins(row, person, other)]
    if any((row.from_date, row.to_date) == (fact.from_date, fact.to_date) for row in theirs):
        return Finding.CONFIRMED
    others = [row for row in marriages if row not in theirs]
    if theirs or any(_overlaps(row, fact) for row in others):
        return Finding.DENIED
    return Finding.UNKNOWN


def _parents(child: Indexes, rows: Iterable[RegistryRow]) -> set[bytes]:
    return {row.a for row in rows if row.kind is FactKind.PARENT_OF and row.b in child}


def _joins(row: RegistryRow, person: Indexes, other: Indexes) -> bool:
    return (row.a in person and row.b in other) or (row.b in person and row.a in other)


def _overlaps(row: RegistryRow, fact: Fact) -> bool:
    first = max(row.from_date or date.min, fact.from_date or date.min)
    return first < min(row.to_date or date.max, fact.to_date or date.max)


def _certificate(text: str, *, column: str, today: date) -> Certificate:
    number = text.strip().upper() if text.isascii() else text
    kind = next((kind for form, kind in _FORMS if form.fullmatch(number)), CertificateKind.RESIDENT_ID)
    try:
        return parsed_certificate(kind, number, today=today)
    except Failure as failure:
        raise Failure(failure.kind, failure.reason, field=column) from None
