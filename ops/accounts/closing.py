"""The end of an account, as an officer orders it: its owner has died or moved away.

What is left on it goes to its area's suspense once its last hold has ended; `gongji suspense close` brings it on from
there, to the heirs' account or out to the fund.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from rich.markup import escape

from kernel.ids import AdmDvs
from kernel.money import yuan_text
from ops.consent import Change, agreed, record
from ops.payments.view import console
from ops.places import Places
from ops.sources import CannotMendError, Sources, opened
from services.settlement.domain.split import Role
from services.settlement.ledger.domain.commands import AccountReply, CloseAccount, Request
from services.settlement.ledger.domain.model import Account, AccountKey, AccountKind, AccountState, ClosingId
from services.settlement.ledger.operations import execute
from services.settlement.ledger.store.locking import AreaWriter
from services.settlement.ledger.store.reading import read_balances
from services.settlement.store import endings
from services.settlement.store.endings import Ending, EndingState

COMMAND: Final = "accounts close"
LEFT_TO_US: Final = timedelta(seconds=5)
"""After this the coordinator asks the ledger itself how the account stands."""


async def close_account(
    places: Places,
    area: str,
    key: AccountKey,
    *,
    closing_id: UUID,
    cause: str,
    operator: str,
    reason: str,
    yes: bool,
) -> bool:
    """Closes an account, or leaves it closing where something is held; whether it is closed.

    The audit record is written first, and with it what the coordinator goes on with: should this command die, and to
    tell the owner. CannotMendError if there is no such account or the ledger refuses; then a second record says so.
    """
    out = console()
    async with opened(places) as sources:
        account = await _account(sources, area, key)
        name = f"{key.psn_no} ({key.kind.value}) at ledger {area}"
        out.print(
            f"{name}: {yuan_text(account.balance.total)}, of which payments in flight hold "
            f"{yuan_text(account.held.total)}",
            soft_wrap=True,
        )
        out.print(
            "to be changed: it takes no new payment; once nothing is held, what is left goes to suspense for an "
            f"officer, and the account is closed (cause {escape(cause)})",
            soft_wrap=True,
        )
        consent = agreed(operator=operator, reason=reason, yes=yes, question="Close it, for ever?")
        before = {"account": f"{key.psn_no}/{key.kind.value} of {area}", "state": account.state.value}
        async with sources.coordinator.driver_transaction() as connection:
            await record(
                connection, COMMAND, consent, [Change(closing_id, before, {"state": "CLOSED", "cause": cause})]
            )
            role = Role.WALLET if key.kind is AccountKind.WALLET else Role.OWN
            ending = Ending(closing_id, key.psn_no, role, AdmDvs(area), None, cause)
            ending = await endings.insert(connection, ending, lease=LEFT_TO_US)
        command = CloseAccount(ClosingId(closing_id), key, cause)
        (reply,) = await execute(writer=AreaWriter(sources.ledgers[area], area), requests=[Request(command)])
        refused = _refusal(reply)
        if refused or not isinstance(reply, AccountReply) or reply.account is None:
            async with sources.coordinator.driver_transaction() as connection:
                await endings.advance(connection, ending, EndingState.REFUSED, refusal=refused)
                undone = Change(closing_id, before, {"state": f"unchanged: {refused}"})
                await record(connection, COMMAND, consent, [undone])
            raise CannotMendError(f"ledger {area} refuses: {refused}; nothing was closed")
    if reply.account.state is AccountState.CLOSED:
        left = (
            f"; {yuan_text(account.balance.total)} wait in suspense as {closing_id} leg 1"
            if account.balance.total
            else ""
        )
        out.print(f"closed{left}", soft_wrap=True)
        return True
    out.print("closing: it is closed with the end of its last payment in flight", soft_wrap=True)
    return False


async def _account(sources: Sources, area: str, key: AccountKey) -> Account:
    if area not in sources.ledgers:
        raise CannotMendError(f"no ledger of {area} is known")
    async with sources.ledgers[area].driver_connection() as connection:
        account = (await read_balances(connection, [key], [])).accounts.get(key)
    if account is None or account.state is AccountState.CLOSED:
        raise CannotMendError(f"ledger {area} has no such account")
    return account


def _refusal(reply: object) -> str:
    if not isinstance(reply, AccountReply):
        return "it failed technically"
    return reply.refusal.reason if reply.refusal else ""
