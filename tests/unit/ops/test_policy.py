"""`gongji policy`: what a person is told of files before they count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]  # Its stubs are a distribution of their own.
import pytest
from typer.testing import CliRunner

from chassis.files import read_yaml, read_yaml_folder
from kernel.failures import Failure
from kernel.policy.parameters import PARAMETER_NAMES, parsed_layer
from ops.main import app
from ops.policy.schema import document_schema

ROOT: Final = Path(__file__).resolve().parents[3]
SHIPPED: Final = ROOT / "policies"
SCENARIOS: Final = ROOT / "tests" / "scenarios"


def said(*arguments: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of ``gongji policy``."""
    result = CliRunner().invoke(app, ["policy", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two versions of one province."""
    (tmp_path / "a.yaml").write_text(
        "area: '650000'\npolicy:\n  funder_floor_balance: 100\nsources:\n  funder_floor_balance: 文件 1\n",
        encoding="utf-8",
    )
    (tmp_path / "b.yaml").write_text(
        "area: '650000'\neffective_from: '2027-01-01'\npolicy:\n  funder_floor_balance: 5000\n"
        "sources:\n  funder_floor_balance: unconfirmed\n",
        encoding="utf-8",
    )
    return tmp_path


def test_the_shipped_files_are_sound_and_sourced() -> None:
    """Exit code 0 and a line for each file."""
    code, out, err = said("check")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1 + len(list(SHIPPED.glob("*.yaml")))


def test_a_file_that_would_stop_a_process_is_told_by_line_and_reason(folder: Path) -> None:
    """Exit code 2, nothing on standard output."""
    (folder / "c.yaml").write_text("area: '650000'\neffective_from: '2027-01-01'\npolicy: {}\n", encoding="utf-8")
    code, out, err = said("check", str(folder))
    assert (code, out) == (2, "")
    assert err.splitlines()[0].startswith(f"{folder / 'c.yaml'}:2: effective_from: POLICY_VERSIONS_OVERLAP")


def test_a_value_without_a_source_is_named(folder: Path) -> None:
    """Exit code 1: a process would start with it."""
    (folder / "c.yaml").write_text("area: '310000'\npolicy:\n  wallet: false\n", encoding="utf-8")
    code, _, err = said("check", str(folder), "--json")
    assert (code, "c.yaml: no source is named for wallet" in err) == (1, True)


TABLE: Final = (
    "area: '420100'\npolicy:\n  benefit: {benefit}\n  benefit_table:\n  - insutype: '310'\n    med_types: ['11']\n"
    "    levels: [UNGRADED, ONE, TWO]\n    retired: false\n    deductible_fen: 70000\n    ratio: '0.60'\n"
    "    ceiling_fen: 350000\nsources:\n  benefit: unconfirmed\n  benefit_table: unconfirmed\n"
)


def test_what_a_person_should_look_at_is_told(tmp_path: Path) -> None:
    """Gaps of a table, a table that begins within a year, and what only a scenario can know: exit code 1."""
    since = "effective_from: '2027-07-01'\n"
    (tmp_path / "t.yaml").write_text(since + TABLE.format(benefit="table"), encoding="utf-8")
    (tmp_path / "o.yaml").write_text(
        "area: '650000'\npolicy: {benefit: table, ratio: '0.5'}\nsources: {benefit: x, ratio: x}\n", encoding="utf-8"
    )
    code, _, err = said("check", str(tmp_path))
    assert code == 1
    assert "t.yaml: benefit_table has no row for insutype 310, med_type 11, level THREE: " in err
    assert "t.yaml: benefit: table begins within a year" in err
    assert "o.yaml: ratio: what is open of one person's year is for scenarios" in err


def test_a_trial_that_ends_what_it_interrupts_is_told(folder: Path) -> None:
    """After its last day the version before does not come back; one that follows at once is all that is needed."""
    trial = "area: '650000'\neffective_from: '2027-06-01'\neffective_to: '2027-06-30'\npolicy: {}\n"
    (folder / "trial.yaml").write_text(trial, encoding="utf-8")
    code, _, err = said("check", str(folder))
    assert (code, "trial.yaml: from 2027-07-01 on nothing is stated for 650000" in err) == (1, True)
    assert "b.yaml ended when this version began" in err
    after = "area: '650000'\neffective_from: '2027-07-01'\npolicy: {}\n"
    (folder / "after.yaml").write_text(after, encoding="utf-8")
    assert said("check", str(folder))[::2] == (0, "")


def test_a_table_on_file_is_shown_as_such(tmp_path: Path) -> None:
    """With its rows, in yuan, and that it does not count."""
    (tmp_path / "t.yaml").write_text(TABLE.format(benefit="external"), encoding="utf-8")
    code, out, _ = said("show", "420100", "--policies", str(tmp_path))
    assert (code, "3 cases, not in use" in out) == (0, True)
    rows = [line.split() for line in out.splitlines()[-3:]]
    assert rows == [
        ["310", "11", level, "working", "700.00", "0.6", "3,500.00"] for level in ("UNGRADED", "ONE", "TWO")
    ]


def test_the_day_of_the_next_change_is_shown(folder: Path) -> None:
    """So that nobody takes today's values for next month's."""
    _, out, _ = said("show", "650500", "--on", "2026-12-31", "--policies", str(folder))
    assert out.splitlines()[0] == "650500 on 2026-12-31; it changes on 2027-01-01"


def test_values_are_told_as_a_file_states_them() -> None:
    """True is true, not a word."""
    _, out, _ = said("show", "650500", "--json")
    assert json.loads(out)["premium_payment"]["value"] is True


@pytest.mark.parametrize(
    ("used", "fund_fen"), [({}, 18_000), ({"deductible_used": 70_000, "fund_used": 300_000}, 50_000)]
)
def test_a_change_of_a_table_is_shown_by_what_it_does(used: dict[str, int], fund_fen: int, tmp_path: Path) -> None:
    """A scenario that says its case is computed by the row; one that does not, and one without a row, are refused."""
    old, new, scenarios = (tmp_path / name for name in ("old", "new", "scenarios"))
    for path in (old, new, scenarios):
        path.mkdir()
    (old / "t.yaml").write_text(TABLE.format(benefit="external"), encoding="utf-8")
    (new / "t.yaml").write_text(TABLE.format(benefit="table"), encoding="utf-8")
    scenario = read_yaml(SCENARIOS / "01-own-account-is-enough.yaml").data
    patient = next(each for each in scenario["persons"] if each["psn"] == scenario["visit"]["patient"])
    patient["area"] = "420100"
    visit = scenario["visit"] | {"med_type": "11", "medfee_sumamt": 100_000, "inscp_scp_amt": 100_000, "hifp_pay": 0}
    visit |= dict.fromkeys(("fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "act_pay_dedc"), 0)
    for name, case in {"told": {"level": "TWO", **used}, "untold": {}, "other": {"level": "THREE"}}.items():
        content = {**scenario, "visit": visit | case}
        del content["expect"]
        (scenarios / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")
    code, out, _ = said("diff", str(old), str(new), "--scenarios", str(scenarios), "--json")
    changes = json.loads(out)
    assert (code, changes["told.yaml"]["hifp_pay"]) == (1, [0, fund_fen])
    assert changes["untold.yaml"]["refused"] == [None, "BENEFIT_CASE_UNKNOWN"]
    assert changes["other.yaml"]["refused"] == [None, "BENEFIT_ROW_MISSING"]


@pytest.mark.parametrize(("day", "floor_fen", "file"), [("2026-12-31", 100, "a.yaml"), ("2027-01-01", 5000, "b.yaml")])
def test_an_area_is_shown_as_it_stands_on_a_day(folder: Path, day: str, floor_fen: int, file: str) -> None:
    """The value of the version that counts then, the file and its source; what nobody states is built in."""
    code, out, _ = said("show", "650500", "--on", day, "--policies", str(folder), "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["funder_floor_balance"]["value"] == floor_fen
    assert shown["funder_floor_balance"]["decided_by"].startswith(file)
    assert shown["wallet"] == {"value": True, "decided_by": "built in", "source": ""}


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "990000"),
        ("show", "65"),
        ("show", "650500", "--on", "yesterday"),
        ("show", "650500", "--on", "2026-W01-1"),
    ],
)
def test_what_cannot_be_shown_is_told(arguments: tuple[str, ...]) -> None:
    """An area of no province, no area at all, no day: exit code 2."""
    code, out, err = said(*arguments)
    assert (code, out) == (2, "")
    assert err


def test_a_change_is_shown_by_what_it_does_to_each_bill(folder: Path) -> None:
    """A floor that keeps a funder's last yuan changes some scenarios, and the same files change none."""
    old, new = folder / "a.yaml", folder / "b.yaml"
    arguments = ("--scenarios", str(SCENARIOS), "--on", "2027-06-01", "--json")
    assert said("diff", str(old), str(old), *arguments)[:2] == (0, "{}\n")
    code, out, _ = said("diff", str(old), str(new), *arguments)
    changes = json.loads(out)
    assert code == 1
    assert changes["12-half-up.yaml"]["acct_mulaid_pay"] == [134, 0]
    _, text, _ = said("diff", str(old), str(new), *arguments[:-1])
    assert "\n  acct_mulaid_pay: 1.34 → 0.00\n" in text
    assert "\n  funders: 650500000000022 past 1.34 current 0.00 → nobody\n" in text


def test_the_schema_on_file_is_the_one_that_is_printed() -> None:
    """`gongji policy schema` prints policies/policy.schema.json, which knows every parameter."""
    code, out, _ = said("schema")
    assert (code, out) == (0, (SHIPPED / "policy.schema.json").read_text(encoding="utf-8"))
    assert json.loads(out)["properties"]["policy"]["properties"].keys() == PARAMETER_NAMES


def test_every_shipped_file_has_the_form_of_the_schema() -> None:
    """As any editor would check it."""
    validator = jsonschema.Draft202012Validator(document_schema())
    for name, file in read_yaml_folder(SHIPPED).items():
        assert [error.message for error in validator.iter_errors(file.data)] == [], name


ROW: Final[dict[str, Any]] = {
    "insutype": "310",
    "med_types": ["11"],
    "levels": ["ONE"],
    "retired": False,
    "deductible_fen": 0,
    "ratio": "0.5",
    "ceiling_fen": None,
}
VALUES: Final[list[Any]] = [
    *([ROW], [ROW, {**ROW, "retired": True}], [{**ROW, "insutype": "390"}], [{**ROW, "levels": []}], [{**ROW, "x": 1}]),
    *([{key: value for key, value in ROW.items() if key != left_out}] for left_out in ROW),
    [{key: value for key, value in (ROW | {"insutype": "390"}).items() if key != "retired"}],
    *([{**ROW, key: value}] for key in ROW for value in (None, "1", 1, True, ["11", "11"], ["TWO", "THREE"], "0.5x")),
    *(None, True, False, -1, 0, 1, 2, 3, 7, 8, 16, 18, 19, 1000, 1001, 10**16),
    *("", "0", "0.7", "1", "1.01", "1.000", ".5", ".", "7e-1"),
    *("external", "table", "EXPLICIT", "after_filing", "same_year_before_clearing"),
    *([], ["past"], ["past", "past"], ["PARENT"], ["COPAY"], ["nobody"]),
    *({}, {"per_day": 3}, {"per_day": -1}, {"closed_from": "24:00"}, {"closed_from": "22:00"}, {"x": 1}),
]
"""One of everything that somebody might write."""


@pytest.mark.parametrize("parameter", sorted(PARAMETER_NAMES))
def test_the_schema_takes_what_a_process_takes(parameter: str) -> None:
    """Value for value, whatever the parameter."""
    validator = jsonschema.Draft202012Validator(document_schema()["properties"]["policy"])
    for value in VALUES:
        try:
            parsed_layer({parameter: value}, where="policy")
            taken = True
        except Failure:
            taken = False
        assert validator.is_valid({parameter: value}) is taken, value
