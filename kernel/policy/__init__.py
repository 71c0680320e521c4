"""Region policy as typed data (domain §7): what differs from area to area, looked up parameter by parameter."""

from kernel.policy.policy_set import DEFAULT_LAYER, PolicySet, known_area
from kernel.policy.terms import (
    COST_KINDS,
    BenefitTable,
    CostKind,
    ExternalBenefit,
    FunderOrder,
    Part,
    PremiumPayment,
    RegionPolicy,
    Relation,
    RevokeWindow,
    WalletLimits,
)

__all__ = [
    "COST_KINDS",
    "DEFAULT_LAYER",
    "BenefitTable",
    "CostKind",
    "ExternalBenefit",
    "FunderOrder",
    "Part",
    "PolicySet",
    "PremiumPayment",
    "RegionPolicy",
    "Relation",
    "RevokeWindow",
    "WalletLimits",
    "known_area",
]
