"""A stay in hospital (一次住院) that is settled in parts: interim settlements (中途结算), then the final one.

The parts of a stay are told apart by the patient, the institution and 就诊ID. The final settlement closes it; nothing
follows but the revocation of the last, then of the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.failures import Failure, Kind
from kernel.ids import PaymentId
from kernel.values import value


@value
class StayPart:
    """A settlement of the stay that is paid or may still be, and was not taken back."""

    payment_id: PaymentId
    interim: bool
    undecided: bool


def check_open(parts: Sequence[StayPart]) -> None:
    """Another settlement of the stay may be planned.

    PATIENT_BUSY while one is under way, whose end decides it; VISIT_CLOSED by a final one that stands.
    """
    for part in parts:
        if part.undecided:
            raise Failure(Kind.UNAVAILABLE, "PATIENT_BUSY")
        if not part.interim:
            raise Failure(Kind.PRECONDITION, "VISIT_CLOSED", setl_id=str(part.payment_id))


def check_last(payment_id: PaymentId, parts: Sequence[StayPart]) -> None:
    """What is to be taken back is the stay's last settlement; ``parts`` stand in the order in which they began.

    LATER_SETTLEMENT_STANDS (metadata: the last one's setl_id) otherwise; PATIENT_BUSY while that one is under way. What
    has been taken back meanwhile is not judged: whoever took it back has answered.
    """
    standing = [part.payment_id for part in parts]
    if payment_id in standing and standing[-1] != payment_id:
        last = parts[-1]
        if last.undecided:
            raise Failure(Kind.UNAVAILABLE, "PATIENT_BUSY")
        raise Failure(Kind.PRECONDITION, "LATER_SETTLEMENT_STANDS", setl_id=str(last.payment_id))
