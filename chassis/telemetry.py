"""Logs as JSON on stderr, a W3C trace context that follows the work, and Prometheus metrics.

Nothing personal is logged to begin with; the redaction here is only the last net.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Histogram, start_http_server

from kernel.randomness import SYSTEM_RANDOMNESS, Randomness

TRACEPARENT: Final = "traceparent"
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_PERSONAL_KEYS: Final = frozenset(
    {"certno", "id_number", "name", "psn_name", "phone", "mobile", "tel", "code", "ec_token", "ectoken", "token"}
    | {"password", "pin", "credential", "secret", "address", "birthday", "brdy"}
)
_HARMLESS_KEYS: Final = frozenset({"level", "timestamp", "trace_id"})
_ID_NUMBER: Final = re.compile(r"(?<![0-9A-Za-z])[0-9]{17}[0-9Xx](?![0-9A-Za-z])")
_RANDOM_TRACE_BITS: Final = 128
_RANDOM_SPAN_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Trace:
    """A W3C trace context: ``trace_id`` (32 hex digits) names the whole story, ``span_id`` (16) this step of it."""

    trace_id: str
    span_id: str
    flags: str = "01"

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


_current: ContextVar[Trace | None] = ContextVar("gongji_trace", default=None)


def new_trace(randomness: Randomness = SYSTEM_RANDOMNESS) -> Trace:
    """The beginning of a story."""
    return Trace(
        f"{randomness.getrandbits(_RANDOM_TRACE_BITS) or 1:032x}",
        f"{randomness.getrandbits(_RANDOM_SPAN_BITS) or 1:016x}",
    )


def parsed_traceparent(text: str | None) -> Trace | None:
    """The trace of a ``traceparent`` header; None if it is missing or not a valid one (then a new story begins)."""
    found = _TRACEPARENT.fullmatch(text) if text else None
    if not found or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        return None
    return Trace(found[1], found[2], found[3])


def child_of(trace: Trace | None, randomness: Randomness = SYSTEM_RANDOMNESS) -> Trace:
    """The next step of the same story, or the first of a new one."""
    if trace is None:
        return new_trace(randomness)
    return Trace(trace.trace_id, f"{randomness.getrandbits(_RANDOM_SPAN_BITS) or 1:016x}", trace.flags)


def traceparent() -> str:
    """The header value to hand on; empty if no trace is set."""
    trace = _current.get()
    return "" if trace is None else str(trace)


def trace_id() -> str:
    """The trace id of the work in hand; empty if there is none."""
    trace = _current.get()
    return "" if trace is None else trace.trace_id


def set_trace(trace: Trace | None) -> None:
    """Sets the trace for the rest of this task (a handler's task ends with its call)."""
    _current.set(trace)


@contextmanager
def traced(trace: Trace | None) -> Iterator[Trace | None]:
    """Within the block, the work in hand belongs to this trace."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def redacted(text: str) -> str:
    """The text without anything that looks like an 18-character ID number."""
    return _ID_NUMBER.sub("[redacted]", text)


def configure_logging(process: str, level: str = "info") -> None:
    """JSON lines on stderr for structlog and, through it, for the standard library's loggers."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_context(process),
        structlog.processors.format_exc_info,
        _redact,
    ]
    render = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))


def logger(room: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one room or module; lines carry its name as ``room``."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=room)
    return bound


REGISTRY: Final = CollectorRegistry()
"""The metrics of this process. Labels never hold anything about a person."""

RPC_SECONDS: Final = Histogram(
    "gongji_rpc_seconds",
    "How long a gRPC call took, by method and answer.",
    ["method", "answer"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


def serve_metrics(host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Serves the registry over HTTP in a thread of its own; the port taken, and what stops it."""
    server, thread = start_http_server(port, addr=host, registry=REGISTRY)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=1)

    return server.server_port, stop


def _with_context(process: str) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    def add(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line["process"] = process
        trace = _current.get()
        if trace is not None:
            line["trace_id"] = trace.trace_id
        return line

    return add


def _redact(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in line.items():
        if key in _PERSONAL_KEYS:
            line[key] = "[redacted]"
        elif isinstance(value, str) and key not in _HARMLESS_KEYS:
            line[key] = redacted(value)
    return line
