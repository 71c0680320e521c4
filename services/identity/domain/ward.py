"""亲情账户: whose code somebody may show on his own phone (domain §1). It moves no money.

A ward is a child or a parent. What the two are to each other is asked anew each time a code is issued, so that nobody
goes on showing a code after the fact has fallen on which that rested.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.policy import Relation

WARDS_MAX: Final = 6
"""Two parents and four children; whoever shows more codes than that looks after no family."""
OWN_CONSENT_AGE: Final = 14
"""Under it a guardian consents for a child (PIPL art. 31)."""
RELATIONS: Final = frozenset({Relation.PARENT, Relation.CHILD})
"""What a ward is to the guardian. A spouse shows a phone of his own."""


@dataclass(frozen=True, slots=True)
class Ward:
    """Somebody whose code a guardian may show; ``consented`` with his own face."""

    ward_psn_no: PsnNo
    name_masked: str
    brdy: date
    added_at: datetime
    consented: bool


def check_relation(relation: Relation | None) -> None:
    """WARD_NOT_RELATED (PRECONDITION) unless the ward is the guardian's parent or child by verified facts."""
    if relation not in RELATIONS:
        raise Failure(Kind.PRECONDITION, "WARD_NOT_RELATED", field="ward_psn_no")


def check_consent(brdy: date, *, consented: bool, today: date) -> None:
    """WARD_CONSENT_MISSING (PRECONDITION) where somebody of fourteen or more has not shown his own face for it."""
    if not consented and age_on(brdy, today) >= OWN_CONSENT_AGE:
        raise Failure(Kind.PRECONDITION, "WARD_CONSENT_MISSING", field="ward_attestation_id")


def check_room(wards: int) -> None:
    """WARDS_TOO_MANY (EXHAUSTED) if a guardian has as many as he may."""
    if wards >= WARDS_MAX:
        raise Failure(Kind.EXHAUSTED, "WARDS_TOO_MANY", field="ward_psn_no", wards_max=WARDS_MAX)


def known_ward(ward: Ward | None) -> Ward:
    """The ward; WARD_UNKNOWN (NOT_FOUND) if the guardian has no such one."""
    if ward is None:
        raise Failure(Kind.NOT_FOUND, "WARD_UNKNOWN", field="psn_no")
    return ward


def age_on(brdy: date, today: date) -> int:
    """Full years; who was born on 29 February completes one on 1 March."""
    return today.year - brdy.year - ((today.month, today.day) < (brdy.month, brdy.day))
