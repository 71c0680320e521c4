"""Every field of every request, one after another, filled with what nobody should send: never more than a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chassis.rpc.catalogue import catalogue
from gongji.identity.v1 import (
    attestations_pb2,
    cards_pb2,
    credentials_pb2,
    identity_pb2,
    institutions_pb2,
    kinship_pb2,
    person_pb2,
    rights_pb2,
    risk_pb2,
    sanctions_pb2,
)
from kernel.failures import Failure
from tests.integration.identity.conftest import LI, WANG, Identity
from tests.integration.identity.sound_credentials import sound_credentials
from tests.integration.identity.sound_institutions import sound_institutions
from tests.integration.identity.sound_kinship import sound_kinship
from tests.integration.identity.sound_people import sound_people
from tests.integration.identity.sound_rights import sound_rights
from tests.integration.identity.sound_sanctions import sound_sanctions

TEXTS = [
    "",
    " ",
    "\x00",
    "'; DROP TABLE persons; --",
    "\u202e650103198503124518",
    "𠮷" * 50,
    "9" * 18,
    "9" * 30,
    "0" * 10,
    "2026-02-30",
    "0000-00-00",
    "9999-12-31",
    "A" * 5000,
    "../../etc/passwd",
    "%s%n{0}${x}",
    "00000000-0000-0000-0000-000000000000",
]
NUMBERS = [0, 1, 99, -1, 2**31 - 1]
INSTANTS = [0, -(2**62), 2**62, 253402300799, 253402300800, -62135596801]


def values(field: Any) -> list[Any]:  # noqa: ANN401  Two classes of descriptors, one at run time.
    """What this field is filled with."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return list(TEXTS)
        case FieldDescriptor.CPPTYPE_ENUM:
            return list(NUMBERS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return [True, False]
        case FieldDescriptor.CPPTYPE_INT32:
            return list(NUMBERS)
        case FieldDescriptor.CPPTYPE_UINT32:
            return [number for number in NUMBERS if number >= 0]
        case _:
            return list(INSTANTS)


def mutants(request: Message) -> list[Message]:
    """The request with one field of it, or of a message in it, changed."""
    found: list[Message] = []
    for field in request.DESCRIPTOR.fields:
        inner = field.message_type
        if field.is_repeated:
            found += mutated_lists(request, field)
            continue
        if inner is not None and inner.full_name != "google.protobuf.Timestamp":
            for mutant in mutants(getattr(request, field.name)):
                copy = type(request)()
                copy.CopyFrom(request)
                getattr(copy, field.name).CopyFrom(mutant)
                found.append(copy)
            continue
        for value in values(field):
            copy = type(request)()
            copy.CopyFrom(request)
            if inner is None:
                setattr(copy, field.name, value.encode() if field.type == FieldDescriptor.TYPE_BYTES else value)
            else:
                getattr(copy, field.name).seconds = value
            found.append(copy)
    return found


def mutated_lists(request: Message, field: Any) -> list[Message]:  # noqa: ANN401  As above.
    """The request with a list of it emptied, made far too long, or with one item changed."""
    items = list(getattr(request, field.name))
    if field.message_type is not None:
        changed = [[mutant] for item in items[:1] for mutant in mutants(item)]
    else:
        changed = [[value] for value in values(field)]
    found = []
    for lot in ([], items * 1000, *changed):
        copy = type(request)()
        copy.CopyFrom(request)
        copy.ClearField(field.name)
        getattr(copy, field.name).extend(lot)
        found.append(copy)
    return found


def sound_requests() -> dict[str, Message]:
    """One request for each method, as somebody sends it in earnest."""
    return (
        sound_people()
        | sound_credentials()
        | sound_kinship()
        | sound_rights()
        | sound_institutions()
        | sound_sanctions()
        | {
            "RegisterPerson": identity_pb2.RegisterPersonRequest(
                psn_cert_type=person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
                certno="S650123456",
                psn_name="王小宝",
                brdy="2026-06-01",
                gend="1",
            ),
            "GetPerson": identity_pb2.GetPersonRequest(psn_no=WANG["psn_no"], purpose="TEST"),
            "Enrol": identity_pb2.EnrolRequest(psn_no=WANG["psn_no"], insutype="310", insuplc_admdvs="650100"),
            "ChangeInsuranceStatus": identity_pb2.ChangeInsuranceStatusRequest(
                psn_no=WANG["psn_no"], insutype="310", psn_insu_stas="2"
            ),
        }
    )


def test_every_method_is_tried() -> None:
    """No method of the room is missing here, those without a field apart."""
    modules = (
        attestations_pb2,
        cards_pb2,
        identity_pb2,
        credentials_pb2,
        kinship_pb2,
        sanctions_pb2,
        institutions_pb2,
        rights_pb2,
        risk_pb2,
    )
    methods = {
        method
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods_by_name
    }
    assert sound_requests().keys() == methods - {"StreamSnapshot", "ListSigningKeys"}


@pytest.mark.parametrize("method", sound_requests())
async def test_no_field_breaks_a_call(identity: Identity, method: str) -> None:
    """Whatever stands in a field, the call is answered or refused with a reason of the catalogue."""
    await identity.register(**WANG)
    await identity.register(**LI)
    await identity.hospital()
    call = next(
        getattr(stub, method)
        for stub in (
            identity.stub,
            identity.credentials,
            identity.cards,
            identity.attestations,
            identity.kinship,
            identity.sanctions,
            identity.institutions,
            identity.rights,
            identity.risk,
        )
        if hasattr(stub, method)
    )
    requests = mutants(sound_requests()[method])
    assert len(requests) >= len(TEXTS)
    for request in requests:
        try:
            answer = call(request)
            if hasattr(answer, "__aiter__"):
                async for _ in answer:
                    pass
            else:
                await answer
        except Failure as failure:
            assert failure.reason in catalogue()  # noqa: PT017  An answer is as good as a refusal.
            assert "650103198503124518" not in str(failure)  # noqa: PT017  As above.
