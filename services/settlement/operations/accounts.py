"""Money into accounts, freezes: the money steps of the accounts' face (the accounts live in their area's ledger)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from kernel.policy import Part
from services.settlement.clients import Balance
from services.settlement.domain.split import Role
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import Payment


@dataclass(frozen=True, slots=True)
class Credited:
    """The account was credited once for this row id; ``free_fen`` is what could be spent right after it."""

    payment: Payment
    balance: Balance


async def credit(
    engine: Engine, *, area: AdmDvs, row_id: str, psn_no: PsnNo, role: Role, part: Part, amount_fen: Fen
) -> Credited:
    """Credits an account, once for each (area, row_id); ``role`` is OWN (personal account) or WALLET.

    That the person may have such an account there is the caller's to check first. Failures:
    KEY_REUSED_WITH_OTHER_CONTENT; PAYMENT_IN_PROGRESS (stored and certain to arrive, but the ledger has not answered
    within the call's time).
    """
    raise NotImplementedError


async def set_frozen(
    engine: Engine, *, request_id: UUID, area: AdmDvs, psn_no: PsnNo, frozen: bool, cause: str
) -> Balance:
    """Freezes or unfreezes a personal account, once for each request id, and tells its owner.

    Failures: KEY_REUSED_WITH_OTHER_CONTENT; the ledger's refusal (ACCOUNT_NOT_FOUND); PAYMENT_IN_PROGRESS (stored, it
    will be done, but the ledger has not answered within the call's time).
    """
    raise NotImplementedError
