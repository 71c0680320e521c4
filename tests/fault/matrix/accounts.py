"""Acts of the accounts' desk and of the family's service: credits, freezes, authorisations at the far ledger."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

from gongji.family.v1 import binding_pb2, family_pb2
from gongji.settlement.v1 import account_pb2
from kernel.failures import Failure
from kernel.money import Fen
from ops import household
from tests.e2e.town import AUTHORISED_FEN, HAMI, Resident, new_resident
from tests.fault.matrix.scene import Scene, until

CREDIT_FEN: Final = 700


class SingleAct:
    """One request that is repeated until it is answered; the answer must have been carried out once."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.funder: Resident = scene.families[0].funders[0]
        self._asking: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Everything up to the moment before."""

    async def ask(self) -> bool:
        """Asks once, the same as every time; whether it was answered as done."""
        raise NotImplementedError

    async def begin(self) -> None:
        """Asked until it is done."""
        self._asking = asyncio.create_task(until(self.ask, f"{type(self).__name__} is answered"))

    async def learn(self) -> None:
        """It is answered in the end."""
        if self._asking is not None:
            await self._asking

    async def check(self) -> None:
        """It was done once."""

    async def undo(self) -> None:
        """As before, for the next cell."""


class Credit(SingleAct):
    """Money into an account of the far ledger, under one row id."""

    async def prepare(self) -> None:
        """One row id for all repetitions."""
        self._row = f"matrix.{uuid4().hex}"
        self._before = await self._balance_fen()

    async def ask(self) -> bool:
        """The same row id each time."""
        await self.scene.town.desks.accounts.CreditAccount(
            account_pb2.CreditAccountRequest(
                psn_no=self.funder.psn_no,
                account_kind=account_pb2.ACCOUNT_KIND_PERSONAL,
                part=account_pb2.ACCOUNT_PART_PAST,
                amount_fen=CREDIT_FEN,
                area=HAMI,
                row_id=self._row,
            ),
            timeout=4,
        )
        return True

    async def check(self) -> None:
        """Credited once."""
        assert await self._balance_fen() - self._before == CREDIT_FEN

    async def _balance_fen(self) -> Fen:
        balance = "SELECT past_fen + current_fen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'"
        return int(await self.scene.far.fetchval(balance, self.funder.psn_no) or 0)


class Freeze(SingleAct):
    """An account at the far ledger is frozen under one request id."""

    async def prepare(self) -> None:
        """One id for all repetitions."""
        self._request_id = str(uuid4())

    async def ask(self) -> bool:
        """The same request each time."""
        answer = await self.scene.town.desks.accounts.FreezeAccount(
            account_pb2.FreezeAccountRequest(
                psn_no=self.funder.psn_no, area=HAMI, cause="COURT_ORDER", request_id=self._request_id
            ),
            timeout=4,
        )
        return bool(answer.balance.frozen)

    async def learn(self) -> None:
        """Answered; and no request waits."""
        await super().learn()
        await until(self._nothing_pending, "no freeze waits")

    async def _nothing_pending(self) -> bool:
        pending = "SELECT count(*) FROM account_commands WHERE state = 'PENDING'"
        return not await self.scene.town.settlement.fetchval(pending)

    async def check(self) -> None:
        """The account is frozen."""
        frozen = "SELECT frozen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'"
        assert await self.scene.far.fetchval(frozen, self.funder.psn_no) is True

    async def undo(self) -> None:
        """Unfrozen again."""
        await self.scene.town.freeze(self.funder, frozen=False)


class FreezeLeft(Freeze):
    """Whoever asked goes away; what was stored is carried out all the same."""

    async def begin(self) -> None:
        """Asked once."""
        self._asked = asyncio.create_task(self._ask_once())

    async def _ask_once(self) -> None:
        with suppress(Failure):
            await self.ask()

    async def learn(self) -> None:
        """Nobody asks again: what waits comes to its end."""
        await self._asked
        await until(self._nothing_pending, "no freeze waits")


class Opening(SingleAct):
    """A binding is made: the funder's ledger opens the authorisation."""

    binding: Any = None

    def resident(self) -> Resident:
        """Who is to give."""
        return new_resident(HAMI)

    async def prepare(self) -> None:
        """Two siblings in one group, not bound yet."""
        town = self.scene.town
        patient, funder = new_resident(), self.resident()
        await asyncio.gather(town.moves_in(patient), town.moves_in(funder))
        await until(lambda: self._known(patient, funder), "family has heard of them")
        group = await household.found_group(town.desks, founder=patient.psn_no)
        await household.prove_relation(town.desks, person=funder.psn_no, other=patient.psn_no, relation="SIBLING")
        await household.bring_in(
            town.desks, group_id=group, inviter=patient.psn_no, invitee=funder.psn_no, relation="SIBLING"
        )
        await household.sign_pledge(town.desks, psn_no=funder.psn_no)
        self.funder = funder
        self._request = family_pb2.BindRequest(
            group_id=group,
            funder_psn_no=funder.psn_no,
            beneficiary_psn_no=patient.psn_no,
            request_id=str(uuid4()),
            authorised_fen=AUTHORISED_FEN,
        )

    async def _known(self, *residents: Resident) -> bool:
        for resident in residents:
            try:
                await household.sign_pledge(self.scene.town.desks, psn_no=resident.psn_no)
            except Failure as failure:
                if failure.reason != "PERSON_UNKNOWN":
                    raise
                return False
        return True

    async def ask(self) -> bool:
        """The same request each time."""
        self.binding = (await self.scene.town.desks.family.Bind(self._request, timeout=5)).binding
        return bool(self.binding.state == binding_pb2.BINDING_STATE_ACTIVE)

    async def check(self) -> None:
        """Open, with the amount that was authorised."""
        assert await self._at_ledger() == ("OPEN", AUTHORISED_FEN)

    async def _at_ledger(self) -> tuple[str, Fen]:
        row = await self.scene.far.fetchrow(
            "SELECT state, authorised_fen FROM authorisations WHERE funder_psn_no = $1", self.funder.psn_no
        )
        return (row["state"], row["authorised_fen"])


class Amending(Opening):
    """The authorised amount is changed."""

    amount_fen: Fen = AUTHORISED_FEN // 2

    async def prepare(self) -> None:
        """A binding that stands."""
        await super().prepare()
        await until(super().ask, "bound")

    async def ask(self) -> bool:
        """The same amount each time."""
        answer = await self.scene.town.desks.family.AmendAuthorisedAmount(
            family_pb2.AmendAuthorisedAmountRequest(
                binding_id=self.binding.binding_id,
                funder_psn_no=self.funder.psn_no,
                authorised_fen=self.amount_fen,
            ),
            timeout=5,
        )
        return bool(answer.binding.authorised_fen == self.amount_fen)

    async def check(self) -> None:
        """The ledger has the new amount."""
        await until(self._amended, "amended at the ledger")

    async def _amended(self) -> bool:
        return await self._at_ledger() == ("OPEN", self.amount_fen)


class Closing(Amending):
    """The binding ends: the authorisation is closed."""

    async def ask(self) -> bool:
        """Ended by the funder."""
        answer = await self.scene.town.desks.family.Unbind(
            family_pb2.UnbindRequest(binding_id=self.binding.binding_id, by_psn_no=self.funder.psn_no), timeout=5
        )
        return bool(answer.binding.state == binding_pb2.BINDING_STATE_UNBOUND)

    async def check(self) -> None:
        """Closed."""
        assert (await self._at_ledger())[0] == "CLOSED"
