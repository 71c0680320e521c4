"""A kinship fact as an officer sees it: both people masked, since when it is on record, what was said and decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from kernel.ids import PsnNo
from services.identity.domain.kinship import Fact
from services.identity.domain.kinship_rules import Decision
from services.identity.domain.registry import Finding


@dataclass(frozen=True, slots=True)
class Party:
    """Someone a fact speaks of, as an officer may see him."""

    psn_no: PsnNo
    name_masked: str
    brdy: date


@dataclass(frozen=True, slots=True)
class ShownFact:
    """A fact with both people; its decisions with their times, the oldest first."""

    fact: Fact
    person: Party
    other: Party
    submitted_at: datetime
    submitted_by: str
    finding: Finding | None
    decisions: tuple[tuple[Decision, datetime], ...] = ()
