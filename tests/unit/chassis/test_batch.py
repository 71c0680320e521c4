"""The batcher: many single calls, few list calls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from chassis.batch import Batcher
from kernel.failures import Failure, Kind


class Doubler:
    """Doubles numbers; remembers the batches it got and waits for permission before each answer."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = 0
        self.running_max = 0
        self.gate = asyncio.Event()

    async def __call__(self, numbers: list[int]) -> Sequence[int | BaseException]:
        """One result for each number; 13 fails."""
        self.batches.append(numbers)
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        await self.gate.wait()
        self.running -= 1
        return [
            ValueError(f"{number} is odd luck") if number == 13 else number * 2  # The one that fails.
            for number in numbers
        ]


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_while_one_batch_runs_the_next_one_gathers() -> None:
    """The first call travels alone, all that come meanwhile travel together."""
    doubler = Doubler()
    batcher = Batcher(doubler, size_max=10)
    first = asyncio.create_task(batcher(1))
    await _settle()
    others = [asyncio.create_task(batcher(number)) for number in (2, 3, 4)]
    await _settle()
    assert doubler.batches == [[1]]
    doubler.gate.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert doubler.batches == [[1], [2, 3, 4]]


async def test_batches_keep_their_spacing_unless_they_are_full() -> None:
    """A lone call goes at once; those after it wait for company, unless they fill a batch when their turn comes."""
    doubler = Doubler()
    doubler.gate.set()
    batcher = Batcher(doubler, size_max=3, spacing_s=lambda: 1.0)
    now = asyncio.get_running_loop().time
    began_at = now()
    assert await batcher(1) == 2
    assert await asyncio.gather(*(batcher(number) for number in (2, 3, 4))) == [4, 6, 8]
    assert now() - began_at < 1.0
    early = asyncio.create_task(batcher(5))
    await asyncio.sleep(0.02)
    assert not early.done()
    assert list(await asyncio.gather(early, batcher(6))) == [10, 12]
    assert now() - began_at >= 1.0
    assert doubler.batches == [[1], [2, 3, 4], [5, 6]]


async def test_two_workers_keep_the_spacing_between_all_their_batches() -> None:
    """Runs shorter and longer than the spacing, side by side: no batch is empty, and only a full one comes earlier."""
    spacing_s, size_max = 0.1, 20
    began: list[tuple[float, int]] = []
    lengths_s = itertools.cycle((0.01, 0.25, 0.01))

    async def run(numbers: list[int]) -> Sequence[int]:
        began.append((asyncio.get_running_loop().time(), len(numbers)))
        await asyncio.sleep(next(lengths_s))
        return numbers

    batcher = Batcher(run, size_max=size_max, parallelism=2, spacing_s=lambda: spacing_s)
    calls = []
    for number in range(100):
        calls.append(batcher.submit(number))
        # In one breath come those that fill a batch while both workers wait, and later more than two batches.
        if not (3 <= number < 27 or 50 <= number < 95):
            await asyncio.sleep(0.015)
    assert await asyncio.gather(*calls) == list(range(100))
    await batcher.close()
    assert all(size for _, size in began)
    assert size_max in {size for _, size in began}
    for (earlier, _), (later, size) in itertools.pairwise(began):
        # Less a little: the clock is read again after the distance was kept.
        assert size == size_max or later - earlier > spacing_s * 0.8


async def test_calls_made_in_one_breath_travel_together() -> None:
    """A gather of calls is one batch, not one call and then the rest."""
    doubler = Doubler()
    doubler.gate.set()
    batcher = Batcher(doubler, size_max=10)
    await asyncio.gather(*(batcher(number) for number in range(5)))
    assert doubler.batches == [[0, 1, 2, 3, 4]]


async def test_no_batch_is_longer_than_the_limit() -> None:
    """25 calls with a limit of 10 travel as 10, 10 and 5."""
    doubler = Doubler()
    doubler.gate.set()
    batcher = Batcher(doubler, size_max=10)
    await asyncio.gather(*(batcher(number) for number in range(100, 125)))
    assert [len(batch) for batch in doubler.batches] == [10, 10, 5]


async def test_one_item_may_fail_alone() -> None:
    """An exception in one place of the result reaches that caller and no other."""
    doubler = Doubler()
    doubler.gate.set()
    batcher = Batcher(doubler, size_max=10)
    results = await asyncio.gather(*(batcher(number) for number in (12, 13, 14)), return_exceptions=True)
    assert [results[0], results[2]] == [24, 28]
    assert isinstance(results[1], ValueError)


async def test_a_batch_that_breaks_fails_all_its_callers_and_the_next_one_runs() -> None:
    """An exception of the whole run reaches every caller of that batch; the batcher goes on."""
    calls = 0

    async def run(numbers: list[int]) -> Sequence[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Failure(Kind.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        return numbers

    batcher = Batcher(run, size_max=10)
    broken = await asyncio.gather(batcher(1), batcher(2), return_exceptions=True)
    assert list[object](broken) == [Failure(Kind.UNAVAILABLE, "DATABASE_UNAVAILABLE")] * 2
    assert await batcher(3) == 3


async def test_a_result_too_few_is_an_error_of_everyone() -> None:
    """A run that answers fewer results than it got requests leaves nobody waiting."""

    async def run(_numbers: list[int]) -> Sequence[int]:
        return []

    with pytest.raises(RuntimeError, match="got 0 results"):
        await Batcher(run, size_max=10)(1)


async def test_a_cancelled_caller_takes_nothing_from_its_batch() -> None:
    """The others of the batch get their results, and the cancelled one's work was done."""
    doubler = Doubler()
    batcher = Batcher(doubler, size_max=10)
    tasks = [asyncio.create_task(batcher(number)) for number in (1, 2)]
    await _settle()
    tasks[0].cancel()
    doubler.gate.set()
    assert await tasks[1] == 4
    assert tasks[0].cancelled()
    assert doubler.batches == [[1, 2]]


async def test_as_many_batches_run_at_once_as_allowed() -> None:
    """With parallelism 2 and a limit of 1, two batches run side by side and never three."""
    doubler = Doubler()
    batcher = Batcher(doubler, size_max=1, parallelism=2)
    tasks = [asyncio.create_task(batcher(number)) for number in range(5)]
    await _settle()
    doubler.gate.set()
    await asyncio.gather(*tasks)
    assert doubler.running_max == 2


async def test_a_queue_that_is_full_refuses() -> None:
    """One call more than may wait is SERVICE_BUSY."""
    doubler = Doubler()
    batcher = Batcher(doubler, size_max=1, waiting_max=2)
    tasks = [asyncio.create_task(batcher(1))]
    await _settle()
    tasks += [asyncio.create_task(batcher(number)) for number in (2, 3)]
    await _settle()
    with pytest.raises(Failure) as refused:
        await batcher(4)
    assert refused.value == Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")
    doubler.gate.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]


async def test_a_call_right_after_the_last_batch_is_not_forgotten() -> None:
    """However a call falls between the end of one batch and the next, it is answered."""

    async def run(numbers: list[int]) -> Sequence[int]:
        return numbers

    batcher = Batcher(run, size_max=10)

    async def caller(number: int) -> int:
        for _ in range(number % 7):
            await asyncio.sleep(0)
        return await batcher(number)

    async with asyncio.timeout(5):
        assert await asyncio.gather(*(caller(number) for number in range(200))) == list(range(200))
        await batcher.close()
