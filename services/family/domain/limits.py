"""单笔限额, 月限额: what a funder lets one payment and one civil month take, beside the authorised amount (ADR 27)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kernel.failures import Failure, Kind
from kernel.money import Fen


@dataclass(frozen=True, slots=True)
class Limits:
    """What one payment and one civil month (Asia/Shanghai) may take; None = no limit."""

    per_payment_fen: Fen | None = None
    per_month_fen: Fen | None = None


@dataclass(frozen=True, slots=True)
class MonthUse:
    """What a civil month (yyyymm, Asia/Shanghai) took, as the ledger tells it where it counts months."""

    month: int
    used_fen: Fen


NO_LIMITS: Final = Limits()


def refuse_odd_limits(limits: Limits, authorised_fen: Fen | None) -> None:
    """LIMIT_NOT_POSITIVE, LIMIT_ABOVE_AUTHORISED_AMOUNT (INVALID, with the field): what is asked for says something.

    An amount that is lowered later does not touch the limits: the lower one counts then.
    """
    for field, limit_fen in (("per_payment_fen", limits.per_payment_fen), ("per_month_fen", limits.per_month_fen)):
        if limit_fen is None:
            continue
        if limit_fen <= 0:
            raise Failure(Kind.INVALID, "LIMIT_NOT_POSITIVE", field=field)
        if authorised_fen is not None and limit_fen > authorised_fen:
            raise Failure(Kind.INVALID, "LIMIT_ABOVE_AUTHORISED_AMOUNT", field=field, authorised_fen=authorised_fen)
