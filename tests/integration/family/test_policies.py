"""A policy file that is dropped in while family runs counts without a restart; a bad one changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from kernel.failures import Failure
from tests.integration.family.house import House
from tests.patience import until

SHANGHAI: Final = "310100"
"""An area that no other test of this folder uses."""
ONE_GROUP: Final = "area: '310000'\npolicy:\n  max_groups_per_person: 1\n"


@pytest.fixture
def file(house: House) -> Path:
    """A file of the area that is not there before. The test leaves it there, with nothing in it that limits anybody."""
    return house.world.policies / "shanghai.yaml"


def write(file: Path, text: str) -> None:
    """The whole file, as an editor leaves it."""
    file.write_text(text, encoding="utf-8")


async def may_found_another(house: House, founder: str) -> bool:
    """Whether somebody who has a group may found one more."""
    try:
        await house.group(founder)
    except Failure as refused:
        if refused.reason != "GROUPS_TOO_MANY":
            raise
        return False
    return True


async def test_a_changed_file_counts_and_a_bad_or_a_lost_one_changes_nothing(house: House, file: Path) -> None:
    """From the next request on; while the file is bad or gone the last good one counts, and the log says why."""
    founder = await house.person(SHANGHAI)
    await house.sign(founder)
    assert [await may_found_another(house, founder) for _ in range(2)] == [True, True]

    async def limited() -> bool:
        return not await may_found_another(house, founder)

    async def free() -> bool:
        return await may_found_another(house, founder)

    def told(*what: str) -> Callable[[], Awaitable[bool]]:
        log = next(running.log for running in house.world.running() if running.name == "family")

        async def says() -> bool:
            lines = (await asyncio.to_thread(log.read_text, encoding="utf-8")).splitlines()
            return any(all(one in line for one in ("changed files are refused", *what)) for line in lines)

        return says

    write(file, ONE_GROUP)
    await until(limited)
    write(file, ONE_GROUP.replace("person: 1", "person: 0"))
    await until(told("POLICY_VALUE_OUT_OF_RANGE", '"line": "3"'))
    assert await limited()
    await asyncio.to_thread(file.unlink)
    await until(told("POLICY_LOST", file.name))
    assert await limited()
    write(file, ONE_GROUP.replace("person: 1", "person: null"))
    await until(free)
