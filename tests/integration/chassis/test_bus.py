"""The bus: request and reply, streams, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import warnings

import pytest

from chassis import telemetry
from chassis.bus import CONNECT_TIMEOUT_S, TIMEOUT_HEADER, Bus, BusRequest, Stream
from chassis.deadlines import deadline_in, remaining_s
from kernel.failures import Failure, Kind
from ops.embedded.nats import EmbeddedNats
from tests.patience import until
from tests.servers import NatsServer, new_folder


async def test_an_answer_comes_back_with_trace_and_deadline_gone_over(bus: Bus) -> None:
    """The handler works in the requester's trace and knows how long it has."""
    seen: list[tuple[str, float | None]] = []

    async def handle(request: BusRequest) -> bytes:
        seen.append((telemetry.trace_id(), remaining_s()))
        return request.payload[::-1]

    await bus.serve(f"{bus.prefix}.echo", handle)
    trace = telemetry.new_trace()
    with telemetry.traced(trace):
        assert await bus.request(f"{bus.prefix}.echo", b"abc", wait_s=2) == b"cba"
    ((trace_id, seconds),) = seen
    assert trace_id == trace.trace_id
    assert seconds is not None
    assert 0 < seconds <= 2


async def test_a_failure_crosses_unchanged(bus: Bus) -> None:
    """What the handler raised is what the requester gets."""
    failure = Failure(Kind.PRECONDITION, "ACCOUNT_FROZEN", leg=2)

    async def handle(_request: BusRequest) -> bytes:
        raise failure

    await bus.serve(f"{bus.prefix}.refuse", handle)
    with pytest.raises(Failure) as refused:
        await bus.request(f"{bus.prefix}.refuse", b"")
    assert refused.value == failure


async def test_nobody_there_and_no_answer_are_two_things(bus: Bus) -> None:
    """No subscriber is NO_RESPONDER at once; a handler that breaks or dawdles is ANSWER_UNKNOWN."""

    async def broken(_request: BusRequest) -> bytes:
        raise ValueError("a fault")

    await bus.serve(f"{bus.prefix}.broken", broken)
    with pytest.raises(Failure) as nobody:
        await bus.request(f"{bus.prefix}.nobody", b"", wait_s=5)
    with pytest.raises(Failure) as unknown:
        await bus.request(f"{bus.prefix}.broken", b"", wait_s=0.2)
    with deadline_in(0.01), pytest.raises(Failure) as passed:
        await bus.request(f"{bus.prefix}.broken", b"")
    assert nobody.value == Failure(Kind.UNAVAILABLE, "NO_RESPONDER")
    assert unknown.value == Failure(Kind.DEADLINE, "ANSWER_UNKNOWN")
    assert passed.value == Failure(Kind.DEADLINE, "DEADLINE_PASSED")


async def test_handlers_run_side_by_side_up_to_the_bound(bus: Bus) -> None:
    """Eight requests with a bound of three: three at once, all answered."""
    running = highest = 0

    async def handle(_request: BusRequest) -> bytes:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(0.02)
        running -= 1
        return b"done"

    await bus.serve(f"{bus.prefix}.slow", handle, handlers_max=3)
    answers = await asyncio.gather(*(bus.request(f"{bus.prefix}.slow", b"") for _ in range(8)))
    assert (answers, highest) == ([b"done"] * 8, 3)


@pytest.mark.parametrize("patience", ["9" * 5_000, "9" * 400, "²", "-1", "1e3", ""])
async def test_a_header_that_is_no_time_costs_no_handler(bus: Bus, patience: str) -> None:
    """More such requests than handlers are allowed at once, and the next one is answered like each of them."""

    async def handle(request: BusRequest) -> bytes:
        return request.payload

    await bus.serve(f"{bus.prefix}.echo", handle, handlers_max=2)
    for _ in range(3):
        headers = {TIMEOUT_HEADER: patience}
        assert await bus.request(f"{bus.prefix}.echo", b"abc", wait_s=1, headers=headers) == b"abc"


async def test_of_a_queue_group_one_answers(bus: Bus, nats: NatsServer) -> None:
    """Two processes in one group share the requests; each is handled once."""
    handled = 0

    async def handle(_request: BusRequest) -> bytes:
        nonlocal handled
        handled += 1
        return b""

    async with Bus(nats.url, name="second", prefix=bus.prefix) as second:
        for each in (bus, second):
            await each.serve(f"{bus.prefix}.shared", handle, queue="group")
        await asyncio.gather(*(bus.request(f"{bus.prefix}.shared", b"") for _ in range(10)))
    assert handled == 10


async def test_closing_lets_a_running_handler_answer(nats: NatsServer, bus: Bus) -> None:
    """A request that is being worked on when the process stops still gets its answer."""
    begun = asyncio.Event()

    async def handle(_request: BusRequest) -> bytes:
        begun.set()
        await asyncio.sleep(0.1)
        return b"done"

    async with Bus(nats.url, name="leaving", prefix=bus.prefix) as leaving:
        await leaving.serve(f"{bus.prefix}.last", handle)
        asked = asyncio.create_task(bus.request(f"{bus.prefix}.last", b""))
        await begun.wait()
    assert await asked == b"done"


async def test_a_stream_is_made_once_and_known_by_its_state(bus: Bus) -> None:
    """Looking makes nothing, ensuring does, once; an acknowledged message counts, a repeated id is a duplicate."""
    stream = Stream(bus.prefix, "identity")
    assert await bus.stream_state(stream) is None
    first = await bus.ensure_stream(stream)
    assert await bus.ensure_stream(stream) == await bus.stream_state(stream) == first
    subject, headers = stream.subject("person_registered"), {"Nats-Msg-Id": "1"}
    once = await bus.publish(subject, b"x", headers=headers)
    again = await bus.publish(subject, b"x", headers=headers)
    assert ((once.seq, once.duplicate), (again.seq, again.duplicate)) == ((1, False), (1, True))
    assert (await bus.ensure_stream(stream)).last_seq == 1


async def test_publishing_where_no_stream_listens_is_unavailable(bus: Bus) -> None:
    """Without a stream nothing acknowledges, and that is said."""
    with pytest.raises(Failure) as refused:
        await bus.publish(f"{bus.prefix}.event.nowhere.x", b"")
    assert refused.value == Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE")


async def test_attempts_to_come_back_leave_no_line_open(recwarn: pytest.WarningsRecorder) -> None:
    """A server that stands still takes connections and greets nobody: each attempt's line is closed."""
    warnings.simplefilter("always", ResourceWarning)  # Python tells of a line that was forgotten when it finds it.
    server = EmbeddedNats(new_folder("nats-still"))
    await server.start()
    assert server.pid is not None
    try:
        async with Bus(server.url, name="patient") as bus:
            os.kill(server.pid, signal.SIGSTOP)
            await until(lambda: not bus.is_connected)
            await asyncio.sleep(2.5 * CONNECT_TIMEOUT_S)  # So that some attempts have ended without a greeting.
            os.kill(server.pid, signal.SIGCONT)
            await until(lambda: bus.is_connected and bus.reconnects > 0)
            gc.collect()
    finally:
        os.kill(server.pid, signal.SIGCONT)
        await server.destroy()
    assert [str(told.message) for told in recwarn if "StreamWriter" in str(told.message)] == []


async def test_nats_may_come_late_go_and_come_back() -> None:
    """A bus that starts before NATS waits; while NATS is away requests fail at once; afterwards all is as before."""
    server = EmbeddedNats(new_folder("nats-late"))
    await server.start()
    url = server.url
    await server.stop()
    bus = Bus(url, name="patient")
    connecting = asyncio.create_task(bus.connect())
    await asyncio.sleep(0.3)
    assert not connecting.done()
    await server.start()
    async with asyncio.timeout(60):
        await connecting
        await bus.serve("gongji.echo", _echoed)
        assert await bus.request("gongji.echo", b"1") == b"1"
        await server.stop()
        await until(lambda: not bus.is_connected)
        with pytest.raises(Failure) as away:
            await bus.request("gongji.echo", b"2")
        assert away.value == Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE")
        await server.start()
        await until(lambda: bus.reconnects > 0)
        assert await bus.request("gongji.echo", b"3") == b"3"
    await bus.close()
    await server.destroy()


async def _echoed(request: BusRequest) -> bytes:
    return request.payload
