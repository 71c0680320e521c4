"""Policies through time: which version counts on which day, and what stops a start."""

from __future__ import annotations

import time
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.files import built_from, parsed_yaml, read_yaml_folder
from kernel.failures import Failure
from kernel.ids import AdmDvs
from kernel.policy import (
    CostKind,
    FunderOrder,
    Part,
    PolicyBook,
    PremiumPayment,
    RegionPolicy,
    Relation,
)

SHIPPED: Final = Path(__file__).resolve().parents[3] / "policies"
TODAY: Final = date(2026, 11, 22)
HAMI: Final = AdmDvs("650500")


def document(area: str, floor_fen: int, *, begins: str | None = None, ends: str | None = None) -> dict[str, Any]:
    """A version that says one thing: what stays on a funder's account."""
    stated: dict[str, Any] = {"area": area, "policy": {"funder_floor_balance": floor_fen}}
    if begins is not None:
        stated["effective_from"] = begins
    if ends is not None:
        stated["effective_to"] = ends
    return stated


def floor_fen(book: PolicyBook, day: str) -> int:
    """What stays on a funder's account in Hami that day."""
    return book.on(date.fromisoformat(day)).for_area(HAMI).funder_floor_balance


def test_a_version_counts_from_its_first_day_until_the_next_one() -> None:
    """On its first day already, and not on the day before."""
    book = PolicyBook.of_documents(
        {
            "new.yaml": document("650000", 200, begins="2027-01-01"),
            "old.yaml": document("650000", 100),
        }
    )
    assert [floor_fen(book, day) for day in ("1990-01-01", "2026-12-31", "2027-01-01", "2090-01-01")] == [
        100,
        100,
        200,
        200,
    ]


def test_a_version_with_a_last_day_gives_way_to_the_province_and_the_nation() -> None:
    """A trial that ends leaves what stood above it; before it begins it says nothing."""
    book = PolicyBook.of_documents(
        {
            "nation.yaml": document("default", 1),
            "province.yaml": document("650000", 10, begins="2026-06-01"),
            "city.yaml": document("650500", 100, begins="2026-07-01", ends="2026-07-31"),
        }
    )
    days = ("2026-05-31", "2026-06-01", "2026-07-01", "2026-07-31", "2026-08-01")
    assert [floor_fen(book, day) for day in days] == [1, 10, 100, 100, 10]


def test_a_preset_has_versions_as_well() -> None:
    """It lies above every area from its first day on."""
    preset: dict[str, Any] = {"preset": "strict", "effective_from": "2027-01-01", "policy": {"wallet": False}}
    book = PolicyBook.of_documents({"area.yaml": document("650500", 1), "p.yaml": preset}, preset="strict")
    day = date(2027, 1, 1)
    assert book.on(day - timedelta(days=1)).for_area(HAMI).wallet
    assert not book.on(day).for_area(HAMI).wallet


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((None, None), (None, None)),
        (("2026-01-01", None), ("2026-01-01", None)),
        (("2026-01-01", "2026-06-30"), ("2026-06-30", None)),
        ((None, "2026-06-30"), ("2026-01-01", "2026-02-01")),
    ],
)
def test_two_versions_of_one_day_are_refused(
    first: tuple[str | None, str | None], second: tuple[str | None, str | None]
) -> None:
    """The one that begins later, or stands later, is named, and the other."""
    documents = {
        "a.yaml": document("650500", 1, begins=first[0], ends=first[1]),
        "b.yaml": document("650500", 2, begins=second[0], ends=second[1]),
    }
    with pytest.raises(Failure, match="POLICY_VERSIONS_OVERLAP") as refused:
        PolicyBook.of_documents(documents)
    assert (refused.value.metadata["source"], refused.value.metadata["first_source"]) == ("b.yaml", "a.yaml")


def test_a_version_may_last_for_ever() -> None:
    """The last day that a calendar has is a last day like any other, and no day comes after it."""
    book = PolicyBook.of_documents({"a.yaml": document("650500", 1, begins="2026-01-01", ends="9999-12-31")})
    assert [floor_fen(book, day) for day in ("2025-12-31", "2026-01-01", "9999-12-31")] == [0, 1, 1]


def test_the_next_change_of_an_area_is_known() -> None:
    """Its own, its province's and the nation's; another area's is none of its."""
    book = PolicyBook.of_documents(
        {
            "city.yaml": document("650500", 1, begins="2027-01-01", ends="2027-06-30"),
            "other.yaml": document("650100", 1, begins="2026-12-01"),
        }
    )
    days = [book.next_change(HAMI, after=date.fromisoformat(day)) for day in ("2026-11-22", "2027-01-01", "2027-07-01")]
    assert days == [date(2027, 1, 1), date(2027, 7, 1), None]


def test_versions_that_follow_each_other_are_taken() -> None:
    """The day after the last day is free; two areas never overlap."""
    book = PolicyBook.of_documents(
        {
            "a.yaml": document("650500", 1, ends="2026-06-30"),
            "b.yaml": document("650500", 2, begins="2026-07-01"),
            "c.yaml": document("650100", 3),
        }
    )
    assert [floor_fen(book, day) for day in ("2026-06-30", "2026-07-01")] == [1, 2]


def test_a_contradiction_of_a_later_day_stops_the_start_today() -> None:
    """What could not be meant together in March is told before March, with the file that begins then."""
    few = {"area": "650500", "effective_from": "2027-03-01", "policy": {"max_members": 2}}
    many = {"area": "650000", "policy": {"max_funders_per_beneficiary": 3}}
    with pytest.raises(Failure, match="POLICY_CONTRADICTORY") as refused:
        PolicyBook.of_documents({"few.yaml": few, "many.yaml": many})
    assert refused.value.metadata["source"] == "few.yaml"


def test_every_value_of_an_area_says_which_version_decides_it() -> None:
    """The city's, the province's, the preset's, or none: then it is built in. A wallet's limits count one by one."""
    book = PolicyBook.of_documents(
        {
            "city.yaml": {"area": "650500", "policy": {"wallet_limits": {"per_day": 5}}},
            "province.yaml": {"area": "650000", "policy": {"funder_floor_balance": 7, "wallet_limits": {"per_day": 4}}},
            "preset.yaml": {"preset": "strict", "policy": {"max_members": 5}},
        },
        preset="strict",
    )
    stated = {value.parameter: (value.value, value.by and value.by.source) for value in book.stated(HAMI, on=TODAY)}
    assert stated["wallet_limits.per_day"] == (5, "city.yaml")
    assert stated["wallet_limits.each_fen"] == (200_000, None)
    assert stated["funder_floor_balance"] == (7, "province.yaml")
    assert stated["max_members"] == (5, "preset.yaml")
    assert stated["benefit"] == ("external", None)
    assert stated["own_order"] == (["past", "current"], None)


VERSIONS = st.lists(
    st.tuples(st.integers(0, 60), st.none() | st.integers(0, 20)), max_size=6, unique_by=lambda version: version[0]
).map(sorted)
"""Versions by the day on which each begins, and for how many days more it lasts (None: until the next)."""


@given(VERSIONS, st.integers(-5, 90))
def test_on_any_day_the_latest_version_that_counts_decides(versions: list[tuple[int, int | None]], on: int) -> None:
    """Against the slow rule: of all that have begun the latest, unless its own last day is over."""
    origin = date(2026, 1, 1)
    documents = {
        f"{begins}.yaml": document(
            "650500",
            begins + 1,
            begins=(origin + timedelta(days=begins)).isoformat(),
            ends=None if lasts is None else (origin + timedelta(days=begins + lasts)).isoformat(),
        )
        for begins, lasts in versions
    }
    if any(lasts is not None and begins + lasts >= later for (begins, lasts), (later, _) in pairwise(versions)):
        with pytest.raises(Failure, match="POLICY_VERSIONS_OVERLAP"):
            PolicyBook.of_documents(documents)
        return
    expected = 0
    for begins, lasts in versions:
        if begins <= on:
            expected = begins + 1 if lasts is None or on <= begins + lasts else 0
    book = PolicyBook.of_documents(documents)
    assert book.on(origin + timedelta(days=on)).for_area(HAMI).funder_floor_balance == expected


def test_every_shipped_value_says_where_it_comes_from() -> None:
    """A source, or that it is unconfirmed."""
    book = built_from(read_yaml_folder(SHIPPED), PolicyBook.of_documents)
    assert {version.source: version.unsourced for version in book.versions if version.unsourced} == {}


def test_the_shipped_files_say_what_the_table_says() -> None:
    """Domain §7's columns, through the files of policies/."""
    policies = built_from(read_yaml_folder(SHIPPED), PolicyBook.of_documents).on(TODAY)
    xinjiang, zhejiang, shanghai = (policies.for_area(area) for area in ("650500", "330100", "310100"))
    assert policies.for_area("440100") == RegionPolicy()
    assert xinjiang == RegionPolicy(authorized_amount_required=True)
    assert zhejiang == RegionPolicy(shareable_parts=frozenset({Part.PAST}), funder_order=FunderOrder.BIND_TIME)
    assert shanghai.relations == {Relation.SPOUSE, Relation.PARENT, Relation.CHILD}
    for unconfirmed in ("110000", "320000", "420000", "440000", "510000"):
        assert policies.for_area(unconfirmed) == RegionPolicy()
    provinces = ("110000", "310000", "320000", "330000", "420000", "440000", "510000", "650000")
    assert policies.areas() == tuple(sorted((*provinces, "420100")))


def test_the_shipped_preset_can_be_chosen() -> None:
    """`intra-province-strict` lies above every area once it is chosen, and changes the version."""
    files = read_yaml_folder(SHIPPED)
    book = built_from(files, lambda documents: PolicyBook.of_documents(documents, preset="intra-province-strict"))
    policies = book.on(TODAY)
    strict = policies.for_area("650500")
    assert (strict.funder_floor_balance, strict.single_pay_ratio_cap, strict.wallet) == (200_000, Decimal("0.7"), False)
    assert strict.mutual_aid_kinds == {CostKind.DEDUCTIBLE, CostKind.COPAY, CostKind.PRESELFPAY}
    assert (strict.max_members, strict.rebind_per_year) == (5, 1)
    assert strict.premium_payment is PremiumPayment.AFTER_FILING
    assert strict.authorized_amount_required is True
    assert policies.version != built_from(files, PolicyBook.of_documents).on(TODAY).version


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("area: '650000'\npolicy:\n  wallet: true\n  walet: true\n", "POLICY_KEY_UNKNOWN", "4"),
        ("area: '650000'\n\npolicy:\n  wallet: 'no'\n", "POLICY_VALUE_WRONG_TYPE", "4"),
        ("area: '650000'\npolicy:\n  ratio: '1.5'\n", "RATIO_OUT_OF_RANGE", "3"),
        ("area: '650000'\npolicy:\n  own_order:\n  - past\n  - past\n", "POLICY_CONTRADICTORY", "5"),
        ("area: '650000'\npolicy:\n  max_members: 2\n  max_funders_per_beneficiary: 3\n", "POLICY_CONTRADICTORY", "4"),
        ("area: '650000'\npreset: strict\npolicy: {}\n", "POLICY_CONTRADICTORY", "1"),
        ("policy: {}\n", "POLICY_CONTRADICTORY", "1"),
        ("area: '650000'\n", "POLICY_VALUE_WRONG_TYPE", "1"),
        ("area: 650000\npolicy: {}\n", "POLICY_VALUE_WRONG_TYPE", "1"),
        ("area: '990000'\npolicy: {}\n", "POLICY_AREA_UNKNOWN", "1"),
        ("area: '650000'\npolicy: {}\nsources:\n  walet: me\n", "POLICY_KEY_UNKNOWN", "4"),
        ("area: '650000'\nfrom: today\npolicy: {}\n", "POLICY_KEY_UNKNOWN", "2"),
        ("area: '650000'\neffective_from: '2026-02-29'\npolicy: {}\n", "POLICY_VALUE_OUT_OF_RANGE", "2"),
        ("area: '650000'\neffective_from: '20260301'\npolicy: {}\n", "POLICY_VALUE_OUT_OF_RANGE", "2"),
        ("area: '650000'\neffective_from: '2026-W01-1'\npolicy: {}\n", "POLICY_VALUE_OUT_OF_RANGE", "2"),
        ("area: '650000'\neffective_from: 2026\npolicy: {}\n", "POLICY_VALUE_WRONG_TYPE", "2"),
        (
            "area: '650000'\neffective_from: '2026-03-01'\neffective_to: '2026-02-01'\npolicy: {}\n",
            "POLICY_CONTRADICTORY",
            "3",
        ),
    ],
)
def test_a_wrong_policy_file_is_told_by_file_and_line(text: str, reason: str, line: str) -> None:
    """What stops a start names the file, the line and the reason."""
    files = {"a.yaml": parsed_yaml(text.encode(), name="policies/a.yaml")}
    with pytest.raises(Failure) as refused:
        built_from(files, PolicyBook.of_documents)
    metadata = refused.value.metadata
    assert (refused.value.reason, metadata["file"], metadata["line"]) == (reason, "policies/a.yaml", line)


def test_two_files_for_one_area_are_refused() -> None:
    """The second file is named, and which was the first."""
    content = b"area: '650000'\npolicy: {}\n"
    files = {name: parsed_yaml(content, name=name) for name in ("a.yaml", "b.yaml")}
    with pytest.raises(Failure) as refused:
        built_from(files, PolicyBook.of_documents)
    assert (refused.value.reason, refused.value.metadata["file"]) == ("POLICY_VERSIONS_OVERLAP", "b.yaml")
    assert refused.value.metadata["first_source"] == "a.yaml"


def test_a_preset_nobody_defined_is_refused() -> None:
    """A setting that names no preset file stops the start."""
    with pytest.raises(Failure, match="POLICY_PRESET_UNKNOWN"):
        PolicyBook.of_documents({}, preset="generous")


def test_no_policy_that_counts_is_lost_while_processes_run() -> None:
    """Its last file is; another version of it, another file's name and further areas are none of its business."""
    before = {"nation.yaml": document("default", 1), "hami.yaml": document("650500", 2)}
    others = {
        "nation.yaml": document("default", 3),
        "hami-2.yaml": document("650500", 4),
        "x.yaml": document("650100", 5),
    }
    book = PolicyBook.of_documents(before)
    book.check_followed_by(PolicyBook.of_documents(others))
    for lost, policy in (("nation.yaml", "default"), ("hami.yaml", "650500")):
        left = {name: content for name, content in before.items() if name != lost}
        with pytest.raises(Failure, match="POLICY_LOST") as refused:
            book.check_followed_by(PolicyBook.of_documents(left))
        assert refused.value.metadata == {"policy": policy, "file": lost}


def test_a_nations_files_make_a_book_in_seconds() -> None:
    """Four hundred areas with a version each year: nobody waits for a start, and no version is looked for among all."""
    documents = {
        f"{area}-{year}.yaml": document(str(area), year, begins=f"{year}-{1 + area % 12:02d}-01")
        for area in range(410_000, 450_000, 100)
        for year in range(2024, 2029)
    }
    began = time.process_time()
    book = PolicyBook.of_documents(documents)
    took_s = time.process_time() - began
    assert book.on(date(2026, 12, 31)).for_area("420100").funder_floor_balance == 2026
    assert took_s < 10
