"""Many single calls become a few list calls: while one batch runs, the next one gathers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar, cast

from kernel.failures import Failure, Kind

Request = TypeVar("Request")
Result = TypeVar("Result")


class Batcher(Generic[Request, Result]):
    """Coalesces concurrent calls into calls of ``run(requests) -> one result or exception per request, in order``.

    A batch starts as soon as a worker is free, so a lone call waits for nobody. At most ``parallelism`` batches run at
    once and none is longer than ``size_max``; when ``waiting_max`` calls wait, the next one is refused with
    UNAVAILABLE SERVICE_BUSY. If ``run`` itself raises, every call of that batch gets the exception. A caller that is
    cancelled takes nothing away from its batch: the work is done, only nobody reads that result.
    """

    def __init__(
        self,
        run: Callable[[list[Request]], Awaitable[Sequence[Result | BaseException]]],
        *,
        size_max: int,
        parallelism: int = 1,
        waiting_max: int = 10_000,
        spacing_s: Callable[[], float] | None = None,
    ) -> None:
        """``spacing_s()`` after a batch began, the next one begins at the earliest, whichever worker's, unless full.

        Under load that makes fewer and larger batches, each cheaper for everyone in it; a lone call waits for nobody.
        """
        self._run = run
        self._size_max = size_max
        self._parallelism = parallelism
        self._waiting_max = waiting_max
        self._spacing_s = spacing_s
        self._began_at = float("-inf")
        self._waiting: deque[tuple[Request, asyncio.Future[Result]]] = deque()
        self._workers: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Request) -> Result:
        """The result for this request, out of whatever batch it travelled in; raises the exception it was given."""
        return await self.submit(request)

    def submit(self, request: Request) -> asyncio.Future[Result]:
        """As calling it, without a task to wait in: the future gets the result or the exception."""
        if len(self._waiting) >= self._waiting_max:
            raise Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if len(self._workers) < self._parallelism:
            # An empty context: a batch belongs to many callers, so it inherits no one's trace and deadline.
            worker = asyncio.get_running_loop().create_task(self._work(), context=Context())
            self._workers.add(worker)
        return future

    @property
    def waiting(self) -> int:
        """How many are in no batch yet."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._workers

    async def close(self) -> None:
        """Waits until every call accepted so far has its result."""
        while self._workers:
            await asyncio.wait(self._workers)

    async def _work(self) -> None:
        try:
            while self._waiting:
                if self._spacing_s is None or await self._keep_apart(self._spacing_s()):
                    await self._work_once()
        finally:
            # Here and not in a callback: a call that comes right after the last look must find the place free.
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _keep_apart(self, spacing_s: float) -> bool:
        """Waits until the next batch may begin; whether there still is one: another worker may have taken it."""
        loop = asyncio.get_running_loop()
        while 0 < len(self._waiting) < self._size_max:
            left_s = self._began_at + spacing_s - loop.time()
            if left_s <= 0:
                break
            await asyncio.sleep(left_s)  # And looks again: another worker that slept as long may have begun.
        if not self._waiting:
            return False
        self._began_at = loop.time()
        return True

    async def _work_once(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self._size_max, len(self._waiting)))]
        try:
            results = await self._run([request for request, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a batch of {len(batch)} requests got {len(results)} results")  # noqa: TRY301  Raised here so that every caller hears of it.
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  Whatever it is, it belongs to the callers of this batch.
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
