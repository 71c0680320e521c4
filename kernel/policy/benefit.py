"""The benefit table (待遇表): what the pooled fund takes on in each case, and what is left of it in a year (domain §6).

A table says what holds for a whole year. What a person has used of it since 1 January is the caller's to know; both
together make the ``OpenBenefit`` by which one bill is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final, TypeAlias

from kernel.failures import Failure, Kind
from kernel.money import Fen

BENEFIT_ROWS_MAX: Final = 1_000
"""More cases than any area tells apart: 2 kinds of insurance, 5 levels, working or retired, and 60 med_types."""


class Insutype(Enum):
    """The kinds of insurance that a table tells apart (险种类型)."""

    EMPLOYEE = "310"  # 职工基本医疗保险.
    RESIDENT = "390"  # 城乡居民基本医疗保险.


class CareLevel(Enum):
    """The level (等级) of the institution that a person goes to; pharmacies have none, so they are one of their own."""

    PHARMACY = "PHARMACY"  # 定点零售药店.
    UNGRADED = "UNGRADED"  # 未定级.
    ONE = "ONE"  # 一级.
    TWO = "TWO"  # 二级.
    THREE = "THREE"  # 三级.


@dataclass(frozen=True, slots=True)
class ExternalBenefit:
    """The pooled part is taken from the request as it is: the area's core system computed it."""


class LargeFund(Enum):
    """Which fund pays above the pooled fund's ceiling; the value is its national field."""

    EMPLOYEES = "hifob_pay"  # 职工大额医疗费用补助.
    RESIDENTS = "hifmi_pay"  # 居民大病保险.


@dataclass(frozen=True, slots=True)
class LargeTier:
    """What one fund takes on of the costs in scope above the pooled fund's ceiling, for a whole year."""

    ratio: Decimal
    ceiling_fen: Fen | None
    """What it pays in a year; None = no ceiling."""


@dataclass(frozen=True, slots=True)
class OpenLarge:
    """As ``LargeTier``, of what one year has left."""

    fund: LargeFund
    ratio: Decimal
    ceiling_left_fen: Fen | None


@dataclass(frozen=True, slots=True)
class OpenBenefit:
    """What one bill is computed by: the part of the year's benefit that is still open. A scenario file states it."""

    deductible_fen: Fen
    """What is still open of this year's deductible."""
    ratio: Decimal
    """The fund's share of what lies above the deductible (``pool_prop_selfpay``, despite its name), 0 to 1."""
    ceiling_left_fen: Fen | None
    """What the fund may still pay this year; None = no ceiling."""
    large: OpenLarge | None = None
    """What pays above the ceiling; None = nothing does."""


@dataclass(frozen=True, slots=True)
class YearSoFar:
    """What a person's bills of this year have used under the row that applies, without what was refunded."""

    deductible_fen: Fen = 0
    """Σ ``act_pay_dedc``."""
    fund_fen: Fen = 0
    """Σ ``hifp_pay``."""
    large_fen: Fen = 0
    """Σ of what was paid above the ceiling (``LargeFund``)."""


@dataclass(frozen=True, slots=True)
class BenefitRow:
    """What holds in one case for a whole year; amounts in fen."""

    insutype: Insutype
    med_type: str
    level: CareLevel
    retired: bool
    """Never of a resident (390): only an employee retires."""
    deductible_fen: Fen
    """起付标准 of a year."""
    ratio: Decimal
    """The fund's share of what lies above the deductible, 0 to 1."""
    ceiling_fen: Fen | None
    """年度最高支付限额: what the fund pays in a year; None = no ceiling."""
    pool: str = ""
    """Rows of one insutype and pool share one deductible and one ceiling: what a year has used under any of them
    counts for all."""
    large: LargeTier | None = None
    """大额 or 大病: what is paid above the ceiling; None = nothing."""

    def open_after(self, year: YearSoFar) -> OpenBenefit:
        """What is still open of the row; nothing where more was used than it says (it was lowered since)."""
        return OpenBenefit(
            deductible_fen=max(self.deductible_fen - year.deductible_fen, 0),
            ratio=self.ratio,
            ceiling_left_fen=_left(self.ceiling_fen, year.fund_fen),
            large=None
            if self.large is None
            else OpenLarge(
                fund=large_fund_of(self.insutype.value),
                ratio=self.large.ratio,
                ceiling_left_fen=_left(self.large.ceiling_fen, year.large_fen),
            ),
        )


def large_fund_of(insutype: str) -> LargeFund:
    """Which fund pays above the ceiling for those who are insured so."""
    return LargeFund.EMPLOYEES if insutype == Insutype.EMPLOYEE.value else LargeFund.RESIDENTS


def _left(ceiling_fen: Fen | None, used_fen: Fen) -> Fen | None:
    return None if ceiling_fen is None else max(ceiling_fen - used_fen, 0)


BenefitKey: TypeAlias = tuple[str, str, str, bool]
"""(insutype, med_type, level, retired): what makes two rows the same case."""
_LEVEL_RANKS: Final = {level.value: rank for rank, level in enumerate(CareLevel)}


def key_of(row: BenefitRow) -> BenefitKey:
    """The case that the row is about."""
    return row.insutype.value, row.med_type, row.level.value, row.retired


def rank_of(key: BenefitKey) -> tuple[str, str, int, bool]:
    """By what cases are sorted: levels as they rise."""
    return key[0], key[1], _LEVEL_RANKS[key[2]], key[3]


@dataclass(frozen=True, slots=True)
class BenefitTable:
    """An area's whole table: at least one row, no two about one case, sorted by case."""

    rows: tuple[BenefitRow, ...]

    def row_for(self, *, insutype: str, med_type: str, level: CareLevel, retired: bool) -> BenefitRow:
        """The row of this case; ``retired`` is not asked of a resident.

        BENEFIT_ROW_MISSING where the table says nothing of it: what is not written is not guessed from its neighbour.
        """
        is_employee = insutype == Insutype.EMPLOYEE.value
        key = (insutype, med_type, level.value, retired and is_employee)
        for row in self.rows:
            if key_of(row) == key:
                return row
        facts = {"retired": str(retired).lower()} if is_employee else {}
        raise Failure(
            Kind.PRECONDITION, "BENEFIT_ROW_MISSING", insutype=insutype, med_type=med_type, level=level.value, **facts
        )

    @property
    def gaps(self) -> tuple[BenefitKey, ...]:
        """Cases that are not written although others of the same insutype and med_type are, sorted.

        Of pharmacies and hospitals only those are asked for that the table names at all with that med_type.
        """
        pharmacy = {CareLevel.PHARMACY.value}
        hospitals = {level.value for level in CareLevel} - pharmacy
        written = {key_of(row) for row in self.rows}
        expected: set[BenefitKey] = set()
        for insutype, med_type in {key[:2] for key in written}:
            named = {key[2] for key in written if key[:2] == (insutype, med_type)}
            levels = (named & pharmacy) | (hospitals if named & hospitals else set())
            standings = (False, True) if insutype == Insutype.EMPLOYEE.value else (False,)
            expected |= {(insutype, med_type, level, retired) for level in levels for retired in standings}
        return tuple(sorted(expected - written, key=rank_of))


Benefit: TypeAlias = ExternalBenefit | OpenBenefit | BenefitTable
"""How an area's pooled part comes about: given by the request, by a scenario's open values, or by a table."""
