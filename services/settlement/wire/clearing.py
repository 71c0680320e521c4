"""Clearing as gRPC shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.rpc.pages import malformed, parts_of
from gongji.settlement.v1 import clearing_pb2 as pb
from kernel.failures import Failure
from services.settlement.domain.clearing import Position, SharePart, parsed_period
from services.settlement.store.clearing import ClearingPair, ClearingRun

_PARTS: Final = {
    SharePart.FUND: pb.SHARE_PART_FUND,
    SharePart.OWN: pb.SHARE_PART_OWN,
    SharePart.WALLET: pb.SHARE_PART_WALLET,
    SharePart.FUNDER: pb.SHARE_PART_FUNDER,
    SharePart.TRANSFER: pb.SHARE_PART_TRANSFER,
}
_MARK_PARTS: Final = 4


def run_message(run: ClearingRun) -> pb.ClearingRun:
    """A period as it was run."""
    run_time = Timestamp()
    run_time.FromDatetime(run.run_at)
    return pb.ClearingRun(
        period=str(run.period),
        run_time=run_time,
        run_by=run.run_by,
        payments_count=run.payments_count,
        local_fen=run.local_fen,
        lines_count=run.lines_count,
        lines_sha256=run.lines_sha256,
        carried_in_count=run.carried_in_count,
        carried_on_count=run.carried_on_count,
        carry_reason=run.carry_reason,
    )


def position_message(position: Position) -> pb.ClearingPosition:
    """An area over against all others."""
    return pb.ClearingPosition(
        area=position.area,
        owes_fen=position.owes_fen,
        is_owed_fen=position.is_owed_fen,
        net_fen=position.net_fen,
    )


def pair_message(pair: ClearingPair) -> pb.ClearingPair:
    """What one area owes another."""
    return pb.ClearingPair(
        debtor_area=pair.debtor_area,
        creditor_area=pair.creditor_area,
        part=_PARTS[SharePart(pair.part)],
        clr_type=pair.clr_type,
        charges_count=pair.charges_count,
        charged_fen=pair.charged_fen,
        refunds_count=pair.refunds_count,
        refunded_fen=pair.refunded_fen,
        owed_fen=pair.charged_fen - pair.refunded_fen,
    )


def line_message(line: Mapping[str, Any]) -> pb.ClearingLine:
    """A line as its row has it."""
    return pb.ClearingLine(
        period=line["period"],
        line_no=line["line_no"],
        debtor_area=line["debtor_area"],
        creditor_area=line["creditor_area"],
        part=_PARTS[SharePart(line["part"])],
        clr_type=line["clr_type"],
        setl_id=str(line["payment_id"]),
        leg_no=line["leg_no"],
        original_setl_id="" if line["original_id"] is None else str(line["original_id"]),
        fixmedins_code=line["fixmedins_code"],
        business_date=line["business_date"].isoformat(),
        amount_fen=line["amount_fen"],
    )


def last_period(token: str) -> str | None:
    """The period that a page of runs ended with; None for the first page, PAGE_TOKEN_MALFORMED."""
    parts = parts_of(token, 1)
    if parts is None:
        return None
    try:
        return str(parsed_period(parts[0], field="page_token"))
    except Failure:
        raise malformed() from None


def last_pair(token: str) -> tuple[str, ...] | None:
    """The pair that a page of pairs ended with; None for the first page, PAGE_TOKEN_MALFORMED."""
    parts = parts_of(token, _MARK_PARTS)
    if parts is not None and not all(part.isascii() for part in parts):
        raise malformed()
    return parts
