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
from gongji.family.v1 import (
    counter_pb2,
    counter_pb2_grpc,
    family_pb2,
    family_pb2_grpc,
    groups_pb2,
    groups_pb2_grpc,
    uses_pb2,
    uses_pb2_grpc,
)
from gongji.identity.v1 import rights_pb2, rights_pb2_grpc
from gongji.notify.v1 import notify_pb2, notify_pb2_grpc
from gongji.settlement.v1 import account_pb2, account_pb2_grpc, wallets_pb2, wallets_pb2_grpc
from kernel.callers import Caller
from kernel.clock import SHANGHAI
from kernel.failures import Failure

FORMAT: Final = "gongji-person-file/1"
ROOMS: Final = ("identity", "family", "settlement", "notify")
EXPORT_TIMEOUT_S: Final = 600.0
PAGE_LINES: Final = 500
PAGE_MESSAGES: Final = 200
PAGE_TRANSFERS: Final = 200
PAGE_LISTED: Final = 200
INSUTYPE_EMPLOYEE: Final = "310"
ACCOUNT_KINDS: Final = {"personal": account_pb2.ACCOUNT_KIND_PERSONAL, "wallet": account_pb2.ACCOUNT_KIND_WALLET}

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Rooms:
    """The stubs that the file is put together from."""

    rights: rights_pb2_grpc.RightsServiceAsyncStub
    family: family_pb2_grpc.FamilyServiceAsyncStub
    groups: groups_pb2_grpc.GroupServiceAsyncStub
    uses: uses_pb2_grpc.UseServiceAsyncStub
    counter: counter_pb2_grpc.CounterServiceAsyncStub
    accounts: account_pb2_grpc.AccountServiceAsyncStub
    wallets: wallets_pb2_grpc.WalletServiceAsyncStub
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
            groups_pb2_grpc.GroupServiceStub(opened["family"]),
            uses_pb2_grpc.UseServiceStub(opened["family"]),
            counter_pb2_grpc.CounterServiceStub(opened["family"]),
            account_pb2_grpc.AccountServiceStub(opened["settlement"]),
            wallets_pb2_grpc.WalletServiceStub(opened["settlement"]),
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

    wallets = [
        await part(f"wallet {number}", _wallet(rooms.wallets, number, counts=number == psn_no), None)
        for number in numbers
    ]
    for each in wallets:
        if each is not None and each["wallet"]:
            areas = sorted({*areas, each["wallet"]["area"], *each["former_areas"]})
    accounts = [
        await part(f"account {number} {area} {name}", _account(rooms.accounts, number, area, kind), None)
        for number in numbers
        for area in areas
        for name, kind in ACCOUNT_KINDS.items()
    ]
    return {
        "format": FORMAT,
        "identity": identity,
        "family": await part("family", _family(rooms, psn_no, numbers), None),
        "accounts": [account for account in accounts if account is not None],
        "wallets": [wallet for wallet in wallets if wallet is not None and (wallet["wallet"] or wallet["transfers"])],
        "messages": [each for n in numbers for each in await part("messages", _messages(rooms.notify, n), [])],
        "missing": missing,
    }, missing


def write_file(path: Path, content: dict[str, Any]) -> None:
    """Writes a file that only its owner can read, whole or not at all; FileExistsError if there is one already."""
    write_private_once(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


async def _family(rooms: Rooms, psn_no: str, numbers: list[str]) -> dict[str, Any]:
    """Groups as their members see them, and whatever else names the person under any number of his."""
    groups: dict[str, family_pb2.Group] = {}
    for number in numbers:
        token = ""
        while True:
            page = await rooms.family.ListGroups(family_pb2.ListGroupsRequest(psn_no=number, page_token=token))
            # A group that both of his numbers are named in is shown as its member sees it.
            groups |= {each.group_id: each for each in page.groups if each.members or each.group_id not in groups}
            token = page.next_page_token
            if not token:
                break
    found: dict[str, list[Any]] = {"invitation": [], "binding": [], "departure": []}
    async for answer in rooms.groups.StreamRecords(groups_pb2.StreamRecordsRequest(psn_no=psn_no)):
        name = answer.WhichOneof("record")
        if name is not None:
            found[name].append(as_json(getattr(answer, name)))
    signed = await rooms.groups.ListPledges(groups_pb2.ListPledgesRequest(psn_no=psn_no))
    # Before the deeds: that they are read now is a look-up of its own.
    lookups = [each async for each in _deed_lookups(rooms.counter, psn_no)]
    return {
        "pledges": [as_json(pledge) for pledge in signed.pledges],
        "groups": [as_json(group) for group in groups.values() if group.members],
        "invitations": found["invitation"],
        "bindings": found["binding"],
        "departures": found["departure"],
        "uses": [each async for each in _uses(rooms.uses, psn_no)],
        "counter_deeds": [each async for each in _deeds(rooms.counter, psn_no)],
        "counter_lookups": lookups,
    }


async def _uses(uses: uses_pb2_grpc.UseServiceAsyncStub, psn_no: str) -> AsyncIterator[dict[str, Any]]:
    """What his account gave and what was given for his bills, the latest first."""
    token = ""
    while True:
        request = uses_pb2.ListUsesRequest(by_psn_no=psn_no, page_size=PAGE_LISTED, page_token=token)
        page = await uses.ListUses(request)
        for each in page.uses:
            yield as_json(each)
        token = page.next_page_token
        if not token:
            return


async def _deeds(counter: counter_pb2_grpc.CounterServiceAsyncStub, psn_no: str) -> AsyncIterator[dict[str, Any]]:
    """What officers did for which they saw a document of his, the latest first."""
    token = ""
    while True:
        request = counter_pb2.ListCounterDeedsRequest(psn_no=psn_no, page_size=PAGE_LISTED, page_token=token)
        page = await counter.ListCounterDeeds(request)
        for each in page.deeds:
            yield as_json(each)
        token = page.next_page_token
        if not token:
            return


async def _deed_lookups(
    counter: counter_pb2_grpc.CounterServiceAsyncStub, psn_no: str
) -> AsyncIterator[dict[str, Any]]:
    """Who has read of him what officers did, the latest first."""
    token = ""
    while True:
        request = counter_pb2.ListDeedLookupsRequest(psn_no=psn_no, page_size=PAGE_LISTED, page_token=token)
        page = await counter.ListDeedLookups(request)
        for each in page.lookups:
            yield as_json(each)
        token = page.next_page_token
        if not token:
            return


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


async def _wallet(wallets: wallets_pb2_grpc.WalletServiceAsyncStub, psn_no: str, *, counts: bool) -> dict[str, Any]:
    """The wallet of a number with what is under way, if there is one; of the number that counts, every transfer too."""
    found: dict[str, Any] = {"wallet": None, "under_way": None, "former_areas": []}
    try:
        found = as_json(await wallets.GetWallet(wallets_pb2.GetWalletRequest(psn_no=psn_no)))
    except Failure as failure:
        if failure.reason != "WALLET_UNKNOWN":
            raise
    transfers: list[Any] = []
    token, more = "", counts
    while more:
        request = wallets_pb2.ListTransfersRequest(psn_no=psn_no, page_size=PAGE_TRANSFERS, page_token=token)
        page = await wallets.ListTransfers(request)
        transfers += map(as_json, page.transfers)
        token = page.next_page_token
        more = bool(token)
    return {name: found[name] for name in ("wallet", "under_way", "former_areas")} | {"transfers": transfers}


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
    """A message under the names of its contract: amounts as numbers, enums by name, times in Shanghai, bytes in hex."""
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
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return value if found is None else found.name
    return value
