"""Time as an argument: the edge reads the clock once and hands the instant down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final, Protocol

from kernel.failures import Failure, Kind

SHANGHAI: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
"""The one civil time of the domain. China has kept no summer time since 1991, so a fixed offset is exact."""

DAY_YEAR_MIN: Final = 1900
DAY_YEAR_MAX: Final = 2200


class Clock(Protocol):
    """Where the present instant comes from; only composition roots and handlers at the edge hold one."""

    def now(self) -> datetime:
        """The present instant, with its zone."""
        ...


class SystemClock:
    """The machine's clock, in UTC. No deadline is judged by it, but by the coordinator's database (protocol rule 9)."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ShiftedClock:
    """The machine's clock as it would be if it were wrong by ``off``; tests start processes with it."""

    off: timedelta

    def now(self) -> datetime:
        """The present instant as this clock has it, in UTC."""
        return datetime.now(UTC) + self.off


def business_date(instant: datetime) -> date:
    """The calendar day in Asia/Shanghai on which this instant falls."""
    return instant.astimezone(SHANGHAI).date()


def business_month(instant: datetime) -> int:
    """The civil month in Asia/Shanghai on which this instant falls, as yyyymm."""
    day = business_date(instant)
    return day.year * 100 + day.month


def business_year(instant: datetime) -> int:
    """The account year in Asia/Shanghai: it turns at local midnight on 1 January."""
    return business_date(instant).year


def year_start(instant: datetime) -> datetime:
    """When the account year of this instant began: midnight of 1 January in Asia/Shanghai."""
    return business_midnight(date(business_year(instant), 1, 1))


def business_midnight(day: date) -> datetime:
    """The instant at which this calendar day begins in Asia/Shanghai."""
    return datetime.combine(day, time(), SHANGHAI)


def parsed_day(text: str, *, field: str) -> date:
    """``2026-02-28``; DATE_MALFORMED (INVALID) if there is no such day, or none that an account could know."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not DAY_YEAR_MIN <= day.year <= DAY_YEAR_MAX:
        raise Failure(Kind.INVALID, "DATE_MALFORMED", field=field)
    return day
