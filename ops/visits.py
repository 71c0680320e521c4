"""What happens at a counter: the patient shows a code, the terminal decodes it, shows the plan and pays it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from gongji.identity.v1 import credentials_pb2, institutions_pb2
from gongji.settlement.v1 import settlement_pb2
from gongji_terminal.client import Care, Outcome, Patience, Terminal
from gongji_terminal.journal import Journal
from kernel.ids import FixmedinsCode, PsnNo
from ops.desks import Desks
from services.settlement.domain.bill import Bill

OPTER: Final = "cashier"
"""Who signs in at a counter where nobody else is named."""
INPATIENT_MED_TYPES: Final = ("21", "22", "23", "24", "52")
"""住院 and what is settled like it; everything else at a hospital is outpatient."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A terminal in an institution, and the phones of the people before it."""

    desks: Desks
    terminal: Terminal

    def care_of(self, med_type: str) -> Care:
        """Which transactions this visit is settled with: pharmacy, inpatient or outpatient."""
        if self.terminal.fixmedins_code.startswith("P"):
            return Care.PHARMACY
        return Care.INPATIENT if med_type in INPATIENT_MED_TYPES else Care.OUTPATIENT

    async def decode(self, psn_no: PsnNo, *, mdtrt_id: str) -> str:
        """The person shows his own code, the terminal decodes it: the ecToken of this visit."""
        issued = await self.desks.credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=psn_no))
        return str((await self.terminal.decode(issued.code, mdtrt_id=mdtrt_id)).ec_token)

    async def plan(self, *, patient: PsnNo, med_type: str, bill: Bill, mdtrt_id: str) -> settlement_pb2.Plan:
        """What would be paid by whom; nothing moves."""
        amounts = {amount.name: getattr(bill, amount.name) for amount in fields(bill)}
        return await self.terminal.pre_settle(
            care=self.care_of(med_type),
            psn_no=patient,
            ec_token=await self.decode(patient, mdtrt_id=mdtrt_id),
            mdtrt_id=mdtrt_id,
            bill=settlement_pb2.Bill(med_type=med_type, **amounts),
        )

    async def pay(self, plan: settlement_pb2.Plan, *, med_type: str) -> Outcome:
        """Pays exactly this plan: the settlement, or a new plan because a source had changed."""
        return await self.terminal.settle(plan, care=self.care_of(med_type))


async def begin_work(desks: Desks, terminal: Terminal, *, opter: str = OPTER) -> None:
    """The terminal is registered with its institution, which identity knows by now, and somebody signs in there."""
    await desks.institutions.RegisterTerminal(
        institutions_pb2.RegisterTerminalRequest(
            fixmedins_code=terminal.fixmedins_code,
            terminal_no=terminal.terminal_no,
            terminal_name=f"{terminal.number:02d}号窗口",
            opter=opter,
        )
    )
    await terminal.sign_in(opter)


@asynccontextmanager
async def counter_at(
    desks: Desks,
    address_of: Callable[[str], str],
    *,
    fixmedins_code: FixmedinsCode,
    journal: Path,
    number: int = 1,
    patience: Patience | None = None,
    at_work: bool = True,
) -> AsyncIterator[Counter]:
    """A counter whose terminal keeps its journal in this file, at work already unless ``at_work`` is left for later."""
    async with (
        Journal(journal) as opened,
        Terminal.connected(
            settlement_address=address_of("settlement"),
            identity_address=address_of("identity"),
            journal=opened,
            fixmedins_code=fixmedins_code,
            terminal_no=f"T{number:02d}",
            number=number,
            patience=patience,
        ) as terminal,
    ):
        if at_work:
            await begin_work(desks, terminal)
        yield Counter(desks, terminal)
