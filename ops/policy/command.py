"""The commands `gongji policy check | show | diff | schema`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kernel.failures import Failure
from ops.options import EXIT_CANNOT_RUN, EXIT_NEEDS_A_PERSON, AsJson, give_up, print_json

if TYPE_CHECKING:
    from kernel.policy import PolicyBook

SHIPPED: Final = Path(__file__).resolve().parents[2] / "policies"
Policies = Annotated[Path, typer.Option(help="A folder of policy files, or one file.")]
Preset = Annotated[str | None, typer.Option(help="The preset laid above all areas; none if left out.")]
On = Annotated[str, typer.Option(help="The civil day in Asia/Shanghai, yyyy-MM-dd; today if left out.")]

policy = typer.Typer(
    name="policy",
    help="Region policies (政策): test files, show an area's values, see what changes.",
    no_args_is_help=True,
)


@policy.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]...", help="Policy files and folders.")] = None,
    *,
    preset: Preset = None,
    as_json: AsJson = False,
) -> None:
    """Test policy files together, as a process would read them: every area on every day on which something changes.

    Exit code 0: sound; 1: a process would start with them, but something is to be looked at (a value without a source,
    a benefit table with gaps, or one that the desk cannot compute by); 2: a process would not start with them.
    """
    from ops.policy.remarks import remarks_on  # noqa: PLC0415  So that every other command starts without it.
    from ops.policy.view import days_of, show_versions  # noqa: PLC0415  As above.

    book = _read(paths or [SHIPPED], preset)
    remarks = remarks_on(book)
    if as_json:
        versions = [
            {"name": each.name, "preset": each.is_preset, "source": each.source, "days": days_of(each)}
            for each in book.versions
        ]
        print_json({"versions": versions, "remarks": remarks})
    else:
        show_versions(book)
    for remark in remarks:
        sys.stderr.write(f"{remark}\n")
    if remarks:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@policy.command()
def show(
    area: Annotated[str, typer.Argument(help="Six digits, such as 650500.")],
    *,
    on: On = "",
    policies: Policies = SHIPPED,
    preset: Preset = None,
    as_json: AsJson = False,
) -> None:
    """Show every parameter of an area on a day, which version decides it, and where that has it from."""
    from kernel.clock import SystemClock, business_date  # noqa: PLC0415  As above.
    from kernel.ids import AdmDvs  # noqa: PLC0415  As above.
    from kernel.policy.policy_book import plain_day  # noqa: PLC0415  As above.
    from ops.policy.reading import told  # noqa: PLC0415  As above.
    from ops.policy.view import decided_by, note_of, show_values  # noqa: PLC0415  As above.

    book = _read([policies], preset)
    try:
        day = plain_day(on) if on else business_date(SystemClock().now())
        stated = book.stated(AdmDvs(area), on=day)
    except Failure as failure:
        give_up(told(failure))
    except ValueError as problem:
        give_up(problem)
    if as_json:
        print_json(
            {
                each.parameter: {"value": each.value, "decided_by": decided_by(each), "source": note_of(each)}
                for each in stated
            }
        )
    else:
        show_values(area, day, stated, until=book.next_change(AdmDvs(area), after=day))


@policy.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The policies as they are: a folder or a file.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The policies as they shall be.")],
    *,
    scenarios: Annotated[Path, typer.Option(help="A folder of scenario files; their own policies are left aside.")],
    on: On = "",
    preset: Preset = None,
    as_json: AsJson = False,
) -> None:
    """Show what new policies would change: every scenario's bill is split under both.

    Exit code 0: nothing changes; 1: something does; 2: files cannot be used.
    """
    from kernel.clock import SystemClock, business_date  # noqa: PLC0415  As above.
    from kernel.policy.policy_book import plain_day  # noqa: PLC0415  As above.
    from ops.policy.comparing import compare  # noqa: PLC0415  As above.
    from ops.policy.reading import read_scenarios, told  # noqa: PLC0415  As above.
    from ops.policy.view import show_changes  # noqa: PLC0415  As above.

    try:
        day = plain_day(on) if on else business_date(SystemClock().now())
        found = read_scenarios(scenarios)
    except Failure as failure:
        give_up(told(failure))
    except ValueError as problem:
        give_up(problem)
    if not found:
        give_up(f"no scenario (*.yaml) in {scenarios}")
    books = _read([old], preset), _read([new], preset)
    compared = compare(found, *(book.on(day) for book in books))
    if as_json:
        print_json({each.scenario: each.changes for each in compared if each.changes})
    else:
        show_changes(compared, day, later=sorted({each for book in books for each in book.days if each > day}))
    if any(each.changes for each in compared):
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


@policy.command()
def schema() -> None:
    """Print the JSON Schema of a policy file (policies/policy.schema.json)."""
    from ops.policy.schema import document_schema  # noqa: PLC0415  As above.

    print_json(document_schema())


def _read(paths: list[Path], preset: str | None) -> PolicyBook:
    from ops.policy.reading import read_book, told  # noqa: PLC0415  As above.

    try:
        return read_book(paths, preset=preset)
    except Failure as failure:
        sys.stderr.write(told(failure) + "\n")
        raise typer.Exit(EXIT_CANNOT_RUN) from None
