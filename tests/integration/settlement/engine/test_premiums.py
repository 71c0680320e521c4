"""Premiums on real ledgers of two areas: who may pay what for whom, once for each person and year, and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from gongji.settlement.v1 import events_pb2, premiums_pb2
from kernel.clock import business_date
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import PolicyBook
from services.settlement.domain.premium import PremiumAsked, PremiumShown, PremiumState, Tariff
from services.settlement.domain.split import Role
from services.settlement.operations import premiums
from services.settlement.operations.engine import Engine
from services.settlement.operations.planning import Desk
from services.settlement.operations.premium_list import Totals, paid_list
from services.settlement.operations.wallets import Room
from services.settlement.store import premiums as store
from tests.integration.settlement.engine.relatives import POLICIES, Relatives, relatives_of
from tests.integration.settlement.engine.world import HAMI, URUMQI, World, reason_of

AMOUNT = 40_000
YEAR = 2031
_CHARGES = "SELECT count(*) FROM payments WHERE kind = 'CHARGE' AND psn_no = $1"
_EVENTS = "SELECT payload FROM outbox WHERE subject = 'premium_changed' AND aggregate = ANY ($1) ORDER BY occurred_at"
_IDS = "SELECT payment_id FROM payments WHERE payment_id = $1 OR original_id = $1"

_AS_BEFORE_ITS_VOTE = """
UPDATE payments SET state = 'TRYING', decided_at = NULL, finished_at = NULL,
                    deadline_at = now() + interval '1 hour', next_drive_at = now() + interval '1 hour'
WHERE payment_id = $1"""
_AS_AFTER_IT = """
UPDATE payments SET state = 'DONE', decided_at = created_at, finished_at = created_at WHERE payment_id = $1"""


@dataclass
class Payers:
    """Relatives, and what they do about premiums."""

    relatives: Relatives
    year: int

    @property
    def now(self) -> datetime:
        """A morning of today."""
        return self.relatives.now

    @property
    def today(self) -> date:
        """The civil day."""
        return business_date(self.now)

    async def asks(self, **changes: Any) -> Tariff:  # noqa: ANN401  Any field.
        """Ürümqi asks for the year of these tests: open from the day before yesterday to the day after tomorrow."""
        fields = {
            "area": URUMQI,
            "year": self.year,
            "amount_fen": AMOUNT,
            "opens_on": self.today - timedelta(days=2),
            "closes_on": self.today + timedelta(days=2),
            "revocable_until": self.today + timedelta(days=4),
            "opter": "zhang01",
        }
        now = changes.pop("now", self.now)
        return await premiums.set_tariff(self.relatives.room, tariff=Tariff(**{**fields, **changes}), now=now)

    async def listed(self, area: AdmDvs, now: datetime, year: int = 0) -> tuple[str, Totals]:
        """The list of an area's payers and what it is said to come to."""
        got = paid_list(self.relatives.room, area=area, year=year or self.year, now=now)
        *parts, totals = [part async for part in got]
        assert isinstance(totals, Totals)
        return "".join(map(str, parts)), totals

    async def family(self, *, own: int = 500_000, area: AdmDvs = URUMQI) -> tuple[PsnNo, PsnNo]:
        """A parent, employed in Hami with so much, and a child in the residents' insurance of Ürümqi or elsewhere."""
        parent = await self.relatives.person(own=own)
        child = await self.relatives.person(area=area, insutype="390")
        self.relatives.related(parent, child)
        return parent, child

    async def pays(self, payer: PsnNo, insured: PsnNo, room: Room | None = None, **changes: Any) -> PremiumShown:  # noqa: ANN401  Any field.
        """A premium out of the payer's account, unless said otherwise."""
        now = changes.pop("now", self.now)
        fields = {"request_id": uuid4(), "payer": payer, "source": Role.OWN, "insured": insured, "year": self.year}
        asked = PremiumAsked(**{**fields, "amount_fen": AMOUNT, **changes})
        return await premiums.pay(room or self.relatives.room, asked=asked, now=now)

    async def revokes(self, payer: PsnNo, premium: PremiumShown, now: datetime | None = None) -> PremiumShown:
        """The payer takes it back."""
        return await premiums.revoke(
            self.relatives.room, payer=payer, premium_id=premium.premium_id, now=now or self.now
        )

    async def told(self, premium: PremiumShown) -> list[events_pb2.PremiumChanged]:
        """What other rooms are told of it, in order."""
        async with self.relatives.town.database.driver_connection() as connection:
            ids = [f"payment:{row['payment_id']}" for row in await connection.fetch(_IDS, premium.premium_id)]
            rows = await connection.fetch(_EVENTS, ids)
        return [events_pb2.SettlementEvent.FromString(row["payload"]).premium_changed for row in rows]

    def under(self, **policy: Any) -> Room:  # noqa: ANN401  Any key.
        """The room where Xinjiang's policy says this as well."""
        room, layer = self.relatives.room, {"area": "650000", "policy": {"wallet": True, **policy}}
        desk = room.desk
        book = PolicyBook.of_documents({**POLICIES, "xinjiang.yaml": layer})
        return Room(Desk(desk.database, desk.ledgers, book, desk.freshness, desk.refusals), room.engine, room.identity)


@pytest.fixture
async def payers(town: World, engine: Engine) -> AsyncIterator[Payers]:
    """People of Hami and Ürümqi; the year of cover is the one that begins next, so that its days always fit."""
    async with relatives_of(town, engine) as made:
        payers = Payers(made, business_date(made.now + timedelta(days=4)).year)
        await payers.asks()
        yield payers


class TestPaying:
    """The way of the money."""

    async def test_a_parent_in_one_area_pays_a_childs_premium_in_another(self, payers: Payers) -> None:
        """Taken from the account in Hami, to the fen, once; both are told with the payer's balance."""
        parent, child = await payers.family()
        paid = await payers.pays(parent, child)
        assert (paid.state, paid.relation, paid.area) == (PremiumState.PAID, "PARENT", URUMQI)
        await payers.relatives.town.drained()
        assert await payers.relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000 - AMOUNT}
        [told] = await payers.told(paid)
        assert (told.payer_psn_no, told.insured_psn_no, told.state) == (parent, child, premiums_pb2.PREMIUM_STATE_PAID)
        assert (told.amount_fen, told.balance_after_fen, told.year) == (AMOUNT, 500_000 - AMOUNT, payers.year)

    async def test_a_resident_pays_his_own_out_of_his_wallet(self, payers: Payers) -> None:
        """No relative and no filing is asked for; a wallet is not touched by a floor."""
        child = await payers.relatives.person(area=URUMQI, insutype="390", wallet_at=URUMQI)
        engine = payers.relatives.room.engine
        await payers.relatives.town.credit(engine, child, URUMQI, Role.WALLET, AMOUNT)
        room = payers.under(premium_payment="after_filing", funder_floor_balance=200_000)
        paid = await payers.pays(child, child, room, source=Role.WALLET)
        assert (paid.state, paid.relation, paid.is_payer) == (PremiumState.PAID, "", True)
        await payers.relatives.town.drained()
        assert await payers.relatives.money(child) == {}

    async def test_the_same_request_is_the_same_payment_on_any_day(self, payers: Payers) -> None:
        """Asked again after the period is over it is answered as before; with other content it is refused."""
        parent, child = await payers.family()
        request_id, later = uuid4(), payers.now + timedelta(days=40)
        first = await payers.pays(parent, child, request_id=request_id)
        again = await payers.pays(parent, child, request_id=request_id, now=later)
        assert first == again
        other = payers.pays(parent, child, request_id=request_id, amount_fen=1)
        assert await reason_of(other) == "KEY_REUSED_WITH_OTHER_CONTENT"
        found = await premiums.what_became(payers.relatives.room, payer=parent, request_id=request_id)
        assert found == first
        assert await payers.relatives.town.count(_CHARGES, parent) == 1

    async def test_what_the_ledger_refuses_takes_nothing_and_another_may_pay(self, payers: Payers) -> None:
        """The account is spent between look and hold: the refusal stands for its request, the year stays open."""
        parent, child = await payers.family(own=AMOUNT)
        request_id, other_child = uuid4(), await payers.relatives.person(area=URUMQI, insutype="390")
        payers.relatives.related(parent, other_child)
        outcomes = await asyncio.gather(
            payers.pays(parent, child, request_id=request_id), payers.pays(parent, other_child), return_exceptions=True
        )
        assert sorted(getattr(it, "reason", "") for it in outcomes) == ["", "INSUFFICIENT_FUNDS"]
        unpaid = other_child if getattr(outcomes[0], "state", None) is PremiumState.PAID else child
        richer = await payers.relatives.person(own=AMOUNT)
        payers.relatives.related(richer, unpaid)
        assert (await payers.pays(richer, unpaid)).state is PremiumState.PAID


class TestOnce:
    """One payment for each person and year."""

    async def test_of_two_parents_who_pay_at_once_one_does(self, payers: Payers) -> None:
        """However many ask in however many ways, one amount leaves one account."""
        parent, child = await payers.family()
        other = await payers.relatives.person(own=500_000)
        payers.relatives.related(other, child)
        outcomes = await asyncio.gather(
            *(payers.pays(who, child) for _ in range(4) for who in (parent, other)), return_exceptions=True
        )
        reasons = sorted(getattr(it, "reason", "") for it in outcomes)
        assert reasons[0] == ""
        assert set(reasons[1:]) <= {"PREMIUM_ALREADY_PAID", "PREMIUM_BEING_PAID"}
        await payers.relatives.town.drained()
        left = [await payers.relatives.money(who) for who in (parent, other)]
        assert sum(sum(it.values()) for it in left) == 1_000_000 - AMOUNT

    async def test_a_double_of_the_insured_is_not_paid_for_twice(self, payers: Payers) -> None:
        """Identity finds out that two numbers are one person: what was paid under the one counts for the other."""
        parent, child = await payers.family()
        kept = await payers.relatives.person(area=URUMQI, insutype="390")
        payers.relatives.related(parent, kept)
        await payers.pays(parent, child)
        await payers.relatives.town.forget("UPDATE persons SET merged_into = $2 WHERE psn_no = $1", child, kept)
        assert await reason_of(payers.pays(parent, kept)) == "PREMIUM_ALREADY_PAID"
        assert await reason_of(payers.pays(parent, child)) == "PERSON_MERGED"

    async def test_what_is_due_shows_whether_it_is_paid(self, payers: Payers) -> None:
        """The amount before, and that it is paid afterwards."""
        parent, child = await payers.family()
        room = payers.relatives.room
        tariff, state = await premiums.due(room, insured=child, year=payers.year, now=payers.now)
        assert (tariff.amount_fen, state) == (AMOUNT, None)
        await payers.pays(parent, child)
        _, state = await premiums.due(room, insured=child, year=payers.year, now=payers.now)
        assert state is PremiumState.PAID


class TestTakingBack:
    """Until the tax bureau's day."""

    async def test_the_money_returns_and_the_year_may_be_paid_again(self, payers: Payers) -> None:
        """Again it is the same revocation; another payment follows."""
        parent, child = await payers.family()
        paid = await payers.pays(parent, child)
        revoked = await payers.revokes(parent, paid)
        assert revoked.state is PremiumState.REVOKED
        late = payers.now + timedelta(days=40)
        assert await payers.revokes(parent, paid, late) == revoked
        await payers.relatives.town.drained()
        assert await payers.relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000}
        assert [told.state for told in await payers.told(paid)] == [
            premiums_pb2.PREMIUM_STATE_PAID,
            premiums_pb2.PREMIUM_STATE_REVOKED,
        ]
        assert (await payers.pays(parent, child)).state is PremiumState.PAID

    async def test_many_revocations_at_once_give_it_back_once(self, payers: Payers) -> None:
        """And a payment that comes between finds the year open or paid, never both."""
        parent, child = await payers.family()
        paid = await payers.pays(parent, child)
        outcomes = await asyncio.gather(*(payers.revokes(parent, paid) for _ in range(6)))
        assert {it.state for it in outcomes} == {PremiumState.REVOKED}
        await payers.relatives.town.drained()
        assert await payers.relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000}

    async def test_after_the_tax_bureaus_day_it_stands(self, payers: Payers) -> None:
        """On the day itself it still returns."""
        parent, child = await payers.family()
        paid = await payers.pays(parent, child)
        day_after = payers.now + timedelta(days=5)
        assert await reason_of(payers.revokes(parent, paid, day_after)) == "PREMIUM_FINAL"
        assert (await payers.revokes(parent, paid, payers.now + timedelta(days=4))).state is PremiumState.REVOKED

    async def test_nobody_but_its_payer_takes_it_back(self, payers: Payers) -> None:
        """Not even the insured: the money is the payer's."""
        parent, child = await payers.family()
        paid = await payers.pays(parent, child)
        assert await reason_of(payers.revokes(child, paid)) == "PREMIUM_UNKNOWN"
        [[seen], more] = await premiums.list_premiums(payers.relatives.room, psn_no=child, before=None, size=5)
        assert (seen.is_payer, seen.state, more) == (False, PremiumState.PAID, False)


class TestWhoMayPay:
    """By kinship, insurance, policy, days, amount."""

    async def test_a_stranger_pays_nothing(self, payers: Payers) -> None:
        """What identity cannot prove is no relation."""
        parent, child = await payers.family()
        payers.relatives.kinship.relations.clear()
        assert await reason_of(payers.pays(parent, child)) == "KINSHIP_NOT_PROVEN"

    async def test_where_a_filing_is_wanted_it_comes_first(self, payers: Payers) -> None:
        """Filed once however often, and no more once it has ended."""
        parent, child = await payers.family()
        room = payers.under(premium_payment="after_filing")
        assert await reason_of(payers.pays(parent, child, room)) == "PREMIUM_FILING_MISSING"
        filing: dict[str, Any] = {"payer": parent, "insured": child, "opter": "zhang01"}
        first = await premiums.file_payer(room, filing_id=uuid4(), **filing)
        assert await premiums.file_payer(room, filing_id=uuid4(), **filing) == first
        await premiums.end_filing(room, filing_id=first, opter="li02")
        assert await reason_of(payers.pays(parent, child, room)) == "PREMIUM_FILING_MISSING"
        await premiums.file_payer(room, filing_id=uuid4(), **filing)
        assert (await payers.pays(parent, child, room)).state is PremiumState.PAID

    async def test_each_refusal_names_its_reason(self, payers: Payers) -> None:
        """And nothing begins."""
        parent, child = await payers.family()
        day = timedelta(days=1)
        assert await reason_of(payers.pays(parent, child, payers.under(premium_payment=False))) == (
            "PREMIUM_PAYMENT_NOT_IN_AREA"
        )
        assert await reason_of(payers.pays(parent, child, amount_fen=AMOUNT - 1)) == "PREMIUM_AMOUNT_DIFFERS"
        assert await reason_of(payers.pays(parent, child, now=payers.now + 3 * day)) == "PREMIUM_NOT_OPEN"
        assert await reason_of(payers.pays(parent, child, now=payers.now - 3 * day)) == "PREMIUM_NOT_OPEN"
        assert await reason_of(payers.pays(parent, child, year=payers.year + 1)) == "PREMIUM_TARIFF_UNKNOWN"
        assert await reason_of(payers.pays(parent, parent)) == "INSURED_NOT_RESIDENT"
        assert await reason_of(payers.pays(child, child)) == "PAYER_NOT_INSURED"
        assert await reason_of(payers.pays(child, child, source=Role.WALLET)) == "WALLET_UNKNOWN"
        assert await reason_of(payers.pays(parent, PsnNo("9999999999"))) == "PERSON_UNKNOWN"
        room = payers.under(funder_floor_balance=500_000 - AMOUNT + 1)
        assert await reason_of(payers.pays(parent, child, room)) == "FLOOR_NOT_KEPT"
        assert await reason_of(payers.pays(parent, child, payers.under(shareable_parts=["current"]))) == (
            "INSUFFICIENT_FUNDS"
        )
        await payers.relatives.is_sanctioned(parent)
        assert await reason_of(payers.pays(parent, child)) == "PAYER_SANCTIONED"
        await payers.relatives.dies(child)
        assert await reason_of(payers.pays(parent, child)) == "PERSON_DECEASED"
        assert await payers.relatives.town.count(_CHARGES, parent) == 0


class TestTariffs:
    """What an area asks for."""

    async def test_the_amount_is_fixed_once_it_is_paid_and_the_days_are_not(self, payers: Payers) -> None:
        """Nobody has paid another amount than his neighbour; a period may be prolonged."""
        await payers.asks(area=HAMI, amount_fen=1)
        await payers.asks(area=HAMI, amount_fen=2)
        parent, child = await payers.family()
        await payers.pays(parent, child)
        assert await reason_of(payers.asks(amount_fen=AMOUNT + 1)) == "PREMIUM_TARIFF_IN_USE"
        prolonged = await payers.asks(closes_on=payers.today + timedelta(days=3))
        [found] = [
            it for it in await premiums.list_tariffs(payers.relatives.room, area=URUMQI) if it.year == payers.year
        ]
        assert found == prolonged
        await payers.asks()

    async def test_days_out_of_order_are_refused(self, payers: Payers) -> None:
        """So are those of another year, and an area that no policy knows."""
        assert await reason_of(payers.asks(opens_on=payers.today + timedelta(days=3))) == "PREMIUM_TARIFF_DATES_WRONG"
        assert await reason_of(payers.asks(year=payers.year + 2)) == "PREMIUM_TARIFF_DATES_WRONG"
        assert await reason_of(payers.asks(area=AdmDvs("990100"))) == "POLICY_AREA_UNKNOWN"

    async def test_after_the_last_day_no_day_moves(self, payers: Payers) -> None:
        """Nor is a day that has passed made the last one; where nobody has paid, all may be set anew."""
        area, day = AdmDvs("652300"), timedelta(days=1)
        await payers.asks(area=area)
        later = payers.now + 5 * day
        await payers.asks(area=area, revocable_until=payers.today + 6 * day, now=later)
        await payers.asks(area=area)
        await payers.pays(*await payers.family(area=area))
        early = payers.today - day
        days = {"closes_on": early, "revocable_until": early}
        assert await reason_of(payers.asks(area=area, **days)) == "PREMIUM_TARIFF_CLOSED"
        longer = payers.asks(area=area, revocable_until=payers.today + 6 * day, now=later)
        assert await reason_of(longer) == "PREMIUM_TARIFF_CLOSED"
        assert (await payers.asks(area=area, now=later)).revocable_until == payers.today + 4 * day


class TestTheListOfThosePaid:
    """What the tax bureau gets."""

    async def test_it_names_who_is_paid_for_and_nobody_whose_payment_was_taken_back(
        self, payers: Payers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each line once, oldest first, with totals and digest; page by page as in one piece; again the same."""
        area = AdmDvs("652700")
        await payers.asks(area=area)
        families = [await payers.family(area=area) for _ in range(5)]
        paid = [await payers.pays(parent, child) for parent, child in families]
        await payers.revokes(families[1][0], paid[1])
        await payers.revokes(families[2][0], paid[2])
        paid[2] = await payers.pays(*families[2])
        await payers.relatives.town.drained()
        listed, totals = await payers.listed(area, payers.now + timedelta(days=6))
        stands = sorted((paid[0], paid[2], paid[3], paid[4]), key=lambda premium: premium.premium_id)
        assert listed.splitlines() == [
            "area,year,premium_id,insured_psn_no,amount_fen,paid_on",
            *(f"{area},{payers.year},{it.premium_id},{it.insured},{AMOUNT},{payers.today}" for it in stands),
        ]
        assert totals == Totals(4, 4 * AMOUNT, sha256(listed.encode()).digest())
        monkeypatch.setattr(store, "LIST_AT_ONCE", 2)
        assert await payers.listed(area, payers.now + timedelta(days=40)) == (listed, totals)

    async def test_it_is_not_there_while_a_payment_can_be_taken_back(self, payers: Payers) -> None:
        """From an hour after the last day's end on; of an area or a year that asks for nothing there is none."""
        area = AdmDvs("652800")
        tariff = await payers.asks(area=area)
        moment = timedelta(microseconds=1)
        assert await reason_of(payers.listed(area, tariff.final_from - moment)) == "PREMIUM_LIST_NOT_FINAL"
        assert business_date(tariff.final_from) == payers.today + timedelta(days=5)
        _, totals = await payers.listed(area, tariff.final_from)
        assert (totals.count, totals.total_fen) == (0, 0)
        nothing = payers.listed(area, tariff.final_from, payers.year + 1)
        assert await reason_of(nothing) == "PREMIUM_TARIFF_UNKNOWN"

    async def test_it_waits_for_a_payment_under_way(self, payers: Payers) -> None:
        """One that is undecided may still be paid: nothing is listed without it."""
        area = AdmDvs("652900")
        tariff = await payers.asks(area=area)
        parent, child = await payers.family(area=area)
        paid = await payers.pays(parent, child)
        await payers.relatives.town.drained()
        await payers.relatives.town.forget(_AS_BEFORE_ITS_VOTE, paid.premium_id)
        assert await reason_of(payers.listed(area, tariff.final_from)) == "PREMIUM_LIST_OPEN"
        await payers.relatives.town.forget(_AS_AFTER_IT, paid.premium_id)
        listed, totals = await payers.listed(area, tariff.final_from)
        assert (str(paid.premium_id) in listed, totals.count) == (True, 1)
