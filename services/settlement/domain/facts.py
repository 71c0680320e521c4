"""What identity and family told of, each the whole public state of one aggregate as its latest event carries it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from kernel.ids import AdmDvs, AuthorisationId, PsnNo
from kernel.money import Fen
from services.settlement.domain.credential import SigningKey
from services.settlement.domain.visit import BindingState, Enrolment, Institution, Terminal


@dataclass(frozen=True, slots=True)
class ProjectedSanction:
    """A suspension as identity told of it."""

    sanction_id: UUID
    from_at: datetime
    to_at: datetime


@dataclass(frozen=True, slots=True)
class ProjectedPerson:
    """A person's whole public state."""

    psn_no: PsnNo
    name_masked: str
    brdy: str
    enrolments: tuple[Enrolment, ...]
    sanctions: tuple[ProjectedSanction, ...]
    merged_into: PsnNo | None = None
    """The number that counts, where this one was found to be a double."""
    deceased: bool = False


@dataclass(frozen=True, slots=True)
class ProjectedInstitution:
    """An institution's whole public state; ``institution.sanctioned`` says nothing here, the sanctions do."""

    institution: Institution
    sanctions: tuple[ProjectedSanction, ...]


@dataclass(frozen=True, slots=True)
class ProjectedBinding:
    """A binding's whole public state."""

    binding_id: UUID
    funder_psn_no: PsnNo
    beneficiary_psn_no: PsnNo
    state: BindingState
    cause: str
    relation: str
    authorised_fen: Fen | None
    deduct_order: int | None
    bound_at: datetime
    authorisation_id: AuthorisationId | None
    funder_area: AdmDvs


Fact: TypeAlias = ProjectedPerson | ProjectedInstitution | Terminal | SigningKey | ProjectedBinding
"""What an event tells settlement; the rest of what the two services say is not its business."""


@dataclass(frozen=True, slots=True)
class Caught:
    """Up to where a source has said everything: its next cursor, and the instant, by its clock, that this covers."""

    cursor: int
    as_of: datetime
