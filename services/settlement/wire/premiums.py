"""The premiums' face: requests into values, tariffs and payments into answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.identity.v1 import person_pb2
from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import premiums_pb2 as pb
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.settlement.domain.premium import PremiumAsked, PremiumShown, PremiumState, Tariff
from services.settlement.domain.split import Role
from services.settlement.operations.premium_list import Totals

_KINDS: Final = {
    Role.OWN: account_pb2.ACCOUNT_KIND_PERSONAL,
    Role.WALLET: account_pb2.ACCOUNT_KIND_WALLET,
}
_ROLES: Final = {kind: role for role, kind in _KINDS.items()}
STATES: Final = {state: pb.PremiumState.Value(f"PREMIUM_STATE_{state.value}") for state in PremiumState}


def tariff(request: pb.SetPremiumTariffRequest) -> Tariff:
    """What an area is to ask for; PREMIUM_TARIFF_DATES_WRONG of a day that no calendar has."""
    return Tariff(
        area=AdmDvs(request.area),
        year=request.year,
        amount_fen=request.amount_fen,
        opens_on=_day(request.opens_on),
        closes_on=_day(request.closes_on),
        revocable_until=_day(request.revocable_until),
        opter=request.opter,
    )


def premium_asked(request: pb.PayPremiumRequest) -> PremiumAsked:
    """A payment asked for."""
    return PremiumAsked(
        request_id=UUID(request.request_id),
        payer=PsnNo(request.payer_psn_no),
        source=_ROLES[request.pay_from],
        insured=PsnNo(request.insured_psn_no),
        year=request.year,
        amount_fen=request.amount_fen,
    )


def tariff_message(asked: Tariff) -> pb.PremiumTariff:
    """What an area asks for."""
    return pb.PremiumTariff(
        area=asked.area,
        year=asked.year,
        amount_fen=asked.amount_fen,
        opens_on=asked.opens_on.isoformat(),
        closes_on=asked.closes_on.isoformat(),
        revocable_until=asked.revocable_until.isoformat(),
        opter=asked.opter,
    )


def premium_message(premium: PremiumShown) -> pb.Premium:
    """A payment as its payer or its insured sees it: what it was paid from is the payer's alone to know."""
    message = pb.Premium(
        premium_id=str(premium.premium_id),
        payer_psn_no=premium.payer,
        insured_psn_no=premium.insured,
        insured_name_masked=premium.insured_name,
        relation=person_pb2.Relation.Value(f"RELATION_{premium.relation or 'UNSPECIFIED'}"),
        year=premium.year,
        area=premium.area,
        amount_fen=premium.amount_fen,
        state=STATES[premium.state],
        cause=premium.cause,
        begun_time=_timestamp(premium.begun_at),
    )
    if premium.decided_at is not None:
        message.decided_time.CopyFrom(_timestamp(premium.decided_at))
    if premium.revoked_at is not None:
        message.revoked_time.CopyFrom(_timestamp(premium.revoked_at))
    if premium.is_payer:
        message.paid_from = _KINDS[premium.source]
    return message


def list_part(part: str | Totals) -> pb.ExportPaidPremiumsResponse:
    """A part of the list of payers, or what all of it comes to."""
    if isinstance(part, str):
        return pb.ExportPaidPremiumsResponse(csv=part.encode())
    totals = pb.PaidPremiumsTotals(premiums_count=part.count, total_fen=part.total_fen, sha256=part.sha256)
    return pb.ExportPaidPremiumsResponse(totals=totals)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Failure(Kind.INVALID, "PREMIUM_TARIFF_DATES_WRONG") from None


def _timestamp(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
