"""The commands `gongji claims list | show | decide | payouts`: what officers do with reimbursement claims."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from uuid import UUID, uuid4

import typer

from kernel.clock import SHANGHAI
from kernel.money import yuan_text
from ops.consent import Operator
from ops.options import HERE, AsJson, Data, checked_address, give_up, print_json

if TYPE_CHECKING:
    from gongji.settlement.v1.claims_pb2 import Claim, OrderPayoutResponse
    from gongji.settlement.v1.claims_pb2_grpc import ClaimServiceAsyncStub

CALL_MAX_S: Final = 30.0
"""A last approval waits for the ledgers."""
PAGE_SIZE: Final = 200
Result = TypeVar("Result")
Address = Annotated[
    str,
    typer.Option(callback=checked_address, help="HOST:PORT of the settlement service, for one that runs elsewhere."),
]
ClaimId = Annotated[UUID, typer.Argument(metavar="CLAIM", help="claim_id.")]

claims = typer.Typer(name="claims", help="Reimbursement claims (手工报销).", no_args_is_help=True)


class Standing(StrEnum):
    """The states of a claim, as the contract has them."""

    SUBMITTED = "SUBMITTED"
    SECOND_LOOK = "SECOND_LOOK"
    PAYING = "PAYING"
    PAYABLE = "PAYABLE"
    ORDERED = "ORDERED"
    REFUSED = "REFUSED"
    NOT_TAKEN = "NOT_TAKEN"


class Verdict(StrEnum):
    """What an officer says."""

    APPROVE = "approve"
    REFUSE = "refuse"


_WAITING: Final = (Standing.SUBMITTED, Standing.SECOND_LOOK, Standing.NOT_TAKEN)
"""Those that want an officer's word."""


@claims.command("list")
def list_claims(
    area: Annotated[str, typer.Argument(help="The area that reviews them (参保地).")],
    *,
    state: Annotated[
        list[Standing] | None, typer.Option(help="In this state; may be repeated. Those that wait for an officer.")
    ] = None,
    all_states: Annotated[bool, typer.Option("--all", help="In whatever state.")] = False,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Show an area's claims, the oldest first. Exit code 0; 2: the service is away."""
    from gongji.settlement.v1 import claims_pb2 as pb  # noqa: PLC0415  So that every other command starts without it.

    named = [] if all_states else [pb.ClaimState.Value(f"CLAIM_STATE_{each.value}") for each in state or _WAITING]

    async def ask(desk: ClaimServiceAsyncStub, _: str) -> list[Claim]:
        found: list[Claim] = []
        request = pb.ListClaimsRequest(area=area, states=sorted(set(named)), page_size=PAGE_SIZE)
        while True:
            page = await desk.ListClaims(request, timeout=CALL_MAX_S)
            found += page.claims
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    found = _asked(ask, address, operator, data)
    if as_json:
        print_json([_document(each) for each in found])
        return
    for each in found:
        typer.echo(_line(each))
    if not found:
        typer.echo(f"{area} has no claim in any state" if not named else f"{area} has none of these claims", err=True)


@claims.command("show")
def show(
    claim_id: ClaimId, *, address: Address = "", operator: Operator = "", data: Data = HERE, as_json: AsJson = False
) -> None:
    """Show a claim with its decisions. Exit code 0; 2: it is unknown, or the service is away."""
    from gongji.settlement.v1 import claims_pb2 as pb  # noqa: PLC0415  As above.

    async def ask(desk: ClaimServiceAsyncStub, _: str) -> Claim:
        return (await desk.GetClaim(pb.GetClaimRequest(claim_id=str(claim_id)), timeout=CALL_MAX_S)).claim

    _show(_asked(ask, address, operator, data), as_json=as_json)


@claims.command("decide")
def decide(
    claim_id: ClaimId,
    verdict: Annotated[Verdict, typer.Argument(help="What you decide.")],
    *,
    cause: Annotated[str, typer.Option(help="Told to the claimant; names nobody else.")],
    dedc_fen: Annotated[
        int | None, typer.Option(min=0, help="act_pay_dedc, in fen. A benefit table computes it.")
    ] = None,
    hifp_fen: Annotated[int | None, typer.Option(min=0, help="hifp_pay, in fen. A benefit table computes it.")] = None,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
    as_json: AsJson = False,
) -> None:
    """Approve or refuse a claim; the same word again changes nothing.

    With the last approval the family's part is taken. Exit code 0: decided; 2: it is not, and the reason says why.
    """
    from gongji.settlement.v1 import claims_pb2 as pb  # noqa: PLC0415  As above.

    async def ask(desk: ClaimServiceAsyncStub, opter: str) -> Claim:
        request = pb.DecideClaimRequest(
            claim_id=str(claim_id),
            opter=opter,
            approve=verdict is Verdict.APPROVE,
            cause=cause,
            act_pay_dedc=dedc_fen,
            hifp_pay=hifp_fen,
        )
        return (await desk.DecideClaim(request, timeout=CALL_MAX_S)).claim

    _show(_asked(ask, address, operator, data), as_json=as_json)


@claims.command("payouts")
def payouts(
    area: Annotated[str, typer.Argument(help="The area that pays out (参保地).")],
    *,
    order: Annotated[UUID | None, typer.Option(help="An order that was made before: its file once more.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; payout-ORDER.csv when left out. It must not exist yet.")
    ] = None,
    address: Address = "",
    operator: Operator = "",
    data: Data = HERE,
) -> None:
    """Put up to 1,000 payable claims of an area into one order, and write its file (docs/claims.md).

    Should the answer be lost, the order's id that was printed brings the same order with --order.
    Exit code 0: the file is written, held against the order's digest; 2: it is not.
    """
    from gongji.settlement.v1 import claims_pb2 as pb  # noqa: PLC0415  As above.
    from ops.whole_file import OtherContentError, write_whole  # noqa: PLC0415  As above.

    order_id = order or uuid4()
    file = out or Path(f"payout-{order_id}.csv")
    if file.exists():
        give_up(f"{file} exists already; name another file with --out")
    typer.echo(f"order {order_id}", err=True)

    async def ask(desk: ClaimServiceAsyncStub, opter: str) -> OrderPayoutResponse:
        request = pb.OrderPayoutRequest(request_id=str(order_id), area=area, opter=opter)
        return await desk.OrderPayout(request, timeout=CALL_MAX_S)

    answer = _asked(ask, address, operator, data)
    content = _csv(answer, area)
    try:
        asyncio.run(write_whole(file, _parts(content), told=lambda _: None, expected=lambda: answer.sha256))
    except OtherContentError:
        give_up(f"what was answered is not what order {order_id} keeps the digest of; nothing was written")
    except OSError as problem:
        give_up(f"{problem}; the order stands, write its file with --order {order_id}")
    typer.echo(f"{file}: {len(answer.lines)} claims, {yuan_text(answer.total_fen)} yuan, SHA-256 {answer.sha256.hex()}")


async def _parts(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _csv(answer: OrderPayoutResponse, area: str) -> bytes:
    rows = ["payout_order_id,area,claim_id,psn_no,fund_fen,family_fen,total_fen"]
    rows += [
        f"{answer.payout_order_id},{area},{line.claim_id},{line.psn_no},{line.fund_fen},{line.family_fen},"
        f"{line.fund_fen + line.family_fen}"
        for line in answer.lines
    ]
    return "".join(f"{row}\n" for row in rows).encode()


def _asked(
    ask: Callable[[ClaimServiceAsyncStub, str], Awaitable[Result]], address: str, operator: str, data: Path
) -> Result:
    from gongji.settlement.v1.claims_pb2_grpc import ClaimServiceStub  # noqa: PLC0415  So that every other command starts without it.
    from ops.reaching import asked_of_settlement  # noqa: PLC0415  As above.

    return asked_of_settlement(ClaimServiceStub, ask, address=address, operator=operator, data=data)


def _show(claim: Claim, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(claim))
        return
    typer.echo(_line(claim))
    visit = f", visit {claim.mdtrt_id}" if claim.mdtrt_id else ""
    typer.echo(f"  care on {claim.care_on}, med_type {claim.bill.med_type}{visit}")
    amounts = (f"{name} {yuan_text(fen)}" for name, fen in _amounts(claim).items() if fen)
    typer.echo(f"  {', '.join(amounts)}")
    for paper in claim.documents:
        typer.echo(f"  {paper.kind}, {paper.bytes_count} bytes, SHA-256 {paper.sha256.hex()}")
    if claim.act_pay_dedc or claim.hifp_pay:
        typer.echo(f"  deductible {yuan_text(claim.act_pay_dedc)}, pooled fund {yuan_text(claim.hifp_pay)}")
    for each in claim.decisions:
        word = "approved" if each.approved else "refused"
        typer.echo(f"  {_day(each.decided_time.ToDatetime(SHANGHAI))}  {word} by {each.opter}: {each.cause}")
    if claim.appeal:
        typer.echo(f"  appealed: {claim.appeal}")
    if claim.payout_order_id:
        typer.echo(f"  in order {claim.payout_order_id}")


def _amounts(claim: Claim) -> dict[str, int]:
    """What the bill says, by the national names, in fen."""
    names = (field.name for field in claim.bill.DESCRIPTOR.fields if field.name != "med_type")
    return {name: getattr(claim.bill, name) for name in names}


def _line(claim: Claim) -> str:
    paid = ""
    if claim.fund_pay_sumamt or claim.family_pay_fen:
        paid = f", funds {yuan_text(claim.fund_pay_sumamt)}, family {yuan_text(claim.family_pay_fen)}"
    return (
        f"{claim.claim_id}  {_state(claim)}  {_day(claim.submitted_time.ToDatetime(SHANGHAI))}  {claim.psn_no}  "
        f"{claim.fixmedins_code} {claim.invoice_no}  bill {yuan_text(claim.medfee_sumamt)} yuan{paid}"
    )


def _document(claim: Claim) -> dict[str, Any]:
    return {
        "claim_id": claim.claim_id,
        "state": _state(claim),
        "psn_no": claim.psn_no,
        "fixmedins_code": claim.fixmedins_code,
        "invoice_no": claim.invoice_no,
        "area": claim.area,
        "care_on": claim.care_on,
        "mdtrt_id": claim.mdtrt_id,
        "medfee_sumamt": claim.medfee_sumamt,
        "bill": {"med_type": claim.bill.med_type, **_amounts(claim)},
        "documents": [
            {"kind": paper.kind, "sha256": paper.sha256.hex(), "bytes_count": paper.bytes_count}
            for paper in claim.documents
        ],
        "act_pay_dedc": claim.act_pay_dedc,
        "hifp_pay": claim.hifp_pay,
        "fund_pay_sumamt": claim.fund_pay_sumamt,
        "family_pay_fen": claim.family_pay_fen,
        "submitted_time": claim.submitted_time.ToJsonString(),
        "decisions": [
            {
                "approved": each.approved,
                "opter": each.opter,
                "cause": each.cause,
                "decided_time": each.decided_time.ToJsonString(),
            }
            for each in claim.decisions
        ],
        "appeal": claim.appeal,
        "payout_order_id": claim.payout_order_id,
    }


def _state(claim: Claim) -> str:
    from gongji.settlement.v1.claims_pb2 import ClaimState  # noqa: PLC0415  As above.

    return ClaimState.Name(claim.state).removeprefix("CLAIM_STATE_")


def _day(instant: datetime) -> str:
    return instant.date().isoformat()
