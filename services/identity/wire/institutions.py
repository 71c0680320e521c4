"""Institutions, between messages and the domain."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from chassis.outbox import OutgoingEvent
from gongji.identity.v1 import events_pb2, person_pb2
from kernel.ids import parsed_fixmedins_code
from services.identity.domain.institution import Institution, InstitutionState
from services.identity.wire.events import event
from services.identity.wire.values import parsed_text

_INSTITUTION_STATES: Final = {
    person_pb2.InstitutionState.Value(f"INSTITUTION_STATE_{state.name}"): state for state in InstitutionState
}


def institution(message: person_pb2.Institution) -> Institution:
    """The institution as it shall be."""
    return Institution(
        fixmedins_code=parsed_fixmedins_code(message.fixmedins_code, field="institution.fixmedins_code"),
        fixmedins_name=parsed_text(message.fixmedins_name, field="institution.fixmedins_name"),
        state=_INSTITUTION_STATES[message.state],
        wallet_capable=message.wallet_capable,
    )


def institution_message(institution: Institution) -> person_pb2.Institution:
    """The institution as others see it."""
    return person_pb2.Institution(
        fixmedins_code=institution.fixmedins_code,
        fixmedins_name=institution.fixmedins_name,
        state=person_pb2.InstitutionState.Value(f"INSTITUTION_STATE_{institution.state.name}"),
        wallet_capable=institution.wallet_capable,
    )


def institution_changed(institution: Institution, *, event_id: UUID, now: datetime) -> OutgoingEvent:
    """An institution was registered or changed."""
    fact = events_pb2.IdentityEvent(
        institution_changed=events_pb2.InstitutionChanged(institution=institution_message(institution))
    )
    return event(fact, f"institution:{institution.fixmedins_code}", institution.version, event_id, now)
