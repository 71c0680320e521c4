"""Dates, instants and texts as messages carry them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from kernel.failures import Failure, Kind

_YEAR_MIN: Final = 2021
"""The 条例 under which sanctions are imposed came into force in it; and Shanghai's clocks were not changed since."""
_YEAR_MAX: Final = 2200


def parsed_date(text: str, *, field: str) -> date | None:
    """``2026-02-28``; None if empty, DATE_MALFORMED (INVALID) if there is no such day."""
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Failure(Kind.INVALID, "DATE_MALFORMED", field=field) from None


def given_date(text: str, *, field: str) -> date:
    """As ``parsed_date``, where a date must be given."""
    given = parsed_date(text, field=field)
    if given is None:
        raise Failure(Kind.INVALID, "DATE_MALFORMED", field=field)
    return given


def parsed_instant(timestamp: Timestamp, *, field: str) -> datetime:
    """An instant to the microsecond; TIME_OUT_OF_RANGE (INVALID) if no decision under the 条例 can speak of it."""
    try:
        instant = timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        instant = datetime.min.replace(tzinfo=UTC)
    if not _YEAR_MIN <= instant.year <= _YEAR_MAX:
        raise Failure(Kind.INVALID, "TIME_OUT_OF_RANGE", field=field)
    return instant


def parsed_text(text: str, *, field: str) -> str:
    """One line without blanks around it; TEXT_MALFORMED (INVALID) if nothing is left or something cannot be shown."""
    stripped = text.strip()
    if not stripped or not stripped.isprintable():
        raise Failure(Kind.INVALID, "TEXT_MALFORMED", field=field)
    return stripped


def timestamp_of(instant: datetime) -> Timestamp:
    """The instant as protobuf has it."""
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp
