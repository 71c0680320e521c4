"""A person objects to a use of his money (domain §8): a case for an officer, from which nothing follows by itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.risk import Evidence, Finding, FundedBill, RiskKind, Subject

OBJECTION_WITHIN: Final = timedelta(days=365)
"""How long it is kept whose account paid for a bill: an account's statement is looked through once a year at least."""


class Ground(Enum):
    """Why somebody objects; the value is what the evidence says."""

    NOT_CONSENTED = "NOT_CONSENTED"
    IMPERSONATED = "IMPERSONATED"
    NOTHING_RECEIVED = "NOTHING_RECEIVED"
    AMOUNT_WRONG = "AMOUNT_WRONG"
    OTHER = "OTHER"


def known_use(bill: FundedBill | None) -> FundedBill:
    """The bill; USE_UNKNOWN (NOT_FOUND) if none of this number was paid from his account, as far as was heard.

    Whether it is somebody else's bill is not told.
    """
    if bill is None:
        raise Failure(Kind.NOT_FOUND, "USE_UNKNOWN", field="setl_id")
    return bill


def objection(psn_no: PsnNo, bill: FundedBill, ground: Ground, *, now: datetime) -> Finding:
    """What an officer is shown: the bill, when and where it was paid, and the ground. It is of the day of objecting."""
    evidence = Evidence(
        key=str(bill.setl_id),
        at=bill.settled_at,
        fixmedins_code=bill.fixmedins_code,
        reason=ground.value,
        setl_id=bill.setl_id,
        patient=bill.patient,
    )
    return Finding(RiskKind.OBJECTION, Subject(psn_no=psn_no), business_date(now), (evidence,))
