"""A coordinator that was restored from an older backup: what it may do, and what the ledgers' branches prove.

The ledgers know of decisions that the restored rows have lost. So nothing is decided while the coordinator restores
(``Standing``), and what each payment has become follows from where it stands at its ledgers (``verdict_of``). The
fence makes that final: the ledgers have heard of the new epoch, so no command of the old one can still arrive.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import parsed_msgid
from services.settlement.domain.payment import Key
from services.settlement.saga.payment import Payment, State

UNCLEAR: Final = "RESTORED_UNCLEAR"
"""The quarantine of a settlement that is held at every ledger: it may have been paid or not, and a person must say."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the coordinator's one row says of the coordinator itself."""

    epoch: int
    is_restoring: bool = False
    restored_until: datetime | None = None
    """What was asked before this and is unknown here may have been answered by what the last restore lost."""

    def predates(self, key: Key) -> bool:
        """Whether a request was made before the last restore began."""
        return self.restored_until is not None and parsed_msgid(key.msgid).made_at <= self.restored_until


def restoring_failure() -> Failure:
    """What whoever asks for anything is told meanwhile: wait, then ask again with the same key."""
    return Failure(Kind.UNAVAILABLE, "COORDINATOR_RESTORING")


def predates_failure(key: Key) -> Failure:
    """A request from before the restore that is unknown: its tombstone may be among what was lost (rule 3)."""
    return Failure(Kind.PRECONDITION, "REQUEST_PREDATES_RESTORE", infno=key.infno, msgid=key.msgid)


def is_unclear(payment: Payment) -> bool:
    """Whether nothing may be sent for it before a person, or the reversal of its own terminal, has decided."""
    return payment.state is State.TRYING and payment.quarantine == UNCLEAR


class Found(Enum):
    """Where a settlement stands at one of its ledgers."""

    HELD = "HELD"
    CONFIRMED = "CONFIRMED"
    REFUSED = "REFUSED"
    BLOCKED = "BLOCKED"
    CANCELLED = "CANCELLED"
    NONE = "NONE"  # The ledger has never heard of it.
    LOST = "LOST"  # It does not know it, but was restored itself: that proves nothing.


class Verdict(Enum):
    """What the ledgers prove of a settlement of which the coordinator knows no decision."""

    COMMIT = "COMMIT"  # A ledger has confirmed it, which only a durable decision brings about (rule 1).
    ABORT = "ABORT"  # A ledger never held it or has let go, so it can never have been decided to be paid.
    UNCLEAR = "UNCLEAR"  # Held wherever it is known: the terminal may have been told OK, so nobody guesses (rule 4).
    CONTRADICTION = "CONTRADICTION"  # Paid and given up at once: never seen, never mended by a program.


_LET_GO: Final = frozenset({Found.REFUSED, Found.BLOCKED, Found.CANCELLED})


def verdict_of(found: Collection[Found]) -> Verdict:
    """The verdict over where a settlement stands at each of its ledgers."""
    if Found.CONFIRMED in found:
        return Verdict.CONTRADICTION if _LET_GO & set(found) else Verdict.COMMIT
    if Found.NONE in found or _LET_GO & set(found):
        return Verdict.ABORT
    return Verdict.UNCLEAR
