"""对账: two books of one day side by side, how a record differs, and how a difference stands until it is settled.

A record is a settlement, or what took one back. It belongs to the civil day (Asia/Shanghai) of its own deciding, so
what a late reversal gives back stands on the day of the reversal, and the settlement stays where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, Final, NamedTuple, Self
from uuid import UUID, uuid5

from kernel.clock import business_date, business_midnight, parsed_day
from kernel.failures import Failure, Kind
from kernel.money import Fen
from kernel.values import value

DAYS_MAX: Final = 31
"""How many days one look at totals may span."""
SETTLING: Final = timedelta(minutes=1)
"""For so long after its end a day may still get records: a decision has its time before it is written."""
_SUM_MAX: Final = 2**63 - 1
_NAMESPACE: Final = UUID("5b0c6f0e-4f1d-5a51-9d8c-9a6f3a0c77de")


class Standing(Enum):
    """How a record stands on our books."""

    SETTLED = "SETTLED"  # Paid, or given back.
    REFUSED = "REFUSED"  # Nothing was taken.
    REVERSED = "REVERSED"  # It was stopped before anything was taken.
    IN_PROGRESS = "IN_PROGRESS"  # Not decided yet.


class DifferenceKind(Enum):
    """How a record differs."""

    ONLY_OURS = "ONLY_OURS"
    ONLY_THEIRS = "ONLY_THEIRS"
    AMOUNT = "AMOUNT"
    STATE = "STATE"


class DifferenceState(Enum):
    """Where a difference stands; the comment says who acts next."""

    OPEN = "OPEN"  # The institution sends rows that are right, or an officer decides.
    CLEARED = "CLEARED"  # Nobody: later rows do not differ.
    EXPLAINED = "EXPLAINED"  # Nobody: an officer knows why.
    RESOLVED = "RESOLVED"  # Nobody: an officer saw it put right.


@value
class Amounts:
    """What both sides compare, in fen; negative where money went back. The rest of a bill follows from these."""

    medfee_sumamt: Fen = 0
    fund_pay_sumamt: Fen = 0
    acct_pay: Fen = 0
    acct_mulaid_pay: Fen = 0
    psn_cash_pay: Fen = 0
    wallet_pay: Fen = 0

    def plus(self, other: Self) -> Amounts:
        """Both together; AMOUNTS_OUT_OF_RANGE (INVALID) beyond what a message can carry."""
        return Amounts(*(_in_range(getattr(self, name) + getattr(other, name)) for name in AMOUNTS))

    def negated(self) -> Amounts:
        """With every sign turned."""
        return Amounts(*(-getattr(self, name) for name in AMOUNTS))


AMOUNTS: Final = tuple(amount.name for amount in fields(Amounts))
"""Letter for letter as the contract and the plans have them."""


class Group(NamedTuple):
    """By what totals are told apart."""

    insutype: str
    clr_type: str


@value
class Total:
    """How many records a group has, how many of them gave money back, and what they come to."""

    count: int = 0
    refunds: int = 0
    amounts: Amounts = Amounts()

    def plus(self, other: Total) -> Total:
        """Both together."""
        return Total(self.count + other.count, self.refunds + other.refunds, self.amounts.plus(other.amounts))


NOTHING: Final = Total()


@value
class Record:
    """One record as one side has it. Of theirs, ``setl_id`` is None where they never had an answer."""

    setl_id: UUID | None
    infno: str
    """With ``msgid`` the request that made it; both empty where no terminal asked for it (a refund by 2601)."""
    msgid: str
    is_refund: bool
    insutype: str
    clr_type: str
    amounts: Amounts

    def document(self) -> dict[str, Any]:
        """In JSON's terms; ``of_document`` reads it back."""
        return {
            "setl_id": None if self.setl_id is None else str(self.setl_id),
            "infno": self.infno,
            "msgid": self.msgid,
            "is_refund": self.is_refund,
            "insutype": self.insutype,
            "clr_type": self.clr_type,
            **{name: getattr(self.amounts, name) for name in AMOUNTS},
        }

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Self:
        """The record of a stored document."""
        setl_id = document["setl_id"]
        return cls(
            setl_id=None if setl_id is None else UUID(setl_id),
            infno=document["infno"],
            msgid=document["msgid"],
            is_refund=document["is_refund"],
            insutype=document["insutype"],
            clr_type=document["clr_type"],
            amounts=Amounts(*(document[name] for name in AMOUNTS)),
        )


@value
class OurRecord:
    """What our books have under an id: ``record`` and ``day`` only where it is SETTLED."""

    standing: Standing
    record: Record | None
    day: date | None


@value
class Found:
    """A difference as two books show it. ``record_id`` is the setl_id, or stands for a request nobody here knows."""

    record_id: UUID
    kind: DifferenceKind
    fields: tuple[str, ...]
    theirs: Record | None
    ours: OurRecord | None

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of all it says: another one is another difference, whatever an officer said of the one before."""
        ours = self.ours
        said = [
            self.kind.value,
            list(self.fields),
            None if self.theirs is None else self.theirs.document(),
            None if ours is None or ours.record is None else ours.record.document(),
            None if ours is None else ours.standing.value,
            None if ours is None or ours.day is None else ours.day.isoformat(),
        ]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def fallback_id(fixmedins_code: str, infno: str, msgid: str) -> UUID:
    """Stands for a stated record that has no id of ours: the same for the same request, and never a setl_id."""
    return uuid5(_NAMESPACE, f"{fixmedins_code}/{infno}/{msgid}")


def checked_row(row: Record, row_no: int) -> Record:
    """A stated row that can be found; ROW_UNNAMED (INVALID) if neither its setl_id nor its request is told."""
    if row.setl_id is None and not (row.infno and row.msgid):
        raise Failure(Kind.INVALID, "ROW_UNNAMED", row_no=row_no)
    return row


def digest_part(row: Record) -> bytes:
    """What a row adds to the digest of all rows."""
    return json.dumps(row.document(), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def difference_of(record_id: UUID, theirs: Record, ours: OurRecord | None, *, day: date) -> Found | None:
    """How a stated record differs from ours; None if it does not."""
    if ours is None:
        return Found(record_id, DifferenceKind.ONLY_THEIRS, (), theirs, None)
    if ours.record is None:
        return Found(record_id, DifferenceKind.STATE, ("state",), theirs, ours)
    stands = [
        name
        for name, agrees in (
            ("stmt_date", ours.day == day),
            ("refd_setl_flag", ours.record.is_refund == theirs.is_refund),
            ("insutype", ours.record.insutype == theirs.insutype),
            ("clr_type", ours.record.clr_type == theirs.clr_type),
        )
        if not agrees
    ]
    amounts = [name for name in AMOUNTS if getattr(ours.record.amounts, name) != getattr(theirs.amounts, name)]
    if not stands and not amounts:
        return None
    kind = DifferenceKind.STATE if stands else DifferenceKind.AMOUNT
    return Found(record_id, kind, (*stands, *amounts), theirs, ours)


def missing(record_id: UUID, ours: OurRecord) -> Found:
    """A record of ours that the institution's rows lack."""
    return Found(record_id, DifferenceKind.ONLY_OURS, (), None, ours)


@value
class Decision:
    """An officer's word."""

    state: DifferenceState
    cause: str
    opter: str


def standing_decision(before: Decision | None, *, same: bool) -> Decision | None:
    """The officer's word on a difference that was found again; None: it is open.

    ``same``: it differs as when he looked at it, to the last fen. Otherwise it is another difference.
    """
    return before if same else None


def check_decision(state: DifferenceState, before: Decision | None, decision: Decision) -> bool:
    """Whether the decision changes anything; ``before`` is the one that stands, if any does.

    DIFFERENCE_CLEARED (PRECONDITION): it is there no more. DIFFERENCE_DECIDED (PRECONDITION): decided otherwise. What
    was explained may still be resolved.
    """
    if before == decision:
        return False
    if state is DifferenceState.CLEARED:
        raise Failure(Kind.PRECONDITION, "DIFFERENCE_CLEARED")
    may = state is DifferenceState.OPEN or (
        state is DifferenceState.EXPLAINED and decision.state is DifferenceState.RESOLVED
    )
    if not may:
        raise Failure(Kind.PRECONDITION, "DIFFERENCE_DECIDED", state=state.value)
    return True


@value
class Period:
    """Civil days from ``first`` to ``last``, both included; in instants from ``begins`` to before ``ends``."""

    first: date
    last: date

    @property
    def begins(self) -> datetime:
        """The first instant."""
        return business_midnight(self.first)

    @property
    def ends(self) -> datetime:
        """The first instant after it."""
        return business_midnight(self.last + timedelta(days=1))

    def is_provisional(self, now: datetime) -> bool:
        """Whether records may still come to belong to it."""
        return now < self.ends + SETTLING


def period_of(first: str, last: str, *, now: datetime, fields: tuple[str, str]) -> Period:
    """A period as it is asked for; ``fields`` say what its ends are called.

    DATE_MALFORMED; PERIOD_BACKWARDS, PERIOD_TOO_LONG, PERIOD_NOT_BEGUN (INVALID).
    """
    period = Period(parsed_day(first, field=fields[0]), parsed_day(last, field=fields[1]))
    if period.last < period.first:
        raise Failure(Kind.INVALID, "PERIOD_BACKWARDS", field=fields[1])
    if (period.last - period.first).days >= DAYS_MAX:
        raise Failure(Kind.INVALID, "PERIOD_TOO_LONG", field=fields[1], days_max=DAYS_MAX)
    if period.last > business_date(now):
        raise Failure(Kind.INVALID, "PERIOD_NOT_BEGUN", field=fields[1])
    return period


@value
class GroupCompared:
    """One group on both sides."""

    group: Group
    ours: Total
    theirs: Total

    @property
    def is_balanced(self) -> bool:
        """Whether every count and every amount agrees."""
        return self.ours == self.theirs


def compared(
    ours: dict[Group, Total], theirs: Iterable[tuple[Group, Total]], *, stated_only: bool
) -> list[GroupCompared]:
    """Group by group, in their order; GROUP_STATED_TWICE (INVALID)."""
    stated: dict[Group, Total] = {}
    for group, total in theirs:
        if group in stated:
            raise Failure(
                Kind.INVALID, "GROUP_STATED_TWICE", field="totals", insutype=group.insutype, clr_type=group.clr_type
            )
        stated[group] = total
    groups = stated.keys() if stated_only else ours.keys() | stated.keys()
    return [GroupCompared(group, ours.get(group, NOTHING), stated.get(group, NOTHING)) for group in sorted(groups)]


def _in_range(amount_fen: int) -> Fen:
    if not -_SUM_MAX <= amount_fen <= _SUM_MAX:
        raise Failure(Kind.INVALID, "AMOUNTS_OUT_OF_RANGE")
    return amount_fen
