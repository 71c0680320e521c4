"""A TCP proxy on loopback that can be cut, black-holed and slowed, between a process and its PostgreSQL or NATS."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from ops.embedded.nats import LOOPBACK

CHUNK_BYTES: Final = 64 * 1024
SLOW_S: Final = 0.05
"""How long a slow line keeps each piece that it carries, in each direction."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_SOCKET_NAME: Final = ".s.PGSQL.5432"

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial: TypeAlias = Callable[[], Awaitable[Streams]]


class Line(Enum):
    """What the line does with what it is given."""

    SOUND = "sound"
    SWALLOWS = "swallows"  # Takes every byte and every new connection; nothing arrives, and nobody is told.
    SLOW = "slow"
    HOLDS_ENDS = "holds ends"  # Carries every byte, but no hanging up.


class TcpProxy:
    """One listening port before one server. ``port`` is known once it listens."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._line = Line.SOUND
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tainted: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        self.port = 0

    async def listen(self) -> None:
        """Takes connections from now on."""
        self._server = await asyncio.start_server(self._taken, LOOPBACK, 0, limit=CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Ends every connection and listens no more."""
        if self._server is not None:
            self._server.close()
        for carrying in self._carrying:
            carrying.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        self.cut()

    def becomes(self, line: Line) -> None:
        """From the next piece on the line is like this.

        Connections from which something was swallowed stay dead for good, as after a lost entry in a firewall's
        table: their two ends no longer agree on what was said, and neither is told.
        """
        self._line = line

    def cut(self) -> None:
        """Resets every connection (RST to both ends); new ones are taken."""
        for writer in list(self._open):
            _reset(writer)
        self._open.clear()
        self._tainted.clear()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._line is Line.SWALLOWS:
                await self._swallowed_for_good(reader, writer)
                return
            try:
                far_reader, far_writer = await self._dial()
            except OSError:
                _reset(writer)
            else:
                await self._joined(reader, writer, far_reader, far_writer)
        finally:
            self._closed(writer)

    async def _joined(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """Carries both ways until one end is hung up: neither of our protocols uses half-open connections."""
        self._open.add(far_writer)
        ways = [
            asyncio.ensure_future(self._carry(reader, far_writer, pair=writer)),
            asyncio.ensure_future(self._carry(far_reader, writer, pair=writer)),
        ]
        self._carrying.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._carrying.difference_update(ways)
            self._closed(far_writer)

    async def _swallowed_for_good(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tainted.add(writer)
        with suppress(OSError):
            while await reader.read(CHUNK_BYTES):
                pass

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pair: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(CHUNK_BYTES):
                if self._line is Line.SLOW:
                    await asyncio.sleep(SLOW_S)
                if self._line is Line.SWALLOWS:
                    self._tainted.add(pair)
                if pair not in self._tainted:
                    writer.write(piece)
                    await writer.drain()
            if pair in self._tainted or self._line is Line.HOLDS_ENDS:
                await asyncio.Event().wait()  # Nobody is told of the end either, until the proxy closes.

    def _closed(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        self._tainted.discard(writer)
        writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    end = writer.get_extra_info("socket")
    if end is not None and end.family in {socket.AF_INET, socket.AF_INET6}:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


@asynccontextmanager
async def proxy_before(url: str) -> AsyncIterator[TcpProxy]:
    """A line to the server of this URL: a TCP port, or PostgreSQL's socket in the folder that ``host`` names.

    A PostgreSQL behind its socket takes the proxy for us, and so needs no password.
    """
    parts = urlsplit(url)
    folder = parse_qs(parts.query).get("host", [""])[0]

    async def dial() -> Streams:
        if folder:
            return await asyncio.open_unix_connection(f"{folder}/{_SOCKET_NAME}", limit=CHUNK_BYTES)
        return await asyncio.open_connection(parts.hostname, parts.port, limit=CHUNK_BYTES)

    proxy = TcpProxy(dial)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()


def url_through(proxy: TcpProxy, url: str) -> str:
    """The URL by which the same thing is reached through the proxy."""
    parts = urlsplit(url)
    who = parts.netloc.rpartition("@")[0]
    query = "?sslmode=disable" if parts.scheme.startswith("postgres") else ""
    return f"{parts.scheme}://{who}@{LOOPBACK}:{proxy.port}{parts.path}{query}"
