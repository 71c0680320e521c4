"""Every scenario file gives exactly its `expect`, as a function and as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from chassis.files import read_yaml
from ops.plan import plan, plan_as_json
from ops.scenario import parsed_scenario
from services.settlement.domain.split import split
from tests.unit.split.contents import SCENARIOS
from tests.unit.split.oracle import expected_plan

COMMAND = typer.Typer(add_completion=False)
COMMAND.command()(plan)


def test_the_scenarios_are_there() -> None:
    """The folder holds the eighteen files this project started with, or more."""
    assert len(SCENARIOS) >= 18


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_the_split_is_what_the_file_expects(file: Path) -> None:
    """The pure function gives the file's `expect`, and so does the oracle of these tests."""
    content = read_yaml(file).data
    scenario = parsed_scenario(content)
    assert plan_as_json(split(scenario.visit, scenario.policies)) == content["expect"] == scenario.expect
    assert expected_plan(dict(content)) == content["expect"]


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_the_command_prints_what_the_file_expects(file: Path) -> None:
    """`gongji plan FILE --json` prints the plan, its keys in the order of domain §6, and nothing else."""
    result = CliRunner().invoke(COMMAND, [str(file), "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == read_yaml(file).data["expect"]
    assert list(json.loads(result.stdout)) == [
        *("hifp_pay", "act_pay_dedc", "fund_pay_sumamt", "psn_part_amt", "own_past", "own_current", "own_wallet"),
        *("acct_mulaid_pay", "acct_pay", "psn_cash_pay", "funders", "skipped"),
    ]


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_the_view_for_a_person_shows_every_source_and_the_cash(file: Path) -> None:
    """The readable view names each funder, each one left out, the cash in yuan, and agrees with the file."""
    content = read_yaml(file).data
    result = CliRunner().invoke(COMMAND, [str(file)])
    assert (result.exit_code, result.stderr) == (0, "")
    names = {person["psn"]: person["name"] for person in content["persons"]}
    for entry in [*content["expect"]["funders"], *content["expect"]["skipped"]]:
        assert names[entry["psn"]] in result.stdout
    assert f"{content['expect']['psn_cash_pay'] / 100:,.2f}" in result.stdout
    assert "一致 equal" in result.stdout


def test_the_command_runs_by_itself_and_loads_no_server_library() -> None:
    """As a process of its own it needs neither gRPC nor a database driver, and its output is plain JSON."""
    program = (
        "import sys; sys.argv = ['plan', sys.argv[1], '--json']\n"
        "import ops.plan\n"
        "try:\n    ops.plan.main()\n"
        "finally:\n    heavy = {'grpc', 'sqlalchemy', 'nats', 'asyncpg', 'google.protobuf', 'rich.table'}"
        " & set(sys.modules)\n    assert not heavy, heavy\n"
    )
    result = subprocess.run(  # noqa: S603  Our own interpreter and file.
        [sys.executable, "-c", program, str(SCENARIOS[0])], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == read_yaml(SCENARIOS[0]).data["expect"]


def test_a_file_without_an_expectation_is_planned(tmp_path: Path) -> None:
    """`expect` and `title` may be missing."""
    lines = SCENARIOS[0].read_text(encoding="utf-8").splitlines()
    file = tmp_path / "scenario.yaml"
    file.write_text("\n".join(lines[1 : lines.index("expect:")]), encoding="utf-8")
    result = CliRunner().invoke(COMMAND, [str(file)])
    assert (result.exit_code, "expect" in result.stdout) == (0, False)
