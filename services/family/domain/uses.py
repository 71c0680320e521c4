"""What was used of whose account for whom, and who may see it (domain §2, §9).

A use is one funder's share in one bill, and a refund is a use of its own that takes away. Nothing is known here of a
diagnosis, of drugs, of the institution's name, or of what else paid the bill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final

from kernel.clock import business_midnight
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, GroupId, PaymentId, PsnNo
from kernel.money import Fen

_DAY: Final = timedelta(days=1)


class InstitutionKind(Enum):
    """Where, as far as the family is told."""

    HOSPITAL = "HOSPITAL"
    PHARMACY = "PHARMACY"


class Side(Enum):
    """On which side of a use somebody stands."""

    GIVEN = "GIVEN"  # His account paid.
    RECEIVED = "RECEIVED"  # It was his bill.


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One funder's share in one bill; of a refund the amount is below 0 and ``original_id`` names what it takes back.

    ``authorisation_id`` tells under which binding; None of what a settlement of before did not tell.
    """

    payment_id: PaymentId
    original_id: PaymentId | None
    funder: PsnNo
    beneficiary: PsnNo
    authorisation_id: AuthorisationId | None
    used_at: datetime
    institution_kind: InstitutionKind
    institution_area: AdmDvs
    amount_fen: int

    def under(self, counts: Mapping[PsnNo, PsnNo]) -> Use:
        """The use under the numbers that count of its two people."""
        return replace(
            self,
            funder=counts.get(self.funder, self.funder),
            beneficiary=counts.get(self.beneficiary, self.beneficiary),
        )

    def concerns(self, psn_no: PsnNo) -> bool:
        """Whether it was his account or his bill."""
        return psn_no in {self.funder, self.beneficiary}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the list a use stands: uses of one instant are told apart by the number they got here."""

    used_at: datetime
    use_no: int


@dataclass(frozen=True, slots=True)
class Period:
    """Civil days of Asia/Shanghai, both in it; None = without that end. USES_PERIOD_REVERSED (INVALID)."""

    first: date | None = None
    last: date | None = None

    def __post_init__(self) -> None:
        if self.first is not None and self.last is not None and self.last < self.first:
            raise Failure(Kind.INVALID, "USES_PERIOD_REVERSED", field="to_date")

    @property
    def from_at(self) -> datetime | None:
        """The first instant in it."""
        return None if self.first is None else business_midnight(self.first)

    @property
    def until_at(self) -> datetime | None:
        """The first instant after it."""
        return None if self.last is None else business_midnight(self.last + _DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which uses somebody asks for: in a group everybody's under its bindings, else his own."""

    by: PsnNo
    group_id: GroupId | None = None
    side: Side | None = None
    other: PsnNo | None = None
    period: Period = Period()
    doubles: frozenset[PsnNo] = frozenset()
    """Other numbers of his and of the other's, which count as theirs."""
    doubles_of_other: frozenset[PsnNo] = frozenset()

    @property
    def mine(self) -> list[PsnNo]:
        """Every number of the one who asks."""
        return sorted({self.by, *self.doubles})

    @property
    def others(self) -> list[PsnNo]:
        """Every number of the other one, if there is one."""
        return sorted({self.other, *self.doubles_of_other}) if self.other is not None else []


@dataclass(frozen=True, slots=True)
class Sums:
    """Of all uses that were asked for, on whatever page."""

    used_fen: Fen
    returned_fen: Fen
    """0 or more."""
    given_fen: int
    """From the account of the one who asks, less what came back."""
    received_fen: int
    """For his bills, less what came back."""
