"""Claims on real ledgers of two areas: filed once, decided once, by two where much is at stake, and paid out once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import events_pb2
from kernel.clock import business_date
from kernel.ids import FixmedinsCode, PsnNo
from ops.verify.claims import check_claims
from ops.verify.report import Report
from services.settlement.domain.bill import Bill
from services.settlement.domain.claim import (
    FOUR_EYES_ABOVE_FEN,
    Assessment,
    Claim,
    ClaimAsked,
    ClaimState,
    Document,
)
from services.settlement.operations import claims
from services.settlement.operations.engine import Engine
from services.settlement.store import claims as claims_store
from tests.integration.settlement.engine.relatives import Relatives, relatives_of
from tests.integration.settlement.engine.world import HAMI, URUMQI, World, reason_of

HOSPITAL = FixmedinsCode("H65010000077")
ZHANG, LI = "zhang01", "li02"
_HOSPITAL = """
INSERT INTO institutions (fixmedins_code, version, state, wallet_capable) VALUES ($1, 1, 'DESIGNATED', true)
ON CONFLICT DO NOTHING"""
_BINDING = """
INSERT INTO bindings (binding_id, version, funder_psn_no, beneficiary_psn_no, state, cause, relation, bound_at,
                      authorisation_id, funder_area)
VALUES ($1, 1, $2, $3, 'ACTIVE', '', 'PARENT', now(), $4, $5)"""
_CHARGES = "SELECT count(*) FROM payments WHERE infno = 'CLAIM' AND psn_no = $1 AND state IN ('COMMITTED', 'DONE')"
_SWELL = "UPDATE claims SET family_fen = family_fen + 1 WHERE claim_id = $1"
_EVENTS = "SELECT payload FROM outbox WHERE subject = 'claim_decided' ORDER BY occurred_at"


@dataclass
class Office:
    """Claimants with their families, and the officers."""

    relatives: Relatives

    async def family(self, *, own: int = 3_000, funder: int = 50_000) -> tuple[PsnNo, PsnNo]:
        """A claimant employed in Hami with so much, and a parent in Ürümqi who funds him."""
        claimant = await self.relatives.person(own=own)
        parent = await self.relatives.person(area=URUMQI, own=funder)
        authorisation_id = uuid4()
        opened = ledger_pb2.OpenAuthorisationCommand(
            authorisation_id=authorisation_id.bytes, funder_psn_no=parent, beneficiary_psn_no=claimant
        )
        town = self.relatives.town
        await town.tell(URUMQI, ledger_pb2.Command(open_authorisation_command=opened))
        await town.forget(_BINDING, uuid4(), parent, claimant, authorisation_id, URUMQI)
        return claimant, parent

    async def files(self, claimant: PsnNo, total_fen: int = 10_000, **changes: Any) -> Claim:  # noqa: ANN401  Any field.
        """A claim over a bill in scope."""
        fields = {
            "claim_id": uuid4(),
            "psn_no": claimant,
            "fixmedins_code": HOSPITAL,
            "invoice_no": uuid4().hex.upper(),
            "med_type": "11",
            "bill": Bill(total_fen, 0, 0, 0, total_fen),
            "documents": (Document("INVOICE", bytes(32), 1),),
            "care_on": business_date(self.relatives.now),
        }
        asked = ClaimAsked(**{**fields, **changes})
        return await claims.submit(self.relatives.room, asked=asked, now=self.relatives.now)

    async def approves(self, claim: Claim, opter: str = ZHANG, *, hifp_pay: int = 4_000) -> Claim:
        """An officer's yes."""
        return await claims.approve(
            self.relatives.room,
            claim_id=claim.asked.claim_id,
            assessment=Assessment(opter, "in order", 0, hifp_pay),
            now=self.relatives.now,
        )

    async def refuses(self, claim: Claim, opter: str = ZHANG) -> Claim:
        """An officer's no."""
        return await claims.refuse(self.relatives.room, claim_id=claim.asked.claim_id, opter=opter, cause="no scope")

    async def appeals(self, claim: Claim, by: PsnNo, objection: str = "it was in scope") -> Claim:
        """The claimant objects."""
        return await claims.appeal(self.relatives.room, claim_id=claim.asked.claim_id, psn_no=by, objection=objection)

    async def unsound(self) -> list[str]:
        """What `gongji verify` says of claims."""
        report, connection = Report(), await asyncpg.connect(self.relatives.town.database_url)
        try:
            await check_claims(connection, report)
        finally:
            await connection.close()
        return report.checks["CLAIM"].findings

    async def told(self, claim: Claim) -> list[events_pb2.ClaimDecided]:
        """What other rooms are told of it, in order."""
        async with self.relatives.town.database.driver_connection() as connection:
            rows = await connection.fetch(_EVENTS)
        facts = [events_pb2.SettlementEvent.FromString(row["payload"]).claim_decided for row in rows]
        return [fact for fact in facts if UUID(fact.claim_id) == claim.asked.claim_id]


@pytest.fixture
async def office(town: World, engine: Engine) -> AsyncIterator[Office]:
    """People of Hami and Ürümqi, and a hospital."""
    await town.forget(_HOSPITAL, HOSPITAL)
    async with relatives_of(town, engine) as made:
        yield Office(made)


class TestApproving:
    """What is paid, and by whom."""

    async def test_fund_and_family_pay_what_they_would_have_paid_at_the_desk(self, office: Office) -> None:
        """Of 100 yuan the fund pays 40, the own account its 30, the parent the rest; each of them is told."""
        claimant, parent = await office.family()
        approved = await office.approves(await office.files(claimant))
        assert (approved.state, approved.fund_fen, approved.family_fen) == (ClaimState.PAYABLE, 4_000, 6_000)
        await office.relatives.town.drained()
        assert await office.relatives.money(claimant) == {}
        assert await office.relatives.money(parent) == {(URUMQI, "PERSONAL"): 47_000}
        [told] = await office.told(approved)
        assert [(change.psn_no, change.past_fen, change.balance_after_fen) for change in told.changes] == [
            (claimant, 3_000, 0),
            (parent, 3_000, 47_000),
        ]

    async def test_whoever_is_suspended_gets_the_funds_part_alone(self, office: Office) -> None:
        """Insurance stays; accounts and family do not pay meanwhile (domain §8)."""
        claimant, parent = await office.family()
        claim = await office.files(claimant)
        await office.relatives.is_sanctioned(claimant)
        approved = await office.approves(claim)
        assert (approved.state, approved.fund_fen, approved.family_fen) == (ClaimState.PAYABLE, 4_000, 0)
        assert await office.relatives.money(parent) == {(URUMQI, "PERSONAL"): 50_000}
        assert [told.approved for told in await office.told(approved)] == [True]

    async def test_of_many_approvals_at_once_one_takes_the_money(self, office: Office) -> None:
        """By one officer or by two, with the same figures or others."""
        claimant, parent = await office.family()
        claim = await office.files(claimant)
        outcomes = await asyncio.gather(
            *(office.approves(claim, who, hifp_pay=fen) for who in (ZHANG, LI) for fen in (4_000, 4_000, 3_000)),
            return_exceptions=True,
        )
        reasons = {getattr(it, "reason", "") for it in outcomes}
        assert "" in reasons
        assert reasons <= {"", "CLAIM_ALREADY_DECIDED", "KEY_REUSED_WITH_OTHER_CONTENT"}
        await office.relatives.town.drained()
        assert await office.relatives.town.count(_CHARGES, claimant) == 1
        stands = await claims.view(office.relatives.room, claim_id=claim.asked.claim_id)
        assert stands.fund_fen + stands.family_fen == 10_000
        assert await office.relatives.money(parent) == {(URUMQI, "PERSONAL"): 53_000 - stands.family_fen}
        assert len(stands.decisions) == 1

    async def test_what_a_ledger_refuses_is_approved_anew(self, office: Office) -> None:
        """Two claims want the same money: the second takes nothing, and then what is left."""
        claimant, parent = await office.family(own=0, funder=7_000)
        both = [await office.files(claimant) for _ in range(2)]
        outcomes = await asyncio.gather(*(office.approves(claim) for claim in both), return_exceptions=True)
        refused = [claim for claim, outcome in zip(both, outcomes, strict=True) if isinstance(outcome, Exception)]
        for claim in refused:
            stands = await claims.view(office.relatives.room, claim_id=claim.asked.claim_id)
            assert stands.state is ClaimState.NOT_TAKEN
            again = await office.approves(claim)
            assert (again.state, again.family_fen) == (ClaimState.PAYABLE, 1_000)
        await office.relatives.town.drained()
        assert await office.relatives.money(parent) == {}


class TestOfficers:
    """Who decides what."""

    async def test_a_large_claim_is_approved_by_two_with_the_same_figures(self, office: Office) -> None:
        """Nothing is taken before the second has looked."""
        claimant, parent = await office.family()
        claim = await office.files(claimant, FOUR_EYES_ABOVE_FEN + 1)
        first = await office.approves(claim)
        assert (first.state, await office.relatives.money(parent)) == (
            ClaimState.SECOND_LOOK,
            {(URUMQI, "PERSONAL"): 50_000},
        )
        assert await office.approves(claim) == first
        assert await reason_of(office.approves(claim, LI, hifp_pay=5_000)) == "CLAIM_ASSESSMENT_DIFFERS"
        second = await office.approves(claim, LI)
        assert (second.state, second.family_fen) == (ClaimState.PAYABLE, 53_000)
        assert [each.opter for each in second.decisions] == [ZHANG, LI]

    async def test_two_officers_who_approve_a_large_claim_at_once_are_first_and_second(self, office: Office) -> None:
        """Whichever is faster; neither is told of an error of ours, and the family pays once."""
        claimant, parent = await office.family()
        for taken in (53_000, 0):
            claim = await office.files(claimant, FOUR_EYES_ABOVE_FEN + 1)
            await asyncio.gather(*(office.approves(claim, who) for who in (ZHANG, LI)))
            stands = await claims.view(office.relatives.room, claim_id=claim.asked.claim_id)
            assert (stands.state, stands.family_fen, len(stands.decisions)) == (ClaimState.PAYABLE, taken, 2)
        await office.relatives.town.drained()
        assert await office.relatives.money(parent) == {}

    async def test_what_was_not_taken_of_a_large_claim_has_no_other_figures_by_one_officer(
        self, office: Office
    ) -> None:
        """Two have said 40 yuan: when the ledger refuses, one alone cannot make the fund pay the whole bill."""
        claimant, parent = await office.family(own=0, funder=7_000)
        total_fen = FOUR_EYES_ABOVE_FEN + 1
        both = [await office.files(claimant, total_fen) for _ in range(2)]
        for claim in both:
            await office.approves(claim)
        outcomes = await asyncio.gather(*(office.approves(claim, LI) for claim in both), return_exceptions=True)
        [claim] = [claim for claim, outcome in zip(both, outcomes, strict=True) if isinstance(outcome, Exception)]
        stands = await claims.view(office.relatives.room, claim_id=claim.asked.claim_id)
        assert stands.state is ClaimState.NOT_TAKEN
        assert await reason_of(office.approves(claim, LI, hifp_pay=total_fen)) == "CLAIM_ASSESSMENT_DIFFERS"
        again = await office.approves(claim, LI)
        assert (again.state, again.fund_fen, again.family_fen) == (ClaimState.PAYABLE, 4_000, 0)
        await office.relatives.town.drained()
        assert await office.relatives.money(parent) == {}

    async def test_whoever_refused_a_claim_that_another_had_approved_does_not_judge_its_appeal(
        self, office: Office
    ) -> None:
        """The first of two approved, the second refused: on the appeal the second has no word."""
        claimant, _ = await office.family()
        claim = await office.files(claimant, FOUR_EYES_ABOVE_FEN + 1)
        await office.approves(claim)
        await office.refuses(claim, LI)
        await office.appeals(claim, claimant)
        assert await reason_of(office.refuses(claim, LI)) == "CLAIM_NEEDS_ANOTHER_OFFICER"
        assert await reason_of(office.approves(claim, LI)) == "CLAIM_NEEDS_ANOTHER_OFFICER"
        assert (await office.approves(claim)).state is ClaimState.SECOND_LOOK

    async def test_an_appeal_is_judged_by_another_officer_and_once(self, office: Office) -> None:
        """Who refused does not judge it; refused again it stays so."""
        claimant, _ = await office.family()
        claim = await office.files(claimant)
        refused = await office.refuses(claim)
        assert (refused.state, await office.refuses(claim)) == (ClaimState.REFUSED, refused)
        assert await reason_of(office.approves(claim, LI)) == "CLAIM_ALREADY_DECIDED"
        assert await reason_of(office.appeals(claim, PsnNo("9999999999"))) == "CLAIM_UNKNOWN"
        assert (await office.appeals(claim, claimant)).state is ClaimState.SUBMITTED
        assert await reason_of(office.refuses(claim)) == "CLAIM_NEEDS_ANOTHER_OFFICER"
        again = await office.refuses(claim, LI)
        assert [told.approved for told in await office.told(again)] == [False, False]
        assert await reason_of(office.appeals(claim, claimant, "once more")) == "CLAIM_APPEALED"


class TestInvoices:
    """Not one bill twice."""

    async def test_an_invoice_is_claimed_once_however_many_file_it_at_once(self, office: Office) -> None:
        """One claim stands; the same request is the same claim."""
        claimant, _ = await office.family()
        invoice_no, claim_id = uuid4().hex.upper(), uuid4()
        outcomes = await asyncio.gather(
            *(office.files(claimant, invoice_no=invoice_no) for _ in range(4)), return_exceptions=True
        )
        assert sorted(getattr(it, "reason", "") for it in outcomes) == ["", *["CLAIM_INVOICE_CLAIMED"] * 3]
        first = await office.files(claimant, claim_id=claim_id)
        again = await office.files(claimant, claim_id=claim_id, invoice_no=first.asked.invoice_no)
        assert first == again
        other = office.files(claimant, claim_id=claim_id)
        assert await reason_of(other) == "KEY_REUSED_WITH_OTHER_CONTENT"

    async def test_a_refused_claim_frees_its_invoice_and_is_not_taken_up_beside_the_next(self, office: Office) -> None:
        """An appeal comes too late once the invoice is claimed anew."""
        claimant, _ = await office.family()
        refused = await office.refuses(await office.files(claimant))
        await office.files(claimant, invoice_no=refused.asked.invoice_no)
        assert await reason_of(office.appeals(refused, claimant)) == "CLAIM_INVOICE_CLAIMED"

    async def test_of_an_appeal_and_a_new_claim_at_once_one_has_the_invoice(self, office: Office) -> None:
        """The other is told so."""
        claimant, _ = await office.family()
        for _ in range(5):
            refused = await office.refuses(await office.files(claimant))
            outcomes = await asyncio.gather(
                office.appeals(refused, claimant),
                office.files(claimant, invoice_no=refused.asked.invoice_no),
                return_exceptions=True,
            )
            assert sorted(getattr(it, "reason", "") for it in outcomes) == ["", "CLAIM_INVOICE_CLAIMED"]


class TestPayout:
    """What leaves the house."""

    async def test_each_claim_is_in_one_order_however_many_order_at_once(self, office: Office) -> None:
        """The same request is the same order, to the digest of its file."""
        claimant, _ = await office.family()
        approved = [await office.approves(await office.files(claimant)) for _ in range(3)]
        await office.files(claimant)
        ids = [uuid4() for _ in range(3)]
        room = office.relatives.room
        outcomes = await asyncio.gather(
            *(claims.order_payout(room, order_id=each, area=HAMI, opter=ZHANG) for each in [*ids, *ids]),
            return_exceptions=True,
        )
        orders = [it for it in outcomes if not isinstance(it, BaseException)]
        ours = {each.asked.claim_id for each in approved}
        lines = {line.claim_id: order.order_id for order in orders for line in order.lines}
        assert ours <= lines.keys()
        [order_id] = {lines[each] for each in ours}
        again = await claims.order_payout(room, order_id=order_id, area=HAMI, opter=LI)
        assert all(order == again for order in orders)
        assert sha256(claims.csv_of(order_id, HAMI, again.lines)).digest() == again.sha256
        stands = await claims.view(room, claim_id=approved[0].asked.claim_id)
        assert (stands.state, stands.payout_order_id) == (ClaimState.ORDERED, order_id)
        assert await office.unsound() == []
        await office.relatives.town.forget(_SWELL, stands.asked.claim_id)
        assert len(await office.unsound()) == 2
        assert await reason_of(claims.order_payout(room, order_id=uuid4(), area=HAMI, opter=LI)) == (
            "CLAIMS_NONE_PAYABLE"
        )


class TestQueue:
    """What officers see."""

    async def test_the_queue_shows_each_claim_once_in_the_order_filed_by_where_it_stands(self, office: Office) -> None:
        """Page by page; a claim leaves the queue of a state with that state."""
        claimant, _ = await office.family()
        filed = [await office.files(claimant) for _ in range(4)]
        await office.refuses(filed[1])
        await office.approves(filed[2])
        ours = [each.asked.claim_id for each in filed]

        async def queue(*states: ClaimState, size: int = 2) -> list[int]:
            found: list[Claim] = []
            after, more = None, True
            while more:
                page, more = await claims.queue(
                    office.relatives.room, area=HAMI, states=frozenset(states), after=after, size=size
                )
                assert len(page) == size or not more
                found += page
                after = (page[-1].submitted_at, page[-1].asked.claim_id) if page else None
            return [ours.index(each.asked.claim_id) for each in found if each.asked.claim_id in ours]

        assert await queue(ClaimState.SUBMITTED) == [0, 3]
        assert await queue(ClaimState.REFUSED, ClaimState.PAYABLE) == [1, 2]
        assert await queue(*ClaimState, size=200) == [0, 1, 2, 3]

    async def test_a_page_of_the_queue_is_read_by_its_index_and_passes_no_claim_that_has_ended(
        self, office: Office
    ) -> None:
        """Where nothing that has ended is asked for; a page of what has ended goes by the area's own index."""
        index = {
            frozenset({ClaimState.SUBMITTED, ClaimState.NOT_TAKEN}): "claims_waiting",
            frozenset({ClaimState.PAYABLE}): "claims_waiting",
            frozenset({ClaimState.REFUSED}): "claims_of_area",
            frozenset(ClaimState): "claims_of_area",
        }
        async with office.relatives.town.database.driver_connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                # With so few rows in the table, and a sort so cheap, nothing else tells what it may be read by.
                await connection.execute("SET LOCAL enable_seqscan = off")
                await connection.execute("SET LOCAL enable_sort = off")
                await connection.execute("SET LOCAL enable_bitmapscan = off")
                for states, name in index.items():
                    named = [state.value for state in states]
                    rows = await connection.fetch(
                        f"EXPLAIN {claims_store.page_statement(states)}", HAMI, named, None, None, 50
                    )
                    plan = "\n".join(row[0] for row in rows)
                    assert f"Index Scan using {name} on claims" in plan, plan
                    assert "Sort" not in plan, plan
            finally:
                await transaction.rollback()
