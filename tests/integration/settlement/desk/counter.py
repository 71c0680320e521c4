"""The real ``gongji-terminal`` process at a counter of the town, before a network that holds back what it is told."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # It publishes no types.

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Journal
from gongji_terminal.client import system_now
from gongji_terminal.failures import DETAILS_KEY
from gongji_terminal.journal import ShownPlan
from gongji_terminal.nameless import nameless
from tests.integration.settlement.desk.town import HOSPITAL, MDTRT_ID, Town
from tests.patience import until

CONFIG: Final = """
fixmedins_code = "{code}"
terminal_no = "T01"
number = {number}
settlement = "127.0.0.1:{port}"
identity = "127.0.0.1:{port}"
language = "en"
[patience]
attempt_s = 3
request_s = 1
"""


@dataclass
class Gate(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # Generic in the stubs alone.
    """Hands every call on to the desk; holds requests or answers of one method back while it is told to."""

    onward: grpc.aio.Channel
    hold_requests: str = ""
    hold_answers: str = ""
    refuses: str = ""
    """By this reason everything is refused, whatever the desk would say."""
    heard: int = 0
    """How many calls came this far."""
    down: bool = False
    """Nothing gets through."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Something is being held back now."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """What is held back may go on."""
    late: list[tuple[str, bytes]] = field(default_factory=list)
    """The requests that were held back."""
    answered: list[str] = field(default_factory=list)

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401  As grpc has it.
        """One handler for every method, bytes in and bytes out."""
        return grpc.unary_unary_rpc_method_handler(partial(self._carry, handler_call_details.method))

    async def _carry(self, path: str, request: bytes, context: Any) -> bytes:  # noqa: ANN401  As above.
        method = path.rpartition("/")[2]
        self.heard += 1
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "nothing gets through")
        if self.refuses:
            detail = any_pb2.Any()
            detail.Pack(error_details_pb2.ErrorInfo(reason=self.refuses, domain="gongji"))
            status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], details=[detail])
            trailers = ((DETAILS_KEY, status.SerializeToString()),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, self.refuses, trailers)
        if method == self.hold_requests:
            self.late.append((path, request))
            await self._hold(context)
        try:
            answer: bytes = await self.deliver(path, request)
        except grpc.aio.AioRpcError as error:
            return await context.abort(error.code(), error.details(), tuple(error.trailing_metadata() or ()))  # type: ignore[no-any-return]  # It raises.
        if method == self.hold_answers:
            await self._hold(context)
        self.answered.append(method)
        return answer

    async def deliver(self, path: str, request: bytes) -> bytes:
        """Brings one request to the desk."""
        send: Any = self.onward.unary_unary(path, None, None)
        answer: bytes = await send(request, timeout=60)
        return answer

    async def _hold(self, context: Any) -> None:  # noqa: ANN401  As above.
        """Until it may go on; whoever waits is killed or gives up long before the end."""
        self.held.set()
        try:
            await asyncio.wait_for(self.go_on.wait(), 10)
        except TimeoutError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "held back")


@dataclass
class CounterProcess:
    """One terminal as a program uses it: a process for each command."""

    town: Town
    gate: Gate
    folder: Path
    number: int

    @property
    def journal(self) -> Path:
        """Its journal's file."""
        return self.folder / "gongji-terminal.sqlite"

    async def begun(self, *command: str) -> asyncio.subprocess.Process:
        """The command as a process that runs."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gongji_terminal",
            "--json",
            *command,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def said(self, *command: str) -> tuple[int, dict[str, Any]]:
        """Its exit code and the last line it answered."""
        code, lines = await self.listed(*command)
        return code, lines[-1]

    async def listed(self, *command: str) -> tuple[int, list[dict[str, Any]]]:
        """Its exit code and every line it answered."""
        process = await self.begun(*command)
        out, err = await process.communicate()
        assert not err, err.decode()
        assert process.returncode is not None
        return process.returncode, [json.loads(line) for line in out.decode().splitlines()]

    async def shown(self, plan: pb.Plan, *, mdtrt_id: str = MDTRT_ID) -> str:
        """The plan is on the terminal's screen; its id."""
        async with Journal(self.journal) as journal:
            await journal.keep_plan(
                ShownPlan(plan.plan_id, HOSPITAL, "OUTPATIENT", mdtrt_id, nameless(plan)), now=system_now()
            )
        return plan.plan_id

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the journal holds."""
        with closing(sqlite3.connect(self.journal)) as connection:
            return connection.execute(statement).fetchall()

    async def has_opened_journal(self, process: asyncio.subprocess.Process) -> None:
        """Waits until the process has its journal open."""
        folder = f"/proc/{process.pid}/fd"

        async def opened() -> bool:
            with suppress(FileNotFoundError):  # One that was closed meanwhile.
                return any(os.readlink(f"{folder}/{one}") == str(self.journal) for one in os.listdir(folder))  # noqa: PTH115, PTH208  A few links.
            return False

        await until(opened)

    async def is_told(self, state: str) -> None:
        """Waits until the journal says so of some request."""

        async def told() -> bool:
            return bool(self.rows(f"SELECT 1 FROM requests WHERE state = '{state}'"))  # noqa: S608  Our own word.

        await until(told)


@asynccontextmanager
async def counter(
    town: Town, folder: Path, *, fixmedins_code: str = HOSPITAL, straight: bool = False
) -> AsyncIterator[CounterProcess]:
    """A counter with its settings and its network; a ``straight`` one speaks to the desk itself."""
    gate = Gate(town.channel)
    server = grpc.aio.server(handlers=[gate])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    number = next(town.terminals)
    (folder / "gongji-terminal.toml").write_text(
        CONFIG.format(code=fixmedins_code, number=number, port=town.port if straight else port), encoding="utf-8"
    )
    yield CounterProcess(town, gate, folder, number)
    await server.stop(0)
