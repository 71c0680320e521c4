"""Bad scenario files: exit 2, the field and the reason on stderr, nothing on stdout."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml
from typer.testing import CliRunner

from chassis.files import FILE_BYTES_MAX
from ops.plan import plan
from tests.unit.split.contents import SCENARIOS

COMMAND: Final = typer.Typer(add_completion=False)
COMMAND.command()(plan)
BASE: Final[dict[str, Any]] = yaml.safe_load(SCENARIOS[0].read_text(encoding="utf-8"))
GONE: Final = object()


def refused(file: Path) -> str:
    """What the command says on stderr about a file that it must refuse, with --json and without."""
    said = set()
    for arguments in ([str(file)], [str(file), "--json"]):
        result = CliRunner().invoke(COMMAND, arguments)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        said.add(result.stderr)
    (message,) = said
    assert "Traceback" not in message
    return message


def refused_text(folder: Path, text: str | bytes) -> str:
    """The same, for a file with this content."""
    file = folder / "scenario.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return refused(file)


def changed(path: tuple[str | int, ...], value: object) -> str:
    """The first scenario with one value put, replaced or taken away."""
    content = copy.deepcopy(BASE)
    place: Any = content
    for step in path[:-1]:
        place = place[step]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


PLACES: Final[list[tuple[tuple[str | int, ...], str]]] = [
    ((), ""),
    (("persons", 1), "persons[1]."),
    (("bindings", 0), "bindings[0]."),
    (("visit",), "visit."),
    (("expect",), "expect."),
    (("policies", "650000"), "policies.650000."),
]
REQUIRED: Final = [
    *("policies", "persons", "bindings", "visit"),
    *(f"persons[0].{key}" for key in ("psn", "name", "certno", "insutype", "area", "past", "current")),
    *(f"bindings[0].{key}" for key in ("funder", "beneficiary", "authorized", "bound_at", "relation")),
    *(f"visit.{key}" for key in ("patient", "area", "fixmedins_code", "med_type", "medfee_sumamt", "inscp_scp_amt")),
    *(f"visit.{key}" for key in ("fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt")),
]


def steps(field: str) -> tuple[str | int, ...]:
    """`persons[0].psn` as steps into the content."""
    return tuple(int(step) if step.isdigit() else step for step in field.replace("[", ".").replace("]", "").split("."))


@pytest.mark.parametrize(("path", "prefix"), PLACES, ids=[prefix or "top" for _, prefix in PLACES])
def test_an_unknown_field_is_refused_at_every_level(path: tuple[str | int, ...], prefix: str, tmp_path: Path) -> None:
    """A field nobody knows is named with its path; nothing is ignored in silence."""
    message = refused_text(tmp_path, changed((*path, "colour"), 1))
    assert f": {prefix}colour: " in message
    assert "SCENARIO_FIELD_UNKNOWN" in message or "POLICY_KEY_UNKNOWN" in message


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_refused(field: str, tmp_path: Path) -> None:
    """A required field that is missing is named."""
    assert f": {field}: SCENARIO_FIELD_MISSING" in refused_text(tmp_path, changed(steps(field), GONE))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("persons[0].past", True, "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[0].past", 1.5, "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[0].past", "100", "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[0].past", None, "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[0].past", -1, "AMOUNT_OUT_OF_RANGE"),
        ("persons[0].wallet", 10**16, "AMOUNT_OUT_OF_RANGE"),
        ("persons[0].frozen", "yes", "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[0].frozen", 1, "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[0].psn", 650100000000001, "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[0].psn", "65010000000000x", "PERSON_NUMBER_MALFORMED"),
        ("persons[0].insutype", 310, "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[0].insutype", "999", "SCENARIO_VALUE_MALFORMED"),
        ("persons[0].stas", "3", "SCENARIO_VALUE_MALFORMED"),
        ("persons[0].area", "6501", "AREA_MALFORMED"),
        ("persons[0].area", "990100", "POLICY_AREA_UNKNOWN"),
        ("persons[0].name", " ", "SCENARIO_VALUE_MALFORMED"),
        ("persons[0].certno", "650103198503124519", "CERTIFICATE_CHECKSUM_WRONG"),
        ("persons[0].certno", "650103850312451", "CERTIFICATE_15_DIGITS"),
        ("persons[0].certno", "65010319850312451", "CERTIFICATE_MALFORMED"),
        ("persons[0].certno", "650103198513124518", "CERTIFICATE_BIRTH_DATE_WRONG"),
        ("persons[1].psn", "650100000000001", "SCENARIO_PERSON_TWICE"),
        ("persons[1].certno", "650103198503124518", "SCENARIO_PERSON_TWICE"),
        ("persons", {}, "SCENARIO_FIELD_WRONG_TYPE"),
        ("persons[1]", "somebody", "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings", None, "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings[0].funder", "650500000000009", "SCENARIO_PERSON_UNKNOWN"),
        ("bindings[0].beneficiary", "650500000000009", "SCENARIO_PERSON_UNKNOWN"),
        ("bindings[0].funder", "650100000000001", "FUNDER_IS_BENEFICIARY"),
        ("bindings[0].authorized", -5, "AMOUNT_OUT_OF_RANGE"),
        ("bindings[0].used", None, "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings[0].per_payment", 0, "SCENARIO_VALUE_MALFORMED"),
        ("bindings[0].per_payment", -1, "AMOUNT_OUT_OF_RANGE"),
        ("bindings[0].per_month", 0, "SCENARIO_VALUE_MALFORMED"),
        ("bindings[0].per_month", 1.5, "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings[0].month_used", None, "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings[0].order", "1", "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings[0].order", True, "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings[0].order", -1, "SCENARIO_VALUE_MALFORMED"),
        ("bindings[0].bound_at", "2026-01-05T10:00:00", "SCENARIO_VALUE_MALFORMED"),
        ("bindings[0].bound_at", "2026-02-30T10:00:00+08:00", "SCENARIO_VALUE_MALFORMED"),
        ("bindings[0].bound_at", "yesterday", "SCENARIO_VALUE_MALFORMED"),
        ("bindings[0].bound_at", 20260105, "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings[0].unbound", "false", "SCENARIO_FIELD_WRONG_TYPE"),
        ("bindings[0].relation", "wife", "SCENARIO_VALUE_MALFORMED"),
        ("visit", [], "SCENARIO_FIELD_WRONG_TYPE"),
        ("visit.patient", "650100000000009", "SCENARIO_PERSON_UNKNOWN"),
        ("visit.area", 650100, "SCENARIO_FIELD_WRONG_TYPE"),
        ("visit.fixmedins_code", "X65010000017", "INSTITUTION_CODE_MALFORMED"),
        ("visit.fixmedins_code", "H6501000001", "INSTITUTION_CODE_MALFORMED"),
        ("visit.med_type", "outpatient", "SCENARIO_VALUE_MALFORMED"),
        ("visit.wallet_capable", 0, "SCENARIO_FIELD_WRONG_TYPE"),
        ("visit.medfee_sumamt", 25001, "BILL_DOES_NOT_ADD_UP"),
        ("visit.medfee_sumamt", 250.00, "SCENARIO_FIELD_WRONG_TYPE"),
        ("visit.preselfpay_amt", -1, "AMOUNT_OUT_OF_RANGE"),
        ("visit.medfee_sumamt", 10**16, "AMOUNT_OUT_OF_RANGE"),
        ("visit.hifp_pay", 24001, "POOLED_PART_EXCEEDS_SCOPE"),
        ("visit.hosp_part_amt", 13001, "HOSPITAL_PART_EXCEEDS_BURDEN"),
        ("persons[0].sanctioned", True, "PATIENT_SANCTIONED"),
        ("persons[0].stas", "2", "PATIENT_NOT_INSURED"),
        ("policies", None, "SCENARIO_FIELD_WRONG_TYPE"),
        ("policies", {650000: {}}, "SCENARIO_FIELD_WRONG_TYPE"),
        ("policies.default", {}, "AREA_MALFORMED"),
        ("policies.980000", {}, "POLICY_AREA_UNKNOWN"),
        ("policies.650000", None, "POLICY_VALUE_WRONG_TYPE"),
        ("policies.650000.ratio", 0.7, "POLICY_VALUE_WRONG_TYPE"),
        ("policies.650000.single_pay_ratio_cap", "1.2", "RATIO_OUT_OF_RANGE"),
        ("policies.650000.own_order", ["past", "past"], "POLICY_CONTRADICTORY"),
        ("expect.hifp_pay", "12000", "SCENARIO_FIELD_WRONG_TYPE"),
        ("expect.skipped", [{"psn": "650500000000002", "reason": "TIRED"}], "SCENARIO_VALUE_MALFORMED"),
        ("title", ["a"], "SCENARIO_FIELD_WRONG_TYPE"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(field: str, value: object, reason: str, tmp_path: Path) -> None:
    """The reason stands on stderr with the path of the field, or of the one it falls on."""
    path = tuple(
        steps(field) if not field.startswith("policies.") else ("policies", *field.removeprefix("policies.").split("."))
    )
    message = refused_text(tmp_path, changed(path, value))
    assert f": {reason}" in message
    expected = {"PATIENT_SANCTIONED": "visit.patient", "PATIENT_NOT_INSURED": "visit.patient"}.get(reason, field)
    assert f": {expected}" in message


def test_funds_above_the_bill_are_refused(tmp_path: Path) -> None:
    """The sum at fault is named, though no field of the file holds it."""
    assert "visit.fund_pay_sumamt: FUNDS_EXCEED_BILL" in refused_text(tmp_path, changed(("visit", "maf_pay"), 13001))


def test_the_line_is_told(tmp_path: Path) -> None:
    """A refusal points to the line of the file, counted from 1."""
    text = SCENARIOS[0].read_text(encoding="utf-8").replace("past: 90000", "past: -90000")
    line = text.splitlines().index("  past: -90000") + 1
    assert refused_text(tmp_path, text).startswith(f"{tmp_path}/scenario.yaml:{line}: persons[1].past: AMOUNT_OUT_OF_")


def test_control_characters_of_a_file_do_not_reach_the_screen(tmp_path: Path) -> None:
    """A key may hold an escape sequence; what is printed does not."""
    assert "\x1b" not in refused_text(tmp_path, 'title: x\n"\\e[31mred": 1\n')


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "FILE_MALFORMED"),
        ("# only a comment\n", "FILE_MALFORMED"),
        ("[1, 2]\n", "FILE_MALFORMED"),
        ("just text\n", "FILE_MALFORMED"),
        ("a: [1\n", "FILE_MALFORMED"),
        ("a: 1\n---\nb: 2\n", "FILE_MALFORMED"),
        ("\ttitle: x\n", "FILE_MALFORMED"),
        (b"title: \xb9\xb2\xbc\xc3\n", "FILE_MALFORMED"),
        (b"\xff\xfet\x00i\x00", "FILE_MALFORMED"),
        ("title: \x00\n", "FILE_MALFORMED"),
        ("title: !!python/object/apply:os.system [true]\n", "FILE_MALFORMED"),
        ("title: !!int abc\n", "FILE_MALFORMED"),
        ("title: !!timestamp abc\n", "FILE_MALFORMED"),
        (f"title: {'9' * 5000}\n", "FILE_MALFORMED"),
        ("? [a, b]\n: 1\n", "FILE_MALFORMED"),
        ("title: x\ntitle: y\n", "FILE_KEY_TWICE"),
        ("a: &a [*a]\n", "FILE_MALFORMED"),
        ("a: " + "[" * 5000, "FILE_MALFORMED"),
        ("a: *nobody\n", "FILE_MALFORMED"),
        ("x" * (FILE_BYTES_MAX + 1), "FILE_TOO_LARGE"),
    ],
)
def test_what_is_no_scenario_at_all_is_refused(content: str | bytes, reason: str, tmp_path: Path) -> None:
    """Not YAML, not a mapping, not UTF-8, twice the same key, too large, harmful tags: refused before anything else."""
    assert f": {reason}" in refused_text(tmp_path, content)


def test_aliases_that_blow_up_are_refused_at_once(tmp_path: Path) -> None:
    """Ten levels of ten aliases would be ten thousand million values; the file is refused instead."""
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "FILE_MALFORMED" in refused_text(tmp_path, "\n".join(levels) + "\n")


def test_a_bound_at_that_yaml_1_1_took_for_a_date_is_text(tmp_path: Path) -> None:
    """Without quotes the instant is read as it stands, and an explicit date is of the wrong type."""
    text = SCENARIOS[0].read_text(encoding="utf-8")
    unquoted = text.replace("'2026-01-05T10:00:00+08:00'", "2026-01-05T10:00:00+08:00")
    assert unquoted != text
    file = tmp_path / "unquoted.yaml"
    file.write_text(unquoted, encoding="utf-8")
    assert CliRunner().invoke(COMMAND, [str(file), "--json"]).exit_code == 0
    tagged = text.replace("'2026-01-05T10:00:00+08:00'", "!!timestamp 2026-01-05")
    assert "bindings[0].bound_at: SCENARIO_FIELD_WRONG_TYPE" in refused_text(tmp_path, tagged)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    """What cannot be read says so."""
    assert "FILE_UNREADABLE" in refused(tmp_path)
    assert "FILE_UNREADABLE" in refused(tmp_path / "missing.yaml")
    if Path("/dev/zero").exists():
        assert "FILE_TOO_LARGE" in refused(Path("/dev/zero"))


def test_the_command_by_itself_exits_2(tmp_path: Path) -> None:
    """As a process of its own: exit 2, nothing on stdout, field and reason on stderr, also in a plain C locale."""
    file = tmp_path / "scenario.yaml"
    file.write_text(changed(("visit", "medfee_sumamt"), 1), encoding="utf-8")
    result = subprocess.run(  # noqa: S603  Our own interpreter and file.
        [sys.executable, "-m", "ops.plan", str(file), "--json"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "visit.medfee_sumamt: BILL_DOES_NOT_ADD_UP" in result.stderr
