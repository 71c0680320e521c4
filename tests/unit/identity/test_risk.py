"""What looks like misuse: distances, journeys, runs within a window, and an officer's judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain.risk import (
    FAR_MIN_M,
    Evidence,
    Judgement,
    RiskEvent,
    RiskKind,
    RiskState,
    Showing,
    ShownForAnother,
    Subject,
    by_day,
    check_judgement,
    distance_m,
    far_showings,
    is_too_far,
    known,
    runs,
    shown_for_another,
)

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
TODAY = date(2026, 7, 1)
URUMQI, KASHGAR, HAMI = (87_617_000, 43_793_000), (75_989_000, 39_470_000), (93_514_000, 42_818_000)
WANG, CHILD = PsnNo("650100000000001"), PsnNo("650100000000003")
WINDOW = timedelta(hours=24)
PLACE = st.tuples(st.integers(73_000_000, 136_000_000), st.integers(3_000_000, 54_000_000))


def evidence(minutes: float, *, occurrences: int = 1, key: str = "") -> Evidence:
    """Something that happened so many minutes from now."""
    return Evidence(
        key or f"{minutes}", NOW + timedelta(minutes=minutes), "P65010000001", "T1", occurrences=occurrences
    )


def showing(minutes: float, place: tuple[int, int] | None) -> Showing:
    """A credential shown so many minutes from now."""
    longitude, latitude = place or (None, None)
    return Showing(f"used:{minutes}", NOW + timedelta(minutes=minutes), "H65010000001", "T1", longitude, latitude)


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        (URUMQI, KASHGAR, 1_081),
        (URUMQI, HAMI, 490),
        ((116_407_000, 39_904_000), (121_474_000, 31_230_000), 1_067),  # Beijing, Shanghai.
        ((87_617_000, 43_793_000), (87_617_000, 43_802_993), 1),
    ],
)
def test_distances_are_those_of_the_map(one: tuple[int, int], other: tuple[int, int], km: int) -> None:
    """Within half a percent or a hundred metres of what an atlas says."""
    assert distance_m(one, other) == pytest.approx(km * 1_000, rel=0.005, abs=150)


@given(PLACE, PLACE, PLACE)
def test_a_distance_is_one(one: tuple[int, int], other: tuple[int, int], third: tuple[int, int]) -> None:
    """Nothing to itself, the same both ways, never longer than over a third place (but for rounding)."""
    assert distance_m(one, one) == 0
    assert distance_m(one, other) == distance_m(other, one)
    assert distance_m(one, other) <= distance_m(one, third) + distance_m(third, other) + 3


@pytest.mark.parametrize(
    ("apart_m", "elapsed", "expected"),
    [
        (500_000, timedelta(hours=1), False),
        (500_001, timedelta(hours=1), True),
        (FAR_MIN_M, timedelta(0), True),
        (FAR_MIN_M - 1, timedelta(0), False),
        (FAR_MIN_M, timedelta(seconds=14), True),
        (FAR_MIN_M, timedelta(seconds=15), False),
    ],
)
def test_too_far_is_faster_than_travel(apart_m: int, elapsed: timedelta, *, expected: bool) -> None:
    """Faster than 500 km/h, and never within one campus."""
    assert is_too_far(apart_m, elapsed, travel_kmh=500) is expected


@pytest.mark.parametrize(
    ("showings", "expected"),
    [
        ([showing(0, URUMQI), showing(30, KASHGAR)], [30]),
        ([showing(30, KASHGAR), showing(0, URUMQI)], [30]),
        ([showing(0, URUMQI), showing(240, KASHGAR)], []),
        ([showing(0, URUMQI), showing(1, URUMQI), showing(2, URUMQI)], []),
        ([showing(0, URUMQI), showing(10, None), showing(30, KASHGAR)], [30]),
        ([showing(0, URUMQI), showing(30, None)], []),
        ([showing(0, URUMQI), showing(30, KASHGAR), showing(60, URUMQI)], [30, 60]),
        ([showing(0, URUMQI)], []),
        ([], []),
    ],
)
def test_each_showing_is_held_against_the_one_before_it(showings: Sequence[Showing], expected: list[float]) -> None:
    """In the order of time, whatever the order in which they are told; a place that is not known says nothing."""
    found = far_showings(showings, travel_kmh=500)
    assert [each.at for each in found] == [NOW + timedelta(minutes=minutes) for minutes in expected]


def test_evidence_of_a_journey_names_both_places_and_what_lies_between() -> None:
    """The later showing, the earlier one, and how far apart."""
    (found,) = far_showings([showing(0, URUMQI), showing(30, KASHGAR)], travel_kmh=500)
    assert found.key == "used:0~used:30"
    assert found.earlier is not None
    assert found.earlier.at == NOW
    assert found.earlier.distance_m == distance_m(URUMQI, KASHGAR)


@given(st.lists(st.tuples(st.integers(0, 700), PLACE), max_size=12), st.integers(400, 1_200))
def test_whoever_could_have_gone_everywhere_is_not_suspected(
    stops: list[tuple[int, tuple[int, int]]], travel_kmh: int
) -> None:
    """Nothing is found exactly if every two neighbours in time could be reached one from the other."""
    ordered = sorted(stops)
    shown = [replace(showing(minutes, place), key=f"{n:03}") for n, (minutes, place) in enumerate(ordered)]
    reachable = all(
        not is_too_far(distance_m(here, there), timedelta(minutes=later - earlier), travel_kmh=travel_kmh)
        for (earlier, here), (later, there) in pairwise(ordered)
    )
    assert (far_showings(shown, travel_kmh=travel_kmh) == []) is reachable


def test_so_many_within_the_window_are_told_together() -> None:
    """Five are nothing, the sixth brings all six; from then on each further one of that day is added."""
    five = [evidence(minutes) for minutes in range(5)]
    assert runs(five, occurrences_min=6, window=WINDOW, open_days=()) == {}
    eight = [evidence(minutes) for minutes in range(8)]
    assert runs(eight, occurrences_min=6, window=WINDOW, open_days=()) == {TODAY: tuple(eight)}


def test_what_lies_outside_the_window_does_not_count() -> None:
    """Six, of which the first is a day older than the last, are no run of six."""
    spread = [evidence(0), *(evidence(24 * 60 + minutes) for minutes in range(5))]
    assert runs(spread, occurrences_min=6, window=WINDOW, open_days=()) == {}


def test_a_run_past_midnight_belongs_to_the_day_on_which_it_became_one() -> None:
    """Three before midnight in Shanghai and three after are one event of the second day."""
    midnight = 12 * 60
    six = [evidence(midnight + minutes) for minutes in (-30, -20, -10, 10, 20, 30)]
    assert runs(six, occurrences_min=6, window=WINDOW, open_days=()) == {date(2026, 7, 2): tuple(six)}


def test_an_open_event_takes_whatever_else_happens_that_day() -> None:
    """One more is told at once on a day with an open event, and does not count towards the next day's."""
    tomorrow = 20 * 60
    more = [evidence(0), *(evidence(tomorrow + minutes) for minutes in range(5))]
    assert runs(more, occurrences_min=6, window=WINDOW, open_days={TODAY}) == {TODAY: (more[0],)}


def test_occurrences_count_not_rows() -> None:
    """Two rows of ten refusals each are twenty."""
    two = [evidence(0, occurrences=10), evidence(5, occurrences=10)]
    assert runs(two, occurrences_min=20, window=timedelta(minutes=10), open_days=()) == {TODAY: tuple(two)}
    assert runs(two, occurrences_min=20, window=timedelta(minutes=5), open_days=()) == {}


@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 4)), max_size=30),
    st.integers(1, 12),
    st.integers(1, 2_000),
)
def test_a_run_is_found_exactly_if_there_is_one(
    marks: list[tuple[int, int]], occurrences_min: int, window_min: int
) -> None:
    """Against every window one by one; and nothing is told twice or on a day without a run."""
    found = [evidence(minutes, occurrences=count, key=f"{n:03}") for n, (minutes, count) in enumerate(sorted(marks))]
    window = timedelta(minutes=window_min)
    told = runs(found, occurrences_min=occurrences_min, window=window, open_days=())
    there_is_one = any(
        sum(each.occurrences for each in found if last.at - window < each.at <= last.at) >= occurrences_min
        for last in found
    )
    assert bool(told) is there_is_one
    keys = [each.key for day in told.values() for each in day]
    assert len(keys) == len(set(keys))
    assert all(max(business_date(each.at) for each in every) == day for day, every in told.items())


def test_a_credential_shown_for_another_is_about_its_holder() -> None:
    """The holder is the subject, the patient stands in the evidence; the patient's own credential is no suspicion."""
    refusal = ShownForAnother(
        UUID(int=1), CHILD, WANG, "P65010000001", "T1", "FUNDER_CREDENTIAL_USED", NOW + timedelta(hours=13)
    )
    found = shown_for_another(refusal)
    assert found is not None
    assert (found.kind, found.subject, found.day) == (
        RiskKind.OTHERS_CREDENTIAL,
        Subject(psn_no=WANG),
        date(2026, 7, 2),
    )
    assert [(each.reason, each.patient) for each in found.evidence] == [("FUNDER_CREDENTIAL_USED", CHILD)]
    assert shown_for_another(replace(refusal, patient=WANG)) is None


def test_evidence_that_speaks_for_itself_is_told_by_the_day() -> None:
    """One finding for each civil day in Shanghai."""
    found = by_day(RiskKind.FAR_TERMINALS, Subject(psn_no=WANG), [evidence(0), evidence(13 * 60), evidence(1)])
    assert [(each.day, len(each.evidence)) for each in found] == [(TODAY, 2), (date(2026, 7, 2), 1)]


def test_a_subject_is_a_person_or_a_terminal() -> None:
    """A person's key and a terminal's begin otherwise, so no two subjects share one."""
    assert Subject(psn_no=WANG).key == "person:650100000000001"
    assert Subject(fixmedins_code=FixmedinsCode("H65010000001"), terminal_no="T1").key == "terminal:H65010000001/T1"


def test_a_risk_event_is_judged_once() -> None:
    """The first judgement is written, the same again is not, another is refused."""
    event = RiskEvent(UUID(int=1), RiskKind.FAR_TERMINALS, Subject(psn_no=WANG), TODAY, NOW, NOW, 1)
    judgement = Judgement(RiskState.DISMISSED, "出差", "zhang01", NOW)
    assert event.state is RiskState.OPEN
    assert check_judgement(event, judgement)
    judged = replace(event, judgement=judgement)
    assert judged.state is RiskState.DISMISSED
    assert not check_judgement(judged, replace(judgement, opter="li02"))
    with pytest.raises(Failure) as refused:
        check_judgement(judged, replace(judgement, state=RiskState.CONFIRMED))
    assert refused.value == Failure(Kind.PRECONDITION, "RISK_EVENT_DECIDED", state="DISMISSED")


def test_an_unknown_risk_event_is_refused() -> None:
    """An event that is not on record is refused with RISK_EVENT_UNKNOWN."""
    with pytest.raises(Failure) as refused:
        known(None)
    assert refused.value == Failure(Kind.NOT_FOUND, "RISK_EVENT_UNKNOWN", field="risk_event_id")
