"""暂停联网结算: for how long a decision under 条例 art. 41 keeps somebody from networked settlement (domain §8)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final
from uuid import UUID

from kernel.clock import SHANGHAI
from kernel.failures import Failure, Kind

SANCTION_MONTHS_MIN: Final = 3
SANCTION_MONTHS_MAX: Final = 12
_MONTHS_PER_YEAR: Final = 12


@dataclass(frozen=True, slots=True)
class Sanction:
    """A decision under 条例 art. 41. In force from ``from_at`` until just before ``to_at``, unless lifted before."""

    sanction_id: UUID
    from_at: datetime
    to_at: datetime
    basis_clause: str
    decision_no: str
    organ: str
    lifted_at: datetime | None = None

    def stands(self, now: datetime) -> bool:
        """In force or to come."""
        return self.lifted_at is None and now < self.to_at


def check_term(from_at: datetime, to_at: datetime) -> None:
    """A sanction lasts 3 to 12 calendar months (条例 art. 41); SANCTION_TERM_OUT_OF_RANGE (INVALID) otherwise."""
    shortest = months_after(from_at, SANCTION_MONTHS_MIN)
    longest = months_after(from_at, SANCTION_MONTHS_MAX)
    if not shortest <= to_at <= longest:
        raise Failure(
            Kind.INVALID,
            "SANCTION_TERM_OUT_OF_RANGE",
            field="to_time",
            months_min=SANCTION_MONTHS_MIN,
            months_max=SANCTION_MONTHS_MAX,
        )


def same_decision(one: Sanction, other: Sanction) -> bool:
    """Whether two sanctions are one decision told twice."""
    return replace(one, sanction_id=other.sanction_id, lifted_at=other.lifted_at) == other


def lifted(sanction: Sanction, *, now: datetime) -> Sanction:
    """The sanction ended at ``now``; the same one if it was lifted before.

    SANCTION_OVER (PRECONDITION) if it has run out by itself.
    """
    if sanction.lifted_at is not None:
        return sanction
    if not sanction.stands(now):
        raise Failure(Kind.PRECONDITION, "SANCTION_OVER")
    return replace(sanction, lifted_at=now)


def months_after(instant: datetime, months: int) -> datetime:
    """The same civil time so many calendar months later; the month's last day where it has no such day."""
    civil = instant.astimezone(SHANGHAI)
    years, month0 = divmod(civil.month - 1 + months, _MONTHS_PER_YEAR)
    year, month = civil.year + years, month0 + 1
    first_of_next = date(year + month // _MONTHS_PER_YEAR, month % _MONTHS_PER_YEAR + 1, 1)
    last_day = (first_of_next - date(year, month, 1)).days
    return civil.replace(year=year, month=month, day=min(civil.day, last_day))
