"""The tables of the settlement database, each with the CHECKs that repeat the domain's invariants."""

from services.settlement.tables import operators, payments, projections, wallets
from services.settlement.tables.metadata import METADATA

__all__ = ["METADATA", "operators", "payments", "projections", "wallets"]
