"""Fixtures that every kind of test may use: real servers, a fresh database, a bus prefix of one's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, TypedDict, Unpack

import pytest
from hypothesis import HealthCheck, settings

from ops.embedded.databases import Databases
from ops.embedded.logs import Problem
from ops.embedded.world import Service, Starting, World
from tests.nursery import nursery
from tests.patience import SETTLEMENT_WAITS
from tests.servers import (
    NATS_VARIABLE,
    POSTGRES_VARIABLE,
    NatsServer,
    end_left_processes,
    nats_server,
    new_folder,
    new_session,
    postgres_server,
    processes_left,
    remove_session_folder,
)

_GOODBYE_S: Final = 5.0
_SERVERS: Final = pytest.StashKey[tuple[asyncio.Runner, AsyncExitStack]]()


settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A machine that stands still for seconds says nothing of what is tested: neither an example nor its making has a limit.
settings.load_profile("patient")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Marks the session; with pytest-xdist, starts one PostgreSQL and one NATS for all workers."""
    new_session()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job: what is started here would pass ctrl-C over as well.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _is_worker(config) and getattr(config.option, "numprocesses", None):
        config.stash[_SERVERS] = (runner, stack) = (asyncio.Runner(), AsyncExitStack())
        os.environ[POSTGRES_VARIABLE] = runner.run(stack.enter_async_context(postgres_server())).url("postgres")
        os.environ[NATS_VARIABLE] = runner.run(stack.enter_async_context(nats_server())).url


def _stop_shared_servers(config: pytest.Config) -> None:
    if (started := config.stash.get(_SERVERS, None)) is not None:
        runner, stack = started
        runner.run(stack.aclose())
        runner.close()
        del config.stash[_SERVERS]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stops the shared servers; a process that any test left running fails the run."""
    if _is_worker(session.config):
        return
    _stop_shared_servers(session.config)
    end = time.monotonic() + _GOODBYE_S
    while processes_left() and time.monotonic() < end:
        time.sleep(0.05)
    if left := end_left_processes():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        message = "these processes outlived the tests (now killed):\n  " + "\n  ".join(left)
        sys.stderr.write(f"\nERROR: {message}\n")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes this run's folder, however the run ended."""
    if not _is_worker(config):
        _stop_shared_servers(config)
        remove_session_folder()


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[Databases]:
    """One PostgreSQL for the whole run; make databases on it, do not stop it."""
    async with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
async def nats() -> AsyncIterator[NatsServer]:
    """One NATS with JetStream for the whole run; keep to ``bus_prefix``, do not stop it."""
    async with nats_server() as server:
        yield server


@pytest.fixture
async def new_database(postgres: Databases) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Makes as many fresh, empty databases as the test calls for; each call returns a URL."""
    names: list[str] = []

    async def make() -> str:
        names.append(f"test_{uuid.uuid4().hex}")
        return await postgres.create_database(names[-1])

    yield make
    for name in names:
        await postgres.drop_database(name)


@pytest.fixture
async def database(new_database: Callable[[], Awaitable[str]]) -> str:
    """The URL of a fresh, empty database of this test alone."""
    return await new_database()


class WorldSettings(TypedDict, total=False):
    """What a test may choose of its world; see ``World`` for each."""

    databases: Databases
    nats_url: str
    areas: Sequence[str]
    policies: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str]
    environment_of: Mapping[str, Mapping[str, str]]
    services: Sequence[Service]
    supervised: bool
    starting: Starting
    on_problem: Callable[[Problem], None]


class MakeWorld(Protocol):
    """Starts a whole system for this test; it is stopped and removed afterwards."""

    async def __call__(self, **settings: Unpack[WorldSettings]) -> World: ...  # noqa: D102  Said by the class.


@pytest.fixture(scope="session")
def starting() -> Iterator[Starting]:
    """How worlds start their processes in tests: forked from one that has read the code; what they do is the same."""
    with nursery() as forks:
        yield forks


@asynccontextmanager
async def _worlds(postgres: Databases, nats: NatsServer, starting: Starting) -> AsyncIterator[MakeWorld]:
    made: list[World] = []

    async def make(**settings: Unpack[WorldSettings]) -> World:
        name = f"w{uuid.uuid4().hex[:12]}"
        chosen: WorldSettings = {"databases": postgres, "nats_url": nats.url, "starting": starting, **settings}
        chosen["environment_of"] = {"settlement": {**SETTLEMENT_WAITS, **settings.get("environment", {})}}
        one = World(new_folder("world"), database_prefix=name, bus_prefix=name, **chosen)
        made.append(one)
        await one.start()
        return one

    try:
        yield make
    finally:
        for one in made:
            await one.stop()
            await one.drop_databases()
            await nats.remove_streams(one.bus_prefix)
            shutil.rmtree(one.folder, ignore_errors=True)


@pytest.fixture
async def world(postgres: Databases, nats: NatsServer, starting: Starting) -> AsyncIterator[MakeWorld]:
    """Makes worlds: five real processes on the shared servers, with databases and a bus prefix of their own."""
    async with _worlds(postgres, nats, starting) as make:
        yield make


@pytest.fixture(scope="module")
async def module_world(postgres: Databases, nats: NatsServer, starting: Starting) -> AsyncIterator[MakeWorld]:
    """As ``world``, for tests of one module that share a world, each with people of its own."""
    async with _worlds(postgres, nats, starting) as make:
        yield make


@pytest.fixture
async def bus_prefix(nats: NatsServer) -> AsyncIterator[str]:
    """A prefix for subjects and streams of this test alone; its streams are deleted afterwards."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    yield prefix
    await nats.remove_streams(prefix)
