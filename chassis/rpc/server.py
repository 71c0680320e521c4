"""A gRPC server with everything a service needs around its servicers, and the health that probes ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from chassis.rpc.client import KEEPALIVE_S, KEEPALIVE_WAIT_S, RESPONSE_BYTES_MAX
from chassis.rpc.interceptors import Context, Guard
from chassis.settings import ProcessSettings

LIVENESS: Final = "live"
"""The health service name for "the process runs"; the empty name says whether it may be given work."""
TRANSPORT_FACTOR: Final = 4
TRANSPORT_BYTES_MIN: Final = 4 << 20
CLIENT_PING_PAUSE_MIN_S: Final = 10

Servicer = TypeVar("Servicer")


class Health:
    """What the process says of itself: alive from the start, ready between ``serving`` and ``leaving``."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # The stubs leave it out.
        self._names = {""}

    async def starting(self) -> None:
        """Alive, not ready."""
        await self.servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def serving(self, services: set[str]) -> None:
        """Ready for work, as a whole and for each service named."""
        self._names |= services
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def leaving(self) -> None:
        """No new work, please; for good."""
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self.servicer.enter_graceful_shutdown()

    async def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for name in self._names:
            await self.servicer.set(name, status)


class RpcServer:
    """The gRPC face of a process. Add servicers, then start; it listens on the settings' address and no other's.

    A request above ``message_bytes_max`` is refused by name (MESSAGE_TOO_LARGE); the transport itself gives up at four
    times that, with a bare RESOURCE_EXHAUSTED that our channels give the same name. ``check_call`` may refuse any
    call by its metadata, before the request is read; it is not asked about health and reflection.
    """

    def __init__(
        self, settings: ProcessSettings, health: Health, *, check_call: Callable[[Context], None] | None = None
    ) -> None:
        self._settings = settings
        self.health = health
        self.services: set[str] = set()
        self.draining = asyncio.Event()
        """Set when the server begins to stop: a servicer with endless streams ends them then."""
        guard = Guard(
            message_bytes_max=settings.message_bytes_max,
            concurrent_rpcs_max=settings.concurrent_rpcs_max,
            log_all=settings.access_log == "all",
            check_call=check_call,
        )
        self._server = grpc.aio.server(interceptors=[guard], options=_options(settings))

    def add(self, add_to_server: Callable[[Servicer, Any], None], servicer: Servicer) -> None:
        """Adds a servicer with its generated function: ``server.add(add_FamilyServiceServicer_to_server, api)``."""
        add_to_server(servicer, _Recorder(self._server, self.services))

    async def start(self) -> dict[str, int]:
        """Listens; the port taken, by the name ``grpc``. OSError if it is in use."""
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        reflection.enable_server_reflection(
            [*self.services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        ports = {"grpc": _bound(self._server, self._settings.grpc_listen)}
        await self._server.start()
        return ports

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, lets running ones finish for so long, cancels the rest."""
        self.draining.set()
        await self._server.stop(grace_s)


class ProbeServer:
    """Health alone on a plaintext port of its own, from the process's first moment to its last.

    So a probe can tell a process that waits for its database or NATS (alive, not ready) from one that hangs.
    """

    def __init__(self, address: str, health: Health) -> None:
        self._address = address
        self._health = health
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

    async def start(self) -> dict[str, int]:
        """Listens; the port taken, by the name ``health``. OSError if it is in use."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        ports = {"health": _bound(self._server, self._address)}
        await self._server.start()
        return ports

    async def stop(self) -> None:
        """Answers no more probes."""
        await self._server.stop(0)


class _Recorder:
    """Stands in for the server in the generated ``add_..._to_server`` and notes the services' names on the way."""

    def __init__(self, server: grpc.aio.Server, services: set[str]) -> None:
        self._server = server
        self._services = services

    def add_generic_rpc_handlers(self, handlers: Any) -> None:  # noqa: ANN401  The generated code is untyped here.
        """Hands the handlers on."""
        self._services.update(handler.service_name() for handler in handlers)
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, _handlers: object) -> None:
        """Only the synchronous server has a use for these."""
        self._services.add(service)


def _options(settings: ProcessSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # On by default: two servers would silently share a port.
        (
            "grpc.max_receive_message_length",
            max(settings.message_bytes_max * TRANSPORT_FACTOR, TRANSPORT_BYTES_MIN),
        ),
        ("grpc.max_send_message_length", RESPONSE_BYTES_MAX),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_WAIT_S * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", CLIENT_PING_PAUSE_MIN_S * 1000),
        ("grpc.max_connection_age_ms", settings.connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", settings.connection_age_s * 1000),
    ]


def _bound(server: grpc.aio.Server, address: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise OSError(f"cannot listen on {address}: the port is in use or the address is not this machine's")
    return port
