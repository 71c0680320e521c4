"""The tables of identity. Every CHECK repeats a rule of the domain."""

from services.identity.tables import credentials, events, institutions, kinship, people, rights, sanctions
from services.identity.tables.metadata import METADATA

__all__ = ["METADATA", "credentials", "events", "institutions", "kinship", "people", "rights", "sanctions"]
