"""One town for all fault tests: a ledger process for each area, short deadlines, and a second coordinator on call."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from ops.embedded.databases import Databases
from ops.embedded.nats import EmbeddedNats
from ops.embedded.world import Starting
from tests.e2e.town import Town
from tests.fault.worlds import ENVIRONMENT, VOTE_DEADLINE_S, mortal_town
from tests.servers import new_folder

__all__ = ["DRAINED", "ENVIRONMENT", "VOTE_DEADLINE_S"]

DRAINED: Final = "drained_s"
"""The property under which a test records how long its fault took to drain."""


@pytest.fixture(scope="session")
async def broker() -> AsyncIterator[EmbeddedNats]:
    """A NATS server of these tests alone, because it will die."""
    if not EmbeddedNats.installed():
        pytest.skip("the embedded NATS server is not installed, and no other may be killed")
    server = EmbeddedNats(new_folder("nats"))
    await server.start()
    yield server
    await server.destroy()


@pytest.fixture(scope="session")
async def town(postgres: Databases, broker: EmbeddedNats, starting: Starting) -> AsyncIterator[Town]:
    """A running town; nothing personal may stand in its logs when it goes."""
    async with mortal_town(postgres, broker, starting) as running:
        yield running


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Tells a figure aloud."""

    def aloud(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n    {text}\n")

    return aloud


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each fault took to drain, in seconds."""
    drained = [
        (report.nodeid.rpartition("::")[2], value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == DRAINED
    ]
    if drained:
        terminalreporter.section("seconds from the fault until everything was at rest")
        for cell, value in drained:
            terminalreporter.write_line(f"{value:>6}  {cell}")
