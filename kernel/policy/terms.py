"""The words of a region policy and the policy itself: closed sets, limits, and one frozen record of every parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import time
from decimal import Decimal
from enum import Enum
from typing import Final

from kernel.money import Fen
from kernel.policy.benefit import Benefit, ExternalBenefit


class CostKind(Enum):
    """The five kinds of personal burden (domain §6), in the order in which every source consumes them."""

    DEDUCTIBLE = "DEDUCTIBLE"  # 起付标准以下: act_pay_dedc.
    COPAY = "COPAY"  # 共付: the person's share of the costs in scope.
    PRESELFPAY = "PRESELFPAY"  # 先行自付.
    OVERLIMIT = "OVERLIMIT"  # 超限价.
    FULL_OWN = "FULL_OWN"  # 全自费.


COST_KINDS: Final = tuple(CostKind)
"""Every kind, in the order of consumption."""


class Part(Enum):
    """A part of a personal account (domain §4)."""

    PAST = "past"  # 历年: what earlier years left.
    CURRENT = "current"  # 当年: what this year brought.


class Relation(Enum):
    """What one person is to another: the eight near relations 近亲属 of domain §1, never an in-law."""

    SPOUSE = "SPOUSE"  # 配偶
    PARENT = "PARENT"  # 父母
    CHILD = "CHILD"  # 子女
    SIBLING = "SIBLING"  # 兄弟姐妹
    PATERNAL_GRANDPARENT = "PATERNAL_GRANDPARENT"  # 祖父母
    MATERNAL_GRANDPARENT = "MATERNAL_GRANDPARENT"  # 外祖父母
    GRANDCHILD = "GRANDCHILD"  # 孙子女: a son's child.
    DAUGHTERS_CHILD = "DAUGHTERS_CHILD"  # 外孙子女: a daughter's child.


class FunderOrder(Enum):
    """In which order several funders are asked (domain §6, split step 3)."""

    EXPLICIT = "EXPLICIT"  # By the beneficiary's stated order, missing last; then bound_at; then psn.
    BIND_TIME = "BIND_TIME"  # By bound_at; then psn.
    BALANCE_DESC = "BALANCE_DESC"  # By what one can give before the cap, largest first; then bound_at; then psn.


class PremiumPayment(Enum):
    """Whether residents' premiums may be paid for a relative (domain §5)."""

    YES = "true"
    NO = "false"
    AFTER_FILING = "after_filing"  # Only after a filing 备案.


class RevokeWindow(Enum):
    """Until when a settlement may be revoked or reversed; days, months and years are those of Asia/Shanghai."""

    SAME_DAY = "same_day"
    SAME_MONTH = "same_month"
    SAME_YEAR = "same_year"
    SAME_YEAR_BEFORE_CLEARING = "same_year_before_clearing"  # And only until a clearing run has counted it.


@dataclass(frozen=True, slots=True)
class WalletLimits:
    """What a wallet transfer must keep to (domain §3); times are of Asia/Shanghai."""

    per_day: int = 3
    each_fen: Fen = 200_000
    closed_from: time = time(22, 0)
    closed_to: time = time(6, 0)
    return_at: time = time(6, 0)


@dataclass(frozen=True, slots=True)
class RegionPolicy:
    """Every parameter of domain §7 as it stands for one area; the defaults are the table's default column."""

    relations: frozenset[Relation] = frozenset(Relation)
    max_members: int | None = None
    max_groups_per_person: int | None = None
    max_funders_per_beneficiary: int | None = None
    funder_floor_balance: Fen = 0
    single_pay_ratio_cap: Decimal | None = None
    rebind_per_year: int | None = None
    authorized_amount_required: bool = False
    own_order: tuple[Part, ...] = (Part.PAST, Part.CURRENT)
    shareable_parts: frozenset[Part] = frozenset(Part)
    mutual_aid_kinds: frozenset[CostKind] = frozenset(CostKind)
    own_account_kinds: frozenset[CostKind] = frozenset(CostKind)
    funder_order: FunderOrder = FunderOrder.EXPLICIT
    consent_age: int = 16
    consent_face: bool = True
    counter_four_eyes: bool = False
    """Whether a second officer looks at what the first does for a family at the counter."""
    premium_payment: PremiumPayment = PremiumPayment.YES
    wallet: bool = True
    wallet_limits: WalletLimits = field(default_factory=WalletLimits)
    mulaid_included_in_acct_pay: bool = True
    benefit: Benefit = field(default_factory=ExternalBenefit)
    revoke_window: RevokeWindow = RevokeWindow.SAME_YEAR_BEFORE_CLEARING
