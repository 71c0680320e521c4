"""What `gongji clearing` asks of the settlement service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chassis.rpc.client import channel
from gongji.settlement.v1 import clearing_pb2 as pb
from gongji.settlement.v1.clearing_pb2_grpc import ClearingServiceStub
from kernel.callers import Caller
from ops.whole_file import write_whole

RUN_MAX_S: Final = 3_600.0
"""A run of millions of settlements takes minutes, and is cut off with the call."""
PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written."""

    lines: int
    sha256: str
    is_whole: bool
    """Whether it is the file of all lines, whose digest was compared."""


@dataclass(frozen=True, slots=True)
class Clearing:
    """The service's face."""

    stub: Any  # The stub's own type exists for the type checker alone.

    async def run(self, period: str, carry_reason: str) -> pb.RunClearingResponse:
        """Runs a period; the answer of the run before, if there was one."""
        request = pb.RunClearingRequest(period=period, carry_reason=carry_reason)
        answer: pb.RunClearingResponse = await self.stub.RunClearing(request, timeout=RUN_MAX_S)
        return answer

    async def get(self, period: str) -> pb.GetClearingResponse:
        """A period that was run, with every area's position."""
        answer: pb.GetClearingResponse = await self.stub.GetClearing(pb.GetClearingRequest(period=period))
        return answer

    async def runs(self) -> tuple[list[pb.ClearingRun], str]:
        """Every run, the latest first, and which period is next."""
        found: list[pb.ClearingRun] = []
        token = ""
        while True:
            page = await self.stub.ListClearings(pb.ListClearingsRequest(page_size=PAGE, page_token=token))
            found += page.runs
            token = page.next_page_token
            if not token:
                return found, str(page.next_period)

    async def pairs(self, period: str, *, debtor: str, creditor: str) -> list[pb.ClearingPair]:
        """Every statement of a period, or those of one debtor or creditor."""
        found: list[pb.ClearingPair] = []
        token = ""
        while True:
            request = pb.ListClearingPairsRequest(
                period=period, debtor_area=debtor, creditor_area=creditor, page_size=PAGE, page_token=token
            )
            page = await self.stub.ListClearingPairs(request)
            found += page.pairs
            token = page.next_page_token
            if not token:
                return found

    async def trace(self, setl_id: str) -> list[pb.ClearingLine]:
        """The lines in which a payment and its refund were cleared."""
        answer = await self.stub.TraceClearing(pb.TraceClearingRequest(setl_id=setl_id))
        return list(answer.lines)

    async def export(
        self, period: str, file: Path, *, debtor: str, creditor: str, told: Callable[[int], None]
    ) -> Exported:
        """Writes a period's lines into a file that must not be there yet, whole or not at all.

        ``told`` hears how many lines there are so far. OtherContentError if the file of all of them has another digest
        than the run keeps; FileExistsError.
        """
        is_whole = not debtor and not creditor
        kept = (await self.get(period)).run.lines_sha256
        request = pb.ExportClearingRequest(period=period, debtor_area=debtor, creditor_area=creditor)

        async def parts() -> AsyncIterator[bytes]:
            async for part in self.stub.ExportClearing(request, timeout=RUN_MAX_S):
                yield part.csv

        lines, sha256 = await write_whole(file, parts(), told=told, expected=lambda: kept if is_whole else None)
        return Exported(lines, sha256, is_whole)


@asynccontextmanager
async def clearing_at(address: str, caller: Caller) -> AsyncIterator[Clearing]:
    """The face of the service that answers there."""
    async with channel(address, caller=caller) as opened:
        yield Clearing(ClearingServiceStub(opened))
