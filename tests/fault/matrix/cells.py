"""The cells: every line of the table, in every weather of NATS, with and without a second death."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tests.fault.matrix.table import LINES, Line


class Nats(Enum):
    """What becomes of NATS at the moment of the crash."""

    UP = "up"
    DOWN = "down"
    """Killed with the process; started again while the process waits for it."""
    WIPED = "wiped"
    """As DOWN, and its data folder is lost."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One experiment. ``str(cell)`` is its name."""

    line: Line
    nats: Nats
    twice: bool

    def __str__(self) -> str:
        deaths = "twice" if self.twice else "once"
        return f"{self.line.victim}/{self.line.act.value}/{self.line.point}/{self.nats.value}/{deaths}"


CELLS: Final = tuple(Cell(line, nats, twice) for line in LINES for nats in Nats for twice in (False, True))
NAMES: Final = {str(cell): cell for cell in CELLS}

DOZEN: Final = tuple(
    NAMES[name]
    for name in (
        "settlement/pay/settlement.begin.after_commit/up/once",
        "settlement/pay/settlement.decide.before_commit/up/twice",
        "settlement/pay/settlement.decide.after_commit/wiped/once",
        "settlement/pay/settlement.confirm.after_reply/down/once",
        "settlement/pay-refused/settlement.abort.after_commit/up/once",
        "settlement/revoke/settlement.refund.after_commit/up/once",
        "settlement/reverse-unseen/settlement.tombstone.after_commit/up/once",
        "far_ledger/pay/ledger.try.after_commit/up/once",
        "far_ledger/pay/ledger.confirm.before_commit/up/once",
        "far_ledger/pay/ledger.confirm.after_commit/up/twice",
        "far_ledger/pay-refused/ledger.cancel.after_commit/up/once",
        "far_ledger/revoke/ledger.credit.before_commit/wiped/once",
    )
)
"""What `make test` plays: each kind of decision, each kind of command, each weather, and two second deaths."""
