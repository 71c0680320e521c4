"""The tables of the settlement database, each with the CHECKs that repeat the domain's invariants."""

from services.settlement.tables import (
    claims,
    clearing,
    operators,
    payments,
    premiums,
    projections,
    reconciliation,
    visits,
    wallets,
)
from services.settlement.tables.metadata import METADATA

__all__ = [
    "METADATA",
    "claims",
    "clearing",
    "operators",
    "payments",
    "premiums",
    "projections",
    "reconciliation",
    "visits",
    "wallets",
]
