"""Benefit tables: which row counts in which case, what a year leaves of it, and what a table may not say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from chassis.files import built_from, parsed_yaml, read_yaml_folder
from kernel.clock import parsed_day
from kernel.failures import Failure, Kind
from kernel.policy import (
    BenefitTable,
    CareLevel,
    ExternalBenefit,
    LargeFund,
    OpenBenefit,
    OpenLarge,
    PolicyBook,
    PolicySet,
    YearSoFar,
)

SHIPPED: Final = Path(__file__).resolve().parents[3] / "policies"
WORKING: Final[dict[str, Any]] = {
    "insutype": "310",
    "med_types": ["11"],
    "levels": ["ONE", "TWO"],
    "retired": False,
    "deductible_fen": 70_000,
    "ratio": "0.60",
    "ceiling_fen": 350_000,
}
RETIRED: Final = {**WORKING, "retired": True, "deductible_fen": 50_000, "ratio": "0.68"}
RESIDENT: Final = {
    **{key: value for key, value in WORKING.items() if key != "retired"},
    "insutype": "390",
    "ratio": "0.5",
    "ceiling_fen": None,
}


def table_of(*rows: dict[str, Any]) -> BenefitTable:
    """The table of an area that states these rows."""
    found = PolicySet.of({"420100": {"benefit": "table", "benefit_table": list(rows)}}).for_area("420100").benefit
    assert isinstance(found, BenefitTable)
    return found


def refusal(layer: dict[str, Any]) -> tuple[str, str]:
    """The reason and the field with which a layer is refused."""
    with pytest.raises(Failure) as refused:
        PolicySet.of({"420100": layer})
    assert refused.value.kind is Kind.INVALID
    return refused.value.reason, refused.value.metadata["field"].removeprefix("policies.420100.")


@pytest.mark.parametrize(
    ("insutype", "retired", "ratio"), [("310", False, "0.60"), ("310", True, "0.68"), ("390", False, "0.5")]
)
def test_the_row_of_a_case_is_found(insutype: str, retired: bool, ratio: str) -> None:  # noqa: FBT001  A case of the table.
    """By insutype, med_type, level and whether the person is retired."""
    table = table_of(WORKING, RETIRED, RESIDENT)
    row = table.row_for(insutype=insutype, med_type="11", level=CareLevel.TWO, retired=retired)
    assert row.ratio == Decimal(ratio)


def test_a_resident_has_no_retirement() -> None:
    """Whatever is said of it, the resident's one row counts."""
    table = table_of(RESIDENT)
    of_working, of_retired = (
        table.row_for(insutype="390", med_type="11", level=CareLevel.ONE, retired=retired) for retired in (False, True)
    )
    assert of_working == of_retired


@pytest.mark.parametrize(
    "case",
    [
        {"insutype": "390"},
        {"insutype": "340"},
        {"med_type": "1101"},
        {"med_type": "1"},
        {"level": CareLevel.THREE},
        {"level": CareLevel.PHARMACY},
        {"retired": True},
    ],
)
def test_a_case_that_is_not_written_is_refused_by_name(case: dict[str, Any]) -> None:
    """A neighbour's row, a longer med_type or a nearby level is never taken in its place."""
    asked: dict[str, Any] = {"insutype": "310", "med_type": "11", "level": CareLevel.ONE, "retired": False, **case}
    with pytest.raises(Failure) as refused:
        table_of(WORKING).row_for(**asked)
    assert (refused.value.kind, refused.value.reason) == (Kind.PRECONDITION, "BENEFIT_ROW_MISSING")
    assert refused.value.metadata["level"] == asked["level"].value


@pytest.mark.parametrize(
    ("deductible_used", "fund_used", "still_open", "left"),
    [(0, 0, 70_000, 350_000), (69_999, 1, 1, 349_999), (70_000, 350_000, 0, 0), (90_000, 400_000, 0, 0)],
)
def test_what_the_year_has_used_is_taken_off(deductible_used: int, fund_used: int, still_open: int, left: int) -> None:
    """Never below zero, also where the table was lowered during the year."""
    row = table_of(WORKING).row_for(insutype="310", med_type="11", level=CareLevel.ONE, retired=False)
    assert row.open_after(YearSoFar(deductible_used, fund_used)) == OpenBenefit(still_open, Decimal("0.60"), left)


@pytest.mark.parametrize(("stated", "fund"), [(WORKING, LargeFund.EMPLOYEES), (RESIDENT, LargeFund.RESIDENTS)])
def test_what_pays_above_the_ceiling_has_a_year_of_its_own(stated: dict[str, Any], fund: LargeFund) -> None:
    """大额 of an employee, 大病 of a resident; what it has paid is taken off its own ceiling alone."""
    table = table_of({**stated, "ceiling_fen": 1_000, "pool": "clinic", "large": {"ratio": "0.8", "ceiling_fen": 500}})
    (row, *_) = table.rows
    assert row.pool == "clinic"
    left = row.open_after(YearSoFar(0, 1_000, 100))
    assert (left.ceiling_left_fen, left.large) == (0, OpenLarge(fund, Decimal("0.8"), 400))


def test_no_ceiling_stays_none() -> None:
    """Whatever the fund has paid."""
    row = table_of(RESIDENT).row_for(insutype="390", med_type="11", level=CareLevel.ONE, retired=False)
    assert row.open_after(YearSoFar(0, 10**15)).ceiling_left_fen is None


def test_a_table_counts_only_where_the_policy_says_so() -> None:
    """`benefit: external` beside a table is a table on file; a city may leave its province's table aside."""
    rows = [WORKING]
    on_file = PolicySet.of({"420000": {"benefit": "external", "benefit_table": rows}})
    assert on_file.for_area("420100").benefit == ExternalBenefit()
    layers = {"420000": {"benefit": "table", "benefit_table": rows}, "420100": {"benefit": "external"}}
    policies = PolicySet.of(layers)
    assert policies.for_area("420100").benefit == ExternalBenefit()
    assert isinstance(policies.for_area("420200").benefit, BenefitTable)


def test_a_citys_table_stands_in_place_of_its_provinces() -> None:
    """Whole: no row of the province's is added to it."""
    layers = {
        "420000": {"benefit": "table", "benefit_table": [WORKING, RETIRED]},
        "420100": {"benefit_table": [RESIDENT]},
    }
    benefit = PolicySet.of(layers).for_area("420100").benefit
    assert isinstance(benefit, BenefitTable)
    assert {row.insutype.value for row in benefit.rows} == {"390"}


def test_the_version_does_not_depend_on_how_rows_are_written() -> None:
    """Two rows of one level each, in another order and with 0.6 for 0.60, are the one row of both."""
    one = [{**WORKING, "levels": [level], "ratio": "0.6"} for level in ("TWO", "ONE")]
    versions = {PolicySet.of({"420100": {"benefit_table": rows}}).version for rows in (one, [WORKING])}
    other = PolicySet.of({"420100": {"benefit_table": [{**WORKING, "ceiling_fen": 350_001}]}}).version
    assert (len(versions), other in versions) == (1, False)


@pytest.mark.parametrize(
    ("change", "reason", "path"),
    [
        ({"insutype": 310}, "POLICY_VALUE_WRONG_TYPE", "insutype"),
        ({"pool": 1}, "POLICY_VALUE_WRONG_TYPE", "pool"),
        ({"pool": ""}, "POLICY_VALUE_OUT_OF_RANGE", "pool"),
        ({"pool": "Clinic"}, "POLICY_VALUE_OUT_OF_RANGE", "pool"),
        ({"large": "0.8"}, "POLICY_VALUE_WRONG_TYPE", "large"),
        ({"large": {"ratio": "0.8"}}, "POLICY_KEY_MISSING", "large.ceiling_fen"),
        ({"large": {"ratio": "1.1", "ceiling_fen": None}}, "RATIO_OUT_OF_RANGE", "large.ratio"),
        ({"large": {"ratio": "0.8", "ceiling_fen": None}, "ceiling_fen": None}, "POLICY_CONTRADICTORY", "large"),
        ({"insutype": "340"}, "POLICY_VALUE_OUT_OF_RANGE", "insutype"),
        ({"med_types": "11"}, "POLICY_VALUE_WRONG_TYPE", "med_types"),
        ({"med_types": []}, "POLICY_VALUE_OUT_OF_RANGE", "med_types"),
        ({"med_types": [11]}, "POLICY_VALUE_WRONG_TYPE", "med_types[0]"),
        ({"med_types": ["1"]}, "POLICY_VALUE_OUT_OF_RANGE", "med_types[0]"),
        ({"med_types": ["１１"]}, "POLICY_VALUE_OUT_OF_RANGE", "med_types[0]"),
        ({"med_types": ["11", "11"]}, "POLICY_CONTRADICTORY", "med_types[1]"),
        ({"levels": ["FOUR"]}, "POLICY_VALUE_OUT_OF_RANGE", "levels[0]"),
        ({"levels": [True]}, "POLICY_VALUE_WRONG_TYPE", "levels[0]"),
        ({"retired": "no"}, "POLICY_VALUE_WRONG_TYPE", "retired"),
        ({"deductible_fen": -1}, "POLICY_VALUE_OUT_OF_RANGE", "deductible_fen"),
        ({"deductible_fen": 700.0}, "POLICY_VALUE_WRONG_TYPE", "deductible_fen"),
        ({"deductible_fen": None}, "POLICY_VALUE_WRONG_TYPE", "deductible_fen"),
        ({"ratio": 0.6}, "POLICY_VALUE_WRONG_TYPE", "ratio"),
        ({"ratio": "1.01"}, "RATIO_OUT_OF_RANGE", "ratio"),
        ({"ratio": "60%"}, "RATIO_OUT_OF_RANGE", "ratio"),
        ({"ceiling_fen": "350000"}, "POLICY_VALUE_WRONG_TYPE", "ceiling_fen"),
        ({"ceiling_left_fen": 1}, "POLICY_KEY_UNKNOWN", "ceiling_left_fen"),
        ({"insutype": "390"}, "POLICY_CONTRADICTORY", "retired"),
    ],
)
def test_a_wrong_value_of_a_row_is_refused_by_its_path(change: dict[str, Any], reason: str, path: str) -> None:
    """Unknown, of another type, out of range, or of a person who cannot be."""
    assert refusal({"benefit_table": [RETIRED, {**WORKING, **change}]}) == (reason, f"benefit_table[1].{path}")


@pytest.mark.parametrize("key", sorted(WORKING))
def test_a_row_says_everything_itself(key: str) -> None:
    """What it leaves out is not taken from another row, nor from a default."""
    row = {name: value for name, value in WORKING.items() if name != key}
    assert refusal({"benefit_table": [row]}) == ("POLICY_KEY_MISSING", f"benefit_table[0].{key}")


@pytest.mark.parametrize(
    ("layer", "reason", "path"),
    [
        ({"benefit_table": []}, "POLICY_VALUE_OUT_OF_RANGE", "benefit_table"),
        ({"benefit_table": WORKING}, "POLICY_VALUE_WRONG_TYPE", "benefit_table"),
        ({"benefit_table": [None]}, "POLICY_VALUE_WRONG_TYPE", "benefit_table[0]"),
        ({"benefit_table": [WORKING, {**WORKING, "levels": ["TWO"]}]}, "POLICY_CONTRADICTORY", "benefit_table[1]"),
        ({"benefit": "table", "benefit_table": [WORKING], "ratio": "0.5"}, "POLICY_CONTRADICTORY", "ratio"),
        (
            {"benefit_table": [{**WORKING, "med_types": [f"{number:03}" for number in range(100)]}] * 6},
            "POLICY_CONTRADICTORY",
            "benefit_table[1]",
        ),
        (
            {
                "benefit_table": [
                    {**WORKING, "med_types": [f"{first}{number:03}" for number in range(100)]} for first in range(6)
                ]
            },
            "POLICY_VALUE_OUT_OF_RANGE",
            "benefit_table",
        ),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(layer: dict[str, Any], reason: str, path: str) -> None:
    """Two rows about one case, no row at all, too many, or a scenario's open values beside it."""
    assert refusal(layer) == (reason, path)


def test_open_values_of_another_layer_beside_a_table_are_refused() -> None:
    """The province's ratio and the city's table cannot both be meant."""
    with pytest.raises(Failure, match="POLICY_CONTRADICTORY") as refused:
        PolicySet.of({"420000": {"benefit": "table", "ratio": "0.5"}, "420100": {"benefit_table": [WORKING]}})
    assert refused.value.metadata["field"] == "policies.420100.ratio"


def test_a_file_that_computes_by_nothing_stops_a_start() -> None:
    """`benefit: table` alone would have the fund pay nothing; the line is named. A scenario may say so."""
    files = {"a.yaml": parsed_yaml(b"area: '420100'\npolicy:\n  wallet: true\n  benefit: table\n", name="a.yaml")}
    with pytest.raises(Failure, match="POLICY_CONTRADICTORY") as refused:
        built_from(files, PolicyBook.of_documents)
    assert (refused.value.metadata["file"], refused.value.metadata["line"]) == ("a.yaml", "4")
    assert PolicySet.of({"420100": {"benefit": "table"}}).for_area("420100").benefit == OpenBenefit(0, Decimal(0), None)


def test_the_line_of_a_wrong_row_is_told() -> None:
    """Also deep inside a row."""
    text = (
        "area: '420100'\npolicy:\n  benefit_table:\n  - insutype: '390'\n    med_types: ['11']\n    levels: [ONE]\n"
        "    deductible_fen: 0\n    ratio: '1.1'\n    ceiling_fen: null\n"
    )
    with pytest.raises(Failure, match="RATIO_OUT_OF_RANGE") as refused:
        built_from({"a.yaml": parsed_yaml(text.encode(), name="a.yaml")}, PolicyBook.of_documents)
    assert refused.value.metadata["line"] == "8"


def test_gaps_are_the_cases_that_neighbours_make_one_expect() -> None:
    """Levels and retired people that a med_type leaves out; a pharmacy only where it is named."""
    gaps = table_of({**WORKING, "levels": ["UNGRADED", "ONE", "TWO", "THREE"]}).gaps
    assert gaps == tuple(("310", "11", level, True) for level in ("UNGRADED", "ONE", "TWO", "THREE"))
    at_pharmacies = {**WORKING, "med_types": ["41"], "levels": ["PHARMACY"]}
    assert table_of(at_pharmacies).gaps == (("310", "41", "PHARMACY", True),)


def test_the_shipped_tables_are_on_file_only_and_without_gaps() -> None:
    """No area computes until somebody has confirmed its figures."""
    book = built_from(read_yaml_folder(SHIPPED), PolicyBook.of_documents)
    policies = book.on(parsed_day("2026-11-22", field="day"))
    assert {type(policies.for_area(area).benefit) for area in policies.areas()} == {ExternalBenefit}
    tables = {version.name: version.layer.get("benefit_table") for version in book.versions}
    shipped = {name: BenefitTable(rows) for name, rows in tables.items() if isinstance(rows, tuple)}
    assert {name: table.gaps for name, table in shipped.items()} == {"420100": ()}
