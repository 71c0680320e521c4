"""Under which case of a benefit table a live bill falls, and what it uses of the patient's year (domain §6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode
from kernel.money import Fen
from kernel.policy import BenefitTable, CareLevel, Insutype, LargeFund, RegionPolicy, YearSoFar, large_fund_of
from kernel.values import value
from services.settlement.domain.split import BenefitCase

_PHARMACY: Final = "P"
_RETIRED: Final = ("12", "13")
"""退休 and 离休: how the psn_type of those begins who no longer work."""


@value
class YearUse:
    """What one settlement uses of a year, or what a year has used: of one insutype and pool, in fen."""

    insutype: str
    pool: str
    deductible_fen: Fen
    fund_fen: Fen
    large_fen: Fen


def case_of(
    at_home: RegionPolicy,
    *,
    insutype: str,
    psn_type: str,
    fixmedins_code: FixmedinsCode,
    level: CareLevel | None,
    med_type: str,
    used: Mapping[tuple[str, str], YearSoFar],
) -> BenefitCase | None:
    """The bill's case with what the year has ``used``, by insutype and pool; None where no table computes it.

    BENEFIT_CASE_UNKNOWN where identity has not told what the table asks for: the institution's level, or whether an
    employee is retired. BENEFIT_ROW_MISSING as ``row_for`` has it. Neither is guessed: it would be somebody's money.
    """
    if not isinstance(at_home.benefit, BenefitTable):
        return None
    standing = CareLevel.PHARMACY if fixmedins_code.startswith(_PHARMACY) else level
    if standing is None:
        raise Failure(Kind.PRECONDITION, "BENEFIT_CASE_UNKNOWN", field="fixmedins_code", missing="level")
    if insutype == Insutype.EMPLOYEE.value and not psn_type:
        raise Failure(Kind.PRECONDITION, "BENEFIT_CASE_UNKNOWN", field="psn_no", missing="psn_type")
    retired = psn_type.startswith(_RETIRED)
    row = at_home.benefit.row_for(insutype=insutype, med_type=med_type, level=standing, retired=retired)
    return BenefitCase(
        med_type=med_type,
        level=standing,
        retired=retired,
        year=used.get((insutype, row.pool), YearSoFar()),
        pool=row.pool,
    )


def use_of(
    *, insutype: str, pool: str, act_pay_dedc: Fen, hifp_pay: Fen, hifmi_pay: Fen, hifob_pay: Fen
) -> YearUse | None:
    """What a settlement with these amounts uses of its year; None if nothing, or if they are lost (no insutype)."""
    large_fen = hifob_pay if large_fund_of(insutype) is LargeFund.EMPLOYEES else hifmi_pay
    if not insutype or not (act_pay_dedc or hifp_pay or large_fen):
        return None
    return YearUse(insutype, pool, act_pay_dedc, hifp_pay, large_fen)
