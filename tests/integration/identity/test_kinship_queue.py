"""``gongji identity kinship reviews`` and ``review``: the officer's queue at the command line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.integration.identity.conftest import CHILD, LI, WANG, Identity
from tests.integration.identity.test_kinship import WEDDING, answer, submit, verify
from tests.integration.identity.test_kinship_life import fact_of

ROOT = Path(__file__).resolve().parents[3]
RUN_S = 60.0


async def ran(identity: Identity, *words: str) -> tuple[int | None, str, str]:
    """The command, run to its end: exit code, what it printed, what it complained of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ops.main import main; main()",
        "identity", "kinship", *words, "--address", identity.address, "--operator", "zhang01",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(RUN_S):
        out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


@pytest.fixture
async def family(identity: Identity) -> Identity:
    """A room that knows three people and nothing of their kinship."""
    for person in (WANG, LI, CHILD):
        await identity.register(**person)
    return identity


async def test_the_queue_is_shown_and_worked_off(family: Identity) -> None:
    """What waits is shown with masked names alone; decided, it waits no more, and the look is on record."""
    assert (await ran(family, "reviews"))[:2] == (0, "0 shown\n")
    wedding = (await submit(family, WANG, LI, **WEDDING)).fact_id
    family.clock.advance(minutes=1)
    father = (await submit(family, WANG, CHILD)).fact_id
    code, printed, complaint = await ran(family, "reviews")
    assert (code, complaint) == (1, "")
    wang = "王*国 (650100000000001, born 1985-03-12)"
    assert printed.splitlines() == [
        f"{wedding} since 2026-07-01 12:30, submitted by unauthenticated",
        f"    {wang} is married to 李*英 (650500000000002, born 1987-07-25) from 2010-05-20",
        "    HOUSEHOLD_REGISTER; the registry: UNKNOWN",
        f"{father} since 2026-07-01 12:31, submitted by unauthenticated",
        f"    {wang} is a parent of 王*明 (650100000000003, born 2018-05-06)",
        "    HOUSEHOLD_REGISTER; the registry: UNKNOWN",
        "2 shown",
    ]
    assert await ran(family, "review", wedding, "verify", "--opter", "li01") == (0, f"{wedding} is VERIFIED\n", "")
    assert await verify(family, WANG, LI) == answer("SPOUSE", wedding)
    rejecting = ("review", father, "reject", "--opter", "li01", "--cause", "户口簿页缺失")
    assert (await ran(family, *rejecting))[:2] == (0, f"{father} is REJECTED\n")
    (decision,) = (await fact_of(family, father)).decisions
    assert (decision.opter, decision.cause) == ("li01", "户口簿页缺失")
    assert (await ran(family, "reviews"))[0] == 0
    async with family.database.driver_connection() as connection:
        asked_by = await connection.fetch("SELECT DISTINCT asked_by FROM lookups WHERE asked_by LIKE 'operator:%'")
    assert [tuple(row) for row in asked_by] == [("operator:zhang01",)]


async def test_machines_read_as_many_as_they_ask_for(family: Identity) -> None:
    """The contract's fields by their names, the longest waiting first."""
    first = (await submit(family, WANG, LI, **WEDDING)).fact_id
    family.clock.advance(minutes=1)
    await submit(family, WANG, CHILD)
    code, printed, _ = await ran(family, "reviews", "--json", "--limit", "1")
    assert code == 1
    (shown,) = json.loads(printed)
    assert (shown["fact_id"], shown["person"]["name_masked"], shown["from_date"]) == (first, "王*国", "2010-05-20")


async def test_what_is_refused_ends_with_2_and_says_why(family: Identity) -> None:
    """A decision without a cause, one about nothing, one that is none, and an officer without a name."""
    fact_id = (await submit(family, WANG, CHILD)).fact_id
    unknown = "01a1ffe7-da17-7fff-bfff-00000000ffff"
    for words, said in (
        (("review", fact_id, "reject", "--opter", "li01"), "CAUSE_MISSING"),
        (("review", fact_id, "revoke", "--opter", "li01", "--cause", "x"), "FACT_NOT_REVIEWABLE"),
        (("review", unknown, "verify", "--opter", "li01"), "FACT_UNKNOWN"),
        (("review", "nothing", "verify", "--opter", "li01"), "REQUEST_INVALID"),
        (("review", fact_id, "delete", "--opter", "li01"), "Invalid value"),
        (("review", fact_id, "verify"), "Missing option"),
    ):
        code, printed, complaint = await ran(family, *words)
        assert (code, printed) == (2, ""), words
        assert said in complaint
