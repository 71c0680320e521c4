"""Everything held about one person in one file: identity's document, and what other rooms show him by their RPCs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.private_files import write_private_once
from chassis.rpc.client import channel
from gongji.family.v1 import family_pb2, family_pb2_grpc
from gongji.identity.v1 import rights_pb2, rights_pb2_grpc
from gongji.notify.v1 import notify_pb2, notify_pb2_grpc
from gongji.settlement.v1 import account_pb2, account_pb2_grpc
from kernel.callers import Caller
from kernel.clock import SHANGHAI
from kernel.failures import Failure

FORMAT: Final = "gongji-person-file/1"
ROOMS: Final = ("identity", "family", "settlement", "notify")
EXPORT_TIMEOUT_S: Final = 600.0
PAGE_LINES: Final = 500
PAGE_MESSAGES: Final = 200
INSUTYPE_EMPLOYEE: Final = "310"
ACCOUNT_KINDS: Final = {"personal": account_pb2.ACCOUNT_KIND_PERSONAL, "wallet": account_pb2.ACCOUNT_KIND_WALLET}

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Rooms:
    """The stubs that the file is put together from."""

    rights: rights_pb2_grpc.RightsServiceAsyncStub
    family: family_pb2_grpc.FamilyServiceAsyncStub
    accounts: account_pb2_grpc.AccountServiceAsyncStub
    notify: notify_pb2_grpc.NotifyServiceAsyncStub


@asynccontextmanager
async def rooms_at(address_of: Callable[[str], str], caller: Caller) -> AsyncIterator[Rooms]:
    """Opens a channel to each room, ``address_of`` its name; every call says that it comes from ``caller``."""
    async with AsyncExitStack() as stack:
        opened: dict[str, grpc.aio.Channel] = {
            room: await stack.enter_async_context(channel(address_of(room), caller=caller)) for room in ROOMS
        }
        yield Rooms(
            rights_pb2_grpc.RightsServiceStub(opened["identity"]),
            family_pb2_grpc.FamilyServiceStub(opened["family"]),
            account_pb2_grpc.AccountServiceStub(opened["settlement"]),
            notify_pb2_grpc.NotifyServiceStub(opened["notify"]),
        )


async def everything(rooms: Rooms, *, psn_no: str, attestation_id: str) -> tuple[dict[str, Any], list[str]]:
    """The whole file's content, and which parts of it could not be had, each with the reason.

    Refusals are those of ExportPerson. What another room does not answer is left out by name and not by chance: the
    attestation counts once, so the file is written with what there is.
    """
    request = rights_pb2.ExportPersonRequest(psn_no=psn_no, attestation_id=attestation_id)
    answers = rooms.rights.ExportPerson(request, timeout=EXPORT_TIMEOUT_S)
    identity: dict[str, Any] = json.loads(b"".join([answer.content async for answer in answers]))
    numbers = [psn_no, *(each["psn_no"] for each in identity["merged_numbers"])]
    areas = sorted(
        {each["insuplc_admdvs"] for each in identity["enrolment_history"] if each["insutype"] == INSUTYPE_EMPLOYEE}
    )
    missing: list[str] = []

    async def part(name: str, work: Awaitable[Part], otherwise: Part) -> Part:
        try:
            return await work
        except Failure as failure:
            missing.append(f"{name}: {failure.reason}")
            return otherwise

    accounts = [
        await part(f"account {number} {area} {name}", _account(rooms.accounts, number, area, kind), None)
        for number in numbers
        for area in areas
        for name, kind in ACCOUNT_KINDS.items()
    ]
    return {
        "format": FORMAT,
        "identity": identity,
        "family": await part("family", _family(rooms.family, numbers), None),
        "accounts": [account for account in accounts if account is not None],
        "messages": [each for n in numbers for each in await part("messages", _messages(rooms.notify, n), [])],
        "missing": missing,
    }, missing


def write_file(path: Path, content: dict[str, Any]) -> None:
    """Writes a file that only its owner can read, whole or not at all; FileExistsError if there is one already."""
    write_private_once(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


async def _family(family: family_pb2_grpc.FamilyServiceAsyncStub, numbers: list[str]) -> dict[str, Any]:
    """Groups as their members see them, and every invitation and binding that names the person."""
    mine = set(numbers)
    groups: dict[str, family_pb2.Group] = {}
    for number in numbers:
        token = ""
        while True:
            page = await family.ListGroups(family_pb2.ListGroupsRequest(psn_no=number, page_token=token))
            # A group that both of his numbers are named in is shown as its member sees it.
            groups |= {each.group_id: each for each in page.groups if each.members or each.group_id not in groups}
            token = page.next_page_token
            if not token:
                break
    return {
        "groups": [as_json(group) for group in groups.values() if group.members],
        "invitations": [
            as_json(each)
            for group in groups.values()
            for each in group.invitations
            if mine & {each.inviter_psn_no, each.invitee_psn_no}
        ],
        "bindings": [
            as_json(each)
            for group in groups.values()
            for each in group.bindings
            if mine & {each.funder_psn_no, each.beneficiary_psn_no}
        ],
    }


async def _account(
    accounts: account_pb2_grpc.AccountServiceAsyncStub, psn_no: str, area: str, kind: account_pb2.AccountKind.ValueType
) -> dict[str, Any] | None:
    """An account with its balance and its whole statement; None if there is none."""
    asked = account_pb2.GetBalanceRequest(psn_no=psn_no, account_kind=kind, area=area)
    balance = (await accounts.GetBalance(asked)).balance
    if not balance.exists:
        return None
    lines: list[Any] = []
    last = 0
    while True:
        request = account_pb2.GetStatementRequest(
            psn_no=psn_no, account_kind=kind, area=area, after_entry_no=last, entries_max=PAGE_LINES
        )
        page = await accounts.GetStatement(request)
        lines += map(as_json, page.lines)
        if not page.more or not page.lines:
            break
        last = page.lines[-1].entry_no
    return {"balance": as_json(balance), "statement": lines}


async def _messages(notify: notify_pb2_grpc.NotifyServiceAsyncStub, psn_no: str) -> list[Any]:
    """Every message to the person, newest first."""
    found: list[Any] = []
    before = 0
    while True:
        page = await notify.ListMessages(
            notify_pb2.ListMessagesRequest(psn_no=psn_no, before_message_no=before, messages_max=PAGE_MESSAGES)
        )
        found += map(as_json, page.messages)
        if not page.more or not page.messages:
            return found
        before = page.messages[-1].message_no


def as_json(message: Message) -> dict[str, Any]:
    """A message under the names of its contract: amounts as numbers, enums by name, times in Shanghai."""
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message: Message, field: Any) -> Any:  # noqa: ANN401  Two classes of descriptors, and whatever JSON has.
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_one(field, each) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _one(field, value)


def _one(field: Any, value: Any) -> Any:  # noqa: ANN401  As above.
    if isinstance(value, Timestamp):
        return value.ToDatetime(tzinfo=SHANGHAI).isoformat()
    if isinstance(value, Message):
        return as_json(value)
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return value if found is None else found.name
    return value
