"""A real gRPC server and channel: every refusal has its name on the other side."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf import wrappers_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from chassis import telemetry
from chassis.deadlines import deadline_in, remaining_s
from chassis.rpc.client import CALLER, channel
from chassis.rpc.failures import PeerError
from chassis.rpc.interceptors import header
from chassis.rpc.server import LIVENESS, Health, ProbeServer, RpcServer
from chassis.settings import ProcessSettings
from gongji.identity.v1 import identity_pb2, identity_pb2_grpc
from kernel.callers import service
from kernel.failures import Failure, Kind
from tests.patience import until

FROZEN = Failure(Kind.PRECONDITION, "ACCOUNT_FROZEN", leg=2)
GET = identity_pb2.GetPersonRequest(psn_no="650100000000001", purpose="TEST")
NUMBER = wrappers_pb2.Int64Value


class Identity(identity_pb2_grpc.IdentityServiceServicer):
    """Answers as the purpose of the look-up asks for."""

    def __init__(self) -> None:
        self.traces: list[str] = []
        self.remaining: list[float | None] = []
        self.open = asyncio.Event()
        self.cancelled = 0
        self.callers: list[str | None] = []
        self.running = 0

    async def GetPerson(  # noqa: N802  The contract's name.
        self, request: identity_pb2.GetPersonRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> identity_pb2.GetPersonResponse:
        """Refuses, breaks, aborts, waits or answers."""
        self.traces.append(telemetry.trace_id())
        self.remaining.append(remaining_s())
        self.callers.append(header(context, CALLER))
        match request.purpose:
            case "REFUSE":
                raise FROZEN
            case "BREAK":
                raise ZeroDivisionError("650103198503124518")
            case "ABORT":
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "by hand")
            case "AWAY":
                raise ConnectionResetError
            case "WAIT":
                self.running += 1
                try:
                    await self.open.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
        return identity_pb2.GetPersonResponse(certno_masked="6501**********4518")

    async def StreamSnapshot(  # noqa: N802  As above.
        self, _request: identity_pb2.StreamSnapshotRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[identity_pb2.StreamSnapshotResponse]:
        """Two messages, then a refusal."""
        yield identity_pb2.StreamSnapshotResponse()
        yield identity_pb2.StreamSnapshotResponse()
        raise FROZEN


async def _total(numbers: AsyncIterator[wrappers_pb2.Int64Value], _context: object) -> wrappers_pb2.Int64Value:
    total = 0
    async for number in numbers:
        total += number.value
    if total > 10:
        raise FROZEN
    return NUMBER(value=total)


async def _doubled(
    numbers: AsyncIterator[wrappers_pb2.Int64Value], _context: object
) -> AsyncIterator[wrappers_pb2.Int64Value]:
    async for number in numbers:
        if number.value > 10:
            raise FROZEN
        yield NUMBER(value=number.value * 2)


def _add_streams(handlers: dict[str, grpc.RpcMethodHandler[Any, Any]], server: grpc.aio.Server) -> None:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Streams", handlers),))


@dataclasses.dataclass
class Served:
    """A running server and a channel to it."""

    servicer: Identity
    server: RpcServer
    ports: dict[str, int]
    channel: grpc.aio.Channel
    stub: identity_pb2_grpc.IdentityServiceAsyncStub


def settings(**changed: str | int) -> ProcessSettings:
    """Settings for a server on a free port."""
    return ProcessSettings.model_validate({"nats_url": "nats://127.0.0.1:1", "environment": "test", **changed})


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server with the identity service and two hand-made streams; limits small enough to reach."""
    servicer: Identity = Identity()  # type: ignore[abstract]  # Two calls are enough.
    server = RpcServer(settings(message_bytes_max=2048, concurrent_rpcs_max=3), Health())
    probes = ProbeServer("127.0.0.1:0", server.health)
    server.add(identity_pb2_grpc.add_IdentityServiceServicer_to_server, servicer)
    parse, serialise = NUMBER.FromString, NUMBER.SerializeToString
    server.add(
        _add_streams,
        {
            "Total": grpc.stream_unary_rpc_method_handler(_total, parse, serialise),
            "Doubled": grpc.stream_stream_rpc_method_handler(_doubled, parse, serialise),
        },
    )
    await server.health.starting()
    ports = {**await server.start(), **await probes.start()}
    async with channel(f"127.0.0.1:{ports['grpc']}", caller=None) as opened:
        stub: Any = identity_pb2_grpc.IdentityServiceStub(opened)
        yield Served(servicer, server, ports, opened, stub)
    await server.stop(0)
    await probes.stop()


def get(purpose: str) -> identity_pb2.GetPersonRequest:
    """A request that makes the servicer do this."""
    return identity_pb2.GetPersonRequest(psn_no="650100000000001", purpose=purpose)


async def test_an_answer_and_the_trace_cross(served: Served) -> None:
    """The servicer works in the caller's trace, with the caller's deadline."""
    trace = telemetry.new_trace()
    with telemetry.traced(trace):
        answer = await served.stub.GetPerson(GET, timeout=3)
    assert answer.certno_masked == "6501**********4518"
    assert served.servicer.traces == [trace.trace_id]
    assert served.servicer.remaining[0] is not None
    assert 2 < served.servicer.remaining[0] < 3.5  # The wire rounds up to units of its own.


async def test_a_channels_caller_goes_with_each_call_unless_the_call_names_another(served: Served) -> None:
    """A room's channel says which room it is; a call may speak for somebody else; who says nothing is nobody."""
    await served.stub.GetPerson(GET)
    async with channel(f"127.0.0.1:{served.ports['grpc']}", caller=service("family")) as opened:
        stub = identity_pb2_grpc.IdentityServiceStub(opened)
        await stub.GetPerson(GET)
        await stub.GetPerson(GET, metadata=((CALLER, "officer:650100/zhang01"),))
    assert served.servicer.callers == [None, "service:family", "officer:650100/zhang01"]


async def test_a_failure_is_the_same_failure_on_the_other_side(served: Served) -> None:
    """Kind, reason and metadata are those of the rule that raised it, by unary call and by stream."""
    with pytest.raises(Failure) as unary:
        await served.stub.GetPerson(get("REFUSE"))
    answers = aiter(served.stub.StreamSnapshot(identity_pb2.StreamSnapshotRequest()))
    await anext(answers)
    await anext(answers)
    with pytest.raises(Failure) as streamed:
        await anext(answers)
    assert (unary.value, streamed.value) == (FROZEN, FROZEN)


async def test_streams_of_requests_pass_through_all_the_same(served: Served) -> None:
    """Client streams and two-way streams: answers, failures, and garbled messages by name."""

    async def numbers(*values: int) -> AsyncIterator[wrappers_pb2.Int64Value]:
        for value in values:
            yield NUMBER(value=value)

    total: Any = served.channel.stream_unary("/test.Streams/Total", NUMBER.SerializeToString, NUMBER.FromString)
    doubled: Any = served.channel.stream_stream("/test.Streams/Doubled", NUMBER.SerializeToString, NUMBER.FromString)
    raw: Any = served.channel.stream_unary("/test.Streams/Total", None, NUMBER.FromString)
    assert (await total(numbers(1, 2, 3))).value == 6
    assert [number.value async for number in doubled(numbers(1, 2))] == [2, 4]
    with pytest.raises(Failure) as refused:
        await total(numbers(5, 6))
    with pytest.raises(Failure) as cut:
        [number async for number in doubled(numbers(1, 11))]

    async def garbage() -> AsyncIterator[bytes]:
        yield b"\xff"

    with pytest.raises(Failure) as garbled:
        await raw(garbage())
    assert (refused.value, cut.value) == (FROZEN, FROZEN)
    assert garbled.value == Failure(Kind.INVALID, "REQUEST_MALFORMED")


async def test_a_caller_without_a_deadline_is_refused(served: Served) -> None:
    """Over a bare channel, without our interceptor, a call that has no deadline is DEADLINE_MISSING."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.ports['grpc']}") as bare:
        stub: Any = identity_pb2_grpc.IdentityServiceStub(bare)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetPerson(GET)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "deadline" in (refused.value.details() or "")
        assert (await stub.GetPerson(GET, timeout=1)).certno_masked


async def test_a_request_that_breaks_a_rule_never_reaches_the_servicer(served: Served) -> None:
    """REQUEST_INVALID names field and rule."""
    with pytest.raises(Failure) as refused:
        await served.stub.GetPerson(identity_pb2.GetPersonRequest(psn_no="12", purpose="TEST"))
    assert refused.value == Failure(Kind.INVALID, "REQUEST_INVALID", field="psn_no", rule="string.pattern")
    assert served.servicer.traces == []


@pytest.mark.parametrize("length", [3_000, 6 << 20])
async def test_an_oversized_message_is_refused_by_name(served: Served, length: int) -> None:
    """Just above the limit by us, far above it by the transport: the caller reads MESSAGE_TOO_LARGE either way."""
    with pytest.raises(Failure) as refused:
        await served.stub.GetPerson(identity_pb2.GetPersonRequest(psn_no="1" * length, purpose="TEST"))
    assert (refused.value.kind, refused.value.reason) == (Kind.INVALID, "MESSAGE_TOO_LARGE")


async def test_a_fault_of_ours_is_internal_with_a_trace_id_and_nothing_else(served: Served) -> None:
    """The caller gets a fixed text; the log has the traceback under the trace id."""
    trace = telemetry.new_trace()
    with structlog.testing.capture_logs() as lines, telemetry.traced(trace), pytest.raises(PeerError) as broken:
        await served.stub.GetPerson(get("BREAK"))
    assert broken.value.trace_id == trace.trace_id
    assert "6501" not in str(broken.value)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["a call broke"]


async def test_a_database_that_is_away_is_unavailable(served: Served) -> None:
    """A transient error of the database is not a fault: the same request may be sent again."""
    with pytest.raises(Failure) as refused:
        await served.stub.GetPerson(get("AWAY"))
    assert refused.value == Failure(Kind.UNAVAILABLE, "DATABASE_UNAVAILABLE")


async def test_an_abort_by_hand_passes_through(served: Served) -> None:
    """A status that a servicer sets itself is not turned into INTERNAL."""
    with pytest.raises(PeerError, match="OUT_OF_RANGE"):
        await served.stub.GetPerson(get("ABORT"))


async def test_no_answer_in_time_is_an_unknown_answer_and_the_work_is_cancelled(served: Served) -> None:
    """The caller must ask what became of it; the servicer hears of the cancellation."""
    with pytest.raises(Failure) as unknown:
        await served.stub.GetPerson(get("WAIT"), timeout=0.2)
    assert unknown.value == Failure(Kind.DEADLINE, "ANSWER_UNKNOWN")
    await until(lambda: served.servicer.cancelled == 1)


async def test_a_further_call_gets_what_is_left_of_the_callers_time(served: Served) -> None:
    """The deadline of the work in hand bounds the call; with nothing left it is not made."""
    with deadline_in(0.5):
        await served.stub.GetPerson(GET, timeout=30)
    with deadline_in(0.01), pytest.raises(Failure) as passed:
        await served.stub.GetPerson(GET)
    assert served.servicer.remaining[0] is not None
    assert served.servicer.remaining[0] <= 0.5
    assert passed.value == Failure(Kind.DEADLINE, "DEADLINE_PASSED")
    assert len(served.servicer.traces) == 1


async def test_one_call_too_many_is_busy(served: Served) -> None:
    """With a limit of three, the fourth call is SERVICE_BUSY and the three are answered; health answers throughout."""
    waiting = [asyncio.ensure_future(served.stub.GetPerson(get("WAIT"))) for _ in range(3)]
    await until(lambda: served.servicer.running == 3)
    with pytest.raises(Failure) as busy:
        await served.stub.GetPerson(GET)
    assert busy.value == Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")
    assert await _health(served, "grpc", LIVENESS) == health_pb2.HealthCheckResponse.SERVING
    served.servicer.open.set()
    await asyncio.gather(*waiting)
    await served.stub.GetPerson(GET)


async def test_nobody_listening_is_unavailable(unused_port: int) -> None:
    """A service that is not there is SERVICE_UNAVAILABLE, long before the deadline."""
    async with channel(f"127.0.0.1:{unused_port}", caller=None) as opened, asyncio.timeout(60):
        stub: Any = identity_pb2_grpc.IdentityServiceStub(opened)
        with pytest.raises(Failure) as refused:
            await stub.GetPerson(GET)
    assert refused.value == Failure(Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")


async def _health(served: Served, port: str, service: str) -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.ports[port]}") as bare:
        stub: Any = health_pb2_grpc.HealthStub(bare)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)


async def test_health_tells_alive_from_ready_on_both_ports(served: Served) -> None:
    """Alive from the start; ready once said so, as a whole and by service; not ready once it leaves."""
    name = "gongji.identity.v1.IdentityService"
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    for port in ("grpc", "health"):
        assert await _health(served, port, LIVENESS) == serving
        assert await _health(served, port, "") == not_serving
    await served.server.health.serving(served.server.services)
    for port in ("grpc", "health"):
        assert await _health(served, port, "") == serving
        assert await _health(served, port, name) == serving
    await served.server.health.leaving()
    assert await _health(served, "grpc", "") == not_serving


async def test_reflection_lists_the_services(served: Served) -> None:
    """A tool that knows no proto finds the service by its name, without a deadline."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.ports['grpc']}") as bare:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(bare)
        call = stub.ServerReflectionInfo(iter([request]))
        answer = await call.read()
        call.cancel()
    assert "gongji.identity.v1.IdentityService" in {each.name for each in answer.list_services_response.service}


async def test_a_port_in_use_is_an_error_and_not_a_shared_port(served: Served) -> None:
    """A second server on the same port does not start."""
    second = RpcServer(settings(grpc_listen=f"127.0.0.1:{served.ports['grpc']}"), Health())
    with pytest.raises(OSError, match="in use"):
        await second.start()


async def test_stopping_lets_a_running_call_finish(served: Served) -> None:
    """Within the grace period the call that runs is answered, and streams are told that the end is near."""
    waiting = asyncio.ensure_future(served.stub.GetPerson(get("WAIT")))
    await until(lambda: served.servicer.running == 1)
    stopping = asyncio.ensure_future(served.server.stop(5))
    await asyncio.sleep(0.05)
    assert served.server.draining.is_set()
    served.servicer.open.set()
    assert (await waiting).certno_masked
    await stopping
