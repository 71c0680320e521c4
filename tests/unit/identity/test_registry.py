"""What the civil registry's rows say of a fact, and which rows of its file hold."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import pytest

from kernel.failures import Failure
from kernel.ids import PsnNo
from services.identity.domain.kinship import Evidence, Fact, FactKind
from services.identity.domain.registry import Finding, RegistryRow, checked_row, finding, normal

TODAY = date(2026, 7, 1)
PARENT_OF, MARRIED_TO, SIBLING_OF = FactKind.PARENT_OF, FactKind.MARRIED_TO, FactKind.SIBLING_OF
CONFIRMED, DENIED, UNKNOWN = Finding.CONFIRMED, Finding.DENIED, Finding.UNKNOWN
WEDDING, DIVORCE = date(2010, 5, 20), date(2020, 1, 1)


def index(name: str) -> bytes:
    """A certificate's blind index; the name stands for it."""
    return name.encode().ljust(32, b".")


def row(kind: FactKind, a: str, b: str, begin: date | None = None, end: date | None = None) -> RegistryRow:
    """A row of the registry."""
    return RegistryRow(kind, index(a), index(b), begin, end)


def asked(kind: FactKind, *rows: RegistryRow, begin: date | None = None, end: date | None = None) -> Finding:
    """What is said of a fact between ann, who has had two certificates, and ben."""
    fact = Fact(UUID(int=1), kind, PsnNo("6501000001"), PsnNo("6501000002"), Evidence.COMMITMENT, begin, end)
    return finding(fact, person={index("ann"), index("ann as a child")}, other={index("ben")}, rows=rows)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], UNKNOWN),
        ([row(PARENT_OF, "ann", "ben")], CONFIRMED),
        ([row(PARENT_OF, "ann as a child", "ben")], CONFIRMED),
        ([row(PARENT_OF, "ben", "ann")], UNKNOWN),
        ([row(PARENT_OF, "eve", "ben")], UNKNOWN),
        ([row(PARENT_OF, "eve", "ben"), row(PARENT_OF, "tom", "ben")], DENIED),
        ([row(PARENT_OF, "eve", "ben"), row(PARENT_OF, "tom", "ben"), row(PARENT_OF, "ann", "ben")], CONFIRMED),
        ([row(PARENT_OF, "eve", "ann"), row(PARENT_OF, "tom", "ann")], UNKNOWN),
        ([row(SIBLING_OF, "ann", "ben")], UNKNOWN),
    ],
)
def test_of_a_parent(rows: list[RegistryRow], said: Finding) -> None:
    """Named is confirmed, two others on record deny, one other says nothing."""
    assert asked(PARENT_OF, *rows) is said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], UNKNOWN),
        ([row(SIBLING_OF, "ben", "ann")], CONFIRMED),
        ([row(PARENT_OF, "eve", "ann"), row(PARENT_OF, "eve", "ben")], CONFIRMED),
        ([row(PARENT_OF, "eve", "ann"), row(PARENT_OF, "eve", "ben"), row(PARENT_OF, "tom", "ben")], CONFIRMED),
        ([row(PARENT_OF, "eve", "ann"), row(PARENT_OF, "tom", "ben")], UNKNOWN),
        (
            [
                *(row(PARENT_OF, parent, "ann") for parent in ("eve", "tom")),
                *(row(PARENT_OF, parent, "ben") for parent in ("sue", "max")),
            ],
            DENIED,
        ),
    ],
)
def test_of_siblings(rows: list[RegistryRow], said: Finding) -> None:
    """Named or of one parent is confirmed; two and two others deny."""
    assert asked(SIBLING_OF, *rows) is said


@pytest.mark.parametrize(
    ("rows", "end", "said"),
    [
        ([], None, UNKNOWN),
        ([row(MARRIED_TO, "ben", "ann", WEDDING)], None, CONFIRMED),
        ([row(MARRIED_TO, "ann", "ben", WEDDING, DIVORCE)], DIVORCE, CONFIRMED),
        ([row(MARRIED_TO, "ann", "ben", WEDDING, DIVORCE)], None, DENIED),
        ([row(MARRIED_TO, "ann", "ben", WEDDING)], DIVORCE, DENIED),
        ([row(MARRIED_TO, "ann", "ben", date(2010, 5, 21))], None, DENIED),
        ([row(MARRIED_TO, "ann", "tom", date(2015, 1, 1))], None, DENIED),
        ([row(MARRIED_TO, "tom", "ben", date(2000, 1, 1), date(2010, 5, 20))], None, UNKNOWN),
        ([row(MARRIED_TO, "tom", "ben", date(2000, 1, 1), date(2010, 5, 21))], None, DENIED),
        ([row(MARRIED_TO, "ann", "tom", date(2020, 1, 1))], DIVORCE, UNKNOWN),
    ],
)
def test_of_a_marriage(rows: list[RegistryRow], end: date | None, said: Finding) -> None:
    """The same days are confirmed; other days, or another spouse at the time, deny."""
    assert asked(MARRIED_TO, *rows, begin=WEDDING, end=end) is said


def test_a_symmetrical_row_is_kept_once() -> None:
    """Whoever is named first; a parent stays the first."""
    assert normal(row(MARRIED_TO, "ben", "ann", WEDDING, DIVORCE)) == row(MARRIED_TO, "ann", "ben", WEDDING, DIVORCE)
    assert normal(row(MARRIED_TO, "ann", "ben", WEDDING)) == row(MARRIED_TO, "ann", "ben", WEDDING)
    assert normal(row(PARENT_OF, "ben", "ann")) == row(PARENT_OF, "ben", "ann")


A, B = "650103198503124518", "652201198707250027"


@pytest.mark.parametrize(
    ("kind", "a", "b", "days", "refused"),
    [
        ("PARENT", A, B, (None, None), ("REGISTRY_KIND_UNKNOWN", "kind")),
        ("", A, B, (None, None), ("REGISTRY_KIND_UNKNOWN", "kind")),
        ("PARENT_OF", "", B, (None, None), ("CERTIFICATE_MALFORMED", "certno_a")),
        ("PARENT_OF", A, B[:-1] + "8", (None, None), ("CERTIFICATE_CHECKSUM_WRONG", "certno_b")),
        ("PARENT_OF", "650103850312451", B, (None, None), ("CERTIFICATE_15_DIGITS", "certno_a")),
        ("PARENT_OF", A, "６５２２０１", (None, None), ("CERTIFICATE_MALFORMED", "certno_b")),
        ("PARENT_OF", A, f" {A}", (None, None), ("KINSHIP_WITH_SELF", "certno_b")),
        ("PARENT_OF", A, B, (WEDDING, None), ("KINSHIP_DATES_UNEXPECTED", "from_date")),
        ("MARRIED_TO", A, B, (None, None), ("MARRIAGE_DATE_MISSING", "from_date")),
        ("MARRIED_TO", A, B, (date(2026, 7, 2), None), ("MARRIAGE_DATES_WRONG", "from_date")),
        ("MARRIED_TO", A, B, (date(1, 1, 1), None), ("MARRIAGE_DATES_WRONG", "from_date")),
        ("MARRIED_TO", A, B, (WEDDING, WEDDING), ("MARRIAGE_DATES_WRONG", "to_date")),
    ],
)
def test_a_row_that_cannot_hold_is_refused_by_its_column(
    kind: str, a: str, b: str, days: tuple[date | None, date | None], refused: tuple[str, str]
) -> None:
    """Each refusal names its reason and the column, never the number."""
    with pytest.raises(Failure) as failed:
        checked_row(kind=kind, certno_a=a, certno_b=b, from_date=days[0], to_date=days[1], today=TODAY)
    assert (failed.value.reason, failed.value.metadata["field"]) == refused
    assert A not in str(failed.value)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (A, "RESIDENT_ID"),
        ("H12345678", "HK_MACAU_PERMIT"),
        ("m12345678", "HK_MACAU_PERMIT"),
        ("12345678", "TAIWAN_PERMIT"),
        ("S650123456", "BIRTH_CERTIFICATE"),
        ("CHN110112345678", "FOREIGN_PERMANENT_RESIDENT"),
    ],
)
def test_a_number_tells_its_kind(number: str, kind: str) -> None:
    """Its form alone says of which kind a certificate is: the file has no column for it."""
    held = checked_row(kind="PARENT_OF", certno_a=number, certno_b=B, from_date=None, to_date=None, today=TODAY)
    assert held.a.kind.value == kind
