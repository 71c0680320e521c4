"""Channels to other services: every call gets a deadline and the trace, every error comes back as a ``Failure``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeAlias, cast

import grpc

from chassis import telemetry
from chassis.deadlines import timeout_s
from chassis.rpc.failures import error_of_call
from kernel.callers import Caller
from kernel.failures import Failure, Kind

CALL_TIMEOUT_S: Final = 5.0
RESPONSE_BYTES_MAX: Final = 16 << 20
"""The largest answer that is sent and read; the server keeps to it as well."""
KEEPALIVE_S: Final = 30
KEEPALIVE_WAIT_S: Final = 10
RECONNECT_PAUSE_MIN_S: Final = 0.1
RECONNECT_PAUSE_MAX_S: Final = 2.0
CALLER: Final = "gongji-caller"
"""The metadata in which a caller says who it is (kernel.callers)."""

Continue: TypeAlias = Callable[[grpc.aio.ClientCallDetails, Any], Any]


def channel(target: str, *, caller: Caller | None, call_timeout_s: float = CALL_TIMEOUT_S) -> grpc.aio.Channel:
    """A long-lived channel; make one for each service at start and close it at the end.

    Each call says who it comes from: the ``caller``, unless its own metadata names another. None says nothing and is
    for somebody who has no name; nothing of ours is nobody.

    A call is given the timeout it names, else ``call_timeout_s``; never more than what is left of the caller's own
    deadline, less a margin. Calls raise the other side's ``Failure``; UNAVAILABLE SERVICE_UNAVAILABLE when it cannot be
    reached; DEADLINE ANSWER_UNKNOWN when no answer came in time (it may have been done), DEADLINE_PASSED when there was
    no time left to send it; ``PeerError`` when it broke.
    """
    return grpc.aio.insecure_channel(
        target,
        options=[
            ("grpc.max_receive_message_length", RESPONSE_BYTES_MAX),
            ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_WAIT_S * 1000),
            ("grpc.initial_reconnect_backoff_ms", int(RECONNECT_PAUSE_MIN_S * 1000)),
            ("grpc.min_reconnect_backoff_ms", int(RECONNECT_PAUSE_MIN_S * 1000)),
            ("grpc.max_reconnect_backoff_ms", int(RECONNECT_PAUSE_MAX_S * 1000)),
            ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        ],
        interceptors=cast(
            "Any",  # The stubs ask callers to cast.
            [kind(call_timeout_s, caller) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)],
        ),
    )


class _Prepared:
    """What the four kinds of interceptor share: the call's deadline, trace and caller."""

    def __init__(self, call_timeout_s: float, caller: Caller | None) -> None:
        self._call_timeout_s = call_timeout_s
        self._caller = caller

    def _prepare(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        seconds = timeout_s(self._call_timeout_s if details.timeout is None else details.timeout)
        if seconds <= 0:
            raise Failure(Kind.DEADLINE, "DEADLINE_PASSED")
        metadata = details.metadata if details.metadata is not None else grpc.aio.Metadata()
        if telemetry.TRACEPARENT not in metadata and (parent := telemetry.traceparent()):
            metadata.add(telemetry.TRACEPARENT, parent)
        if self._caller is not None and CALLER not in metadata:
            metadata.add(CALLER, self._caller)
        return grpc.aio.ClientCallDetails(
            details.method, seconds, metadata, details.credentials, details.wait_for_ready
        )


class _UnaryUnary(_Prepared, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # Generic in the stubs alone.
    async def intercept_unary_unary(
        self, continuation: Continue, client_call_details: grpc.aio.ClientCallDetails, request: object
    ) -> Any:  # noqa: ANN401  As the stubs have it.
        call = await continuation(self._prepare(client_call_details), request)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error) from None
        return call


class _StreamUnary(_Prepared, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]  # Generic in the stubs alone.
    async def intercept_stream_unary(
        self, continuation: Continue, client_call_details: grpc.aio.ClientCallDetails, request_iterator: object
    ) -> Any:  # noqa: ANN401  As the stubs have it.
        call = await continuation(self._prepare(client_call_details), request_iterator)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error) from None
        return call


class _UnaryStream(_Prepared, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]  # Generic in the stubs alone.
    async def intercept_unary_stream(
        self, continuation: Continue, client_call_details: grpc.aio.ClientCallDetails, request: object
    ) -> Any:  # noqa: ANN401  As the stubs have it.
        return _with_failures(await continuation(self._prepare(client_call_details), request))


class _StreamStream(_Prepared, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]  # Generic in the stubs alone.
    async def intercept_stream_stream(
        self, continuation: Continue, client_call_details: grpc.aio.ClientCallDetails, request_iterator: object
    ) -> Any:  # noqa: ANN401  As the stubs have it.
        return _with_failures(await continuation(self._prepare(client_call_details), request_iterator))


async def _with_failures(call: Any) -> AsyncIterator[Any]:  # noqa: ANN401  Whatever the generated code parses to.
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError as error:
        raise error_of_call(error) from None
    finally:
        call.cancel()
