"""What a person should look at in policies that a process would start with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from kernel.policy import DEFAULT_LAYER, BenefitTable, PolicyBook, PolicyVersion
from kernel.policy.benefit import BenefitKey
from kernel.policy.parameters import OPEN_BENEFIT_KEYS

GAPS_SHOWN_MAX: Final = 10


def remarks_on(book: PolicyBook) -> list[str]:
    """A line for each, beginning with the file."""
    return [f"{version.source}: {remark}" for version in book.versions for remark in _remarks(book, version)]


def _remarks(book: PolicyBook, version: PolicyVersion) -> Iterator[str]:
    if version.unsourced:
        yield f"no source is named for {', '.join(version.unsourced)}; write `unconfirmed` if none is known"
    stated_open = [key for key in OPEN_BENEFIT_KEYS if version.layer.get(key)]
    if stated_open:
        yield (
            f"{', '.join(stated_open)}: what is open of one person's year is for scenarios; every bill would begin the "
            "year anew. An area states a benefit_table"
        )
    if (ended := _ended_for_good(book, version)) is not None and version.effective_to is not None:
        after = version.effective_to + timedelta(days=1)
        yield (
            f"from {after.isoformat()} on nothing is stated for {version.name}: {ended.source} ended when this version "
            "began and does not come back. Write a version for the time after"
        )
    rows = version.layer.get("benefit_table")
    if isinstance(rows, tuple):
        gaps = BenefitTable(rows).gaps
        for gap in gaps[:GAPS_SHOWN_MAX]:
            yield f"benefit_table has no row for {_told(gap)}: such a bill would be refused, BENEFIT_ROW_MISSING"
        if len(gaps) > GAPS_SHOWN_MAX:
            yield f"benefit_table has no row for {len(gaps) - GAPS_SHOWN_MAX} cases more"
    if _computes(book, version) and (version.effective_from.month, version.effective_from.day) != (1, 1):
        yield (
            "benefit: table begins within a year: what was used of it before is only what was settled here, not what "
            "the area's core system knows. Begin on 1 January"
        )


def _ended_for_good(book: PolicyBook, version: PolicyVersion) -> PolicyVersion | None:
    """The version that this one took the place of, if this one ends and none follows at once."""
    of_one = [each for each in book.versions if (each.name, each.is_preset) == (version.name, version.is_preset)]
    place = of_one.index(version)
    if place == 0 or version.effective_to in {None, date.max}:
        return None
    before = of_one[place - 1]
    if before.effective_to is not None and before.effective_to + timedelta(days=1) < version.effective_from:
        return None
    follows = place + 1 < len(of_one) and of_one[place + 1].effective_from - timedelta(days=1) == version.effective_to
    return None if follows else before


def _computes(book: PolicyBook, version: PolicyVersion) -> bool:
    """Whether the pooled part is computed by a table from the version's first day on, because of what it says."""
    if version.is_preset or not {"benefit", "benefit_table"} & version.layer.keys():
        return False
    policies = book.on(version.effective_from)
    area = next(iter(policies.areas()), None) if version.name == DEFAULT_LAYER else version.name
    return area is not None and isinstance(policies.for_area(area).benefit, BenefitTable)


def _told(case: BenefitKey) -> str:
    insutype, med_type, level, retired = case
    return f"insutype {insutype}, med_type {med_type}, level {level}{', retired' if retired else ''}"
