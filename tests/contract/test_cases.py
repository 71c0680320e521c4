"""What consumers count on: every case file, replayed against the real services and against the stub made from it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gongji_terminal.stub import serving
from gongji_terminal.stub_cases import Case
from tests.contract.case_files import CASES, TERMINALS, name_of
from tests.contract.replay import Provider, Servers, replay


@pytest.fixture(scope="session")
async def stub() -> AsyncIterator[Provider]:
    """The stub with all that terminals count on."""
    async with serving(TERMINALS) as port, Servers.at(lambda _: f"127.0.0.1:{port}") as servers:
        yield Provider(servers)


@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_the_services_keep_what_a_consumer_counts_on(provider: Provider, case: Case) -> None:
    """Each step of the dialogue is answered, refused or told as the consumer's file states it."""
    await replay(case, provider)


@pytest.mark.parametrize("case", TERMINALS, ids=name_of)
async def test_the_stub_says_what_the_services_say(stub: Provider, case: Case) -> None:
    """The same file drives the stub through the same dialogue, also a second time."""
    for _ in range(2):
        await replay(case, stub)
