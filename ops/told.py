"""Tells when every room has heard what the others said: nothing waits in an outbox, no consumer is behind.

For demos and tests, which want to look right after a change; the system itself never waits like this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import asyncpg
import nats
import nats.errors
from nats.js.client import JetStreamContext
from nats.js.errors import APIError

POLL_S: Final = 0.05
TIMEOUT_S: Final = 30.0


async def wait_until_told(
    *, databases: Sequence[str], nats_url: str, bus_prefix: str, timeout_s: float = TIMEOUT_S
) -> None:
    """Returns once all outboxes of these databases (of rooms that say something) are out and all consumers have heard.

    TimeoutError names who is behind.
    """
    end = time.monotonic() + timeout_s
    connections = [await asyncpg.connect(url) for url in databases]
    client = await nats.connect(nats_url)
    try:
        while behind := await _behind(connections, client.jetstream(), bus_prefix):
            if time.monotonic() > end:
                raise TimeoutError(f"after {timeout_s:.0f} s still behind: {', '.join(behind)}")
            await asyncio.sleep(POLL_S)
    finally:
        await client.close()
        for connection in connections:
            await connection.close()


async def _behind(connections: Sequence[asyncpg.Connection], stream: JetStreamContext, prefix: str) -> list[str]:
    """Who has something left to say or to hear. Outboxes first: what is published later is then seen at a consumer."""
    behind = []
    for connection in connections:
        waiting = await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
        if waiting:
            behind.append(f"{waiting} events in an outbox")
    try:
        streams = [info.config.name for info in await stream.streams_info()]
        for name in streams:
            if name is not None and name.startswith(f"{prefix}-"):
                for consumer in await stream.consumers_info(name):
                    left = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
                    if left:
                        behind.append(f"{consumer.name} by {left} events of {name}")
    except (APIError, nats.errors.Error) as error:
        behind.append(f"JetStream does not answer ({type(error).__name__})")
    return behind
