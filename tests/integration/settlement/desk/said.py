"""What identity and family say in these tests: their events, as their own rooms would send them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4, uuid5

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.bus import Bus
from gongji.family.v1 import binding_pb2
from gongji.family.v1 import events_pb2 as family_pb
from gongji.identity.v1 import events_pb2 as identity_pb
from gongji.identity.v1 import person_pb2
from tests import patience

Event = identity_pb.IdentityEvent | family_pb.FamilyEvent
BOUND_AT: Final = datetime(2026, 1, 2, tzinfo=UTC)
_NAMES: Final = UUID(int=0)


def timestamp(instant: datetime) -> Timestamp:
    """The instant as a message."""
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def person(
    psn_no: str,
    *enrolments: tuple[str, str, str],
    psn_type: str = "",
    merged_into: str = "",
    version: int = 1,
    sanctions: Sequence[tuple[datetime, datetime]] = (),
    name_masked: str = "某*",
    death_date: str = "",
    brdy: str = "",
) -> identity_pb.IdentityEvent:
    """A person with (insutype, area, status) of each enrolment, and (from, to) of each sanction."""
    told = person_pb2.Person(
        psn_no=psn_no,
        name_masked=name_masked,
        enrolments=[
            person_pb2.Enrolment(insutype=insutype, insuplc_admdvs=area, psn_insu_stas=status, psn_type=psn_type)
            for insutype, area, status in enrolments
        ],
        sanctions=_sanctions(psn_no, sanctions),
        death_date=death_date,
        merged_into=merged_into,
        brdy=brdy,
    )
    return identity_pb.IdentityEvent(
        event_id=str(uuid4()),
        aggregate_id=f"person:{psn_no}",
        version=version,
        person_changed=identity_pb.PersonChanged(person=told),
    )


def institution(
    code: str,
    state: person_pb2.InstitutionState.ValueType = person_pb2.INSTITUTION_STATE_DESIGNATED,
    *,
    version: int = 1,
    wallet_capable: bool = True,
    inpatient: bool = True,
    level: person_pb2.InstitutionLevel.ValueType = person_pb2.INSTITUTION_LEVEL_UNSPECIFIED,
    agreement: tuple[str, str] = ("", ""),
    sanctions: Sequence[tuple[datetime, datetime]] = (),
) -> identity_pb.IdentityEvent:
    """A designated institution, or one in another state; ``agreement`` names its first and last day."""
    told = person_pb2.Institution(
        fixmedins_code=code,
        fixmedins_name="某机构",
        state=state,
        wallet_capable=wallet_capable,
        level=level,
        capabilities=[person_pb2.INSTITUTION_CAPABILITY_INPATIENT] * inpatient,
        agreement_from_date=agreement[0],
        agreement_to_date=agreement[1],
    )
    return identity_pb.IdentityEvent(
        event_id=str(uuid4()),
        aggregate_id=f"institution:{code}",
        version=version,
        institution_changed=identity_pb.InstitutionChanged(institution=told, sanctions=_sanctions(code, sanctions)),
    )


def terminal(
    code: str, terminal_no: str = "T01", *, version: int = 1, signed_in: bool = True, in_service: bool = True
) -> identity_pb.IdentityEvent:
    """A terminal of the institution, with somebody signed in for a day to come, or nobody."""
    now = datetime.now(UTC)
    told = person_pb2.Terminal(
        fixmedins_code=code,
        terminal_no=terminal_no,
        terminal_name="某窗口",
        state=person_pb2.TERMINAL_STATE_ACTIVE if in_service else person_pb2.TERMINAL_STATE_RETIRED,
    )
    if signed_in:
        told.sign_no = f"S{version}"
        told.sign_time.CopyFrom(timestamp(now))
        told.sign_ends_time.CopyFrom(timestamp(now + timedelta(days=1)))
    return identity_pb.IdentityEvent(
        event_id=str(uuid4()),
        aggregate_id=f"terminal:{code}/{terminal_no}",
        version=version,
        terminal_changed=identity_pb.TerminalChanged(terminal=told),
    )


def _sanctions(subject: str, periods: Sequence[tuple[datetime, datetime]]) -> list[person_pb2.Sanction]:
    return [
        person_pb2.Sanction(
            sanction_id=str(uuid5(_NAMES, f"{subject}{begin}")), from_time=timestamp(begin), to_time=timestamp(end)
        )
        for begin, end in periods
    ]


def signing_key(kid: str, public_key: bytes, *, version: int = 1, ended: bool = False) -> identity_pb.IdentityEvent:
    """A key that counts around now, or that was ended just now."""
    now = datetime.now(UTC)
    return identity_pb.IdentityEvent(
        event_id=str(uuid4()),
        aggregate_id=f"key:{kid}",
        version=version,
        signing_key_activated=identity_pb.SigningKeyActivated(
            kid=kid,
            public_key=public_key,
            not_before_time=timestamp(now - timedelta(days=1)),
            not_after_time=timestamp(now if ended else now + timedelta(days=30)),
        ),
    )


def binding_id(funder: str, beneficiary: str) -> UUID:
    """The one binding of a pair."""
    return uuid5(_NAMES, f"{funder}{beneficiary}")


def authorisation_id(funder: str, beneficiary: str) -> UUID:
    """The authorisation of that binding."""
    return uuid5(_NAMES, f"leave {funder}{beneficiary}")


def binding(
    funder: str,
    beneficiary: str,
    *,
    area: str,
    state: binding_pb2.BindingState.ValueType = binding_pb2.BINDING_STATE_ACTIVE,
    version: int = 1,
    order: int | None = None,
    bound_at: datetime = BOUND_AT,
    cause: str = "",
) -> family_pb.FamilyEvent:
    """What the funder's binding with the beneficiary now is."""
    told = binding_pb2.Binding(
        binding_id=str(binding_id(funder, beneficiary)),
        funder_psn_no=funder,
        beneficiary_psn_no=beneficiary,
        state=state,
        bound_time=timestamp(bound_at),
        authorisation_id=str(authorisation_id(funder, beneficiary)),
        funder_area=area,
        relation=person_pb2.RELATION_SPOUSE,
        cause=cause,
    )
    if order is not None:
        told.deduct_order = order
    return family_pb.FamilyEvent(
        event_id=str(uuid4()),
        aggregate_id=f"binding:{told.binding_id}",
        version=version,
        binding_changed=family_pb.BindingChanged(binding=told),
    )


async def say(bus: Bus, events: Iterable[Event]) -> None:
    """Publishes the events in this order, each on the stream of its room."""
    for event in events:
        await patience.say(bus, event)
