"""What a payment is asked for with: the request key, the transactions that belong together, the windows of time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, assert_never
from uuid import UUID

from kernel.clock import business_date, business_month, business_year
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, FixmedinsCode, parsed_msgid
from kernel.policy import RevokeWindow

MSGID_AHEAD_MAX: Final = timedelta(minutes=10)
"""How far a terminal's clock may run ahead of ours (protocol rule 6)."""
RETENTION_DEFAULT: Final = timedelta(days=180)
"""How long the answer to a request key is kept, so how old a msgid may be (protocol rule 6)."""

CREDIT_INFNO: Final = "CREDIT"
"""Stands in the key of a credit, whose institution is the area and whose msgid is the row's id."""
TRANSFER_INFNO: Final = "TRANSFER"
"""Stands in the key of a transfer, whose institution is the giver's area and whose msgid is the request's id."""
_CARRYING: Final = "/"
PREMIUM_INFNO: Final = "PREMIUM"
"""Stands in the key of a premium's payment, whose institution is the insured's area."""
CLAIM_INFNO: Final = "CLAIM"
"""The same of what a family gives for a reimbursement claim; the area reviews it and pays it out."""
CHARGES: Final = frozenset({PREMIUM_INFNO, CLAIM_INFNO})
"""What a CHARGE may be for."""
GIVING_BACK: Final = "/REVOKE"
"""Ends the infno of the refund of a charge; the rest of its key is the charge's."""
REVERSAL_PREFIX: Final = "2601/"
"""Begins the infno of a refund that a reversal made; the original's infno follows, the msgid is the original's."""

SETTLES: Final = frozenset({"2102", "2207", "2304"})
PRE_SETTLE_OF: Final = {"2102": "2101", "2207": "2206", "2304": "2303"}
"""Which transaction made the plan that a transaction pays."""
REVOKES: Final = {"2103": "2102", "2208": "2207", "2305": "2304"}
"""Which transaction a revocation takes back."""

CLR_TYPES: Final = {"2207": "11", "2304": "21", "2102": "41"}
"""清算类别 by the transaction that settles: 11 outpatient, 21 inpatient, 41 pharmacy."""


class Key(NamedTuple):
    """The request key: (institution, infno, msgid) (protocol rule 6). One key has exactly one outcome."""

    fixmedins_code: str
    infno: str
    msgid: str


def reversal_key(original: Key) -> Key:
    """The key of the refund that reverses a committed payment; the same for every reversal of it."""
    return Key(original.fixmedins_code, REVERSAL_PREFIX + original.infno, original.msgid)


def credit_key(area: AdmDvs, row_id: str) -> Key:
    """The key of a credit: a row id is used once in its area."""
    return Key(area, CREDIT_INFNO, row_id)


def transfer_key(area: AdmDvs, request_id: str) -> Key:
    """The key of a transfer: a request id is used once in the giver's area."""
    return Key(area, TRANSFER_INFNO, request_id)


def charge_refund_key(charge: Key) -> Key:
    """The key of the one refund that a charge may have."""
    return Key(charge.fixmedins_code, charge.infno + GIVING_BACK, charge.msgid)


def is_of_charge(key: Key) -> bool:
    """Whether this is a charge or its refund: no institution has a part in it, and an area stands in its place."""
    return key.infno.removesuffix(GIVING_BACK) in CHARGES


def carrying_key(area: AdmDvs, move_id: UUID, carries: int) -> Key:
    """The key under which a wallet's money follows it for that time; no request id of a person looks like it."""
    return transfer_key(area, f"{move_id}{_CARRYING}{carries}")


def is_carrying(key: Key) -> bool:
    """Whether this is money that follows its own wallet: from hand to hand of one person, and told to nobody."""
    return key.infno == TRANSFER_INFNO and _CARRYING in key.msgid


def clr_type_of(infno: str) -> str | None:
    """清算类别 of a settlement, its revocation or its reversal, by the infno of its key; None of anything else."""
    settling = infno.removeprefix(REVERSAL_PREFIX)
    return CLR_TYPES.get(REVOKES.get(settling, settling))


def request_hash(*parts: str | bytes | int) -> bytes:
    """SHA-256 over the parts of a request beside its key, each with its length, so that no two lists look alike."""
    digest = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(content).to_bytes(4, "big"))
        digest.update(content)
    return digest.digest()


def area_of(fixmedins_code: str) -> AdmDvs:
    """就医地医保区划: the area of care stands in the institution's code."""
    return AdmDvs(fixmedins_code[1:7])


def check_key(key: Key, *, infnos: frozenset[str], now: datetime, retention: timedelta = RETENTION_DEFAULT) -> None:
    """A request key that may be used now, for one of these transactions.

    Refusals in this order: MSGID_MALFORMED; MSGID_OF_ANOTHER_INSTITUTION; INFNO_DOES_NOT_FIT; MSGID_TOO_OLD (older than
    the retention of answers), MSGID_AHEAD_OF_TIME (protocol rule 6). Nothing is stored.
    """
    msgid = parsed_msgid(key.msgid)
    if msgid.fixmedins_code != FixmedinsCode(key.fixmedins_code):
        raise Failure(Kind.INVALID, "MSGID_OF_ANOTHER_INSTITUTION", field="msgid")
    if key.infno not in infnos:
        raise Failure(Kind.INVALID, "INFNO_DOES_NOT_FIT", field="infno", infno=key.infno)
    if msgid.made_at < now - retention:
        raise Failure(Kind.INVALID, "MSGID_TOO_OLD", field="msgid", retention_days=retention.days)
    if msgid.made_at > now + MSGID_AHEAD_MAX:
        ahead_minutes = int(MSGID_AHEAD_MAX.total_seconds() // 60)
        raise Failure(Kind.INVALID, "MSGID_AHEAD_OF_TIME", field="msgid", ahead_max_minutes=ahead_minutes)


@dataclass(frozen=True, slots=True)
class Window:
    """Until when a settlement may be taken back: the rule of its area of care, and whether clearing has counted it."""

    rule: RevokeWindow = RevokeWindow.SAME_YEAR_BEFORE_CLEARING
    is_cleared: bool = False


def may_take_back(decided_at: datetime, now: datetime, window: Window) -> bool:
    """Whether a settlement decided then may still be revoked or reversed now (domain §7, ``revoke_window``)."""
    match window.rule:
        case RevokeWindow.SAME_DAY:
            return business_date(decided_at) == business_date(now)
        case RevokeWindow.SAME_MONTH:
            return business_month(decided_at) == business_month(now)
        case RevokeWindow.SAME_YEAR:
            return business_year(decided_at) == business_year(now)
        case RevokeWindow.SAME_YEAR_BEFORE_CLEARING:
            return business_year(decided_at) == business_year(now) and not window.is_cleared
        case _:
            assert_never(window.rule)
