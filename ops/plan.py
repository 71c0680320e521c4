"""`gongji plan FILE`: a dry run of the split for one scenario file. No server, no shipped policy (domain §6)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from kernel.failures import Failure

if TYPE_CHECKING:
    from chassis.files import YamlFile
    from services.settlement.domain.split import Split

EXIT_BAD_INPUT: Final = 2
LINE_LENGTH_MAX: Final = 1_000


def plan_as_json(split: Split) -> dict[str, object]:
    """The plan in the form of domain §6: amounts in fen, funders and skipped in order of deduction."""
    return {
        "hifp_pay": split.burden.hifp_pay,
        "act_pay_dedc": split.burden.act_pay_dedc,
        "fund_pay_sumamt": split.burden.fund_pay_sumamt,
        "psn_part_amt": split.burden.psn_part_amt,
        "own_past": split.own.past_fen,
        "own_current": split.own.current_fen,
        "own_wallet": split.wallet_pay,
        "acct_mulaid_pay": split.acct_mulaid_pay,
        "acct_pay": split.acct_pay,
        "psn_cash_pay": split.psn_cash_pay,
        "funders": [
            {"psn": funder.psn_no, "past": funder.past_fen, "current": funder.current_fen} for funder in split.funders
        ],
        "skipped": [{"psn": skipped.psn_no, "reason": skipped.reason.value} for skipped in split.skipped],
    }


def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A scenario file (YAML); see tests/scenarios.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON, amounts in fen.")] = False,
) -> None:
    """Show who would pay a bill: a dry run of one scenario file, no server needed."""
    # Imported here so that every other command starts without them.
    from chassis.files import read_yaml  # noqa: PLC0415  As above.
    from ops.scenario import parsed_scenario  # noqa: PLC0415  As above.
    from services.settlement.domain.split import split  # noqa: PLC0415  As above.

    source: YamlFile | None = None
    try:
        source = read_yaml(file)
        scenario = parsed_scenario(source.data)
    except Failure as failure:
        _refuse(file, source, failure, within="")
    try:
        found = split(scenario.visit, scenario.policies)
    except Failure as failure:
        _refuse(file, source, failure, within="visit.")
    if as_json:
        sys.stdout.write(json.dumps(plan_as_json(found), indent=2) + "\n")
        return
    from ops.plan_view import show  # noqa: PLC0415  Only people need rich.

    show(scenario, found)


def _refuse(file: Path, source: YamlFile | None, failure: Failure, *, within: str) -> NoReturn:
    """Say which field is wrong and why, on stderr alone, and exit 2."""
    from chassis.rpc.catalogue import texts_of  # noqa: PLC0415  Only a refusal needs the catalogue.

    facts = {key: value for key, value in failure.metadata.items() if key not in {"field", "file", "line"}}
    field = failure.metadata.get("field", "")
    path = f"{within}{field}" if field else ""
    line = failure.metadata.get("line")
    if line is None and source is not None and path:
        line = str(source.line_of_field(path))
    place = [f"{file}:{line}" if line else str(file), *([path] if path else []), failure.reason]
    lines = [": ".join(place) + "".join(f" {key}={value}" for key, value in facts.items())]
    texts = texts_of(failure.reason)
    lines += [f"  {texts.zh}", f"  {texts.en}"]
    sys.stderr.write("\n".join(_printable(text) for text in lines) + "\n")
    raise typer.Exit(EXIT_BAD_INPUT)


def _printable(text: str) -> str:
    """The line without control characters (a key of the file may hold any) and of bearable length."""
    shown = "".join(character if character.isprintable() else "�" for character in text)
    return shown if len(shown) <= LINE_LENGTH_MAX else shown[:LINE_LENGTH_MAX] + " …"


def main() -> None:
    """The command alone: ``python -m ops.plan FILE [--json]``."""
    typer.run(plan)


if __name__ == "__main__":
    main()
