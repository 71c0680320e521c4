"""The tables of identity. Every CHECK repeats a rule of the domain."""

from services.identity.tables import (
    attestations,
    cards,
    credentials,
    events,
    institutions,
    kinship,
    people,
    rights,
    risk,
    sanctions,
    wards,
)
from services.identity.tables.metadata import METADATA

__all__ = [
    "METADATA",
    "attestations",
    "cards",
    "credentials",
    "events",
    "institutions",
    "kinship",
    "people",
    "rights",
    "risk",
    "sanctions",
    "wards",
]
