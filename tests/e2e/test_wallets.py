"""Wallets through gRPC alone, with identity's own word on faces and relatives: opened, filled, moved, and paid with."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import pytest

from gongji.identity.v1 import identity_pb2, person_pb2
from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import wallets_pb2 as pb
from kernel.clock import business_date
from kernel.ids import AdmDvs
from kernel.money import Fen
from ops import household
from services.identity.domain.certificate import check_character
from tests.e2e.asking import refusal
from tests.e2e.relatives import Pair
from tests.e2e.town import HAMI, THEIR_PARENTS, URUMQI, Family, Town, new_resident

FOLLOWED_MAX_S: Final = 60.0
"""A machine under load may need so long to carry a wallet's money; in seconds it has followed otherwise."""


@pytest.fixture
async def pair(town: Town) -> Pair:
    """The mother in Hami, the son in Ürümqi."""
    return await Pair.living(
        town, mother=new_resident(HAMI, past_fen=10_000, generation=THEIR_PARENTS), son=new_resident()
    )


async def test_money_goes_from_one_areas_account_to_anothers_wallet_and_pays_a_bill(pair: Pair) -> None:
    """The mother opens a wallet for her son, transfers, he accepts; his next bill is paid out of it."""
    wallet = await pair.opened(pair.son, by=pair.mother)
    assert (wallet.area, wallet.opener_psn_no) == (URUMQI, pair.mother.psn_no)
    begun = await pair.given()
    assert (begun.state, begun.relation) == (pb.TRANSFER_STATE_PENDING_ACCEPT, person_pb2.RELATION_PARENT)
    accepted = await pair.accepted(begun)
    assert (accepted.state, accepted.side) == (pb.TRANSFER_STATE_ACCEPTED, pb.TRANSFER_SIDE_RECEIVED)
    assert await pair.money() == (7_000, 3_000)
    settled = await pair.town.paid(Family(pair.son), 5_000)
    assert (settled.amounts.wallet_pay, settled.amounts.psn_cash_pay) == (3_000, 2_000)
    assert "TRANSFER_AWAITS" in await pair.town.topics(pair.son)
    assert {"WALLET_CHANGED", "TRANSFER_AWAITS", "TRANSFER_ACCEPTED"} <= set(await pair.town.topics(pair.mother))
    await pair.town.check()


async def test_a_wallet_goes_on_under_the_number_that_counts(pair: Pair) -> None:
    """The son was registered twice: identity merges, and his money pays his bill under the number that was kept."""
    await pair.opened(pair.son)
    await pair.accepted(await pair.given())
    # Same birth and, every other serial number, same sex.
    seventeen = f"{pair.son.certno[:14]}{(int(pair.son.certno[14:17]) + 500) % 1_000:03d}"
    kept = replace(pair.son, psn_no=new_resident().psn_no, certno=seventeen + check_character(seventeen))
    await pair.town.moves_in(kept)
    await pair.town.told()
    await pair.town.desks.identity.MergePersons(
        identity_pb2.MergePersonsRequest(
            keep_psn_no=kept.psn_no, double_psn_no=pair.son.psn_no, opter="zhang01", cause="同一人重复登记"
        )
    )
    await pair.town.told()
    async with asyncio.timeout(FOLLOWED_MAX_S):
        while await pair.wallet_of(kept) != 3_000:
            await pair.town.at_rest()
    assert await pair.wallet_of(pair.son) == 0
    settled = await pair.town.paid(Family(kept), 5_000)
    assert (settled.amounts.wallet_pay, settled.amounts.psn_cash_pay) == (3_000, 2_000)
    await pair.town.at_rest()
    assert "TRANSFER_ACCEPTED" in await pair.town.topics(kept)
    listed = await pair.town.desks.wallets.ListTransfers(pb.ListTransfersRequest(psn_no=kept.psn_no))
    assert [(each.amount_fen, each.state) for each in listed.transfers] == [(3_000, pb.TRANSFER_STATE_ACCEPTED)]
    await pair.town.check()


async def test_a_wallet_that_is_used_elsewhere_pays_from_there(pair: Pair) -> None:
    """The son's wallet is used in Hami from now on: its money follows, and his bill at home is paid from Hami."""
    await pair.opened(pair.son)
    await pair.accepted(await pair.given())
    change = pb.ChangeWalletAreaRequest(request_id=str(uuid4()), psn_no=pair.son.psn_no, area=HAMI)
    assert (await pair.town.desks.wallets.ChangeWalletArea(change)).wallet.area == HAMI
    async with asyncio.timeout(FOLLOWED_MAX_S):
        while (await pair.money())[1] != 3_000:
            await pair.town.at_rest()
    settled = await pair.town.paid(Family(pair.son), 5_000)
    assert settled.amounts.wallet_pay == 3_000
    await pair.town.at_rest()
    assert await _in_wallet(pair, HAMI) == await _in_wallet(pair, URUMQI) == 0
    await pair.town.check()


async def test_what_nobody_accepts_is_the_givers_again_and_both_are_told(pair: Pair) -> None:
    """At the deadline the money returns by itself."""
    await pair.opened(pair.son)
    begun = await pair.given()
    await pair.morning_comes(begun)
    assert await pair.money() == (10_000, 0)
    listed = await pair.town.desks.wallets.ListTransfers(pb.ListTransfersRequest(psn_no=pair.mother.psn_no))
    assert [(it.state, it.cause) for it in listed.transfers] == [
        (pb.TRANSFER_STATE_RETURNED, "TRANSFER_NOT_ACCEPTED_IN_TIME")
    ]
    assert (await pair.town.topics(pair.mother))[-1] == "TRANSFER_RETURNED"
    assert (await pair.town.topics(pair.son))[-1] == "TRANSFER_RETURNED"
    await pair.town.check()


async def test_nobody_accepts_for_the_dead_or_gives_to_them(pair: Pair) -> None:
    """The son dies while a transfer waits: nobody says Yes for him, and the mother has her money back."""
    await pair.opened(pair.son)
    begun = await pair.given()
    report = identity_pb2.ReportDeathRequest(
        psn_no=pair.son.psn_no,
        death_date=business_date(datetime.now(UTC)).isoformat(),
        evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
        opter="zhang01",
    )
    await pair.town.desks.identity.ReportDeath(report)
    await pair.town.told()
    wallets = pair.town.desks.wallets
    yes = pb.AcceptTransferRequest(transfer_id=begun.transfer_id, receiver_psn_no=pair.son.psn_no)
    assert (await refusal(wallets.AcceptTransfer(yes))).reason == "PERSON_DECEASED"
    assert (await refusal(wallets.Transfer(pair.asked()))).reason == "PERSON_DECEASED"
    await pair.morning_comes(begun)
    assert await pair.money() == (10_000, 0)
    await pair.town.check()


async def test_both_see_it_masked_and_page_by_page(pair: Pair) -> None:
    """Neither the list of the giver nor that of the receiver has a whole name, or what the giver gave from for him."""
    wallet = await pair.opened(pair.son)
    for amount_fen in (100, 200, 300):
        begun = await pair.given(amount_fen)
        request = pb.DeclineTransferRequest(transfer_id=begun.transfer_id, receiver_psn_no=pair.son.psn_no)
        await pair.town.desks.wallets.DeclineTransfer(request)
    seen: list[pb.WalletTransfer] = []
    token = ""
    while not seen or token:
        page = await pair.town.desks.wallets.ListTransfers(
            pb.ListTransfersRequest(psn_no=pair.son.psn_no, page_size=2, page_token=token)
        )
        seen, token = [*seen, *page.transfers], page.next_page_token
    assert [it.amount_fen for it in seen] == [300, 200, 100]
    assert pair.mother.name not in str(seen)
    assert {it.given_from for it in seen} == {account_pb2.ACCOUNT_KIND_UNSPECIFIED}
    wallets = pair.town.desks.wallets
    assert (await refusal(wallets.Transfer(pair.asked()))).reason == "TRANSFERS_OF_DAY_USED"
    assert (
        await refusal(wallets.ListTransfers(pb.ListTransfersRequest(psn_no=pair.son.psn_no, page_token=wallet.psn_no)))
    ).reason == "PAGE_TOKEN_MALFORMED"


async def test_a_wallet_needs_its_own_persons_face_or_a_relatives(pair: Pair) -> None:
    """Another's attestation, a stranger's, and one that has opened a wallet already open none."""
    desks = pair.town.desks
    others = await household.wallet_opening(desks, psn_no=pair.mother.psn_no, area=HAMI)
    others.psn_no = pair.son.psn_no
    assert (await refusal(desks.wallets.OpenWallet(others))).reason == "ATTESTATION_OF_ANOTHER_PERSON"
    stranger = new_resident(HAMI)
    await pair.town.moves_in(stranger)
    await pair.town.told()
    by_stranger = await household.wallet_opening(desks, psn_no=pair.son.psn_no, area=URUMQI, opener=stranger.psn_no)
    assert (await refusal(desks.wallets.OpenWallet(by_stranger))).reason == "KINSHIP_NOT_PROVEN"
    for_him = await household.wallet_opening(desks, psn_no=pair.son.psn_no, area=URUMQI, opener=pair.mother.psn_no)
    await desks.wallets.OpenWallet(for_him)
    assert (await desks.wallets.OpenWallet(for_him)).wallet.psn_no == pair.son.psn_no
    hers = await household.wallet_opening(desks, psn_no=pair.mother.psn_no, area=HAMI)
    hers.attestation_id = for_him.attestation_id
    assert (await refusal(desks.wallets.OpenWallet(hers))).reason == "ATTESTATION_USED"
    unconfirmed = await household.wallet_opening(desks, psn_no=pair.mother.psn_no, area=HAMI)
    unconfirmed.phone_confirmed = False
    assert (await refusal(desks.wallets.OpenWallet(unconfirmed))).reason == "REQUEST_INVALID"
    assert (
        await refusal(pair.town.desks.wallets.GetWallet(pb.GetWalletRequest(psn_no=pair.mother.psn_no)))
    ).reason == "WALLET_UNKNOWN"


async def _in_wallet(pair: Pair, area: AdmDvs) -> Fen:
    request = account_pb2.GetBalanceRequest(
        psn_no=pair.son.psn_no, account_kind=account_pb2.ACCOUNT_KIND_WALLET, area=area
    )
    return (await pair.town.desks.accounts.GetBalance(request)).balance.past_fen
