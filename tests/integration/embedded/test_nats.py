"""The embedded NATS keeps its port and its streams, and says clearly what is in its way."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator

import nats
import pytest

from ops.embedded.nats import EmbeddedNats
from ops.embedded.processes import CannotStart
from tests.servers import new_folder


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedNats]:
    """A server of this test alone, running."""
    one = EmbeddedNats(new_folder("nats"))
    await one.start()
    yield one
    await one.destroy()


async def streams(url: str, *, add: str | None = None) -> list[str]:
    """The names of the server's streams, after adding one."""
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        if add is not None:
            await jetstream.add_stream(name=add, subjects=[f"{add}.>"])
        return [info.config.name or "" for info in await jetstream.streams_info()]
    finally:
        await client.close()


async def test_streams_and_port_outlive_a_kill(server: EmbeddedNats) -> None:
    """After SIGKILL the same URL leads to the same streams."""
    url = server.url
    await streams(url, add="family")
    await server.kill()
    await server.start()
    assert (server.url, await streams(url)) == (url, ["family"])


async def test_a_wiped_server_comes_back_empty_on_the_same_port(server: EmbeddedNats) -> None:
    """What a lost disk does to a broker: same address, no streams."""
    url = server.url
    await streams(url, add="family")
    await server.wipe()
    await server.start()
    assert (server.url, await streams(url)) == (url, [])


async def test_without_the_password_nobody_gets_in(server: EmbeddedNats) -> None:
    """The port is open to every user of the machine, the server is not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        await reader.readline()  # The server's greeting.
        writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        answer = await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer == b"-ERR 'Authorization Violation'\r\n"


async def test_a_port_in_use_is_named() -> None:
    """The message tells the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = re.escape(f"port {port}, wanted for nats, cannot be used: Address already in use. Stop what uses it")
        with pytest.raises(CannotStart, match=words):
            await EmbeddedNats(new_folder("nats"), port=port).start()


async def test_another_instance_on_the_folder_is_refused_by_name(server: EmbeddedNats) -> None:
    """The message names the process that holds the folder."""
    with pytest.raises(CannotStart, match=rf"in use by another Gongji \(process {os.getpid()},"):
        await EmbeddedNats(server.folder).start()


async def test_a_server_left_running_is_stopped_by_the_next_start(server: EmbeddedNats) -> None:
    """If the parent vanished and its NATS did not, the next start ends that one; the port is free again for it."""
    orphan = server.pid
    assert server._lock is not None
    server._lock.free()  # What the kernel does when the parent is gone.
    again = EmbeddedNats(server.folder, port=server.port)
    await again.start()
    try:
        assert again.notes == [f"nats (pid {orphan}) was left over from an unclean end and has been stopped"]
        assert await streams(again.url) == []
    finally:
        await again.stop()
