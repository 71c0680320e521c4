"""INQUIRE: a ledger asks what became of payments, and what it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PaymentId
from services.settlement.ledger.domain import commands as domain


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What the coordinator says of a payment: CONFIRM or CANCEL as a command, None to wait; or that it is unknown.

    ``epoch`` is the coordinator's; None of a release that did not say.
    """

    payment_id: PaymentId
    command: domain.Confirm | domain.Cancel | None
    unknown: bool
    epoch: int | None


def render_inquiry(area: AdmDvs, payment_ids: Iterable[PaymentId]) -> bytes:
    """The question what became of some payments."""
    return pb.InquireRequest(area=area, payment_ids=[it.bytes for it in payment_ids]).SerializeToString()


def parse_inquiry(payload: bytes, asked: Iterable[PaymentId]) -> list[Inquiry]:
    """What the coordinator said of the payments it was asked about; anything else in the answer is left aside.

    Raises INVALID REQUEST_MALFORMED if the answer cannot be read.
    """
    try:
        response = pb.InquireResponse.FromString(payload)
    except DecodeError:
        raise Failure(Kind.INVALID, "REQUEST_MALFORMED") from None
    wanted = {payment_id.bytes: payment_id for payment_id in asked}
    epoch = response.epoch or None
    return [
        _inquiry(wanted[answer.payment_id], answer, epoch) for answer in response.answers if answer.payment_id in wanted
    ]


def _inquiry(payment_id: PaymentId, answer: pb.InquireAnswer, epoch: int | None) -> Inquiry:
    command: domain.Confirm | domain.Cancel | None = None
    if not answer.unknown:
        if answer.decision == pb.DECISION_CONFIRM:
            command = domain.Confirm(payment_id)
        elif answer.decision == pb.DECISION_CANCEL:
            command = domain.Cancel(payment_id)
    return Inquiry(payment_id, command, answer.unknown, epoch)
