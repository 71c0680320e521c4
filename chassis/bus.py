"""NATS, wrapped thinly: every wait is bounded, every failure has a name, every message carries the trace.

NATS only carries, PostgreSQL decides: nothing here is a guarantee. Request-reply may lose either half, JetStream may
lose what it acknowledged; outbox, inbox and the database sweeps repair both.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo

from chassis import telemetry
from chassis.deadlines import set_remaining, timeout_s
from chassis.faults import awaited_fault_point, fault_point
from chassis.sockets import end_when_silent
from kernel.failures import Failure, Kind

_log = telemetry.logger("bus")

FAILURE_HEADER: Final = "Gongji-Failure"
TIMEOUT_HEADER: Final = "Gongji-Timeout-Ms"
MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"
CONNECT_TIMEOUT_S: Final = 2
RECONNECT_PAUSE_S: Final = 0.25
RETRY_PAUSE_S: Final = 1.0
REQUEST_TIMEOUT_S: Final = 5.0
PUBLISH_TIMEOUT_S: Final = 5.0
DRAIN_TIMEOUT_S: Final = 5
PING_INTERVAL_S: Final = 2
PINGS_UNANSWERED_MAX: Final = 2
"""A server that keeps silent for so many intervals and one more is left, and looked for anew."""
HANDLERS_MAX: Final = 256
STREAM_AGE_MAX_S: Final = 8 * 86_400
"""A little longer than outbox rows are kept, so that what a stream has dropped is not missed in it."""
DUPLICATE_WINDOW_S: Final = 10.0
"""JetStream's own deduplication only spares work; the inbox is what guarantees."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of one service: ``<prefix>-<service>`` with the subjects ``<prefix>.event.<service>.>``."""

    prefix: str
    service: str
    replicas: int = 1

    @property
    def name(self) -> str:
        """The stream's name in JetStream."""
        return f"{self.prefix}-{self.service}"

    def subject(self, suffix: str) -> str:
        """The full subject of one kind of event."""
        return f"{self.prefix}.event.{self.service}.{suffix}"


@dataclass(frozen=True, slots=True)
class StreamState:
    """What tells whether a stream is the one we knew: when it was made, and the first and last number it holds."""

    created: datetime
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Published:
    """JetStream's acknowledgement."""

    seq: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class BusRequest:
    """A request as its handler sees it."""

    subject: str
    payload: bytes
    headers: dict[str, str]


_MILLISECONDS: Final = re.compile("[0-9]{1,9}")
"""A requester's patience that we can believe; any other says nothing."""

Handler = Callable[[BusRequest], Awaitable[bytes | None]]
"""Answers a request with bytes. A ``Failure`` crosses to the requester; None or another exception sends no answer."""


class Bus:
    """One connection to NATS, kept for ever: it reconnects by itself, and waits for NATS when it starts first.

    ``nkey_file`` holds the seed by which NATS knows this process, where the server tells its users apart by nkeys.
    """

    def __init__(self, url: str, *, name: str, prefix: str = "gongji", nkey_file: Path | None = None) -> None:
        self._url = url
        self._name = name
        self._nkey_file = nkey_file
        self.prefix = prefix
        self.client = Client()
        self._jetstream = self.client.jetstream()
        self._handlers: set[asyncio.Task[None]] = set()
        self._services: list[Subscription] = []
        self.reconnects = 0
        """How often the connection came back: after each time, streams and consumers may be new or gone."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Returns once connected; says once a second why not yet."""
        while True:
            try:
                await asyncio.wait_for(self._connect_once(), CONNECT_TIMEOUT_S * 2)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                _log.warning("NATS is not reachable yet", problem=type(error).__name__)
                self._leave_the_line()
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                return

    async def _connect_once(self) -> None:
        self.client = Client()
        self._jetstream = self.client.jetstream()
        await self.client.connect(
            servers=self._url.split(","),
            name=self._name,
            connect_timeout=CONNECT_TIMEOUT_S,
            reconnect_time_wait=RECONNECT_PAUSE_S,  # type: ignore[arg-type]  # It sleeps this long; fractions work.
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=PINGS_UNANSWERED_MAX,
            drain_timeout=DRAIN_TIMEOUT_S,
            inbox_prefix=f"_INBOX.{self.prefix}.{self._name}",
            nkeys_seed=None if self._nkey_file is None else str(self._nkey_file),
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
        )
        self._mind_the_line()

    def _mind_the_line(self) -> None:
        """Lets the system end this connection if the server's does not answer; nats-py tells of its socket nowhere."""
        writer = getattr(self.client._transport, "_io_writer", None)  # noqa: SLF001  As said.
        if writer is not None:
            end_when_silent(writer.get_extra_info("socket"))

    def _leave_the_line(self) -> None:
        """Closes what an attempt to connect has left: nats-py forgets the socket of one that got no greeting."""
        writer = getattr(self.client._transport, "_io_writer", None)  # noqa: SLF001  As above.
        if writer is not None:
            writer.close()

    async def close(self) -> None:
        """Takes no more requests, lets running handlers finish, sends what is buffered, and closes; all bounded."""
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                for subscription in self._services:
                    await subscription.unsubscribe()
                if self._handlers:
                    await asyncio.wait(self._handlers)
                if self.client.is_connected:
                    await self.client.flush(timeout=DRAIN_TIMEOUT_S)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            _log.warning("NATS was left without draining", problem=type(error).__name__)
        for handler in self._handlers:
            handler.cancel()
        await self.client.close()

    @property
    def is_connected(self) -> bool:
        """Whether NATS can be reached at this moment, as far as we know."""
        return bool(self.client.is_connected)

    async def request(
        self, subject: str, payload: bytes, *, wait_s: float = REQUEST_TIMEOUT_S, headers: dict[str, str] | None = None
    ) -> bytes:
        """The answer to a request.

        Raises UNAVAILABLE BUS_UNAVAILABLE (not connected) or NO_RESPONDER (nobody listens; nothing was done),
        DEADLINE ANSWER_UNKNOWN (no answer in time: it may have been done), DEADLINE_PASSED (there was no time left to
        send it), or whatever ``Failure`` the other side raised.
        """
        if not self.client.is_connected:
            raise Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE")
        seconds = timeout_s(wait_s)
        if seconds <= 0:
            raise Failure(Kind.DEADLINE, "DEADLINE_PASSED")
        sent = {TIMEOUT_HEADER: str(int(seconds * 1000)), **(headers or {})}
        if parent := telemetry.traceparent():
            sent[telemetry.TRACEPARENT] = parent
        try:
            reply = await self.client.request(subject, payload, timeout=seconds, headers=sent)
        except nats.errors.NoRespondersError:
            raise Failure(Kind.UNAVAILABLE, "NO_RESPONDER") from None
        except TimeoutError:
            raise Failure(Kind.DEADLINE, "ANSWER_UNKNOWN") from None
        except nats.errors.MaxPayloadError:
            raise
        except (nats.errors.Error, OSError) as error:
            raise Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE") from error
        if reply.headers and (refusal := reply.headers.get(FAILURE_HEADER)):
            raise _failure_from(refusal)
        return reply.data

    async def serve(self, subject: str, handler: Handler, *, queue: str = "", handlers_max: int = HANDLERS_MAX) -> None:
        """Answers requests on a subject, many at once up to ``handlers_max``; with ``queue``, one of the group answers.

        Requests beyond the bound wait in order. The subscription survives reconnects and ends with ``close``.
        """
        gate = asyncio.Semaphore(handlers_max)

        async def take(message: Msg) -> None:
            await gate.acquire()
            # nats-py calls back one message at a time, so the work must leave the callback to run side by side.
            task = asyncio.get_running_loop().create_task(self._handle(message, handler, gate), context=Context())
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)

        self._services.append(await self.client.subscribe(subject, queue=queue, cb=take))
        # nats-py sends a flush's PING before what is still in its buffer: only the second one comes after the SUB.
        for _ in range(2):
            await self.client.flush(timeout=CONNECT_TIMEOUT_S)

    async def publish(
        self, subject: str, payload: bytes, *, headers: dict[str, str] | None = None, stream: str | None = None
    ) -> Published:
        """Appends to the JetStream stream of that subject and waits for the acknowledgement.

        Raises UNAVAILABLE BUS_UNAVAILABLE (not connected, no acknowledgement, or no such stream): send it again.
        """
        if not self.client.is_connected:
            raise Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE")
        try:
            ack = await self._jetstream.publish(
                subject, payload, timeout=PUBLISH_TIMEOUT_S, stream=stream, headers=headers
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE") from error
        return Published(seq=ack.seq, duplicate=bool(ack.duplicate))

    async def stream_state(self, stream: Stream) -> StreamState | None:
        """What is known of the stream, which somebody else makes; None while it is not there."""
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                return _state_of(await self.client.jsm().stream_info(stream.name))
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE") from error

    async def ensure_stream(self, stream: Stream) -> StreamState:
        """The stream's state; makes the stream if it is not there, as whoever says its facts does, any number of times.

        Who only listens asks ``stream_state``: the copies to keep are the owner's setting, and so is the right to make
        the stream.
        """
        if (known := await self.stream_state(stream)) is not None:
            return known
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                info = await self.client.jsm().add_stream(_stream_config(stream))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE") from error
        _log.info("the stream was made", stream=stream.name)
        return _state_of(info)

    async def _handle(self, message: Msg, handler: Handler, gate: asyncio.Semaphore) -> None:
        headers = dict(message.headers or {})
        telemetry.set_trace(telemetry.child_of(telemetry.parsed_traceparent(headers.get(telemetry.TRACEPARENT))))
        if _MILLISECONDS.fullmatch(milliseconds := headers.get(TIMEOUT_HEADER, "")):
            set_remaining(int(milliseconds) / 1000)
        try:
            answer = await handler(BusRequest(message.subject, message.data, headers))
            if answer is not None and message.reply:
                fault_point("bus.answer.before_send")
                await self.client.publish(message.reply, answer)
                await awaited_fault_point("bus.answer.after_send")
        except Failure as failure:
            if message.reply:
                await self.client.publish(message.reply, b"", headers={FAILURE_HEADER: _failure_text(failure)})
        except Exception:  # noqa: BLE001  A handler's fault ends its request, not the process.
            # No answer is the safe answer: the requester asks again, and the key tells what was done.
            _log.exception("a request was not answered", subject=message.subject)
        finally:
            gate.release()

    async def _on_error(self, error: Exception) -> None:
        _log.warning("NATS reports an error", problem=type(error).__name__, detail=str(error)[:200])
        if self.client._reconnection_task_future is not None and _ends_an_attempt(error):  # noqa: SLF001  As said.
            self._leave_the_line()

    async def _on_disconnected(self) -> None:
        if not self.client.is_closed:
            _log.warning("NATS is gone; trying to reconnect")

    async def _on_reconnected(self) -> None:
        _log.info("NATS is back")
        self._mind_the_line()
        self.reconnects += 1


def _ends_an_attempt(error: Exception) -> bool:
    """Whether a connection that is just being made fails by it; a subject that is refused us fails nothing else."""
    return isinstance(error, OSError | nats.errors.Error) and "permissions" not in str(error).lower()


def _stream_config(stream: Stream) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        subjects=[stream.subject(">")],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        storage=StorageType.FILE,
        max_age=STREAM_AGE_MAX_S,
        num_replicas=stream.replicas,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
    )


def _state_of(info: StreamInfo) -> StreamState:
    if info.created is None:
        raise Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE")
    return StreamState(created=info.created, first_seq=info.state.first_seq, last_seq=info.state.last_seq)


def _failure_text(failure: Failure) -> str:
    return json.dumps({"kind": failure.kind.value, "reason": failure.reason, "metadata": failure.metadata})


def _failure_from(text: str) -> Failure:
    told: dict[str, Any] = json.loads(text)
    return Failure(Kind(told["kind"]), told["reason"], **told["metadata"])
