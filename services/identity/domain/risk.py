"""What looks like misuse of a credential or of others' money (domain §8): evidence for an officer, nothing more.

Nothing is imposed on anybody by itself: a risk event is dismissed or confirmed by an officer, and a sanction is a
decision of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from itertools import pairwise
from math import asin, cos, radians, sin, sqrt
from typing import Final, TypeAlias
from uuid import UUID

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode, PsnNo

EARTH_RADIUS_M: Final = 6_371_000
_UDEG_PER_DEGREE: Final = 1_000_000
FAR_MIN_M: Final = 2_000
"""Nearer than that, what looks like a journey may be one campus whose terminals stand at one address."""
SHOWINGS_SPAN: Final = timedelta(hours=12)
"""At the slowest speed that a setting allows, any two places of the country are less than this apart."""


class RiskKind(Enum):
    """What is suspected; the value is what the database keeps."""

    OTHERS_CREDENTIAL = "OTHERS_CREDENTIAL"
    FAR_TERMINALS = "FAR_TERMINALS"
    SMALL_PHARMACY_BUYS = "SMALL_PHARMACY_BUYS"
    REFUSED_CODES = "REFUSED_CODES"
    OBJECTION = "OBJECTION"  # Said by a person himself; the clock judges the others.


class RiskState(Enum):
    """Who acts next; the value is what the database keeps."""

    OPEN = "OPEN"  # An officer.
    DISMISSED = "DISMISSED"  # Nobody: nothing in it.
    CONFIRMED = "CONFIRMED"  # Nobody here: what follows is a decision of its own.


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on something is told to an officer. Each is a setting, where its reason stands."""

    travel_kmh: int
    small_buy_max_fen: int
    small_buys_min: int
    small_buys_window: timedelta
    refused_at_terminal_min: int
    refused_of_person_min: int
    refused_window: timedelta


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom or what a suspicion is about: a person, or a terminal (empty: none that is registered)."""

    psn_no: PsnNo | None = None
    fixmedins_code: FixmedinsCode | None = None
    terminal_no: str = ""

    @property
    def key(self) -> str:
        """``person:<psn_no>`` or ``terminal:<fixmedins_code>/<terminal_no>``."""
        if self.psn_no is not None:
            return f"person:{self.psn_no}"
        return f"terminal:{self.fixmedins_code}/{self.terminal_no}"


@dataclass(frozen=True, slots=True)
class Earlier:
    """The showing before one that is too far from it."""

    at: datetime
    fixmedins_code: str
    terminal_no: str
    distance_m: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that happened; ``key`` tells it from all others of its kind and subject."""

    key: str
    at: datetime
    fixmedins_code: str
    terminal_no: str = ""
    reason: str = ""
    setl_id: UUID | None = None
    patient: PsnNo | None = None
    occurrences: int = 1
    earlier: Earlier | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is told to an officer: new evidence of one kind about one subject on one civil day."""

    kind: RiskKind
    subject: Subject
    day: date
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an officer made of it."""

    state: RiskState
    cause: str
    opter: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class RiskEvent:
    """One suspicion about one subject on one day."""

    risk_event_id: UUID
    kind: RiskKind
    subject: Subject
    day: date
    raised_at: datetime
    evidence_at: datetime
    evidence_count: int
    judgement: Judgement | None = None

    @property
    def state(self) -> RiskState:
        """OPEN until an officer has judged."""
        return RiskState.OPEN if self.judgement is None else self.judgement.state


@dataclass(frozen=True, slots=True)
class Showing:
    """A credential shown at a terminal, whether it was taken or refused; a place that is not known is None."""

    key: str
    at: datetime
    fixmedins_code: str
    terminal_no: str
    longitude_udeg: int | None
    latitude_udeg: int | None


@dataclass(frozen=True, slots=True)
class ShownForAnother:
    """Settlement refused a credential because it does not count for the patient, or not at this terminal."""

    event_id: UUID
    patient: PsnNo
    presented: PsnNo
    fixmedins_code: str
    terminal_no: str
    reason: str
    refused_at: datetime


@dataclass(frozen=True, slots=True)
class PharmacyBuy:
    """A small pharmacy bill that was paid out of a funder's account."""

    setl_id: UUID
    funder: PsnNo
    patient: PsnNo
    fixmedins_code: str
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class BuyRefunded:
    """A pharmacy bill's money went back."""

    setl_id: UUID
    refunded_at: datetime


@dataclass(frozen=True, slots=True)
class FundedBill:
    """A bill that somebody's account, his own or a relative's, paid for."""

    setl_id: UUID
    psn_no: PsnNo
    patient: PsnNo
    fixmedins_code: str
    settled_at: datetime


Heard: TypeAlias = ShownForAnother | PharmacyBuy | BuyRefunded | FundedBill
"""What settlement tells that risk events are made of."""


def shown_for_another(refusal: ShownForAnother) -> Finding | None:
    """The credential's holder is who lent it, or whom it was taken from; None where it was the patient's own."""
    if refusal.patient == refusal.presented:
        return None
    evidence = Evidence(
        key=str(refusal.event_id),
        at=refusal.refused_at,
        fixmedins_code=refusal.fixmedins_code,
        terminal_no=refusal.terminal_no,
        reason=refusal.reason,
        patient=refusal.patient,
    )
    subject = Subject(psn_no=refusal.presented)
    return Finding(RiskKind.OTHERS_CREDENTIAL, subject, business_date(refusal.refused_at), (evidence,))


def distance_m(one: tuple[int, int], other: tuple[int, int]) -> int:
    """Along the surface, between two places (longitude, latitude) in millionths of a degree (haversine)."""
    east, north = (radians(value / _UDEG_PER_DEGREE) for value in one)
    other_east, other_north = (radians(value / _UDEG_PER_DEGREE) for value in other)
    half = sin((other_north - north) / 2) ** 2 + cos(north) * cos(other_north) * sin((other_east - east) / 2) ** 2
    return round(2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(half))))


def is_too_far(apart_m: int, elapsed: timedelta, *, travel_kmh: int) -> bool:
    """Whether nobody travels so far in that time."""
    return apart_m >= FAR_MIN_M and apart_m * timedelta(hours=1) > travel_kmh * 1_000 * elapsed


def far_showings(showings: Sequence[Showing], *, travel_kmh: int) -> list[Evidence]:
    """Each showing of one person's credentials that is too far from the one before it.

    Neighbours suffice: who can go from the first to the second and from the second to the third can go from the first
    to the third. What was shown where the place is not known says nothing.
    """
    placed = [
        (showing, (showing.longitude_udeg, showing.latitude_udeg))
        for showing in sorted(showings, key=lambda each: (each.at, each.key))
        if showing.longitude_udeg is not None and showing.latitude_udeg is not None
    ]
    found = []
    for (earlier, there), (later, here) in pairwise(placed):
        apart_m = distance_m(there, here)
        if is_too_far(apart_m, later.at - earlier.at, travel_kmh=travel_kmh):
            found.append(
                Evidence(
                    key=f"{earlier.key}~{later.key}",
                    at=later.at,
                    fixmedins_code=later.fixmedins_code,
                    terminal_no=later.terminal_no,
                    earlier=Earlier(earlier.at, earlier.fixmedins_code, earlier.terminal_no, apart_m),
                )
            )
    return found


def runs(
    evidence: Sequence[Evidence], *, occurrences_min: int, window: timedelta, open_days: Collection[date]
) -> Mapping[date, tuple[Evidence, ...]]:
    """The evidence that is told, by the civil day of the event it belongs to.

    Told is what makes so many occurrences within the window, all of it on the day on which it became so many; and
    whatever else happens on a day that has an open event. What was told once does not count towards another event:
    the caller gives what was not told yet.
    """
    days, waiting = set(open_days), list[Evidence]()
    told: dict[date, list[Evidence]] = {}
    for each in sorted(evidence, key=lambda one: (one.at, one.key)):
        day = business_date(each.at)
        if day in days:
            told.setdefault(day, []).append(each)
            continue
        waiting = [*(one for one in waiting if each.at - one.at < window), each]
        if sum(one.occurrences for one in waiting) >= occurrences_min:
            told.setdefault(day, []).extend(waiting)
            days.add(day)
            waiting = []
    return {day: tuple(found) for day, found in told.items()}


def by_day(kind: RiskKind, subject: Subject, evidence: Sequence[Evidence]) -> list[Finding]:
    """Evidence that speaks for itself, one finding for each civil day."""
    days: dict[date, list[Evidence]] = {}
    for each in evidence:
        days.setdefault(business_date(each.at), []).append(each)
    return [Finding(kind, subject, day, tuple(found)) for day, found in days.items()]


def known(event: RiskEvent | None) -> RiskEvent:
    """The risk event; RISK_EVENT_UNKNOWN (NOT_FOUND) if there is none."""
    if event is None:
        raise Failure(Kind.NOT_FOUND, "RISK_EVENT_UNKNOWN", field="risk_event_id")
    return event


def check_judgement(event: RiskEvent, judgement: Judgement) -> bool:
    """Whether there is anything to write: False for the same judgement again.

    RISK_EVENT_DECIDED (PRECONDITION) if it was judged otherwise.
    """
    if event.judgement is None:
        return True
    if event.judgement.state is not judgement.state:
        raise Failure(Kind.PRECONDITION, "RISK_EVENT_DECIDED", state=event.judgement.state.value)
    return False
