"""What the commands ask the settlement service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from chassis.rpc.client import channel
from gongji.settlement.v1 import reconciliation_pb2 as pb
from gongji.settlement.v1.reconciliation_pb2_grpc import ReconciliationServiceStub
from kernel.callers import Caller

if TYPE_CHECKING:
    from gongji.settlement.v1.reconciliation_pb2_grpc import ReconciliationServiceAsyncStub
    from ops.reconcile.statement import Statement

CALL_TIMEOUT_S: Final = 30.0
DAY_TIMEOUT_S: Final = 600.0
"""For what looks at a whole day: half a million records of an institution on a busy machine."""
PAGE_SIZE: Final = 200


class Desk:
    """The service's answers."""

    def __init__(self, stub: ReconciliationServiceAsyncStub) -> None:
        self._stub = stub

    async def day(self, fixmedins_code: str, stmt_date: str) -> pb.GetReconciliationResponse:
        """How a day stands."""
        request = pb.GetReconciliationRequest(fixmedins_code=fixmedins_code, stmt_date=stmt_date)
        return await self._stub.GetReconciliation(request, timeout=DAY_TIMEOUT_S)

    async def compare(
        self, fixmedins_code: str, stmt_date: str, statement: Statement, sent: Callable[[int], None]
    ) -> pb.ReconcileDetailResponse:
        """The file beside our books; ``sent`` is told how many rows have gone, as they go."""

        async def parts() -> AsyncIterator[pb.ReconcileDetailRequest]:
            yield pb.ReconcileDetailRequest(
                header=pb.ReconcileDetailHeader(
                    fixmedins_code=fixmedins_code, stmt_date=stmt_date, rows_cnt=statement.rows_cnt
                )
            )
            count = 0
            for batch in statement.batches():
                yield pb.ReconcileDetailRequest(rows=pb.StatementRows(rows=batch))
                count += len(batch)
                sent(count)

        return await self._stub.ReconcileDetail(parts(), timeout=DAY_TIMEOUT_S)

    async def differences_of_day(self, fixmedins_code: str, stmt_date: str) -> AsyncIterator[pb.Difference]:
        """The day's difference file, one after another."""
        request = pb.StreamDifferencesRequest(fixmedins_code=fixmedins_code, stmt_date=stmt_date)
        async for part in self._stub.StreamDifferences(request, timeout=DAY_TIMEOUT_S):
            for each in part.differences:
                yield each

    async def differences(
        self, *, area: str, fixmedins_code: str, state: pb.DifferenceState.ValueType, count_max: int
    ) -> list[pb.Difference]:
        """The officers' list, the oldest day first; no more than so many."""
        found: list[pb.Difference] = []
        token = ""
        while len(found) < count_max:
            request = pb.ListDifferencesRequest(
                area=area,
                fixmedins_code=fixmedins_code,
                state=state,
                page_size=min(PAGE_SIZE, count_max - len(found)),
                page_token=token,
            )
            answer = await self._stub.ListDifferences(request, timeout=CALL_TIMEOUT_S)
            found += answer.differences
            token = answer.next_page_token
            if not token:
                break
        return found

    async def resolve(
        self, difference_id: str, state: pb.DifferenceState.ValueType, *, cause: str, opter: str
    ) -> pb.Difference:
        """A difference as an officer settled it."""
        request = pb.ResolveDifferenceRequest(difference_id=difference_id, state=state, cause=cause, opter=opter)
        return (await self._stub.ResolveDifference(request, timeout=CALL_TIMEOUT_S)).difference


@asynccontextmanager
async def opened(address: str, caller: Caller) -> AsyncIterator[Desk]:
    """The settlement service at HOST:PORT."""
    async with channel(address, call_timeout_s=CALL_TIMEOUT_S, caller=caller) as line:
        yield Desk(ReconciliationServiceStub(line))
