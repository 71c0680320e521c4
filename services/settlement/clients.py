"""Calls to the ledgers, one client for all areas: commands travel in batches, reads are bounded to a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kernel.ids import AdmDvs, AuthorisationId, PsnNo
from kernel.money import Fen
from services.settlement.domain.split import Role

READ_TIMEOUT_S = 1.0
"""A ledger that has not answered by then is left out of a plan (protocol, "A silent area")."""


@dataclass(frozen=True, slots=True)
class Balance:
    """An account as its ledger tells it; all zero and not existing when the ledger has never heard of it.

    ``role`` is OWN for a personal account, WALLET for a wallet. Free is what is held taken off the balance.
    """

    psn_no: PsnNo
    role: Role
    area: AdmDvs
    exists: bool
    past_fen: Fen
    current_fen: Fen
    held_past_fen: Fen
    held_current_fen: Fen
    year: int
    frozen: bool

    @property
    def free_past_fen(self) -> Fen:
        """What can still be spent of past years."""
        return self.past_fen - self.held_past_fen

    @property
    def free_current_fen(self) -> Fen:
        """What can still be spent of the current year."""
        return self.current_fen - self.held_current_fen


@dataclass(frozen=True, slots=True)
class AuthorisationBalance:
    """An authorisation as its ledger tells it; ``is_open`` false when it is closed or unknown there."""

    authorisation_id: AuthorisationId
    is_open: bool
    authorised_fen: Fen | None
    used_fen: Fen
    held_fen: Fen


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of an account's statement; a negative amount was taken."""

    entry_no: int
    booked_at: datetime
    part: str  # past or current.
    amount_fen: Fen
    balance_after_fen: Fen
    kind: str
    setl_id: str
    fixmedins_code: str


class LedgerClient:
    """The ledgers of all areas, over NATS. Several in one process share nothing."""

    async def balances(
        self,
        area: AdmDvs,
        accounts: Sequence[tuple[PsnNo, Role]],
        authorisations: Sequence[AuthorisationId] = (),
        *,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> tuple[list[Balance], list[AuthorisationBalance]]:
        """Both in the order asked; UNAVAILABLE AREA_UNREACHABLE (metadata: area) if the ledger is silent."""
        raise NotImplementedError

    async def statement(
        self, area: AdmDvs, psn_no: PsnNo, role: Role, *, after_entry_no: int, entries_max: int
    ) -> tuple[list[StatementLine], bool]:
        """A page of lines and whether more follow; AREA_UNREACHABLE as above, ACCOUNT_NOT_FOUND from the ledger."""
        raise NotImplementedError
