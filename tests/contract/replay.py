"""Replays a case file against whoever answers: the real services, or the stub that is made from the same files."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.bus import Bus, Stream
from gongji.family.v1.events_pb2 import FamilyEvent
from gongji.identity.v1 import credentials_pb2
from gongji.identity.v1.credentials_pb2_grpc import CredentialServiceStub
from gongji.identity.v1.events_pb2 import IdentityEvent
from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1.events_pb2 import SettlementEvent
from gongji_terminal.client import SETTLES
from gongji_terminal.failures import TerminalRefusal, Unanswered, catalogue_entry, failure_of
from gongji_terminal.msgid import next_msgid
from gongji_terminal.stub import methods
from gongji_terminal.stub_cases import Case, Differs, Step, as_stated, compared, filled, made_up
from tests.contract.states import happen
from tests.e2e.town import Town
from tests.patience import INSISTING, insisted

CALL_S: Final = 60.0
TOLD_S: Final = 60.0
POLL_S: Final = 0.1
TERMINAL: Final = 96
"""Stands in the msgids that are made here; no other terminal of the town has it."""
EPOCH: Final = 1
"""Of a coordinator that was never restored."""
INQUIRE: Final = "settlement/inquire"
"""What a ledger asks over NATS; commands go to ``ledger/<area>``."""
OFFICER: Final = "officer"
"""The consumer that is a person at the offices' commands; an app's calls come as a service's."""
ROOMS: Final = ("identity", "family", "settlement", "notify")
EVENTS: Final[Mapping[str, type[Message]]] = {
    "identity": IdentityEvent,
    "family": FamilyEvent,
    "settlement": SettlementEvent,
}
METHODS: Final = methods()


@dataclass
class Servers:
    """Where each room listens, and the msgids that were made so far."""

    channels: Mapping[str, grpc.aio.Channel]
    last: dict[str, str] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def at(cls, address_of: Callable[[str], str]) -> AsyncIterator[Servers]:
        """Channels to all rooms, closed at the end."""
        async with AsyncExitStack() as stack:
            yield cls(
                {
                    room: await stack.enter_async_context(
                        grpc.aio.insecure_channel(address_of(room), interceptors=INSISTING)
                    )
                    for room in ROOMS
                }
            )

    def msgid(self, code: str) -> str:
        """One that this institution has never used."""
        self.last[code] = next_msgid(code, TERMINAL, now=datetime.now(UTC), last=self.last.get(code))
        return self.last[code]


@dataclass
class Provider:
    """Who is asked: real services have a town and a bus, the stub has neither."""

    servers: Servers
    town: Town | None = None
    bus: Bus | None = None


async def replay(case: Case, provider: Provider) -> dict[str, str]:
    """Every step in turn; AssertionError tells the first that is not as stated. What the names stood for."""
    names: dict[str, str] = {}
    for number, step in enumerate(case.steps, start=1):
        try:
            names = await _taken(case, step, names, provider)
        except Differs as differs:
            raise AssertionError(f"{case.consumer}/{case.name}, step {number} ({step.method}): {differs}") from None
    return names


async def _taken(case: Case, step: Step, names: dict[str, str], provider: Provider) -> dict[str, str]:
    forms = {**case.sent, **case.made}
    if step.happens is not None:
        if provider.town is not None:
            await happen(provider.town, filled(step.happens, names, forms))
        return names
    if step.event is not None:
        return names if provider.bus is None else await _told(step.event, names, forms, provider.bus)
    await _make_what_is_sent(case, step, names, provider)
    request = filled(step.request or {}, names, forms)
    try:
        answer = await _asked(case, step.call, request, provider)
    except (TerminalRefusal, Unanswered) as refused:
        metadata = refused.metadata if isinstance(refused, TerminalRefusal) else {}
        found = {"code": refused.code.name, "reason": refused.reason, "metadata": metadata}
        if step.refusal is None:
            raise Differs("refusal", None, found) from None
        code = catalogue_entry(step.refusal.reason)["code"]
        stated = {"code": code, "reason": step.refusal.reason, "metadata": dict(step.refusal.metadata)}
        return compared(stated, found, names, forms, exactly=False)
    if step.refusal is not None:
        raise Differs("refusal", step.refusal.reason, answer)
    if isinstance(step.answer, dict) and step.answer.keys() == {"among"}:
        for one in step.answer["among"]:
            names = _found_among(one, answer, names, forms)
        return names
    return compared(step.answer or {}, answer, names, forms, exactly=False)


def _found_among(
    stated: Any,  # noqa: ANN401  A part of a case file.
    answers: list[Any],
    names: dict[str, str],
    forms: Mapping[str, str],
) -> dict[str, str]:
    """A stream has many answers, and this case needs one of them."""
    for answer in answers:
        with suppress(Differs):
            return compared(stated, answer, names, forms, exactly=False)
    raise Differs("", stated, f"none of {len(answers)} answers")


# Asking ---------------------------------------------------------------------------------------------------------------


async def _heard(provider: Provider, subject: str, request: Message) -> bytes:
    """The answer to a request over NATS."""
    bus = provider.bus
    assert bus is not None
    return await insisted(lambda: bus.request(f"{bus.prefix}.{subject}", request.SerializeToString()))


async def _asked(case: Case, path: str, request: Any, provider: Provider) -> Any:  # noqa: ANN401  JSON.
    """The answer as case files write one."""
    if path == INQUIRE:
        inquiry = json_format.ParseDict(request, ledger_pb2.InquireRequest())
        subject = "settlement.inquire"
        return as_stated(ledger_pb2.InquireResponse.FromString(await _heard(provider, subject, inquiry)))
    if path.startswith("ledger/"):
        batch = json_format.ParseDict({"commands": request, "epoch": EPOCH}, ledger_pb2.CommandBatch())
        subject = f"ledger.{path.removeprefix('ledger/')}.command"
        return as_stated(ledger_pb2.ReplyBatch.FromString(await _heard(provider, subject, batch)))["replies"]
    method = METHODS[path]
    call = _call(method, provider.servers.channels[path.split(".")[1]])
    input_type = GetMessageClass(method.input_type)
    sent = [json_format.ParseDict(one, input_type()) for one in (request if method.client_streaming else [request])]
    caller = (("gongji-caller", _caller(case)),)
    try:
        answered = call(iter(sent) if method.client_streaming else sent[0], timeout=CALL_S, metadata=caller)
        if method.server_streaming:
            return [as_stated(answer) async for answer in answered]
        return as_stated(await answered)
    except grpc.aio.AioRpcError as error:
        raise failure_of(error) from None


def _caller(case: Case) -> str:
    if case.consumer == OFFICER:
        return f"operator:{OFFICER}"
    return f"terminal:{case.at}" if case.at else f"service:{case.consumer}"


def _call(method: MethodDescriptor, channel: grpc.aio.Channel) -> Any:  # noqa: ANN401  One of four kinds.
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
    }
    return kinds[method.client_streaming, method.server_streaming](
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )


async def _make_what_is_sent(case: Case, step: Step, names: dict[str, str], provider: Provider) -> None:
    """Whatever this request names that the consumer makes and has not made yet."""
    for name in _names(step.request):
        if name in names or name not in case.sent:
            continue
        form = case.sent[name]
        kind, _, psn_no = form.rpartition(" of ")
        if kind == "code":
            names[name] = psn_no if provider.town is None else await _code(psn_no, provider)
        elif kind == "token":
            names.setdefault("mdtrt_id", made_up("visit"))
            names[name] = made_up("text") if provider.town is None else await _token(case, psn_no, names, provider)
        elif form == "msgid":
            names[name] = provider.servers.msgid(case.at.partition("/")[0])
        else:
            names[name] = made_up(form)


def _names(value: Any) -> list[str]:  # noqa: ANN401  A part of a file.
    """What it names, visits first: a token is of one."""
    match value:
        case dict():
            found = [name for inner in value.values() for name in _names(inner)]
        case list():
            found = [name for inner in value for name in _names(inner)]
        case str() if value.startswith("$"):
            found = [value[1:]]
        case _:
            found = []
    return sorted(found, key=lambda name: name != "mdtrt_id")


async def _code(psn_no: str, provider: Provider) -> str:
    """As the person's phone shows it."""
    stub: Any = CredentialServiceStub(provider.servers.channels["identity"])
    issued = await stub.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=psn_no), timeout=CALL_S)
    assert provider.town is not None
    provider.town.personal.add(issued.code)
    return str(issued.code)


async def _token(case: Case, psn_no: str, names: Mapping[str, str], provider: Provider) -> str:
    """The ecToken of the visit, at the case's terminal."""
    stub: Any = CredentialServiceStub(provider.servers.channels["identity"])
    code, _, terminal_no = case.at.partition("/")
    decoded = await stub.DecodeCredential(
        credentials_pb2.DecodeCredentialRequest(
            code=await _code(psn_no, provider),
            fixmedins_code=code,
            terminal_no=terminal_no,
            business_type=SETTLES[code[0]],
            mdtrt_id=names["mdtrt_id"],
        ),
        timeout=CALL_S,
    )
    assert provider.town is not None
    provider.town.personal.add(decoded.ec_token)
    return str(decoded.ec_token)


# Events ---------------------------------------------------------------------------------------------------------------


async def _told(stated: Mapping[str, Any], names: dict[str, str], forms: Mapping[str, str], bus: Bus) -> dict[str, str]:
    """The event as stated, looked for on its stream from the latest back; Differs from the nearest if there is none."""
    room, _, kind = stated["subject"].partition(".")
    stream = Stream(bus.prefix, room)
    wanted = {"headers": stated["headers"], "payload": stated["payload"]}
    end = time.monotonic() + TOLD_S
    while True:
        events = await _events(bus, stream, kind, EVENTS[room])
        for event in events:
            with suppress(Differs):
                return compared(wanted, event, names, forms, exactly=False)
        if time.monotonic() > end:
            nearest = max(events, key=lambda event: _likeness(wanted, json.dumps(event)), default={})
            return compared(wanted, nearest, names, forms, exactly=False)
        await asyncio.sleep(POLL_S)


def _likeness(stated: Any, text: str) -> int:  # noqa: ANN401  A part of a case file.
    """How many of the stated values are to be found in the text."""
    match stated:
        case dict():
            return sum(_likeness(value, text) for value in stated.values())
        case list():
            return sum(_likeness(value, text) for value in stated)
        case _:
            return f'"{stated}"' in text


async def _events(bus: Bus, stream: Stream, kind: str, event_type: type[Message]) -> list[dict[str, Any]]:
    """Every event of this kind that is kept, the latest first, as ``{headers, payload}``."""
    jetstream = bus.client.jetstream()
    subscription = await jetstream.pull_subscribe(stream.subject(kind), stream=stream.name)
    events: list[dict[str, Any]] = []
    info = await subscription.consumer_info()
    try:
        left = info.num_pending or 0
        while left:
            batch = await subscription.fetch(min(left, 200), timeout=CALL_S)
            left -= len(batch)
            events += [
                {"headers": dict(message.headers or {}), "payload": as_stated(event_type.FromString(message.data))}
                for message in batch
            ]
    finally:
        await subscription.unsubscribe()
        await jetstream.delete_consumer(stream.name, info.name)  # It would be behind for ever, and be waited for.
    return events[::-1]
