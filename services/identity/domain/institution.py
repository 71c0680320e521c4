"""定点医药机构: who may take bills, and whose terminals may decode a code (domain §1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode


class InstitutionState(Enum):
    """The agreement's state; the value is what the database keeps."""

    DESIGNATED = "DESIGNATED"  # Bills are taken.
    SUSPENDED = "SUSPENDED"  # No new bill; refunds go on.
    ENDED = "ENDED"  # As suspended, for good.


@dataclass(frozen=True, slots=True)
class Institution:
    """One institution; ``version`` counts the changes told to others, from 1."""

    fixmedins_code: FixmedinsCode
    fixmedins_name: str
    state: InstitutionState
    wallet_capable: bool
    version: int = 1


def changed(institution: Institution, wanted: Institution) -> Institution:
    """The institution as wanted; the same one if nothing differs.

    INSTITUTION_ENDED (PRECONDITION) if it ended before: an end is for good, a new agreement gets a new code.
    """
    if replace(wanted, version=institution.version) == institution:
        return institution
    if institution.state is InstitutionState.ENDED:
        raise Failure(Kind.PRECONDITION, "INSTITUTION_ENDED", fixmedins_code=institution.fixmedins_code)
    return replace(wanted, version=institution.version + 1)


def check_designated(institution: Institution | None) -> Institution:
    """The institution, if codes may be decoded there: INSTITUTION_UNKNOWN, then INSTITUTION_NOT_DESIGNATED."""
    if institution is None:
        raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN", field="fixmedins_code")
    if institution.state is not InstitutionState.DESIGNATED:
        raise Failure(Kind.PRECONDITION, "INSTITUTION_NOT_DESIGNATED", fixmedins_code=institution.fixmedins_code)
    return institution
