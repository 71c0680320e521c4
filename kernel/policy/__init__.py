"""Region policy as typed data (domain §7): what differs from area to area, looked up parameter by parameter."""

from kernel.policy.benefit import (
    BenefitRow,
    BenefitTable,
    CareLevel,
    ExternalBenefit,
    Insutype,
    OpenBenefit,
    YearSoFar,
)
from kernel.policy.policy_book import Policies, PolicyBook, PolicyShelf, PolicyVersion, StatedValue, plain_layer
from kernel.policy.policy_set import DEFAULT_LAYER, PolicySet, known_area
from kernel.policy.terms import (
    COST_KINDS,
    CostKind,
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
    "BenefitRow",
    "BenefitTable",
    "CareLevel",
    "CostKind",
    "ExternalBenefit",
    "FunderOrder",
    "Insutype",
    "OpenBenefit",
    "Part",
    "Policies",
    "PolicyBook",
    "PolicySet",
    "PolicyShelf",
    "PolicyVersion",
    "PremiumPayment",
    "RegionPolicy",
    "Relation",
    "RevokeWindow",
    "StatedValue",
    "WalletLimits",
    "YearSoFar",
    "known_area",
    "plain_layer",
]
