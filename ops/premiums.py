"""The commands `gongji premiums ...`: what an area asks for a year, who has filed to pay for whom, and who has paid."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar
from uuid import uuid4

import typer

from kernel.money import yuan_text
from ops.consent import Operator
from ops.options import HERE, AsJson, Data, checked_address, give_up, print_json

if TYPE_CHECKING:
    from gongji.settlement.v1.premiums_pb2 import PaidPremiumsTotals, PremiumTariff
    from gongji.settlement.v1.premiums_pb2_grpc import PremiumServiceAsyncStub

CALL_MAX_S: Final = 10.0
EXPORT_MAX_S: Final = 3_600.0
"""An area of millions of residents takes minutes."""
Result = TypeVar("Result")
Address = Annotated[
    str,
    typer.Option(callback=checked_address, help="HOST:PORT of the settlement service, for one that runs elsewhere."),
]
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="yyyy-MM-dd, included.")]

premiums = typer.Typer(
    name="premiums",
    help="Residents' premiums: tariffs, filings, the list of those who have paid.",
    no_args_is_help=True,
)


@premiums.command("tariff")
def tariff(
    area: Annotated[str, typer.Argument(help="The area (参保地).")],
    year: Annotated[int, typer.Argument(help="The year of cover.")],
    amount_fen: Annotated[int, typer.Argument(help="What each resident pays, in fen.")],
    *,
    opens: Day,
    closes: Day,
    revocable_until: Day,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Set what an area asks for a year, and until when; the same again changes nothing.

    Once a premium of that year is paid its amount is fixed; the days can still be moved.
    Exit code 0: it stands; 2: it is refused, or the service is away.
    """
    from gongji.settlement.v1 import premiums_pb2 as pb  # noqa: PLC0415  So that every other command starts without it.

    async def ask(desk: PremiumServiceAsyncStub, opter: str) -> PremiumTariff:
        request = pb.SetPremiumTariffRequest(
            area=area,
            year=year,
            amount_fen=amount_fen,
            opens_on=opens.date().isoformat(),
            closes_on=closes.date().isoformat(),
            revocable_until=revocable_until.date().isoformat(),
            opter=opter,
        )
        return (await desk.SetPremiumTariff(request, timeout=CALL_MAX_S)).tariff

    _show([_asked(ask, address, operator, data)], as_json=as_json)


@premiums.command("tariffs")
def tariffs(
    area: Annotated[str, typer.Argument(help="The area (参保地).")],
    *,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Show what an area asks for, the latest year first. Exit code 0; 2: the service is away."""
    from gongji.settlement.v1 import premiums_pb2 as pb  # noqa: PLC0415  So that every other command starts without it.

    async def ask(desk: PremiumServiceAsyncStub, _: str) -> list[PremiumTariff]:
        return list(
            (await desk.ListPremiumTariffs(pb.ListPremiumTariffsRequest(area=area), timeout=CALL_MAX_S)).tariffs
        )

    found = _asked(ask, address, operator, data)
    _show(found, as_json=as_json)
    if not found and not as_json:
        typer.echo(f"{area} has not said yet what it asks for; gongji premiums tariff says it", err=True)


@premiums.command("file")
def file(
    payer: Annotated[str, typer.Argument(metavar="PAYER", help="psn_no of whoever pays.")],
    insured: Annotated[str, typer.Argument(metavar="INSURED", help="psn_no of the relative.")],
    *,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
) -> None:
    """Record that one person will pay another's premiums (代缴备案), where the policy wants it first; prints its id.

    Exit code 0: it stands; 2: it is refused, or the service is away.
    """
    from gongji.settlement.v1 import premiums_pb2 as pb  # noqa: PLC0415  So that every other command starts without it.

    async def ask(desk: PremiumServiceAsyncStub, opter: str) -> str:
        request = pb.FilePremiumPayerRequest(
            request_id=str(uuid4()), payer_psn_no=payer, insured_psn_no=insured, opter=opter
        )
        return (await desk.FilePremiumPayer(request, timeout=CALL_MAX_S)).filing_id

    typer.echo(_asked(ask, address, operator, data))


@premiums.command("end-filing")
def end_filing(
    filing_id: Annotated[str, typer.Argument(metavar="FILING")],
    *,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
) -> None:
    """End a filing; what was paid under it stays paid. Exit code 0: it has ended; 2: unknown, or no service."""
    from gongji.settlement.v1 import premiums_pb2 as pb  # noqa: PLC0415  So that every other command starts without it.

    async def ask(desk: PremiumServiceAsyncStub, opter: str) -> None:
        await desk.EndPremiumFiling(pb.EndPremiumFilingRequest(filing_id=filing_id, opter=opter), timeout=CALL_MAX_S)

    _asked(ask, address, operator, data)


@premiums.command("paid")
def paid(
    area: Annotated[str, typer.Argument(help="The area (参保地) whose premium it is.")],
    year: Annotated[int, typer.Argument(help="The year of cover.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="The file to write, not there yet; premiums-AREA-YEAR.csv when left out.")
    ] = None,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Write the list of those whose premium is paid, for the tax bureau, once nobody can take a payment back.

    Stopped anywhere, nothing is written; run again, the same bytes come (docs/premiums.md).
    Exit code 0: written, held against the digest that the service names; 2: nothing was written.
    """
    from gongji.settlement.v1 import premiums_pb2 as pb  # noqa: PLC0415  So that every other command starts without it.
    from ops.whole_file import OtherContentError, write_whole  # noqa: PLC0415  As above.

    file = out or Path(f"premiums-{area}-{year}.csv")
    if file.exists():
        give_up(f"{file} exists already; name another file with --out")

    async def ask(desk: PremiumServiceAsyncStub, _: str) -> PaidPremiumsTotals:
        totals = pb.PaidPremiumsTotals()

        async def parts() -> AsyncIterator[bytes]:
            request = pb.ExportPaidPremiumsRequest(area=area, year=year)
            async for part in desk.ExportPaidPremiums(request, timeout=EXPORT_MAX_S):
                if part.HasField("totals"):
                    totals.CopyFrom(part.totals)
                else:
                    yield part.csv

        await write_whole(file, parts(), told=lambda _: None, expected=lambda: totals.sha256)
        return totals

    try:
        totals = _asked(ask, address, operator, data)
    except OtherContentError as problem:
        give_up(problem)
    if as_json:
        print_json(
            {
                "file": str(file),
                "premiums_count": totals.premiums_count,
                "total_fen": totals.total_fen,
                "sha256": totals.sha256.hex(),
            }
        )
        return
    typer.echo(
        f"{file}: {totals.premiums_count:,} premiums, {yuan_text(totals.total_fen)} yuan, SHA-256 {totals.sha256.hex()}"
    )


def _asked(
    ask: Callable[[PremiumServiceAsyncStub, str], Awaitable[Result]], address: str, operator: str, data: Path
) -> Result:
    from gongji.settlement.v1.premiums_pb2_grpc import PremiumServiceStub  # noqa: PLC0415  So that every other command starts without it.
    from ops.reaching import asked_of_settlement  # noqa: PLC0415  As above.

    return asked_of_settlement(PremiumServiceStub, ask, address=address, operator=operator, data=data)


def _show(found: list[PremiumTariff], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "area": each.area,
                    "year": each.year,
                    "amount_fen": each.amount_fen,
                    "opens_on": each.opens_on,
                    "closes_on": each.closes_on,
                    "revocable_until": each.revocable_until,
                    "opter": each.opter,
                }
                for each in found
            ]
        )
        return
    for each in found:
        typer.echo(
            f"{each.area} {each.year}  {yuan_text(each.amount_fen)} yuan  paid {each.opens_on} to {each.closes_on}, "
            f"taken back until {each.revocable_until}  ({each.opter})"
        )
