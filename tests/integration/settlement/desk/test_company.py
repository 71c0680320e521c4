"""What many desks ask at once shares its statements, and nobody pays for what another has asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from chassis.files import built_from, read_yaml_folder
from kernel.ids import FixmedinsCode, PlanId, PsnNo
from kernel.policy import PolicyBook
from services.settlement.clients import LedgerClient
from services.settlement.domain.plan import StoredPlan
from services.settlement.operations.company import Company
from services.settlement.operations.planning import Desk, asked_around, pre_settle
from services.settlement.operations.refusing import Refusals
from services.settlement.store import around, plans
from services.settlement.store.plans import PlanMade
from services.settlement.wire.desk import presented as presented_of
from tests.integration.settlement.desk.town import HOSPITAL, Town
from tests.integration.settlement.engine.statements import Said, hearing
from tests.integration.settlement.engine.world import NEVER_STALE

PATIENTS: Final = 24
NAMED: Final = {around._AROUND: "SELECT around", plans._INSERT: "INSERT plans"}


def desk_of(town: Town) -> Desk:
    """A desk whose company is its own."""
    book = built_from(read_yaml_folder(town.folder / "policies"), PolicyBook.of_documents)
    return Desk(town.database, LedgerClient(town.bus, epoch=1), book, NEVER_STALE, Refusals(town.database))


async def planned(town: Town, desk: Desk, patient: str, total_fen: int) -> StoredPlan:
    """The plan of a bill of the hospital."""
    visit = presented_of(town.presented(patient, total_fen))
    return await pre_settle(desk, visit=visit, plan_id=PlanId(uuid4()), now=datetime.now(UTC))


async def test_a_lone_visit_is_planned_in_two_statements_and_many_at_once_in_few_more(town: Town) -> None:
    """One reads all that the projections know, one stores the plans; each patient gets the plan of his own bill."""
    desk = desk_of(town)
    patients = [await town.person(current=10_000 + number) for number in range(PATIENTS)]
    log: list[str] = []
    with hearing(town.database, lambda said: _note(log, said)):
        await planned(town, desk, patients[0], 100)
        await asyncio.sleep(0)  # The driver tells in the loop's next turn.
        alone = list(log)
        log.clear()
        stored = await asyncio.gather(*(planned(town, desk, patient, 200 + n) for n, patient in enumerate(patients)))
        await asyncio.sleep(0)
    assert alone == ["SELECT around", "INSERT plans"]
    # Those that come while the first one is read share the second statement; what they store comes together.
    assert Counter(log) <= Counter({"SELECT around": PATIENTS // 4, "INSERT plans": PATIENTS // 4})
    assert [(it.plan.visit.psn_no, it.plan.own_balance_fen, it.plan.visit.bill.medfee_sumamt) for it in stored] == [
        (patient, 10_000 + n, 200 + n) for n, patient in enumerate(patients)
    ]


async def test_who_breaks_a_batchs_question_breaks_nobody_elses(town: Town) -> None:
    """A text that no database takes is its sender's; those beside him are answered."""
    company, now = Company(town.database), datetime.now(UTC)
    patients = [await town.person() for _ in range(3)]
    asked = [asked_around(FixmedinsCode(HOSPITAL), PsnNo(patient), now, terminal_no="T01") for patient in patients]
    broken = replace(asked[1], terminal_no="\0")
    first, refused, third = await asyncio.gather(
        company.around(asked[0]), company.around(broken), company.around(asked[2]), return_exceptions=True
    )
    assert isinstance(refused, asyncpg.CharacterNotInRepertoireError)
    assert isinstance(first, around.Around)
    assert isinstance(third, around.Around)
    assert [list(first.people), list(third.people)] == [[patients[0]], [patients[2]]]


async def test_a_plan_that_cannot_be_stored_keeps_no_other_from_it(town: Town) -> None:
    """Two of one id come together: one is stored, the other's error is its own, and a third is stored beside them."""
    desk = desk_of(town)
    one = await planned(town, desk, await town.person(current=1_000), 100)
    made = [PlanMade.of(replace(one.plan, plan_id=plan_id)) for plan_id in (one.plan.plan_id, PlanId(uuid4()))]
    taken, stored = await asyncio.gather(*map(desk.company.store, made), return_exceptions=True)
    assert isinstance(taken, asyncpg.UniqueViolationError)
    assert isinstance(stored, StoredPlan)
    assert await plans.load(town.database, stored.plan.plan_id) == stored


@pytest.mark.parametrize("total_fen", [1, 900])
async def test_what_is_stored_is_what_was_digested(town: Town, total_fen: int) -> None:
    """The document, its legs and its digest are of one text."""
    stored = await planned(town, desk_of(town), await town.person(current=500), total_fen)
    async with town.database.driver_connection() as connection:
        row = await connection.fetchrow(
            "SELECT document, legs, digest, amount_fen FROM plans WHERE plan_id = $1", stored.plan.plan_id
        )
    document = stored.plan.document()
    assert (row["document"], row["legs"], row["digest"]) == (document, document["legs"], stored.plan.digest)
    assert row["amount_fen"] == sum(leg.amount_fen for leg in stored.plan.legs)


def _note(log: list[str], said: Said) -> None:
    if said.query in NAMED:
        log.append(NAMED[said.query])
