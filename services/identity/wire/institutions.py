"""Institutions and terminals, between messages and the domain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gongji.identity.v1 import events_pb2, institutions_pb2, person_pb2
from kernel.ids import FixmedinsCode, parsed_fixmedins_code
from kernel.policy import known_area
from services.identity.domain.institution import (
    Capability,
    Decision,
    Institution,
    InstitutionLevel,
    InstitutionState,
    Place,
    TerminalState,
)
from services.identity.domain.terminal import Terminal
from services.identity.wire.events import Draft
from services.identity.wire.sanctions import standing_sanctions
from services.identity.wire.values import parsed_date, parsed_text, timestamp_of

_INSTITUTION_STATES: Final = {
    person_pb2.InstitutionState.Value(f"INSTITUTION_STATE_{state.name}"): state for state in InstitutionState
}
_LEVELS: Final = {
    person_pb2.InstitutionLevel.Value(f"INSTITUTION_LEVEL_{level.name}"): level for level in InstitutionLevel
}
_CAPABILITIES: Final = {
    person_pb2.InstitutionCapability.Value(f"INSTITUTION_CAPABILITY_{each.name}"): each for each in Capability
}
_TERMINAL_STATES: Final = {
    state: person_pb2.TerminalState.Value(f"TERMINAL_STATE_{state.name}") for state in TerminalState
}


def institution(message: person_pb2.Institution) -> Institution:
    """The institution as it shall be; DATE_MALFORMED, TEXT_MALFORMED, POLICY_AREA_UNKNOWN if a part cannot be kept."""
    return Institution(
        fixmedins_code=parsed_fixmedins_code(message.fixmedins_code, field="institution.fixmedins_code"),
        fixmedins_name=parsed_text(message.fixmedins_name, field="institution.fixmedins_name"),
        state=_INSTITUTION_STATES[message.state],
        wallet_capable=message.wallet_capable,
        level=_LEVELS.get(message.level),
        agreement_from=parsed_date(message.agreement_from_date, field="institution.agreement_from_date"),
        agreement_to=parsed_date(message.agreement_to_date, field="institution.agreement_to_date"),
        capabilities=frozenset(_CAPABILITIES[each] for each in message.capabilities),
        place=place(message.place, field="institution.place") if message.HasField("place") else None,
    )


def place(message: person_pb2.Place, *, field: str) -> Place:
    """Where something stands."""
    admdvs = known_area(message.admdvs, field=f"{field}.admdvs") if message.admdvs else None
    return Place(message.longitude_udeg, message.latitude_udeg, admdvs)


def state_asked(state: person_pb2.InstitutionState.ValueType) -> InstitutionState | None:
    """The state that a list is narrowed to; None for any."""
    return _INSTITUTION_STATES.get(state)


def terminal(request: institutions_pb2.RegisterTerminalRequest) -> Terminal:
    """The terminal as it shall be."""
    return Terminal(
        fixmedins_code=fixmedins_code(request.fixmedins_code),
        terminal_no=request.terminal_no,
        terminal_name=parsed_text(request.terminal_name, field="terminal_name"),
        place=place(request.place, field="place") if request.HasField("place") else None,
    )


def fixmedins_code(text: str) -> FixmedinsCode:
    """The institution that a request is about."""
    return parsed_fixmedins_code(text, field="fixmedins_code")


def institution_message(institution: Institution) -> person_pb2.Institution:
    """The institution as others see it."""
    return person_pb2.Institution(
        fixmedins_code=institution.fixmedins_code,
        fixmedins_name=institution.fixmedins_name,
        state=_state_value(institution.state),
        wallet_capable=institution.wallet_capable,
        level=_level_value(institution.level),
        agreement_from_date="" if institution.agreement_from is None else institution.agreement_from.isoformat(),
        agreement_to_date="" if institution.agreement_to is None else institution.agreement_to.isoformat(),
        capabilities=sorted(value for value, each in _CAPABILITIES.items() if each in institution.capabilities),
        place=_place_message(institution.place),
    )


def institution_shown(
    institution: Institution, decisions: Sequence[Decision], *, now: datetime
) -> institutions_pb2.GetInstitutionResponse:
    """The answer to GetInstitution."""
    return institutions_pb2.GetInstitutionResponse(
        institution=institution_message(institution),
        sanctions=standing_sanctions(institution.sanctions, now=now),
        decisions=[
            institutions_pb2.InstitutionDecision(
                state=_state_value(each.state),
                opter=each.opter,
                cause=each.cause,
                decided_time=timestamp_of(each.decided_at),
            )
            for each in decisions
        ],
    )


def terminal_message(terminal: Terminal) -> person_pb2.Terminal:
    """The terminal as others see it; who is signed in there is nobody else's business."""
    sign_in = terminal.sign_in
    message = person_pb2.Terminal(
        fixmedins_code=terminal.fixmedins_code,
        terminal_no=terminal.terminal_no,
        terminal_name=terminal.terminal_name,
        state=_TERMINAL_STATES[terminal.state],
        place=_place_message(terminal.place),
    )
    if sign_in is not None:
        message.sign_no = sign_in.sign_no
        message.sign_time.CopyFrom(timestamp_of(sign_in.signed_in_at))
        message.sign_ends_time.CopyFrom(timestamp_of(sign_in.ends_at))
    return message


def institution_changed(institution: Institution, *, now: datetime) -> Draft:
    """An institution was registered or changed, or a sanction on it was imposed or lifted."""
    fact = events_pb2.IdentityEvent(
        institution_changed=events_pb2.InstitutionChanged(
            institution=institution_message(institution),
            sanctions=standing_sanctions(institution.sanctions, now=now),
        )
    )
    return Draft(fact, f"institution:{institution.fixmedins_code}", institution.version)


def terminal_changed(terminal: Terminal) -> Draft:
    """A terminal was registered, changed or retired, or somebody signed in or out there."""
    fact = events_pb2.IdentityEvent(terminal_changed=events_pb2.TerminalChanged(terminal=terminal_message(terminal)))
    aggregate = f"terminal:{terminal.fixmedins_code}/{terminal.terminal_no}"
    return Draft(fact, aggregate, terminal.version)


def _state_value(state: InstitutionState) -> person_pb2.InstitutionState.ValueType:
    return person_pb2.InstitutionState.Value(f"INSTITUTION_STATE_{state.name}")


def _level_value(level: InstitutionLevel | None) -> person_pb2.InstitutionLevel.ValueType:
    if level is None:
        return person_pb2.INSTITUTION_LEVEL_UNSPECIFIED
    return person_pb2.InstitutionLevel.Value(f"INSTITUTION_LEVEL_{level.name}")


def _place_message(place: Place | None) -> person_pb2.Place | None:
    if place is None:
        return None
    return person_pb2.Place(
        longitude_udeg=place.longitude_udeg, latitude_udeg=place.latitude_udeg, admdvs=place.admdvs or ""
    )
