"""The commands `gongji identity kinship ...`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ops.consent import Operator
from ops.options import EXIT_NEEDS_A_PERSON, HERE, AsJson, Data, checked_address, give_up, print_json

Address = Annotated[
    str, typer.Option(callback=checked_address, help="HOST:PORT of the identity service, for one that runs elsewhere.")
]

Result = TypeVar("Result")

kinship = typer.Typer(name="kinship", help="Kinship facts and the civil registry.", no_args_is_help=True)


@kinship.command("load-registry")
def load_registry(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV in UTF-8 or GB18030 with a header: kind (PARENT_OF: certno_a is a parent of certno_b; "
            "MARRIED_TO; SIBLING_OF), certno_a, certno_b and, for marriages, from_date, to_date.",
        ),
    ],
    *,
    address: Address = "",
    in_flight: Annotated[int, typer.Option(min=1, max=32, help="Batches of 500 rows on their way at once.")] = 4,
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Load what the civil registry knows of parents, marriages and siblings; the same file again changes nothing.

    Facts that wait, and those submitted from then on, are checked against it. Certificates are kept as keyed indexes.
    Refused lines are listed with their reasons in FILE.refused.csv. A run that was cut off goes on where it stood.
    Exit code 0: every line was taken; 1: some were refused; 2: the file cannot be used, or the service is away.
    """
    # Imported here so that every other command starts without them.
    from ops.batchfile.running import run  # noqa: PLC0415  As above.
    from ops.identity.loading import load_registry_file  # noqa: PLC0415  As above.

    run(
        load_registry_file,
        file,
        service="identity",
        doing="loading",
        done="loaded",
        address=address,
        operator=operator,
        in_flight=in_flight,
        data=data,
        as_json=as_json,
    )


@kinship.command("reviews")
def reviews(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many at most.")] = 50,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Show the facts that wait for an officer, the one that has waited longest first; every look is on record.

    Exit code 0: none waits; 1: some do; 2: the service is away.
    """
    from rich.console import Console  # noqa: PLC0415  So that every other command starts without it.

    from ops.identity import reviews as queue  # noqa: PLC0415  As above.
    from ops.reaching import address_of, operator_of  # noqa: PLC0415  As above.

    place, caller = address or address_of("identity", data), operator_of(operator)
    found = _answer_of(queue.waiting(place, caller=caller, count_max=limit))
    if as_json:
        print_json(queue.as_json(found))
    else:
        queue.show(found, Console(highlight=False))
    if found:
        raise typer.Exit(EXIT_NEEDS_A_PERSON)


class Choice(StrEnum):
    """What an officer may decide."""

    VERIFY = "verify"
    REJECT = "reject"
    REVOKE = "revoke"


@kinship.command("review")
def review(
    fact_id: Annotated[str, typer.Argument(metavar="FACT_ID", help="As `reviews` shows it.")],
    decision: Annotated[Choice, typer.Argument(help="verify or reject what waits, revoke what was verified.")],
    *,
    opter: Annotated[str, typer.Option(help="经办人: the officer who decides, by name in the audit record.")],
    cause: Annotated[str, typer.Option(help="Why; needed to reject or revoke. No personal data.")] = "",
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
) -> None:
    """Decide about one fact; the same decision again changes nothing.

    Exit code 0: it is so now; 2: it was refused, or the service is away.
    """
    from ops.identity import reviews as queue  # noqa: PLC0415  As above.
    from ops.reaching import address_of, operator_of  # noqa: PLC0415  As above.

    place, caller = address or address_of("identity", data), operator_of(operator)
    state = _answer_of(
        queue.decided(place, caller=caller, fact_id=fact_id, decision=decision.value, opter=opter, cause=cause)
    )
    sys.stdout.write(f"{fact_id} is {state}\n")


def _answer_of(work: Coroutine[Any, Any, Result]) -> Result:
    from chassis.rpc.failures import PeerError  # noqa: PLC0415  As above.
    from kernel.failures import Failure  # noqa: PLC0415  As above.

    try:
        return asyncio.run(work)
    except (Failure, PeerError) as problem:
        give_up(problem)
