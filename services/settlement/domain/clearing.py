"""Clearing between areas (清算): what one area owes another for a month, and what each is left to pay or to get.

The money of a payment lies in the ledgers of its payers' areas and is owed to the area of care, which pays its
institutions; a share is one such debt (domain §6, "Clearing"). It belongs to the civil day in Asia/Shanghai on which
its own payment was decided, so a revocation belongs to the day of the revocation (ADR 29).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple, Self

from kernel.clock import business_date, business_midnight, parsed_day
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PaymentId
from kernel.money import Fen
from kernel.values import value
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role

RUNS_AFTER: Final = timedelta(days=1)
"""So long after its last day a period may be run: that day is reconciled first, and who never saw an answer on it has
had a day to reverse. Whatever began within the period has long written its row by then: statements are cut off after
seconds, and so are transactions that fall silent (``chassis.db``)."""
FUND_LEG_NO: Final = 0
"""Stands for the pooled fund's share, which no ledger holds; the legs count from 1."""
_DECEMBER: Final = 12


class Period(NamedTuple):
    """A civil month in Asia/Shanghai, what areas clear by."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @classmethod
    def of(cls, instant: datetime) -> Self:
        """The month in which this instant falls."""
        day = business_date(instant)
        return cls(day.year, day.month)

    @property
    def next(self) -> Period:
        """The month after it."""
        return Period(self.year + 1, 1) if self.month == _DECEMBER else Period(self.year, self.month + 1)

    @property
    def previous(self) -> Period:
        """The month before it."""
        return Period(self.year - 1, _DECEMBER) if self.month == 1 else Period(self.year, self.month - 1)

    @property
    def starts_at(self) -> datetime:
        """Midnight of its first day."""
        return business_midnight(date(self.year, self.month, 1))

    @property
    def ends_at(self) -> datetime:
        """Midnight after its last day: the first instant that is not in it."""
        return self.next.starts_at


def parsed_period(text: str, *, field: str) -> Period:
    """``2026-10``; DATE_MALFORMED if there is no such month."""
    day = parsed_day(f"{text}-01", field=field)
    if text != f"{day:%Y-%m}":
        raise Failure(Kind.INVALID, "DATE_MALFORMED", field=field)
    return Period(day.year, day.month)


class SharePart(Enum):
    """Out of what a share is paid."""

    FUND = "FUND"  # The pooled fund of the patient's insured area.
    OWN = "OWN"  # The patient's own account.
    WALLET = "WALLET"  # The patient's own wallet.
    FUNDER = "FUNDER"  # A relative's account (共济).
    TRANSFER = "TRANSFER"  # An account or wallet, and it goes to a wallet, an account or for a premium elsewhere.


@value
class Share:
    """What one payment makes one area owe another; a refund's is below zero."""

    payment_id: PaymentId
    leg_no: int
    part: SharePart
    debtor_area: AdmDvs
    creditor_area: AdmDvs
    amount_fen: Fen

    @property
    def is_between_areas(self) -> bool:
        """Whether there is anything to clear: what an area owes itself is its own affair."""
        return self.debtor_area != self.creditor_area


@value
class PooledPart:
    """What the pooled funds pay of a bill, and which area's they are."""

    insuplc_admdvs: AdmDvs
    fund_pay_sumamt: Fen


_PARTS: Final = {Role.OWN: SharePart.OWN, Role.WALLET: SharePart.WALLET, Role.FUNDER: SharePart.FUNDER}


def shares_of_bill(
    payment_id: PaymentId, legs: Iterable[PlanLeg], pooled: PooledPart, *, area_of_care: AdmDvs, is_refund: bool
) -> tuple[Share, ...]:
    """The shares of a settlement, or of the refund of one: the pooled part first, then leg by leg."""
    sign = -1 if is_refund else 1
    owed = [(FUND_LEG_NO, SharePart.FUND, pooled.insuplc_admdvs, pooled.fund_pay_sumamt)]
    owed += [(leg.leg_no, _PARTS[leg.role], leg.area, leg.amount_fen) for leg in legs]
    return tuple(
        Share(payment_id, leg_no, part, area, area_of_care, sign * amount_fen)
        for leg_no, part, area, amount_fen in owed
        if amount_fen
    )


def shares_of_charge(
    payment_id: PaymentId, legs: Iterable[PlanLeg], *, paid_area: AdmDvs, is_refund: bool
) -> tuple[Share, ...]:
    """The shares of a charge, such as a premium, or of its refund: all of it is owed to the area that it pays."""
    sign = -1 if is_refund else 1
    return tuple(
        Share(payment_id, leg.leg_no, SharePart.TRANSFER, leg.area, paid_area, sign * leg.amount_fen)
        for leg in legs
        if leg.amount_fen
    )


def shares_of_transfer(payment_id: PaymentId, legs: Iterable[PlanLeg]) -> tuple[Share, ...]:
    """The shares of a transfer or a move: what is taken is owed to the area where it arrives."""
    legs = tuple(legs)
    arrives = next(leg.area for leg in legs if leg.role.is_receiving)
    return tuple(
        Share(payment_id, leg.leg_no, SharePart.TRANSFER, leg.area, arrives, leg.amount_fen)
        for leg in legs
        if not leg.role.is_receiving and leg.amount_fen
    )


@value
class Standing:
    """What decides whether a period may be run, read in one snapshot under the lock of all runs."""

    now: datetime
    next_period: Period
    """The one after the last that was run; where none was, that of the first plan or transfer, or of today."""
    is_first: bool
    """Whether none was run yet."""
    open_count: int
    """Payments of the period that some ledger has still to book."""
    open_example: PaymentId | None
    writes_since_before: bool
    """Whether a transaction that began within the period is still under way."""


def check_runnable(period: Period, standing: Standing, *, carry_open: bool) -> None:
    """A period may be run now.

    Refusals in this order: CLEARING_PERIOD_NOT_OVER (metadata: from when on); CLEARING_OUT_OF_ORDER (metadata: which is
    next); CLEARING_UNDER_WAY while a transaction of the period's time is; CLEARING_PAYMENTS_OPEN (metadata: how many,
    and one of them) unless they are to be carried into the next period.
    """
    runs_from = period.ends_at + RUNS_AFTER
    if standing.now < runs_from:
        raise Failure(
            Kind.PRECONDITION, "CLEARING_PERIOD_NOT_OVER", period=str(period), runs_from=runs_from.isoformat()
        )
    if standing.next_period != period:
        raise Failure(
            Kind.PRECONDITION, "CLEARING_OUT_OF_ORDER", period=str(period), next_period=str(standing.next_period)
        )
    if standing.writes_since_before:
        raise under_way_failure()
    if standing.open_count and not carry_open:
        raise Failure(
            Kind.PRECONDITION,
            "CLEARING_PAYMENTS_OPEN",
            period=str(period),
            open=standing.open_count,
            setl_id=str(standing.open_example),
        )


def under_way_failure() -> Failure:
    """Somebody else runs a period, or a write of the period's time has not ended: the same request may soon pass."""
    return Failure(Kind.UNAVAILABLE, "CLEARING_UNDER_WAY")


def is_cleared(decided_at: datetime, cleared_until: datetime | None) -> bool:
    """Whether the period of a payment decided then is run: it can only be undone by a later period's refund.

    ``cleared_until`` is the end of the last period that was run; None where none was.
    """
    return cleared_until is not None and decided_at < cleared_until


class Position(NamedTuple):
    """An area's position over all others: what it owes, what it is owed; below zero, ``net_fen`` is what it pays."""

    area: AdmDvs
    owes_fen: Fen
    is_owed_fen: Fen

    @property
    def net_fen(self) -> Fen:
        """What it gets from the clearing house; below zero what it pays."""
        return self.is_owed_fen - self.owes_fen


def net_positions(owed: Mapping[tuple[AdmDvs, AdmDvs], Fen]) -> tuple[Position, ...]:
    """The positions that follow from what each debtor owes each creditor, by area; together they are always zero."""
    owes: defaultdict[AdmDvs, Fen] = defaultdict(int)
    is_owed: defaultdict[AdmDvs, Fen] = defaultdict(int)
    for (debtor, creditor), amount_fen in owed.items():
        owes[debtor] += amount_fen
        is_owed[creditor] += amount_fen
    return tuple(Position(area, owes[area], is_owed[area]) for area in sorted(owes.keys() | is_owed.keys()))
