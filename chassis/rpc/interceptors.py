"""What surrounds every call a server takes: limits, deadline, trace, validation, the map of failures, one log line.

It is one interceptor with one wrapper for each method, made once, because each further layer costs every call.
The wrapper reads the request's bytes itself: so an oversized or garbled message is a named refusal like any other.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from protovalidate import Validator

from chassis import telemetry
from chassis.db import is_transient
from chassis.deadlines import set_remaining
from chassis.rpc.failures import code_of, internal_status, status_of, trailers_of
from kernel.failures import Failure, Kind

_log = telemetry.logger("rpc")

UNGUARDED: Final = ("/grpc.health.", "/grpc.reflection.")
"""Health and reflection are asked by tools that know no deadline and must be answered under any load."""
VIOLATIONS_TOLD_MAX: Final = 10
MORE_BYTES_MAX: Final = 4096
"""Up to this length of a message, what else is wrong with it is told as well."""
OK: Final = "OK"

VALIDATOR: Final = Validator()
"""The one validator of the process: it keeps the compiled rules of every message type it has met."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour: TypeAlias = Callable[[Any, Context], Any]


def checked_request(message: Message, *, more_bytes_max: int = MORE_BYTES_MAX) -> None:
    """REQUEST_INVALID with ``field`` and ``rule`` if the message breaks a rule of its proto; never tells the value.

    A short message tells of ``more`` than the first. In a long one each of a million items may break a rule, and to
    collect them would keep the whole process from its work for a minute.
    """
    violations = VALIDATOR.collect_violations(message, fail_fast=True)
    if not violations:
        return
    if message.ByteSize() <= more_bytes_max:
        violations = VALIDATOR.collect_violations(message)
    told = [(field_text(violation.proto.field), violation.proto.rule_id) for violation in violations]
    field, rule = told[0]
    more = {"more": ", ".join(f"{f}:{r}" for f, r in told[1:VIOLATIONS_TOLD_MAX])} if len(told) > 1 else {}
    raise Failure(Kind.INVALID, "REQUEST_INVALID", field=field, rule=rule, **more)


def field_text(path: Any) -> str:  # noqa: ANN401  The validator's own message classes are generated without a stable name.
    """``lines[2].amount_fen``; the key of a map is left out, for it comes from the caller."""
    parts = []
    for element in path.elements if path is not None else ():
        subscript = element.subscript
        place = ""
        if subscript is not None:
            place = f"[{subscript.value}]" if subscript.field == "index" else "[]"
        parts.append(f"{element.field_name}{place}")
    return ".".join(parts)


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # Generic in the stubs alone.
    """The interceptor of every server.

    Refuses with INVALID DEADLINE_MISSING, MESSAGE_TOO_LARGE, REQUEST_MALFORMED, REQUEST_INVALID and UNAVAILABLE
    SERVICE_BUSY, and as ``check_call`` does; turns a ``Failure`` into its status, a database that is away into
    UNAVAILABLE DATABASE_UNAVAILABLE and everything else into INTERNAL with a fixed text and the trace id.
    """

    def __init__(
        self,
        *,
        message_bytes_max: int,
        concurrent_rpcs_max: int,
        log_all: bool = True,
        check_call: Callable[[Context], None] | None = None,
    ) -> None:
        self._check_call = check_call
        self._message_bytes_max = message_bytes_max
        self._concurrent_rpcs_max = concurrent_rpcs_max
        self._log_all = log_all
        self._running = 0
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The wrapped handler of the method; the bare one of health and reflection; none of an unknown method."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(UNGUARDED):  # type: ignore[redundant-expr]  # None: no such method.
            return handler
        self._wrapped[method] = wrapped = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        parse = handler.request_deserializer
        serialise = handler.response_serializer
        if handler.request_streaming and handler.response_streaming:
            stream_stream = self._stream_response(method, _behaviour(handler.stream_stream), self._read_stream(parse))
            return grpc.stream_stream_rpc_method_handler(stream_stream, None, serialise)
        if handler.request_streaming:
            stream_unary = self._unary_response(method, _behaviour(handler.stream_unary), self._read_stream(parse))
            return grpc.stream_unary_rpc_method_handler(stream_unary, None, serialise)
        if handler.response_streaming:
            unary_stream = self._stream_response(method, _behaviour(handler.unary_stream), self._read_one(parse))
            return grpc.unary_stream_rpc_method_handler(unary_stream, None, serialise)
        unary_unary = self._unary_response(method, _behaviour(handler.unary_unary), self._read_one(parse))
        return grpc.unary_unary_rpc_method_handler(unary_unary, None, serialise)

    def _read_one(self, parse: Any) -> Callable[[bytes], Any]:  # noqa: ANN401  Whatever the generated code parses to.
        bytes_max = self._message_bytes_max

        def read(content: bytes) -> Any:  # noqa: ANN401  As above.
            if len(content) > bytes_max:
                raise Failure(Kind.INVALID, "MESSAGE_TOO_LARGE", bytes_max=bytes_max)
            if parse is None:
                return content
            try:
                message = parse(content)
            except DecodeError:
                raise Failure(Kind.INVALID, "REQUEST_MALFORMED") from None
            checked_request(message)
            return message

        return read

    def _read_stream(self, parse: Any) -> Callable[[AsyncIterator[bytes]], AsyncIterator[Any]]:  # noqa: ANN401  As above.
        read_one = self._read_one(parse)

        async def read(contents: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for content in contents:
                yield read_one(content)

        return read

    def _unary_response(self, method: str, behaviour: Behaviour, read: Callable[[Any], Any]) -> Behaviour:
        async def call(content: Any, context: Context) -> Any:  # noqa: ANN401  As above.
            return await self._surround(method, context, lambda: behaviour(read(content), context), counted=True)

        return call

    def _stream_response(self, method: str, behaviour: Behaviour, read: Callable[[Any], Any]) -> Behaviour:
        async def work(content: Any, context: Context) -> None:  # noqa: ANN401  As above.
            answer = behaviour(read(content), context)
            if not hasattr(answer, "__aiter__"):
                await answer
                return
            async with aclosing(answer) as messages:
                async for message in messages:
                    await context.write(message)

        async def call(content: Any, context: Context) -> None:  # noqa: ANN401  As above.
            await self._surround(method, context, lambda: work(content, context), counted=False)

        return call

    async def _surround(
        self, method: str, context: Context, work: Callable[[], Awaitable[Any]], *, counted: bool
    ) -> Any:  # noqa: ANN401  As above.
        begun = time.perf_counter()
        parent = header(context, telemetry.TRACEPARENT)
        telemetry.set_trace(telemetry.child_of(telemetry.parsed_traceparent(parent)))
        answer, reason = OK, ""
        self._running += counted
        try:
            if counted and self._running > self._concurrent_rpcs_max:
                raise Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")  # noqa: TRY301  One map for every failure.
            _take_deadline(context)
            if self._check_call is not None:
                self._check_call(context)
            return await work()
        except asyncio.CancelledError:
            answer = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            answer = "ABORTED_BY_HANDLER"
            raise
        except Exception as error:  # noqa: BLE001  Whatever it is, the caller gets a status and the log the traceback.
            failure = _failure_of(error)
            if failure is None:
                answer = "INTERNAL"
                _log.exception("a call broke", method=method)
                status = internal_status(telemetry.trace_id())
                await context.abort(grpc.StatusCode.INTERNAL, status.message, trailers_of(status))
            answer, reason = failure.kind.value, failure.reason
            status = status_of(failure)
            await context.abort(code_of(failure), status.message, trailers_of(status))
        finally:
            self._running -= counted
            seconds = time.perf_counter() - begun
            telemetry.RPC_SECONDS.labels(method, answer).observe(seconds)
            if self._log_all or answer != OK:
                _log.info("call", method=method, answer=answer, reason=reason, ms=round(seconds * 1000, 2))


def _behaviour(function: Any) -> Behaviour:  # noqa: ANN401  The stubs describe the synchronous server.
    behaviour: Behaviour = function
    return behaviour


def _failure_of(error: Exception) -> Failure | None:
    if isinstance(error, Failure):
        return error
    if is_transient(error):
        _log.warning("the database is away", problem=type(error).__name__)
        return Failure(Kind.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    return None


def _take_deadline(context: Context) -> None:
    remaining: float | None = context.time_remaining()
    if remaining is None or not math.isfinite(remaining):
        raise Failure(Kind.INVALID, "DEADLINE_MISSING")
    set_remaining(remaining)


def header(context: Context, name: str) -> str | None:
    """What the call's metadata say under this name; None if they say nothing, or nothing that is text."""
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return value if isinstance(value, str) else None
    return None
