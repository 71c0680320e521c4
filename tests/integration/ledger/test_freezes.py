"""Accounts are frozen in the database as in the domain: each cause stands until it is lifted itself."""

from __future__ import annotations

from random import Random

import pytest

from chassis.db import Database
from kernel.clock import SystemClock, business_year
from services.settlement.ledger.domain.commands import AccountReply, SetFrozen
from services.settlement.ledger.domain.model import AccountKey, FreezeId
from tests.integration.ledger.books import everything, give
from tests.unit.ledger.given import FUNDER, OWN, credit, payment

YEAR = business_year(SystemClock().now())
CAUSES = ("COURT_ORDER", "FRAUD_SUSPECTED", "ESTATE_DISPUTED")


def said(number: int, cause: str, *, frozen: bool, key: AccountKey = OWN) -> SetFrozen:
    """A freeze, or its end."""
    return SetFrozen(FreezeId(payment(0x800 + number)), key.psn_no, frozen, cause)


async def is_frozen(ledger: Database, command: SetFrozen, *, refusal: str | None = None) -> bool:
    """Whether the account is frozen after this, as the answer says and as the row stands."""
    (reply,) = await give(ledger, command)
    assert isinstance(reply, AccountReply)
    assert (reply.refusal and reply.refusal.reason) == refusal
    assert reply.account is not None
    assert (await everything(ledger))[0].accounts[reply.key].frozen == reply.account.frozen
    return reply.account.frozen


async def test_a_freeze_of_an_earlier_batch_outlives_the_end_of_another(area_ledger: Database) -> None:
    """Each command in a batch of its own; a repetition is told what the first was told, whatever stands by then."""
    await give(area_ledger, credit(1, (1, OWN, 100, 0), year=YEAR))
    court, fraud, estate = CAUSES
    assert await is_frozen(area_ledger, said(1, court, frozen=True))
    assert await is_frozen(area_ledger, said(2, fraud, frozen=True))
    assert await is_frozen(area_ledger, said(3, court, frozen=False))
    assert await is_frozen(area_ledger, said(4, estate, frozen=False), refusal="FREEZE_OF_OTHER_CAUSE")
    assert not await is_frozen(area_ledger, said(5, fraud, frozen=False))
    (again,) = await give(area_ledger, said(3, court, frozen=False))
    assert isinstance(again, AccountReply)
    assert again.account is not None
    assert again.account.frozen
    assert await is_frozen(area_ledger, said(6, estate, frozen=True))
    assert not await is_frozen(area_ledger, said(7, estate, frozen=False))


async def test_what_the_release_before_lifted_is_over(area_ledger: Database) -> None:
    """It lifted every freeze by any cause, and noted nothing of how the account stood."""
    await give(area_ledger, credit(1, (1, OWN, 100, 0), year=YEAR))
    court, fraud, _ = CAUSES
    await give(area_ledger, said(1, court, frozen=True))
    async with area_ledger.driver_connection() as connection:
        await connection.execute(
            """
            WITH lifted AS (UPDATE accounts SET frozen = false)
            INSERT INTO freeze_commands
                (command_id, psn_no, frozen, cause, after_past_fen, after_current_fen, after_held_past_fen,
                 after_held_current_fen, after_year, after_state, booked_at)
            VALUES ($1, $2, false, $3, 100, 0, 0, 0, $4, 'OPEN', now())
            """,
            payment(0x900),
            OWN.psn_no,
            fraud,
            YEAR,
        )
    assert await is_frozen(area_ledger, said(2, fraud, frozen=True))
    assert not await is_frozen(area_ledger, said(3, fraud, frozen=False))


@pytest.mark.parametrize("seed", range(4))
async def test_an_account_is_frozen_while_any_cause_stands(area_ledger: Database, seed: int) -> None:
    """Freezes and their ends at random, some in one batch: a count by hand says the same after each batch."""
    random = Random(seed)
    await give(area_ledger, credit(1, (1, OWN, 100, 0), (2, FUNDER, 100, 0), year=YEAR))
    standing: dict[AccountKey, set[str]] = {OWN: set(), FUNDER: set()}
    number = 0
    for _ in range(12):
        batch = []
        for _ in range(random.randint(1, 4)):
            number += 1
            key, cause, frozen = random.choice([OWN, FUNDER]), random.choice(CAUSES), random.random() < 0.5
            batch.append(said(number, cause, frozen=frozen, key=key))
            (standing[key].add if frozen else standing[key].discard)(cause)
        await give(area_ledger, *batch)
        state, _ = await everything(area_ledger)
        assert {key: state.accounts[key].frozen for key in standing} == {key: bool(it) for key, it in standing.items()}
        assert state.standing_freezes == {key: it for key, it in standing.items() if it}
