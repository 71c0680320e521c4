"""Transfers between relatives on real ledgers of two areas: who may, how often, at which hours, and what both see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from gongji.settlement.v1 import events_pb2, wallets_pb2
from kernel.clock import SHANGHAI, business_date
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import PolicyBook
from services.settlement.domain.split import Role
from services.settlement.domain.wallet import TransferShown, TransferState
from services.settlement.operations import giving
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import State
from tests.integration.settlement.engine.relatives import LANZHOU, Relatives, at, relatives_of
from tests.integration.settlement.engine.world import HAMI, URUMQI, Act, World, reason_of

_STORED = "SELECT count(*) FROM payments WHERE kind = 'TRANSFER' AND psn_no = $1"
_ROW = "SELECT * FROM payments WHERE payment_id = $1"
_EVENTS = "SELECT payload FROM outbox WHERE aggregate = $1 ORDER BY version"
_CLOSED = "INSERT INTO accounts VALUES ($1, 'WALLET', 2026, 0, 0, 0, 0, false, 'CLOSED')"
_DUE = "UPDATE payments SET deadline_at = now(), next_drive_at = now() WHERE payment_id = $1"


@pytest.fixture
async def relatives(town: World, engine: Engine) -> AsyncIterator[Relatives]:
    """People of Hami and Ürümqi."""
    async with relatives_of(town, engine) as made:
        yield made


async def accepted(relatives: Relatives, transfer: TransferShown, receiver: PsnNo) -> TransferShown:
    """The receiver's Yes, and the money at rest."""
    shown = await giving.accept(relatives.room, transfer_id=transfer.transfer_id, receiver=receiver)
    await relatives.town.drained()
    return shown


async def closed(relatives: Relatives, transfer: TransferShown) -> None:
    """Returns once the giver has the money back."""
    async with relatives.town.database.driver_connection() as connection, asyncio.timeout(60):
        while (await connection.fetchrow(_ROW, transfer.transfer_id))["state"] != State.CLOSED.value:  # noqa: ASYNC110  The row tells.
            await asyncio.sleep(0.02)


async def told(relatives: Relatives, transfer: TransferShown) -> list[tuple[int, str]]:
    """What other rooms are told of a transfer: state and cause, in order."""
    async with relatives.town.database.driver_connection() as connection:
        rows = await connection.fetch(_EVENTS, f"payment:{transfer.transfer_id}")
    facts = [events_pb2.SettlementEvent.FromString(row["payload"]).transfer_changed for row in rows]
    return [(fact.state, fact.cause) for fact in facts]


class TestFromHandToHand:
    """The way of the money, and what both of them see of it."""

    async def test_what_a_parent_gives_is_in_the_childs_wallet_once_it_is_accepted(self, relatives: Relatives) -> None:
        """Held in Hami until the child says yes, then in the wallet in Ürümqi, to the fen."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child, 200_000)
        assert (begun.state, begun.is_given, begun.relation) == (TransferState.PENDING_ACCEPT, True, "PARENT")
        shown = await accepted(relatives, begun, child)
        assert (shown.state, shown.is_given, shown.cause) == (TransferState.ACCEPTED, False, "")
        assert await relatives.money(parent) == {(HAMI, "PERSONAL"): 300_000}
        assert await relatives.money(child) == {(URUMQI, "WALLET"): 200_000}

    async def test_what_was_received_may_be_given_on(self, relatives: Relatives) -> None:
        """Out of a wallet as well as out of an account, and by somebody who has no account at all."""
        parent, child = await relatives.pair()
        grandchild = await relatives.person(insutype="390", wallet_at=HAMI)
        relatives.related(child, grandchild)
        await accepted(relatives, await relatives.gives(parent, child, 5_000), child)
        given_on = await relatives.gives(child, grandchild, 2_000, source=Role.WALLET)
        await accepted(relatives, given_on, grandchild)
        assert await relatives.money(child) == {(URUMQI, "WALLET"): 3_000}
        assert await relatives.money(grandchild) == {(HAMI, "WALLET"): 2_000}

    async def test_the_receiver_has_until_six_the_next_morning_to_the_second(self, relatives: Relatives) -> None:
        """The deadline of the row itself, by which the database's clock judges, is that instant."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        tomorrow = business_date(relatives.now) + timedelta(days=1)
        assert begun.accept_by == datetime(tomorrow.year, tomorrow.month, tomorrow.day, 6, tzinfo=SHANGHAI)
        await giving.decline(relatives.room, transfer_id=begun.transfer_id, receiver=child)

    async def test_what_is_not_accepted_in_time_is_the_givers_again(self, relatives: Relatives) -> None:
        """At the deadline recovery returns it, whoever sleeps then; a Yes after that is too late."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        await relatives.town.forget(_DUE, begun.transfer_id)
        await closed(relatives, begun)
        late = giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        assert await reason_of(late) == "TRANSFER_NOT_ACCEPTED_IN_TIME"
        assert await relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000}
        assert await told(relatives, begun) == [
            (wallets_pb2.TRANSFER_STATE_PENDING_ACCEPT, ""),
            (wallets_pb2.TRANSFER_STATE_RETURNED, "TRANSFER_NOT_ACCEPTED_IN_TIME"),
        ]

    async def test_a_declined_transfer_returns_and_both_are_told(self, relatives: Relatives) -> None:
        """The No releases the money; the event says so with its cause."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        shown = await giving.decline(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        assert (shown.state, shown.cause) == (TransferState.RETURNED, "TRANSFER_DECLINED")
        await closed(relatives, begun)
        assert await relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000}
        assert (await told(relatives, begun))[-1] == (wallets_pb2.TRANSFER_STATE_RETURNED, "TRANSFER_DECLINED")

    async def test_an_accepted_transfer_is_told_twice(self, relatives: Relatives) -> None:
        """Once when its receiver is asked, once when he has it."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        await accepted(relatives, begun, child)
        assert await told(relatives, begun) == [
            (wallets_pb2.TRANSFER_STATE_PENDING_ACCEPT, ""),
            (wallets_pb2.TRANSFER_STATE_ACCEPTED, ""),
        ]

    async def test_the_giver_takes_it_back_before_it_is_accepted(self, relatives: Relatives) -> None:
        """By the id of his request; afterwards the receiver cannot have it."""
        parent, child = await relatives.pair()
        request_id = uuid4()
        begun = await relatives.gives(parent, child, request_id=request_id)
        shown = await giving.withdraw(relatives.room, giver=parent, request_id=request_id, now=relatives.now)
        assert shown is not None
        assert shown.state is TransferState.RETURNED
        late = giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        assert await reason_of(late) == "PAYMENT_REVERSED"

    async def test_a_withdrawal_that_overtakes_its_transfer_stops_it(self, relatives: Relatives) -> None:
        """What was never seen can never begin (protocol rule 3)."""
        parent, child = await relatives.pair()
        request_id = uuid4()
        assert await giving.withdraw(relatives.room, giver=parent, request_id=request_id, now=relatives.now) is None
        assert await reason_of(relatives.gives(parent, child, request_id=request_id)) == "PAYMENT_REVERSED"

    async def test_somebody_elses_withdrawal_of_the_same_request_stops_nothing(self, relatives: Relatives) -> None:
        """A request's id is its giver's: what a neighbour who knows it takes back is a transfer of his own."""
        parent, child = await relatives.pair()
        neighbour, other = await relatives.pair()
        request_id = uuid4()
        begun = await relatives.gives(parent, child, request_id=request_id)
        assert await giving.withdraw(relatives.room, giver=neighbour, request_id=request_id, now=relatives.now) is None
        assert await reason_of(relatives.gives(neighbour, other, request_id=request_id)) == "PAYMENT_REVERSED"
        shown = await giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        assert shown.state is TransferState.ACCEPTED

    async def test_both_list_it_and_neither_sees_whole_names(self, relatives: Relatives) -> None:
        """The latest first, page by page, each with the other's masked name and the side it stands on."""
        parent, child = await relatives.pair()
        begun = [await relatives.gives(parent, child, amount_fen) for amount_fen in (100, 200, 300)]
        for transfer in begun:
            await giving.decline(relatives.room, transfer_id=transfer.transfer_id, receiver=child)
        first, more = await giving.list_transfers(relatives.room, psn_no=child, before=None, size=2)
        rest, end = await giving.list_transfers(relatives.room, psn_no=child, before=first[-1].transfer_id, size=2)
        assert (more, end) == (True, False)
        listed = [*first, *rest]
        assert sorted(it.amount_fen for it in listed) == [100, 200, 300]
        assert {(it.is_given, it.other_name) for it in listed} == {(False, f"某{parent[-2:]}")}
        mine, _ = await giving.list_transfers(relatives.room, psn_no=parent, before=None, size=10)
        assert {(it.is_given, it.other_name) for it in mine} == {(True, f"某{child[-2:]}")}


class TestMeanwhile:
    """What becomes of them while a transfer waits."""

    async def test_a_receiver_who_is_sanctioned_accepts_nothing(self, relatives: Relatives) -> None:
        """He may not receive (domain §8), so he may not accept; he may still decline, and then it is returned."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        await relatives.is_sanctioned(child)
        asked = giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        assert await reason_of(asked) == "ACCEPTING_WHILE_SANCTIONED"
        await giving.decline(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        await closed(relatives, begun)
        assert await relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000}

    async def test_a_double_is_judged_by_the_number_that_counts(self, relatives: Relatives) -> None:
        """A sanction stands with the number that was kept: the old one does not get round it."""
        parent, child = await relatives.pair()
        kept = await relatives.person()
        begun = await relatives.gives(parent, child)
        await relatives.town.forget("UPDATE persons SET merged_into = $2 WHERE psn_no = $1", child, kept)
        await relatives.is_sanctioned(kept)
        for number in (child, kept):
            asked = giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=number)
            assert await reason_of(asked) == "ACCEPTING_WHILE_SANCTIONED"
        await giving.decline(relatives.room, transfer_id=begun.transfer_id, receiver=kept)

    async def test_nobody_accepts_for_a_receiver_who_has_died(self, relatives: Relatives) -> None:
        """The money is the giver's again at its deadline."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        await relatives.dies(child)
        asked = giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        assert await reason_of(asked) == "PERSON_DECEASED"
        await relatives.town.forget(_DUE, begun.transfer_id)
        await closed(relatives, begun)
        assert await relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000}

    async def test_what_was_accepted_before_stays_accepted(self, relatives: Relatives) -> None:
        """The same Yes again, from somebody who is sanctioned by now, gets the same answer."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        first = await accepted(relatives, begun, child)
        await relatives.is_sanctioned(child)
        assert await accepted(relatives, begun, child) == first

    async def test_what_the_giver_gave_may_be_accepted_whatever_has_become_of_him(self, relatives: Relatives) -> None:
        """He has decided while he could, and his money is held; so a bill under way is paid as well."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        await relatives.dies(parent)
        await relatives.is_sanctioned(parent)
        await accepted(relatives, begun, child)
        assert await relatives.money(child) == {(URUMQI, "WALLET"): 1_000}

    async def test_a_stranger_is_told_nothing_of_himself_either(self, relatives: Relatives) -> None:
        """Who is sanctioned and tries another's transfer hears that there is none."""
        parent, child = await relatives.pair()
        stranger = await relatives.person()
        await relatives.is_sanctioned(stranger)
        begun = await relatives.gives(parent, child)
        asked = giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=stranger)
        assert await reason_of(asked) == "TRANSFER_UNKNOWN"
        await giving.decline(relatives.room, transfer_id=begun.transfer_id, receiver=child)


class TestTheDay:
    """Three a day, each within the limit, none in closed hours."""

    async def test_a_fourth_transfer_of_the_day_is_refused_whatever_became_of_the_three(
        self, relatives: Relatives
    ) -> None:
        """One accepted, one declined, one withdrawn: all count; the next day there are three again."""
        parent, child = await relatives.pair()
        await accepted(relatives, await relatives.gives(parent, child), child)
        declined = await relatives.gives(parent, child)
        await giving.decline(relatives.room, transfer_id=declined.transfer_id, receiver=child)
        request_id = uuid4()
        await relatives.gives(parent, child, request_id=request_id)
        await giving.withdraw(relatives.room, giver=parent, request_id=request_id, now=relatives.now)
        assert await reason_of(relatives.gives(parent, child)) == "TRANSFERS_OF_DAY_USED"
        tomorrow = await relatives.gives(parent, child, now=relatives.now + timedelta(days=1))
        await giving.decline(relatives.room, transfer_id=tomorrow.transfer_id, receiver=child)

    async def test_of_ten_transfers_at_once_three_begin(self, relatives: Relatives, town: World) -> None:
        """Two coordinators and ten requests side by side: the count holds, and the others have left nothing."""
        parent, child = await relatives.pair()
        async with relatives_of(town, (await town.driver()).engine) as others:
            others.related(parent, child)
            asked = [(relatives, others)[n % 2].gives(parent, child, 1_000) for n in range(10)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        begun = [it for it in outcomes if isinstance(it, TransferShown)]
        assert len(begun) == 3
        assert {getattr(it, "reason", "") for it in outcomes if it not in begun} == {"TRANSFERS_OF_DAY_USED"}
        assert await town.count(_STORED, parent) == 3
        for transfer in begun:
            await giving.accept(relatives.room, transfer_id=transfer.transfer_id, receiver=child)
        await town.drained()
        assert await relatives.money(child) == {(URUMQI, "WALLET"): 3_000}

    async def test_what_a_ledger_refused_after_it_began_counts_too(self, relatives: Relatives) -> None:
        """The receiver's ledger says no each time: whatever became of them, the day's three are used (domain §3)."""
        parent, child = await relatives.pair()
        async with relatives.town.ledgers[URUMQI].driver_transaction() as connection:
            await connection.execute(_CLOSED, child)
        for _ in range(3):
            assert await reason_of(relatives.gives(parent, child)) == "ACCOUNT_NOT_FOUND"
        assert await reason_of(relatives.gives(parent, child)) == "TRANSFERS_OF_DAY_USED"
        await relatives.town.drained()
        assert await relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000}

    async def test_what_never_began_was_no_transfer(self, relatives: Relatives) -> None:
        """The giver had not enough: nothing began, and the day still has its three."""
        parent, child = await relatives.pair(own=1_000)
        for _ in range(4):
            assert await reason_of(relatives.gives(parent, child, 1_001)) == "INSUFFICIENT_FUNDS"
        begun = await relatives.gives(parent, child, 1_000)
        await giving.decline(relatives.room, transfer_id=begun.transfer_id, receiver=child)

    @pytest.mark.parametrize("whose", [HAMI, URUMQI])
    async def test_while_a_ledger_is_silent_none_begins(self, relatives: Relatives, whose: AdmDvs) -> None:
        """The giver's or the receiver's: nothing is held, and the day still has its three."""
        parent, child = await relatives.pair()
        relatives.town.edges[whose].always["read_balances_command"] = Act.LOSE
        for _ in range(4):
            assert await reason_of(relatives.gives(parent, child)) == "AREA_UNREACHABLE"
        relatives.town.edges[whose].speaks_again()
        begun = await relatives.gives(parent, child)
        await giving.decline(relatives.room, transfer_id=begun.transfer_id, receiver=child)

    async def test_two_at_once_leave_the_floor_of_the_giver_where_it_is(self, relatives: Relatives) -> None:
        """Each alone would keep it: the ledger judges the second one by what the first one holds."""
        parent, child = await relatives.pair(own=10_000)
        kept = PolicyBook.of_documents({"strict.yaml": {"area": "650000", "policy": {"funder_floor_balance": 4_000}}})
        room = replace(relatives.room, desk=replace(relatives.room.desk, policies=kept))
        strict = replace(relatives, room=room)
        asked = (strict.gives(parent, child, 4_000) for _ in range(2))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        begun = [it for it in outcomes if isinstance(it, TransferShown)]
        assert len(begun) == 1
        assert [getattr(it, "reason", "") for it in outcomes if it not in begun] == ["FLOOR_NOT_KEPT"]
        await giving.decline(relatives.room, transfer_id=begun[0].transfer_id, receiver=child)

    async def test_the_same_request_is_the_same_transfer_and_counts_once(self, relatives: Relatives) -> None:
        """Sent again, even in closed hours and with none left; with another content it is refused."""
        parent, child = await relatives.pair()
        request_id = uuid4()
        first = await relatives.gives(parent, child, request_id=request_id)
        again = await relatives.gives(parent, child, request_id=request_id, now=at("23:00"))
        assert again == first
        other = relatives.gives(parent, child, 1_001, request_id=request_id)
        assert await reason_of(other) == "KEY_REUSED_WITH_OTHER_CONTENT"
        assert await relatives.town.count(_STORED, parent) == 1
        await giving.decline(relatives.room, transfer_id=first.transfer_id, receiver=child)

    async def test_the_same_request_twice_at_once_is_one_transfer(self, relatives: Relatives) -> None:
        """Twins that both find nothing yet hold the money once."""
        parent, child = await relatives.pair()
        request_id = uuid4()
        one, other = await asyncio.gather(*(relatives.gives(parent, child, request_id=request_id) for _ in range(2)))
        assert one.transfer_id == other.transfer_id
        await giving.decline(relatives.room, transfer_id=one.transfer_id, receiver=child)

    async def test_accepting_is_possible_at_any_hour(self, relatives: Relatives) -> None:
        """No hour is asked for; only the deadline counts."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child, now=at("21:59:59"))
        assert (await accepted(relatives, begun, child)).state is TransferState.ACCEPTED


class TestWhoMayNot:
    """Each obstacle has a name, and nothing is stored."""

    async def refused(self, relatives: Relatives, giver: PsnNo, receiver: PsnNo, **asked: object) -> str:
        """The reason, and that nothing began."""
        reason = await reason_of(relatives.gives(giver, receiver, **asked))  # type: ignore[arg-type]  # Any field.
        assert await relatives.town.count(_STORED, giver) == 0
        return reason

    @pytest.mark.parametrize("clock", ["22:00:00", "05:59:59"])
    async def test_at_a_closed_hour(self, relatives: Relatives, clock: str) -> None:
        """22:00:00 and 05:59:59."""
        parent, child = await relatives.pair()
        assert await self.refused(relatives, parent, child, now=at(clock)) == "TRANSFER_HOURS_CLOSED"

    async def test_more_than_one_transfer_may_bring(self, relatives: Relatives) -> None:
        """2,000.01."""
        parent, child = await relatives.pair()
        assert await self.refused(relatives, parent, child, amount_fen=200_001) == "TRANSFER_TOO_LARGE"

    async def test_to_oneself(self, relatives: Relatives) -> None:
        """From his own account to his own wallet."""
        giver = await relatives.person(own=10_000, wallet_at=HAMI)
        assert await self.refused(relatives, giver, giver) == "RECEIVER_IS_ONESELF"

    async def test_to_an_in_law(self, relatives: Relatives) -> None:
        """Only by marriage: identity says so, and whether there is a wallet is not told."""
        giver, in_law = await relatives.person(own=10_000), await relatives.person()
        relatives.kinship.reasons[(giver, in_law)] = "IN_LAW_ONLY"
        assert await self.refused(relatives, giver, in_law) == "KINSHIP_NOT_PROVEN"

    async def test_to_a_relative_without_a_wallet(self, relatives: Relatives) -> None:
        """He opens one first."""
        giver, receiver = await relatives.person(own=10_000), await relatives.person()
        relatives.related(giver, receiver)
        assert await self.refused(relatives, giver, receiver) == "RECEIVER_HAS_NO_WALLET"

    async def test_from_an_area_without_wallets(self, relatives: Relatives) -> None:
        """The policy of the giver's area decides."""
        giver, receiver = await relatives.person(area=LANZHOU), await relatives.person(wallet_at=HAMI)
        relatives.related(giver, receiver)
        assert await self.refused(relatives, giver, receiver) == "WALLET_NOT_IN_AREA"

    async def test_by_a_resident_from_an_account(self, relatives: Relatives) -> None:
        """A resident has no personal account to give from."""
        giver, receiver = await relatives.person(insutype="390"), await relatives.person(wallet_at=HAMI)
        relatives.related(giver, receiver)
        assert await self.refused(relatives, giver, receiver) == "GIVER_NOT_INSURED"

    @pytest.mark.parametrize("who", [0, 1])
    async def test_while_one_of_them_is_sanctioned(self, relatives: Relatives, who: int) -> None:
        """Neither funds nor benefits meanwhile (domain §8)."""
        pair = await relatives.pair()
        await relatives.is_sanctioned(pair[who])
        assert await self.refused(relatives, *pair) == ("GIVER_SANCTIONED", "RECEIVER_SANCTIONED")[who]

    @pytest.mark.parametrize("who", [0, 1])
    async def test_when_one_of_them_has_died(self, relatives: Relatives, who: int) -> None:
        """Parents stay parents when they die, and a wallet asks for no insurance; it gives and takes nothing."""
        pair = await relatives.pair()
        await relatives.opens(pair[0], HAMI)
        await relatives.town.credit(relatives.room.engine, pair[0], HAMI, Role.WALLET, 10_000)
        await relatives.dies(pair[who])
        assert await self.refused(relatives, *pair, source=Role.WALLET) == "PERSON_DECEASED"

    async def test_who_is_not_known(self, relatives: Relatives) -> None:
        """PERSON_UNKNOWN."""
        assert await self.refused(relatives, PsnNo("9999999999"), PsnNo("9999999998")) == "PERSON_UNKNOWN"

    async def test_a_stranger_can_answer_nothing(self, relatives: Relatives) -> None:
        """Neither accept nor decline nor see it; and the giver is no receiver."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child)
        for stranger in (parent, await relatives.person()):
            for answer in (giving.accept, giving.decline):
                asked = answer(relatives.room, transfer_id=begun.transfer_id, receiver=stranger)
                assert await reason_of(asked) == "TRANSFER_UNKNOWN"
        unknown = giving.accept(relatives.room, transfer_id=UUID(int=7), receiver=child)  # type: ignore[arg-type]  # Any id.
        assert await reason_of(unknown) == "TRANSFER_UNKNOWN"
        await giving.decline(relatives.room, transfer_id=begun.transfer_id, receiver=child)
