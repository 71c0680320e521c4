"""Wallets on real ledgers: opened once, by oneself or a relative; and their money follows them from area to area."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from kernel.ids import AdmDvs, PsnNo
from kernel.policy import Part
from services.settlement.domain.facts import ProjectedPerson
from services.settlement.domain.split import Role
from services.settlement.operations import giving, projecting, transfers, wallets
from services.settlement.operations.crediting import CreditRow, credit
from services.settlement.operations.engine import Engine
from services.settlement.operations.following import sweep_moves
from services.settlement.store.payments import Connection
from tests.integration.settlement.engine.relatives import LANZHOU, Relatives, relatives_of
from tests.integration.settlement.engine.world import HAMI, URUMQI, World, reason_of

NOWHERE = AdmDvs("650199")
_SOON = "UPDATE wallet_moves SET next_look_at = now()"
_CARRIED = "SELECT count(*) FROM wallet_moves WHERE psn_no = $1 AND carried_fen IS NOT NULL"


@pytest.fixture
async def relatives(town: World, engine: Engine) -> AsyncIterator[Relatives]:
    """People of Hami and Ürümqi."""
    async with relatives_of(town, engine) as made:
        yield made


_TOLD_OF_TRANSFERS = (
    "SELECT count(*) FROM outbox WHERE subject = 'transfer_changed' AND aggregate IN ("
    "SELECT 'payment:' || payment_id FROM payments WHERE psn_no = $1)"
)


async def merged(relatives: Relatives, double: PsnNo, keep: PsnNo, *, version: int = 2) -> None:
    """Identity has found one number to be a double of another."""
    person = ProjectedPerson(double, "某*", "1980-05-01", (), (), merged_into=keep)
    async with relatives.town.database.transaction() as connection:
        await projecting.apply(connection, [(person, version)])


async def followed(relatives: Relatives, psn_no: PsnNo, engine: Engine | None = None) -> None:
    """Looks at what wallets left behind until nothing of this person is under way."""
    while True:
        await relatives.town.forget(_SOON)
        await sweep_moves(engine or relatives.room.engine, now=datetime.now(UTC), limit=50)
        if not await relatives.town.count(_CARRIED, psn_no):
            break
        await asyncio.sleep(0.05)
    await relatives.town.drained()


class TestOpening:
    """One's own face, or a relative's."""

    async def test_a_wallet_is_opened_once_by_its_persons_face(self, relatives: Relatives) -> None:
        """The attestation is used for this wallet; the same request again is the same wallet."""
        psn_no = await relatives.person()
        fields = {"wallet_id": uuid4(), "attestation_id": uuid4()}
        first = await relatives.opens(psn_no, HAMI, **fields)
        again = await relatives.opens(psn_no, HAMI, **fields)
        assert first == again
        used = relatives.attestations.used[str(fields["attestation_id"])]
        assert used == (psn_no, f"wallet:{fields['wallet_id']}")

    async def test_a_second_wallet_is_refused_and_so_is_the_request_with_other_content(
        self, relatives: Relatives
    ) -> None:
        """A person has one wallet; a request opens what it said."""
        psn_no = await relatives.person()
        opened = await relatives.opens(psn_no, HAMI)
        assert await reason_of(relatives.opens(psn_no, HAMI)) == "WALLET_EXISTS"
        again = relatives.opens(psn_no, URUMQI, wallet_id=opened.wallet_id)
        assert await reason_of(again) == "KEY_REUSED_WITH_OTHER_CONTENT"

    async def test_of_many_openings_at_once_one_counts(self, relatives: Relatives) -> None:
        """The others are told that there is one."""
        psn_no = await relatives.person()
        outcomes = await asyncio.gather(*(relatives.opens(psn_no, HAMI) for _ in range(5)), return_exceptions=True)
        assert sorted(getattr(it, "reason", "") for it in outcomes) == ["", *["WALLET_EXISTS"] * 4]

    async def test_a_relative_opens_it_for_somebody_without_a_smartphone(self, relatives: Relatives) -> None:
        """代开通: the relative's own face is used, and who it was is kept."""
        parent, child = await relatives.person(), await relatives.person()
        relatives.related(parent, child)
        attestation_id = uuid4()
        opened = await relatives.opens(parent, HAMI, opener=child, attestation_id=attestation_id)
        assert opened.opener == child
        assert relatives.attestations.used[str(attestation_id)][0] == child

    async def test_somebody_who_is_no_relative_opens_nothing(self, relatives: Relatives) -> None:
        """An in-law's face is not even used."""
        psn_no, in_law = await relatives.person(), await relatives.person()
        relatives.kinship.reasons[(in_law, psn_no)] = "IN_LAW_ONLY"
        assert await reason_of(relatives.opens(psn_no, HAMI, opener=in_law)) == "KINSHIP_NOT_PROVEN"
        assert relatives.attestations.used == {}

    async def test_nobody_opens_one_for_a_relative_who_has_died(self, relatives: Relatives) -> None:
        """A child stays a child of the dead; the child's face is not even used."""
        parent, child = await relatives.person(), await relatives.person()
        relatives.related(child, parent)
        await relatives.dies(parent)
        assert await reason_of(relatives.opens(parent, HAMI, opener=child)) == "PERSON_DECEASED"
        assert relatives.attestations.used == {}

    async def test_where_no_ledger_answers_none_is_opened_and_none_is_used(self, relatives: Relatives) -> None:
        """An area that does not exist has its province's policy and no ledger: a wallet there could keep nothing."""
        psn_no = await relatives.person()
        assert await reason_of(relatives.opens(psn_no, NOWHERE)) == "AREA_UNREACHABLE"
        assert relatives.attestations.used == {}
        await relatives.opens(psn_no, HAMI)
        request_id = uuid4()
        assert await reason_of(relatives.moves(psn_no, NOWHERE, request_id)) == "AREA_UNREACHABLE"
        moved = await relatives.moves(psn_no, URUMQI, request_id)
        assert (moved.area, moved.version) == (URUMQI, 2)

    async def test_where_there_are_no_wallets_none_is_opened(self, relatives: Relatives) -> None:
        """By the policy of the area; an area of no province is refused by name as well."""
        psn_no = await relatives.person()
        assert await reason_of(relatives.opens(psn_no, LANZHOU)) == "WALLET_NOT_IN_AREA"
        assert await reason_of(relatives.opens(psn_no, "990100")) == "POLICY_AREA_UNKNOWN"  # type: ignore[arg-type]  # Any area.
        assert await reason_of(relatives.opens(PsnNo("9999999999"), HAMI)) == "PERSON_UNKNOWN"

    async def test_a_wallet_shows_what_is_in_it_and_what_may_still_be_given(self, relatives: Relatives) -> None:
        """Balance by its ledger, the day's rest by the policy of the insured area."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child, 700)
        await giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        await relatives.town.drained()
        await relatives.opens(parent, HAMI)
        theirs = await wallets.view_wallet(relatives.room, psn_no=child, now=relatives.now)
        mine = await wallets.view_wallet(relatives.room, psn_no=parent, now=relatives.now)
        assert (theirs.balance.past_fen, theirs.left_today, theirs.wallet.area) == (700, 3, URUMQI)
        assert (mine.balance.exists, mine.left_today, mine.limits.each_fen) == (False, 2, 200_000)
        nobody = wallets.view_wallet(relatives.room, psn_no=await relatives.person(), now=relatives.now)
        assert await reason_of(nobody) == "WALLET_UNKNOWN"

    async def test_a_wallet_shows_what_is_under_way(self, relatives: Relatives) -> None:
        """What is given and not decided is held in it; what awaits a yes is not in it yet; both until decided."""
        parent, child = await relatives.pair()
        grandchild = await relatives.person(wallet_at=HAMI)
        relatives.related(child, grandchild)
        await relatives.town.credit(relatives.room.engine, child, URUMQI, Role.WALLET, 900)
        coming = await relatives.gives(parent, child, 700)
        going = await relatives.gives(child, grandchild, 400, source=Role.WALLET)
        shown = await wallets.view_wallet(relatives.room, psn_no=child, now=relatives.now)
        assert (shown.under_way.outgoing_fen, shown.under_way.incoming_fen) == (400, 700)
        assert (shown.balance.past_fen, shown.balance.held_past_fen) == (900, 400)
        theirs = await wallets.view_wallet(relatives.room, psn_no=grandchild, now=relatives.now)
        assert (theirs.under_way.outgoing_fen, theirs.under_way.incoming_fen) == (0, 400)
        await giving.accept(relatives.room, transfer_id=coming.transfer_id, receiver=child)
        await giving.decline(relatives.room, transfer_id=going.transfer_id, receiver=grandchild)
        await relatives.town.drained()
        shown = await wallets.view_wallet(relatives.room, psn_no=child, now=relatives.now)
        assert (shown.under_way.outgoing_fen, shown.under_way.incoming_fen) == (0, 0)
        assert shown.balance.past_fen == 1_600


class TestMerging:
    """Two numbers of one person: what the double's wallet had is in the other's, once, and nothing of it is stuck."""

    async def test_the_doubles_money_is_in_the_wallet_of_the_number_that_counts(self, relatives: Relatives) -> None:
        """Also across areas; whoever hears of it twice carries once, and nobody is told of a transfer."""
        keep, double = await relatives.person(wallet_at=HAMI), await relatives.person(wallet_at=URUMQI)
        await relatives.town.credit(relatives.room.engine, double, URUMQI, Role.WALLET, 900)
        await merged(relatives, double, keep)
        await merged(relatives, double, keep, version=3)
        await followed(relatives, double)
        assert await relatives.money(keep) == {(HAMI, "WALLET"): 900}
        assert await relatives.money(double) == {}
        assert await relatives.town.count(_TOLD_OF_TRANSFERS, double) == 0

    async def test_who_had_no_wallet_under_the_number_that_counts_has_the_doubles(self, relatives: Relatives) -> None:
        """In the same area, opened when the double's was."""
        keep, double = await relatives.person(), await relatives.person(wallet_at=URUMQI)
        await relatives.town.credit(relatives.room.engine, double, URUMQI, Role.WALLET, 900)
        await merged(relatives, double, keep)
        await followed(relatives, double)
        shown = await wallets.view_wallet(relatives.room, psn_no=keep, now=relatives.now)
        assert (shown.wallet.area, shown.balance.past_fen, shown.under_way.following_fen) == (URUMQI, 900, 0)
        former = await wallets.view_wallet(relatives.room, psn_no=double, now=relatives.now)
        assert (former.wallet.opened_at, former.balance.past_fen) == (shown.wallet.opened_at, 0)

    async def test_what_was_promised_to_the_double_is_accepted_by_the_number_that_counts(
        self, relatives: Relatives
    ) -> None:
        """Both lists show it to him, and the money is in his wallet."""
        parent, double = await relatives.pair()
        keep = await relatives.person(wallet_at=HAMI)
        promised = await relatives.gives(parent, double, 800)
        await merged(relatives, double, keep)
        (listed,), _ = await giving.list_transfers(relatives.room, psn_no=keep, before=None, size=10)
        assert (listed.transfer_id, listed.is_given) == (promised.transfer_id, False)
        shown = await wallets.view_wallet(relatives.room, psn_no=keep, now=relatives.now)
        assert shown.under_way.incoming_fen == 800
        await giving.accept(relatives.room, transfer_id=promised.transfer_id, receiver=keep)
        await relatives.town.drained()
        await followed(relatives, double)
        assert await relatives.money(keep) == {(HAMI, "WALLET"): 800}

    async def test_what_the_double_had_given_is_taken_back_by_the_number_that_counts_and_counts_for_his_day(
        self, relatives: Relatives
    ) -> None:
        """Withdrawn, it returns to the double's wallet and follows from there."""
        double, child = await relatives.pair(own=0)
        keep = await relatives.person(wallet_at=HAMI)
        await relatives.opens(double, HAMI)
        await relatives.town.credit(relatives.room.engine, double, HAMI, Role.WALLET, 900)
        request_id = uuid4()
        await relatives.gives(double, child, 500, source=Role.WALLET, request_id=request_id)
        await merged(relatives, double, keep)
        await giving.withdraw(relatives.room, giver=keep, request_id=request_id, now=relatives.now)
        await relatives.town.drained()
        await followed(relatives, double)
        shown = await wallets.view_wallet(relatives.room, psn_no=keep, now=relatives.now)
        assert (shown.balance.past_fen, shown.left_today) == (900, 2)

    async def test_nothing_new_begins_under_the_double(self, relatives: Relatives) -> None:
        """No wallet, no other area, no transfer from it or to it."""
        parent, double = await relatives.pair()
        keep, other = await relatives.person(), await relatives.person()
        await merged(relatives, double, keep)
        await merged(relatives, other, keep)
        relatives.related(double, parent)
        assert await reason_of(relatives.opens(other, HAMI)) == "PERSON_MERGED"
        assert await reason_of(relatives.moves(double, HAMI)) == "PERSON_MERGED"
        assert await reason_of(relatives.gives(double, parent, source=Role.WALLET)) == "PERSON_MERGED"
        assert await reason_of(relatives.gives(parent, double)) == "PERSON_MERGED"

    async def test_a_double_of_a_double_ends_in_one_wallet(self, relatives: Relatives) -> None:
        """Merged twice while its money is on its way: all of it is under the last number."""
        first = await relatives.person(wallet_at=URUMQI)
        second, last = await relatives.person(wallet_at=HAMI), await relatives.person()
        await relatives.town.credit(relatives.room.engine, first, URUMQI, Role.WALLET, 900)
        await relatives.town.credit(relatives.room.engine, second, HAMI, Role.WALLET, 50)
        await merged(relatives, first, second)
        await followed(relatives, first)
        await merged(relatives, second, last)
        await merged(relatives, first, last, version=3)
        for number in (first, second):
            await followed(relatives, number)
        assert await relatives.money(last) == {(HAMI, "WALLET"): 950}


class TestMoneyIn:
    """Money comes in where its person can see it and pay with it."""

    async def credited(self, relatives: Relatives, psn_no: PsnNo, area: AdmDvs) -> None:
        """900 by an officer's credit."""
        await credit(relatives.room.engine, CreditRow(area, uuid4().hex, psn_no, Role.WALLET, Part.PAST, 900))

    async def test_a_wallet_is_credited_where_it_is_used_and_nowhere_else(self, relatives: Relatives) -> None:
        """Elsewhere no bill could be paid with it, and nobody would see it."""
        psn_no = await relatives.person(area=HAMI, wallet_at=URUMQI)
        assert await reason_of(self.credited(relatives, psn_no, HAMI)) == "WALLET_NOT_USED_IN_AREA"
        await self.credited(relatives, psn_no, URUMQI)
        assert await relatives.money(psn_no) == {(URUMQI, "WALLET"): 900}

    @pytest.mark.parametrize("role", [Role.OWN, Role.WALLET])
    async def test_a_double_is_credited_nothing(self, relatives: Relatives, role: Role) -> None:
        """Its personal account follows nobody: whoever sends the row is told to send the number that counts."""
        double, kept = await relatives.person(area=HAMI), await relatives.person(area=HAMI)
        await relatives.town.forget("UPDATE persons SET merged_into = $2 WHERE psn_no = $1", double, kept)
        row = CreditRow(HAMI, uuid4().hex, double, role, Part.PAST, 900)
        assert await reason_of(credit(relatives.room.engine, row)) == "PERSON_MERGED"

    async def test_what_came_before_the_wallet_was_opened_follows_to_where_it_is_used(
        self, relatives: Relatives
    ) -> None:
        """Without a wallet on record the area that insures the person is where his bills look for it."""
        psn_no = await relatives.person(area=HAMI)
        assert await reason_of(self.credited(relatives, psn_no, URUMQI)) == "WALLET_NOT_USED_IN_AREA"
        await self.credited(relatives, psn_no, HAMI)
        await relatives.opens(psn_no, URUMQI)
        await followed(relatives, psn_no)
        assert await relatives.money(psn_no) == {(URUMQI, "WALLET"): 900}


class TestMoving:
    """The balance follows by the same saga."""

    async def test_the_money_follows_the_wallet(self, relatives: Relatives) -> None:
        """From Ürümqi to Hami, all of it, once, and without a word to anybody about a transfer."""
        psn_no = await relatives.person(wallet_at=URUMQI)
        await relatives.town.credit(relatives.room.engine, psn_no, URUMQI, Role.WALLET, 900)
        request_id = uuid4()
        moved = await relatives.moves(psn_no, HAMI, request_id)
        assert (moved.area, moved.version) == (HAMI, 2)
        assert await relatives.moves(psn_no, HAMI, request_id) == moved
        await followed(relatives, psn_no)
        assert await relatives.money(psn_no) == {(HAMI, "WALLET"): 900}
        assert await relatives.town.count(_TOLD_OF_TRANSFERS, psn_no) == 0

    async def test_back_and_forth_ends_where_the_last_change_says(self, relatives: Relatives) -> None:
        """Three changes in a row; an old request sent late changes nothing more."""
        psn_no = await relatives.person(wallet_at=URUMQI)
        await relatives.town.credit(relatives.room.engine, psn_no, URUMQI, Role.WALLET, 900)
        first = uuid4()
        for area, request_id in ((HAMI, first), (URUMQI, uuid4()), (HAMI, uuid4()), (URUMQI, uuid4())):
            await relatives.moves(psn_no, area, request_id)
            await followed(relatives, psn_no)
        late = await relatives.moves(psn_no, HAMI, first)
        await followed(relatives, psn_no)
        assert late.area == URUMQI
        assert await relatives.money(psn_no) == {(URUMQI, "WALLET"): 900}

    async def test_a_gift_that_was_on_its_way_follows_too(self, relatives: Relatives) -> None:
        """Promised to the wallet in Ürümqi, accepted when it is used in Hami."""
        parent, child = await relatives.pair()
        begun = await relatives.gives(parent, child, 800)
        await relatives.moves(child, HAMI)
        await giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        await relatives.town.drained()
        await followed(relatives, child)
        assert await relatives.money(child) == {(HAMI, "WALLET"): 800}

    async def test_what_is_held_stays_until_it_is_decided_and_follows_then(self, relatives: Relatives) -> None:
        """Given on before the change, declined after it: what returns to the old area follows."""
        parent, child = await relatives.pair()
        grandchild = await relatives.person(wallet_at=HAMI)
        relatives.related(child, grandchild)
        begun = await relatives.gives(parent, child, 800)
        await giving.accept(relatives.room, transfer_id=begun.transfer_id, receiver=child)
        await relatives.town.drained()
        held = await relatives.gives(child, grandchild, 500, source=Role.WALLET)
        await relatives.moves(child, HAMI)
        await relatives.town.forget(_SOON)
        await sweep_moves(relatives.room.engine, now=datetime.now(UTC), limit=50)
        await giving.decline(relatives.room, transfer_id=held.transfer_id, receiver=grandchild)
        await relatives.town.drained()
        await followed(relatives, child)
        assert await relatives.money(child) == {(HAMI, "WALLET"): 800}

    async def test_two_coordinators_that_follow_at_once_carry_once(self, relatives: Relatives, town: World) -> None:
        """The carrying has a number and a key; whoever comes second finds it."""
        other = (await town.driver()).engine
        psn_no = await relatives.person(wallet_at=URUMQI)
        await relatives.town.credit(relatives.room.engine, psn_no, URUMQI, Role.WALLET, 900)
        await relatives.moves(psn_no, HAMI)
        await asyncio.gather(followed(relatives, psn_no), followed(relatives, psn_no, other))
        assert await relatives.money(psn_no) == {(HAMI, "WALLET"): 900}

    async def test_a_carrying_that_broke_off_is_finished_by_the_next(
        self, relatives: Relatives, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever dies between the hold and its own Yes has held it once; the next look says Yes."""
        psn_no = await relatives.person(wallet_at=URUMQI)
        await relatives.town.credit(relatives.room.engine, psn_no, URUMQI, Role.WALLET, 900)
        await relatives.moves(psn_no, HAMI)

        class Died(Exception):  # noqa: N818  What it says.
            """The process is gone."""

        async def dies(*_: Connection, **__: object) -> None:
            raise Died

        await relatives.town.forget(_SOON)
        with monkeypatch.context() as broken:
            broken.setattr(transfers, "accept", dies)
            with pytest.raises(Died):
                await sweep_moves(relatives.room.engine, now=datetime.now(UTC), limit=50)
        await followed(relatives, psn_no)
        assert await relatives.money(psn_no) == {(HAMI, "WALLET"): 900}

    async def test_a_wallet_stays_where_its_person_died(self, relatives: Relatives) -> None:
        """Nobody moves it on; what it is worth is the heirs', by an officer who closes it."""
        psn_no = await relatives.person(wallet_at=URUMQI)
        await relatives.dies(psn_no)
        assert await reason_of(relatives.moves(psn_no, HAMI)) == "PERSON_DECEASED"

    async def test_a_wallet_moves_only_where_there_are_wallets(self, relatives: Relatives) -> None:
        """And only a wallet that there is."""
        psn_no = await relatives.person(wallet_at=URUMQI)
        assert await reason_of(relatives.moves(psn_no, LANZHOU)) == "WALLET_NOT_IN_AREA"
        assert await reason_of(relatives.moves(await relatives.person(), HAMI)) == "WALLET_UNKNOWN"
