"""Time as an argument: the edge reads the clock once and hands the instant down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final, Protocol

SHANGHAI: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
"""The one civil time of the domain. China has kept no summer time since 1991, so a fixed offset is exact."""


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


def business_year(instant: datetime) -> int:
    """The account year in Asia/Shanghai: it turns at local midnight on 1 January."""
    return business_date(instant).year
