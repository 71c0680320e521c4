"""定点医药机构: who may take bills, where, for how long, and whose terminals may decode a code (domain §1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from typing import Final

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, FixmedinsCode
from services.identity.domain.sanction import Sanction

PHARMACY_LETTER: Final = "P"


class InstitutionState(Enum):
    """The agreement's state; the value is what the database keeps."""

    DESIGNATED = "DESIGNATED"  # Bills are taken, within the agreement's period.
    SUSPENDED = "SUSPENDED"  # No new bill; refunds go on.
    ENDED = "ENDED"  # As suspended, for good.


class InstitutionLevel(Enum):
    """医院等级; the value is what the database keeps."""

    UNGRADED = "UNGRADED"
    ONE = "ONE"
    TWO = "TWO"
    THREE = "THREE"


class Capability(Enum):
    """What an institution may settle beside ordinary bills; the value is what the database keeps."""

    INPATIENT = "INPATIENT"  # 住院. Hospitals alone.
    CHRONIC = "CHRONIC"  # 门诊慢特病.
    DUAL_CHANNEL = "DUAL_CHANNEL"  # 双通道.


OF_HOSPITALS: Final = frozenset({Capability.INPATIENT})
"""What a pharmacy cannot have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, in millionths of a degree; ``admdvs`` where the address lies in another area."""

    longitude_udeg: int
    latitude_udeg: int
    admdvs: AdmDvs | None = None


@dataclass(frozen=True, slots=True)
class Institution:
    """One institution; ``version`` counts the changes told to others, from 1.

    Both days of the agreement belong to it; None is open on that side.
    """

    fixmedins_code: FixmedinsCode
    fixmedins_name: str
    state: InstitutionState
    wallet_capable: bool
    level: InstitutionLevel | None = None
    agreement_from: date | None = None
    agreement_to: date | None = None
    capabilities: frozenset[Capability] = frozenset()
    place: Place | None = None
    sanctions: tuple[Sanction, ...] = ()
    version: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about an institution: the state afterwards, by whom, why (empty of a mere description)."""

    state: InstitutionState
    opter: str
    cause: str
    decided_at: datetime


def check_described(institution: Institution) -> None:
    """What describes an institution fits together.

    INVALID, first that applies: AGREEMENT_PERIOD_REVERSED, CAPABILITY_NOT_FOR_INSTITUTION.
    """
    begins, ends = institution.agreement_from, institution.agreement_to
    if begins is not None and ends is not None and ends < begins:
        raise Failure(Kind.INVALID, "AGREEMENT_PERIOD_REVERSED", field="institution.agreement_to_date")
    if institution.fixmedins_code.startswith(PHARMACY_LETTER) and institution.capabilities & OF_HOSPITALS:
        raise Failure(Kind.INVALID, "CAPABILITY_NOT_FOR_INSTITUTION", field="institution.capabilities")


def changed(institution: Institution, wanted: Institution) -> Institution:
    """The institution described as wanted; the same one if nothing differs.

    PRECONDITION, first that applies: INSTITUTION_ENDED (an end is for good, a new agreement gets a new code),
    INSTITUTION_STATE_IS_DECIDED (another state than it has).
    """
    wanted = replace(wanted, sanctions=institution.sanctions, version=institution.version)
    if wanted == institution:
        return institution
    check_not_ended(institution)
    if wanted.state is not institution.state:
        raise Failure(
            Kind.PRECONDITION,
            "INSTITUTION_STATE_IS_DECIDED",
            field="institution.state",
            state=institution.state.value,
        )
    return replace(wanted, version=institution.version + 1)


def decided(institution: Institution, state: InstitutionState) -> Institution:
    """The institution in the state that was decided; the same one if it is so already. INSTITUTION_ENDED."""
    if institution.state is state:
        return institution
    check_not_ended(institution)
    return replace(institution, state=state, version=institution.version + 1)


def known(institution: Institution | None) -> Institution:
    """The institution; INSTITUTION_UNKNOWN (NOT_FOUND) if there is none."""
    if institution is None:
        raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN", field="fixmedins_code")
    return institution


def check_not_ended(institution: Institution) -> None:
    """INSTITUTION_ENDED (PRECONDITION) if its agreement ended for good."""
    if institution.state is InstitutionState.ENDED:
        raise Failure(Kind.PRECONDITION, "INSTITUTION_ENDED", fixmedins_code=institution.fixmedins_code)


class TerminalState(Enum):
    """Whether a terminal is in service; the value is what the database keeps."""

    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"  # Until it is registered again.


@dataclass(frozen=True, slots=True)
class TerminalStanding:
    """What one statement tells of an institution and one of its terminals; None of what is not there."""

    institution_state: InstitutionState | None
    agreement_from: date | None
    agreement_to: date | None
    terminal_state: TerminalState | None
    sign_ends_at: datetime | None


def check_decodes(standing: TerminalStanding, *, fixmedins_code: FixmedinsCode, now: datetime) -> None:
    """A credential may be decoded at this terminal now.

    Refusals in this order: INSTITUTION_UNKNOWN, INSTITUTION_NOT_DESIGNATED (suspended, ended, or outside the days of
    its agreement), TERMINAL_UNKNOWN (never registered, or out of service), TERMINAL_NOT_SIGNED_IN.
    """
    if standing.institution_state is None:
        raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN", field="fixmedins_code")
    within = is_within(standing.agreement_from, standing.agreement_to, business_date(now))
    if standing.institution_state is not InstitutionState.DESIGNATED or not within:
        raise Failure(Kind.PRECONDITION, "INSTITUTION_NOT_DESIGNATED", fixmedins_code=fixmedins_code)
    if standing.terminal_state is not TerminalState.ACTIVE:
        raise terminal_unknown()
    if standing.sign_ends_at is None or standing.sign_ends_at <= now:
        raise Failure(Kind.PRECONDITION, "TERMINAL_NOT_SIGNED_IN", fixmedins_code=fixmedins_code)


def is_within(first: date | None, last: date | None, day: date) -> bool:
    """Whether a day lies in a period to which both its days belong; None is open on that side."""
    return (first is None or first <= day) and (last is None or day <= last)


def terminal_unknown() -> Failure:
    """The refusal of what a terminal asks that is not registered, or out of service."""
    return Failure(Kind.NOT_FOUND, "TERMINAL_UNKNOWN", field="terminal_no")
