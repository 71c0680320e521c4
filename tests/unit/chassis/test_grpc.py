"""What is switched in gRPC's core is known to the release that is installed."""

from __future__ import annotations

import os
import subprocess
import sys

CALL = """
import asyncio
import os
import chassis.rpc
import grpc

async def main():
    echo = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Echo": echo}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(20):
            await channel.unary_unary("/test/Echo")(b"", timeout=5)
    await server.stop(0)

async def answer(content, context):
    return content

asyncio.run(main())
"""


def said(experiments: str | None) -> str:
    """What the core says on stderr during a few calls."""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    if experiments is not None:
        environment["GRPC_EXPERIMENTS"] = experiments
    done = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, check=True, env=environment)  # noqa: S603  Our own code.
    return done.stderr


def test_the_core_knows_what_we_switch_off() -> None:
    """A release that has taken a switch away says so, and then it is to be taken out of `chassis/rpc/__init__.py`."""
    assert said(None) == ""


def test_a_switch_that_is_not_there_is_heard_of() -> None:
    """Otherwise the test above could not fail."""
    assert "no_such_switch" in said("-no_such_switch")
