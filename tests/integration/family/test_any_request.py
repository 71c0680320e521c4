"""Any request at all, made from the descriptors: an answer or a named refusal, never INTERNAL, never a hang."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import uuid4

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gongji.family.v1 import counter_pb2, family_pb2, groups_pb2, uses_pb2
from gongji.identity.v1 import person_pb2
from kernel.failures import Failure
from tests.anything import broken_by
from tests.integration.family.house import HAMI, TEXT_SHA256, TEXT_VERSION, House

METHODS: Final = [
    (service.full_name, method.name, method.output_type, (method.client_streaming, method.server_streaming))
    for file in (family_pb2, groups_pb2, counter_pb2, uses_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
PLAUSIBLE: Final = (
    *(HAMI, "650100000000001", TEXT_VERSION, "zh-CN", "en", "zhang01", "2026-11-01", "2026-02-30", "9999-12-31"),
    *("0190a0a0-0000-7000-8000-000000000001", "0001-01-01", "a.b.c", "MTIz", "binding:1", "\x00", "王建国"),
)


async def good_requests(house: House) -> dict[str, Message]:
    """A request of each method that would be answered, at a counter where there is one."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    invitation: dict[str, Any] = {"invitation_id": str(uuid4())}
    pledge: dict[str, Any] = {"text_version": TEXT_VERSION, "text_sha256": TEXT_SHA256}
    sides: dict[str, Any] = {"group_id": group_id, "funder_psn_no": funder, "beneficiary_psn_no": beneficiary}
    limits: dict[str, Any] = {"per_payment_fen": 100, "per_month_fen": 100}
    bound: dict[str, Any] = {"binding_id": binding.binding_id}
    going: dict[str, Any] = {"group_id": group_id, "psn_no": beneficiary}
    request_id = str(uuid4())
    requests: dict[str, Any] = {
        "SignPledge": family_pb2.SignPledgeRequest(psn_no=funder, **pledge),
        "CreateGroup": family_pb2.CreateGroupRequest(founder_psn_no=funder, request_id=request_id),
        "InviteMember": family_pb2.InviteMemberRequest(
            group_id=group_id,
            inviter_psn_no=funder,
            invitee_psn_no=beneficiary,
            relation=person_pb2.RELATION_SIBLING,
            request_id=request_id,
        ),
        "AcceptInvitation": family_pb2.AcceptInvitationRequest(**invitation, invitee_psn_no=beneficiary),
        "Bind": family_pb2.BindRequest(**sides, **limits, authorised_fen=300, request_id=request_id),
        "Unbind": family_pb2.UnbindRequest(**bound, by_psn_no=funder),
        "AmendAuthorisedAmount": family_pb2.AmendAuthorisedAmountRequest(
            **bound, funder_psn_no=funder, authorised_fen=300
        ),
        "AmendLimits": family_pb2.AmendLimitsRequest(**bound, **limits, funder_psn_no=funder),
        "SetDeductOrder": family_pb2.SetDeductOrderRequest(beneficiary_psn_no=beneficiary, funder_psn_nos=[funder]),
        "GetGroup": family_pb2.GetGroupRequest(group_id=group_id, by_psn_no=funder),
        "ListGroups": family_pb2.ListGroupsRequest(psn_no=funder),
        "RegisterPledgeText": groups_pb2.RegisterPledgeTextRequest(
            text_version=str(uuid4())[:8], language="en", text="We share.", opter="zhang01"
        ),
        "GetPledgeText": groups_pb2.GetPledgeTextRequest(text_version=TEXT_VERSION, language="zh-CN"),
        "ListPledges": groups_pb2.ListPledgesRequest(psn_no=funder),
        "DeclineInvitation": groups_pb2.DeclineInvitationRequest(**invitation, invitee_psn_no=beneficiary),
        "WithdrawInvitation": groups_pb2.WithdrawInvitationRequest(**invitation, inviter_psn_no=funder),
        "LeaveGroup": groups_pb2.LeaveGroupRequest(**going),
        "RemoveMember": groups_pb2.RemoveMemberRequest(**going, founder_psn_no=funder),
        "DissolveGroup": groups_pb2.DissolveGroupRequest(group_id=group_id, founder_psn_no=funder),
        "TakeOverGroup": groups_pb2.TakeOverGroupRequest(**going),
        "ListCounterDeeds": counter_pb2.ListCounterDeedsRequest(psn_no=funder, deed="BIND", from_date="2026-01-01"),
        "ListDeedLookups": counter_pb2.ListDeedLookupsRequest(psn_no=funder),
        "StreamSnapshot": family_pb2.StreamSnapshotRequest(),
        "StreamRecords": groups_pb2.StreamRecordsRequest(psn_no=funder),
        "ListUses": uses_pb2.ListUsesRequest(by_psn_no=funder, group_id=group_id),
    }
    return {name: at_counter(request, [funder, beneficiary]) for name, request in requests.items()}


def at_counter(request: Any, psn_nos: list[str]) -> Message:  # noqa: ANN401  Of any type.
    """The same made by officers who have seen everybody's card, where the request knows counters."""
    if "counter" in request.DESCRIPTOR.fields_by_name:
        request.counter.opter, request.counter.second_opter = "zhang01", "li02"
        for psn_no in psn_nos:
            seen = request.counter.documents.add(psn_no=psn_no, kind=counter_pb2.DOCUMENT_KIND_RESIDENT_ID)
            seen.seen_time.FromDatetime(datetime.now(UTC))
    return cast("Message", request)


@pytest.mark.parametrize(
    ("method", "change"),
    [("ListCounterDeeds", {"subject": "\x00"}), ("RegisterPledgeText", {"text": "We share.\x00\nAnd pay."})],
)
async def test_what_no_database_keeps_is_refused_at_the_door(house: House, method: str, change: dict[str, str]) -> None:
    """A NUL in a text is an invalid request by its field, never INTERNAL."""
    good = (await good_requests(house))[method]
    [(service, answer_type)] = [(service, answer_type) for service, name, answer_type, _ in METHODS if name == method]
    good.MergeFrom(type(good)(**change))
    [field] = change
    call = house.family_channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(answer_type).FromString,
    )
    with pytest.raises(Failure) as refused:
        await call(good, timeout=60)
    assert (refused.value.reason, refused.value.metadata["field"]) == ("REQUEST_INVALID", field)


@pytest.mark.parametrize(
    ("service", "method", "answer_type", "streams"), METHODS, ids=[method for _, method, *_ in METHODS]
)
async def test_any_request_gets_an_answer_or_a_named_refusal(
    house: House, service: str, method: str, answer_type: Descriptor, streams: tuple[bool, bool]
) -> None:
    """No field of any request makes family break: INTERNAL never, a reason always, in the time of the call."""
    good = (await good_requests(house))[method]
    async with grpc.aio.insecure_channel(house.world.address("family")) as channel:
        path = f"/{service}/{method}"
        assert await broken_by(channel, path, answer_type, good, PLAUSIBLE, streams=streams) == []
