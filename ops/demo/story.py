"""The demo's story: a family, three bills, and what everyone hears of them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import asyncpg

from gongji.family.v1 import family_pb2
from gongji.notify.v1 import notify_pb2
from gongji.settlement.v1 import account_pb2, settlement_pb2
from gongji_terminal.client import Outcome
from kernel.ids import PsnNo
from kernel.money import Fen, yuan_text
from ops import household
from ops.demo.people import AUTHORISED_FEN, FAMILY, HOSPITAL, MOTHER, PATIENT, WIFE, WIFE_RAISED_FEN, Relative
from ops.demo.view import View
from ops.desks import Desks
from ops.embedded.world import World
from ops.visits import Counter, begin_work
from services.settlement.domain.bill import Bill

MED_TYPE: Final = "11"
HELD_WAIT_S: Final = 5.0
_POLL_S: Final = 0.02


@dataclass
class Story:
    """Told chapter by chapter; whatever is not as it must be is noted by the view."""

    world: World
    desks: Desks
    counter: Counter
    view: View
    told: Callable[[], Awaitable[None]]
    wife_binding: str = ""

    async def family(self) -> None:
        """Three people in two areas, a group, two bindings with an authorised amount, and an order of deduction."""
        await household.register_institution(self.desks, fixmedins_code=HOSPITAL, name="乌鲁木齐市共济医院")
        await begin_work(self.desks, self.counter.terminal)
        for person in FAMILY:
            await household.register_person(
                self.desks,
                psn_no=person.psn_no,
                name=person.name,
                certno=person.certno,
                insutype=person.insutype,
                area=person.area,
            )
        await household.prove_relation(self.desks, person=WIFE.psn_no, other=PATIENT.psn_no, relation="SPOUSE")
        await household.prove_relation(self.desks, person=MOTHER.psn_no, other=PATIENT.psn_no, relation="PARENT")
        await self.told()
        group = await household.found_group(self.desks, founder=PATIENT.psn_no)
        for person, relation in ((WIFE, "SPOUSE"), (MOTHER, "PARENT")):
            await household.bring_in(
                self.desks, group_id=group, inviter=PATIENT.psn_no, invitee=person.psn_no, relation=relation
            )
        bindings = {
            funder: await household.bind(
                self.desks,
                group_id=group,
                funder=funder,
                beneficiary=PATIENT.psn_no,
                authorised_fen=AUTHORISED_FEN[funder],
            )
            for funder in (MOTHER.psn_no, WIFE.psn_no)
        }
        self.wife_binding = bindings[WIFE.psn_no]
        await self.desks.family.SetDeductOrder(
            family_pb2.SetDeductOrderRequest(
                beneficiary_psn_no=PATIENT.psn_no, funder_psn_nos=[MOTHER.psn_no, WIFE.psn_no]
            )
        )
        for person in FAMILY:
            await household.credit(
                self.desks,
                psn_no=person.psn_no,
                area=person.area,
                past_fen=person.past_fen,
                current_fen=person.current_fen,
            )
        await self.told()
        self.view.people(
            (
                person.name,
                person.area_name,
                yuan_text(person.past_fen),
                yuan_text(person.current_fen),
                yuan_text(AUTHORISED_FEN[person.psn_no]) if person.psn_no in AUTHORISED_FEN else "patient",
            )
            for person in FAMILY
        )

    async def ordinary_bill(self) -> None:
        """(a) Own account, two relatives in two areas, and cash."""
        bill = Bill(
            medfee_sumamt=100_000,
            fulamt_ownpay_amt=9_900,
            overlmt_selfpay=100,
            preselfpay_amt=5_000,
            inscp_scp_amt=85_000,
            hifp_pay=60_000,
        )
        plan = await self._planned(bill, "A")
        paid = self._settled(await self.counter.pay(plan, med_type=MED_TYPE))
        self.view.bill(paid.amounts)
        self.view.split(paid.amounts, paid.funders)
        given = {funder.psn_no: funder.past_fen + funder.current_fen for funder in paid.funders}
        own_fen = paid.amounts.own_past_fen + paid.amounts.own_current_fen
        self.view.require(
            (own_fen, given, paid.amounts.psn_cash_pay)
            == (13_050, {MOTHER.psn_no: 10_000, WIFE.psn_no: 15_000}, 1_950),
            "own account 130.50, mother 100.00, wife 150.00 (all she allowed), cash 19.50: one settlement, two ledgers",
        )

    async def changed_source(self) -> None:
        """(b) A funder's account is frozen between plan and payment."""
        await household.credit(self.desks, psn_no=MOTHER.psn_no, area=MOTHER.area, current_fen=6_000, row="demo-b")
        await self.desks.family.AmendAuthorisedAmount(
            family_pb2.AmendAuthorisedAmountRequest(
                binding_id=self.wife_binding, funder_psn_no=WIFE.psn_no, authorised_fen=WIFE_RAISED_FEN
            )
        )
        await self.told()
        self.view.say("the mother's monthly 60.00 came in, the wife raised what she allows to 600.00")
        bill = Bill(
            medfee_sumamt=20_000, fulamt_ownpay_amt=0, overlmt_selfpay=0, preselfpay_amt=0, inscp_scp_amt=20_000
        )
        plan = await self._planned(bill, "B")
        self.view.split(plan.amounts, plan.funders)
        before = [await self._statement(person) for person in FAMILY]
        await self._freeze(WIFE, frozen=True)
        self.view.say("[yellow]now the wife's account in Hami is frozen[/], and the cashier presses pay")
        answer = await self.counter.pay(plan, med_type=MED_TYPE)
        if not isinstance(answer, settlement_pb2.Replan):
            self.view.wrong("the payment is refused because a source changed")
            return
        self.view.require(answer.reason == "ACCOUNT_FROZEN", f"refused whole: {answer.reason}; nothing was taken")
        self.view.require(await self._released(), "what the mother's ledger had set aside is released")
        self.view.require(
            [await self._statement(person) for person in FAMILY] == before, "nobody's statement shows anything"
        )
        self.view.say("the answer carries a new plan:")
        self.view.split(answer.plan.amounts, answer.plan.funders, answer.plan.skipped)
        again = self._settled(await self.counter.pay(answer.plan, med_type=MED_TYPE))
        self.view.require(
            (again.amounts.acct_mulaid_pay, again.amounts.psn_cash_pay) == (6_000, 14_000),
            "the cashier agrees, a new request pays it: mother 60.00, cash 140.00",
        )
        await self._freeze(WIFE, frozen=False)
        await self.told()

    async def killed_ledger(self) -> None:
        """(c) The ledger process dies with kill -9 in the middle of a payment."""
        bill = Bill(
            medfee_sumamt=30_000, fulamt_ownpay_amt=0, overlmt_selfpay=0, preselfpay_amt=0, inscp_scp_amt=30_000
        )
        plan = await self._planned(bill, "C")
        # Stopped first, so that the payment is surely under way when the ledger dies.
        self.world.send("ledger", signal.SIGSTOP)
        paying = asyncio.create_task(self.counter.pay(plan, med_type=MED_TYPE))
        self.view.require(
            await self._payment_in("TRYING"), "the payment is written as TRYING, the ledger has not voted"
        )
        pid = self.world.pid("ledger")
        await self.world.kill_process("ledger")
        killed_at = time.monotonic()
        self.view.say(f"[red]kill -9 {pid}[/] (the ledger); it is started again by its supervisor")
        with self.view.waiting("the payment finishes by itself ..."):
            paid = self._settled(await paying)
        seconds = time.monotonic() - killed_at
        self.view.require(
            (paid.state, paid.amounts.acct_mulaid_pay) == (settlement_pb2.SETTLEMENT_STATE_SETTLED, 30_000),
            f"paid by the wife, 300.00, {seconds:.1f} s after the kill; the terminal sent its request and waited",
        )

    async def messages(self) -> None:
        """(d) What each of them was told."""
        await self.told()
        for person in FAMILY:
            answer = await self.desks.notify.ListMessages(notify_pb2.ListMessagesRequest(psn_no=person.psn_no))
            self.view.messages(person.name, list(reversed(answer.messages)))
            if not answer.messages:
                self.view.wrong(f"{person.name} was told something")

    async def at_rest(self) -> bool:
        """Whether every payment has come to its end, within a few seconds."""
        return await self._until("SELECT NOT EXISTS (SELECT FROM payments WHERE state NOT IN ('DONE', 'CLOSED'))")

    # Steps -----------------------------------------------------------------------------------------------------------

    async def _planned(self, bill: Bill, visit: str) -> settlement_pb2.Plan:
        return await self.counter.plan(patient=PATIENT.psn_no, med_type=MED_TYPE, bill=bill, mdtrt_id=f"DEMO-{visit}")

    def _settled(self, outcome: Outcome) -> settlement_pb2.Settlement:
        if isinstance(outcome, settlement_pb2.Settlement):
            return outcome
        self.view.wrong(f"the bill is paid (it was {type(outcome).__name__})")
        return settlement_pb2.Settlement()

    async def _freeze(self, person: Relative, *, frozen: bool) -> None:
        request_id = household.request_id("demo", person.psn_no, frozen)
        if frozen:
            await self.desks.accounts.FreezeAccount(
                account_pb2.FreezeAccountRequest(
                    psn_no=person.psn_no, area=person.area, cause="COURT_ORDER", request_id=request_id
                )
            )
        else:
            await self.desks.accounts.UnfreezeAccount(
                account_pb2.UnfreezeAccountRequest(
                    psn_no=person.psn_no, area=person.area, cause="COURT_ORDER", request_id=request_id
                )
            )

    async def _statement(self, person: Relative) -> list[tuple[str, Fen]]:
        answer = await self.desks.accounts.GetStatement(
            account_pb2.GetStatementRequest(
                psn_no=person.psn_no, account_kind=account_pb2.ACCOUNT_KIND_PERSONAL, area=person.area
            )
        )
        return [(line.kind, line.amount_fen) for line in answer.lines]

    async def _held_fen(self, psn_no: PsnNo, area: str) -> Fen:
        answer = await self.desks.accounts.GetBalance(
            account_pb2.GetBalanceRequest(psn_no=psn_no, account_kind=account_pb2.ACCOUNT_KIND_PERSONAL, area=area)
        )
        return int(answer.balance.held_fen)

    async def _released(self) -> bool:
        end = time.monotonic() + HELD_WAIT_S
        while time.monotonic() < end:
            if not any([await self._held_fen(person.psn_no, person.area) for person in FAMILY]):
                return True
            await asyncio.sleep(_POLL_S)
        return False

    async def _payment_in(self, state: str) -> bool:
        return await self._until(f"SELECT EXISTS (SELECT FROM payments WHERE state = '{state}')")  # noqa: S608  A literal.

    async def _until(self, question: str) -> bool:
        connection = await asyncpg.connect(self.world.database_url("settlement"))
        try:
            end = time.monotonic() + HELD_WAIT_S
            while time.monotonic() < end:
                if await connection.fetchval(question):
                    return True
                await asyncio.sleep(_POLL_S)
            return False
        finally:
            await connection.close()
