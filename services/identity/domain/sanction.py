"""暂停联网结算: for how long a decision under 条例 art. 41 keeps somebody from networked settlement (domain §8)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.clock import SHANGHAI, business_date
from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode, PsnNo

SANCTION_MONTHS_MIN: Final = 3
SANCTION_MONTHS_MAX: Final = 12
SANCTION_DAYS_BACK_MAX: Final = 30
"""A decision may reach the desk some time after it took effect. It counts from its own date, but what was settled
before it stood here stays settled; one that is older by far was mistyped, or belongs before a court."""
SANCTION_MONTHS_AHEAD_MAX: Final = 12
"""A decision that takes effect later than that was mistyped."""
_MONTHS_PER_YEAR: Final = 12


class SanctionState(Enum):
    """What a sanction is at an instant; nothing is written when it begins or runs out."""

    TO_COME = "TO_COME"
    IN_FORCE = "IN_FORCE"
    OVER = "OVER"
    LIFTED = "LIFTED"


class AppealState(Enum):
    """What became of an appeal; the value is what the database keeps."""

    FILED = "FILED"  # Somebody decides; the sanction stays in force meanwhile.
    UPHELD = "UPHELD"  # 维持: the sanction stays.
    GRANTED = "GRANTED"  # 撤销: the sanction is lifted.
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True, slots=True)
class Sanction:
    """A decision under 条例 art. 41. In force from ``from_at`` until just before ``to_at``, unless lifted before."""

    sanction_id: UUID
    from_at: datetime
    to_at: datetime
    basis_clause: str
    decision_no: str
    organ: str
    lifted_at: datetime | None = None

    def stands(self, now: datetime) -> bool:
        """In force or to come."""
        return self.lifted_at is None and now < self.to_at

    def was_in_force(self, at: datetime) -> bool:
        """Whether it kept somebody from networked settlement at that instant, whenever it was imposed."""
        return self.from_at <= at < self.to_at and (self.lifted_at is None or at < self.lifted_at)

    def state(self, now: datetime) -> SanctionState:
        """What it is at this instant."""
        if self.lifted_at is not None:
            return SanctionState.LIFTED
        if now >= self.to_at:
            return SanctionState.OVER
        return SanctionState.IN_FORCE if now >= self.from_at else SanctionState.TO_COME


@dataclass(frozen=True, slots=True)
class Sanctioned:
    """Whom a sanction is imposed on: a person or an institution."""

    psn_no: PsnNo | None = None
    fixmedins_code: FixmedinsCode | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on an appeal, on which paper, why, and who recorded it when."""

    state: AppealState
    decision_no: str
    cause: str
    opter: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Appeal:
    """复议、诉讼 against a sanction."""

    appeal_id: UUID
    sanction_id: UUID
    appeal_no: str
    filed_on: date
    filed_by: str
    recorded_at: datetime
    decision: Decision | None = None

    @property
    def state(self) -> AppealState:
        """FILED until it is decided."""
        return AppealState.FILED if self.decision is None else self.decision.state


@dataclass(frozen=True, slots=True)
class SanctionRecord:
    """A sanction with everything that is on record of it; ``imposed_by`` is empty where an earlier release did it."""

    sanction: Sanction
    sanctioned: Sanctioned
    imposed_at: datetime
    imposed_by: str
    lift_cause: str = ""
    lifted_by: str = ""
    appeals: tuple[Appeal, ...] = ()


def check_term(from_at: datetime, to_at: datetime) -> None:
    """A sanction lasts 3 to 12 calendar months (条例 art. 41); SANCTION_TERM_OUT_OF_RANGE (INVALID) otherwise."""
    shortest = months_after(from_at, SANCTION_MONTHS_MIN)
    longest = months_after(from_at, SANCTION_MONTHS_MAX)
    if not shortest <= to_at <= longest:
        raise Failure(
            Kind.INVALID,
            "SANCTION_TERM_OUT_OF_RANGE",
            field="to_time",
            months_min=SANCTION_MONTHS_MIN,
            months_max=SANCTION_MONTHS_MAX,
        )


def check_begin(from_at: datetime, *, now: datetime) -> None:
    """A decision counts from a day near the one on which it is typed in; SANCTION_FROM_OUT_OF_RANGE (INVALID)."""
    earliest = now - timedelta(days=SANCTION_DAYS_BACK_MAX)
    latest = months_after(now, SANCTION_MONTHS_AHEAD_MAX)
    if not earliest <= from_at <= latest:
        raise Failure(
            Kind.INVALID,
            "SANCTION_FROM_OUT_OF_RANGE",
            field="from_time",
            days_back_max=SANCTION_DAYS_BACK_MAX,
            months_ahead_max=SANCTION_MONTHS_AHEAD_MAX,
        )


def same_decision(one: Sanction, other: Sanction) -> bool:
    """Whether two sanctions are one decision told twice."""
    return replace(one, sanction_id=other.sanction_id, lifted_at=other.lifted_at) == other


def lifted(sanction: Sanction, *, now: datetime) -> Sanction:
    """The sanction ended at ``now``; the same one if it was lifted before.

    SANCTION_OVER (PRECONDITION) if it has run out by itself.
    """
    if sanction.lifted_at is not None:
        return sanction
    if not sanction.stands(now):
        raise Failure(Kind.PRECONDITION, "SANCTION_OVER")
    return replace(sanction, lifted_at=now)


def check_appeal(appeal: Appeal, record: SanctionRecord, *, now: datetime) -> None:
    """An appeal may be recorded against this sanction, also one that is over.

    First that applies: INVALID APPEAL_DATE_WRONG (to come, or before there was a sanction); PRECONDITION
    SANCTION_LIFTED; EXISTS APPEAL_PENDING: another one waits for its decision.
    """
    began = min(record.imposed_at, record.sanction.from_at)
    if not business_date(began) <= appeal.filed_on <= business_date(now):
        raise Failure(Kind.INVALID, "APPEAL_DATE_WRONG", field="filed_date")
    if record.sanction.lifted_at is not None:
        raise Failure(Kind.PRECONDITION, "SANCTION_LIFTED")
    if any(each.state is AppealState.FILED for each in record.appeals):
        raise Failure(Kind.EXISTS, "APPEAL_PENDING")


def same_appeal(one: Appeal, other: Appeal) -> bool:
    """Whether two appeals are one told twice, whoever typed it in and whatever became of it since."""
    return (one.sanction_id, one.appeal_no, one.filed_on) == (other.sanction_id, other.appeal_no, other.filed_on)


def decided(appeal: Appeal, decision: Decision) -> Appeal:
    """The appeal with its decision; the same one if that is its decision already.

    APPEAL_DECIDED (PRECONDITION) if it was decided otherwise.
    """
    if appeal.decision is None:
        return replace(appeal, decision=decision)
    if (appeal.decision.state, appeal.decision.decision_no) != (decision.state, decision.decision_no):
        raise Failure(Kind.PRECONDITION, "APPEAL_DECIDED", state=appeal.decision.state.value)
    return appeal


def freed(sanction: Sanction, *, now: datetime) -> Sanction:
    """The sanction after an appeal was granted: lifted if it still stands, else as it is."""
    return replace(sanction, lifted_at=now) if sanction.stands(now) else sanction


def months_after(instant: datetime, months: int) -> datetime:
    """The same civil time so many calendar months later; the month's last day where it has no such day."""
    civil = instant.astimezone(SHANGHAI)
    years, month0 = divmod(civil.month - 1 + months, _MONTHS_PER_YEAR)
    year, month = civil.year + years, month0 + 1
    first_of_next = date(year + month // _MONTHS_PER_YEAR, month % _MONTHS_PER_YEAR + 1, 1)
    last_day = (first_of_next - date(year, month, 1)).days
    return civil.replace(year=year, month=month, day=min(civil.day, last_day))
