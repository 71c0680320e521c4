"""A stub server for terminal developers: it answers what the case files say, by which the real services are tested.

``python -m gongji_terminal.stub`` listens on one port for every service. It keeps no money and knows no rules: to a
request that no case states it answers UNIMPLEMENTED, naming the nearest case and the field that differs.

Which case answers, when several could:
1. a dialogue that is under way before a new one; of those, the one last spoken in;
2. in a dialogue its next step; else a step again, the last first; else a later one, if only looks and repetitions
   are left out;
3. a new dialogue, begun as in 2, by the case whose first request states most; of equals, the first by consumer and
   name.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]  # It publishes no types.

import gongji
from gongji_terminal.addresses import PORT_MAX, is_host_and_port
from gongji_terminal.failures import DETAILS_KEY, DOMAIN, catalogue_entry
from gongji_terminal.stub_cases import (
    SHIPPED,
    Case,
    CaseWrong,
    Differs,
    Refusal,
    Step,
    as_stated,
    compared,
    filled,
    read_cases,
)

PORT: Final = 7100
DIALOGUES_MAX: Final = 1_000
"""The oldest is forgotten then: a stub may run for weeks."""
LOOKS: Final = ("Get", "List", "Check", "Reconcile", "Stream", "Decode", "SignIn")
"""A step of these may be left out: it changes nothing that a later one needs."""


@dataclass(slots=True)
class Dialogue:
    """A case under way: what its names stand for, and the last step that was taken."""

    case: Case
    names: dict[str, str] = field(default_factory=dict)
    reached: int = -1

    def steps_for(self, path: str) -> Iterator[int]:
        """The places of the steps that a call of this method may be, the likeliest first."""
        calls = [place for place, step in enumerate(self.case.steps) if step.is_call]
        after = [place for place in calls if place > self.reached]
        found = [*after[:1], *reversed([place for place in calls if place <= self.reached])]
        for earlier, place in enumerate(after[1:], start=1):
            if all(map(self._may_be_left_out, after[:earlier])):
                found.append(place)
        return (place for place in found if self.case.steps[place].call == path)

    def _may_be_left_out(self, place: int) -> bool:
        """A look, or the repetition of a request that was made."""
        step = self.case.steps[place]
        made = [(one.call, one.request) for one in self.case.steps[: self.reached + 1]]
        return step.method.startswith(LOOKS) or (step.call, step.request) in made

    def heard(self, place: int, request: Any) -> dict[str, str]:  # noqa: ANN401  JSON.
        """The names with what this request says; Differs if it is not that of the step."""
        forms = {**self.case.sent, **self.case.made}
        stated = stubbed(self.case.steps[place].request or {}, self.case)
        return compared(stated, request, self.names, forms, exactly=True)


def stubbed(stated: Any, case: Case) -> Any:  # noqa: ANN401  A part of a file.
    """The request as the stub takes it: somebody's code is his psn_no here, for there is no phone to show one."""
    match stated:
        case dict():
            return {key: stubbed(value, case) for key, value in stated.items()}
        case list():
            return [stubbed(value, case) for value in stated]
        case str() if stated.startswith("$") and case.sent.get(stated[1:], "").startswith("code of "):
            return case.sent[stated[1:]].removeprefix("code of ")
        case _:
            return stated


@dataclass(slots=True)
class Stub:
    """The cases and what is under way."""

    cases: Sequence[Case]
    dialogues: list[Dialogue] = field(default_factory=list)

    def step_for(self, path: str, request: Any) -> tuple[Dialogue, Step]:  # noqa: ANN401  JSON.
        """Which step this request is, by the precedence above; Differs from the nearest if it is none."""
        nearest: Differs | None = None
        for dialogue in [*reversed(self.dialogues), *map(Dialogue, sorted(self.cases, key=_generality))]:
            for place in dialogue.steps_for(path):
                try:
                    dialogue.names = dialogue.heard(place, request)
                except Differs as differs:
                    if nearest is None or _depth(differs) > _depth(nearest):
                        nearest = Differs.from_case(dialogue.case, differs)
                    continue
                dialogue.reached = max(dialogue.reached, place)
                self._keep(dialogue)
                return dialogue, dialogue.case.steps[place]
        raise nearest or Differs(path, "a case that calls it", None)

    def _keep(self, dialogue: Dialogue) -> None:
        self.dialogues = [one for one in self.dialogues if one is not dialogue][-DIALOGUES_MAX + 1 :]
        self.dialogues.append(dialogue)

    def answers(self, method: MethodDescriptor, requests: Sequence[Message]) -> list[Message]:
        """What the case says; Refused with its reason; Differs if there is none."""
        stated = [as_stated(request) for request in requests]
        dialogue, step = self.step_for(path_of(method), stated if method.client_streaming else stated[0])
        if step.refusal is not None:
            raise Refused(step.refusal)
        forms = {**dialogue.case.sent, **dialogue.case.made}
        told = filled(step.answer or {}, dialogue.names, forms)
        answer_type = GetMessageClass(method.output_type)
        return [json_format.ParseDict(one, answer_type()) for one in (told if method.server_streaming else [told])]


class Refused(Exception):  # noqa: N818  A refusal is an answer.
    """The case refuses the call."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal

    def status(self) -> status_pb2.Status:
        """As the services send it: the reason with its metadata, and its texts."""
        entry = catalogue_entry(self.refusal.reason)
        status = status_pb2.Status(code=code_pb2.Code.Value(entry["code"]), message=entry["en"])
        metadata = {key: str(value) for key, value in self.refusal.metadata.items()}
        details: list[Message] = [
            error_details_pb2.ErrorInfo(reason=self.refusal.reason, domain=DOMAIN, metadata=metadata),
            error_details_pb2.LocalizedMessage(locale="zh-CN", message=entry["zh"]),
            error_details_pb2.LocalizedMessage(locale="en", message=entry["en"]),
        ]
        for detail in details:
            status.details.add().Pack(detail)
        return status


def _first(case: Case) -> Step:
    return next((step for step in case.steps if step.is_call), Step())


def _generality(case: Case) -> tuple[int, str, str]:
    return -stated_values(_first(case).request), case.consumer, case.name


def stated_values(stated: Any) -> int:  # noqa: ANN401  A part of a file.
    """How many values the request states in so many words."""
    match stated:
        case dict():
            return sum(map(stated_values, stated.values()))
        case list():
            return sum(map(stated_values, stated))
        case str() if stated.startswith("$"):
            return 0
        case _:
            return 1


def _depth(differs: Differs) -> int:
    return differs.path.count(".")


# Serving ------------------------------------------------------------------------------------------------------------


def path_of(method: MethodDescriptor) -> str:
    """``gongji.settlement.v1.SettlementService/PreSettle``."""
    return f"{method.containing_service.full_name}/{method.name}"


def methods() -> dict[str, MethodDescriptor]:
    """Every method of the installed contract, by its path."""
    found: dict[str, MethodDescriptor] = {}
    for root in gongji.__path__:
        for file in sorted(Path(root).glob("*/v1/*_pb2.py")):
            importlib.import_module(f"gongji.{file.parent.parent.name}.v1.{file.stem}")
            name = f"gongji/{file.parent.parent.name}/v1/{file.stem.removesuffix('_pb2')}.proto"
            for service in descriptor_pool.Default().FindFileByName(name).services_by_name.values():
                found |= {path_of(method): method for method in service.methods}
    return found


class _Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # Generic in the stubs alone.
    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._methods = methods()

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401  As grpc has it.
        method = self._methods.get(handler_call_details.method.lstrip("/"))
        if method is None:
            return None

        async def one(request: Message, context: Any) -> Message:  # noqa: ANN401  As grpc has it.
            return (await self._answers(method, [request], context))[0]

        async def one_for_many(requests: AsyncIterator[Message], context: Any) -> Message:  # noqa: ANN401  As above.
            return (await self._answers(method, [request async for request in requests], context))[0]

        async def many(request: Message, context: Any) -> AsyncIterator[Message]:  # noqa: ANN401  As above.
            for answer in await self._answers(method, [request], context):
                yield answer

        make: Any = grpc.unary_unary_rpc_method_handler
        handle: Any = one
        if method.client_streaming:
            make, handle = grpc.stream_unary_rpc_method_handler, one_for_many
        elif method.server_streaming:
            make, handle = grpc.unary_stream_rpc_method_handler, many
        return make(
            handle,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def _answers(self, method: MethodDescriptor, requests: list[Message], context: Any) -> list[Message]:  # noqa: ANN401
        try:
            return self._stub.answers(method, requests)
        except Refused as refused:
            status = refused.status()
            code = grpc.StatusCode[code_pb2.Code.Name(status.code)]
            trailers = ((DETAILS_KEY, status.SerializeToString()),)
            return await context.abort(code, status.message, trailers)  # type: ignore[no-any-return]  # It raises.
        except Differs as differs:
            text = f"the stub has no such case; the nearest: {differs.args[0]}"
            return await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)  # type: ignore[no-any-return]  # It raises.


class CannotListen(Exception):  # noqa: N818  It says what is the case.
    """Somebody listens there already, or nobody can."""


@asynccontextmanager
async def serving(cases: Sequence[Case], *, address: str = "127.0.0.1:0") -> AsyncIterator[int]:
    """The stub, listening; the port it has taken. CannotListen where it cannot."""
    # A second stub at the same port would share its callers.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([_Handler(Stub(cases))])
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise CannotListen(address) from None
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def described(cases: Iterable[Case]) -> Iterator[str]:
    """The cases as a reader of the terminal wants them: where, what, and each call."""
    for case in cases:
        yield f"{case.consumer}/{case.name}  {case.at}".rstrip()
        yield f"    {case.says}"
        for step in case.steps:
            if step.is_call:
                yield f"    {step.method}" + ("" if step.refusal is None else f" -> {step.refusal.reason}")


async def run(cases: Sequence[Case], address: str) -> None:
    """Serves until it is stopped."""
    async with serving(cases, address=address) as port:
        sys.stdout.write(
            f"the stub answers {len(cases)} cases at {address.rpartition(':')[0]}:{port}; ctrl-C stops it\n"
        )
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m gongji_terminal.stub``: exit 0 when stopped, 2 when a case file or the address is wrong."""
    parser = argparse.ArgumentParser(prog="gongji-terminal stub", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--address", default=f"127.0.0.1:{PORT}", help="where to listen (default %(default)s)")
    parser.add_argument(
        "--cases", type=Path, default=SHIPPED, help="a folder of case files instead of the shipped ones"
    )
    parser.add_argument("--list", action="store_true", help="only show the cases")
    chosen = parser.parse_args(arguments)
    if not is_host_and_port(chosen.address, port_min=0):
        parser.error(f"--address must be HOST:PORT, the port {PORT_MAX} at most; 0 takes any free one")
    try:
        cases = read_cases(chosen.cases)
    except CaseWrong as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    if chosen.list:
        sys.stdout.write("\n".join(described(cases)) + "\n")
        return 0
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(run(cases, chosen.address))
    except CannotListen:
        sys.stderr.write(f"nobody can listen at {chosen.address}: another program may; choose another with --address\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
