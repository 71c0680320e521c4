"""How tests wait: until something holds, and once more where a server was slow to answer.

A machine may stand still for seconds. A room lives with that: its relay and its callers ask again. What a test says
in a room's place must do the same, or it fails though nothing is wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast
from uuid import uuid4

import grpc

from chassis.bus import MESSAGE_ID_HEADER, Bus, Stream
from chassis.outbox import AGGREGATE_HEADER, VERSION_HEADER
from gongji.family.v1.events_pb2 import FamilyEvent
from gongji.identity.v1.events_pb2 import IdentityEvent
from gongji.settlement.v1.events_pb2 import SettlementEvent
from gongji_terminal.failures import failure_of
from kernel.failures import Failure, Kind

PATIENCE_S: Final = 60.0
"""How long at most. Nothing that holds takes a tenth of it on a machine that runs."""
SETTLEMENT_WAITS: Final[Mapping[str, str]] = MappingProxyType(
    {"GONGJI_BALANCE_WAIT_S": "30", "GONGJI_VOTE_DEADLINE_S": "30"}
)
"""What a running settlement is told where its limits are not what is tested: with the second or the seconds that it
waits in production, a stall makes a plan without a funder, or another plan. A ledger that is gone is known at once."""
_SERVERS_AWAY: Final = frozenset({"DATABASE_UNAVAILABLE", "BUS_UNAVAILABLE"})
_POLL_S: Final = 0.02
_AGAIN_S: Final = 0.1


Event = IdentityEvent | FamilyEvent | SettlementEvent
_ROOMS: Final[dict[type[Event], str]] = {
    IdentityEvent: "identity",
    FamilyEvent: "family",
    SettlementEvent: "settlement",
}
T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[object] | bool], *, within_s: float = PATIENCE_S) -> None:
    """Returns once the condition holds; TimeoutError if it does not within the time."""
    async with asyncio.timeout(within_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(_POLL_S)


async def insisted(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer to what may be asked again: a server that does not answer in time is given PATIENCE_S to come back."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await ask()
        except Failure as failure:
            if failure.kind is not Kind.UNAVAILABLE or time.monotonic() > end:
                raise
        await asyncio.sleep(_AGAIN_S)


class _Insisting(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # Generic in the stubs alone.
    """Of a raw channel: sends a call anew while the room cannot use a server of its own, as its caller would.

    The reason says that the same bytes may be sent again; whatever else is answered is the answer.
    """

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: object,
    ) -> Any:  # noqa: ANN401  As the stubs have it.
        """The call that was answered, or the last one."""
        end = time.monotonic() + PATIENCE_S
        while True:
            call = await continuation(client_call_details, request)
            try:
                await call
            except grpc.aio.AioRpcError as error:
                if failure_of(error).reason not in _SERVERS_AWAY or time.monotonic() > end:
                    return call
            else:
                return call
            await asyncio.sleep(_AGAIN_S)


INSISTING: Final = cast("Any", [_Insisting()])  # The stubs ask callers to cast.
"""The interceptors of a raw channel whose calls are to insist."""


async def say(bus: Bus, event: Event, *, again: bool = False) -> None:
    """Puts the event into its room's stream and does not rest before it is acknowledged, as the room's relay.

    ``again`` gives it a message id of its own, so that the broker does not drop it as the repetition that it is.
    """
    stream = Stream(bus.prefix, _ROOMS[type(event)])
    headers = {
        MESSAGE_ID_HEADER: str(uuid4()) if again else event.event_id,
        AGGREGATE_HEADER: event.aggregate_id,
        VERSION_HEADER: str(event.version),
    }
    subject = stream.subject(event.WhichOneof("fact") or "")
    await insisted(lambda: bus.ensure_stream(stream))
    await insisted(lambda: bus.publish(subject, event.SerializeToString(), headers=headers, stream=stream.name))
