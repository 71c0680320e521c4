"""What the words in the databases mean to the person on call: what comes next, who acts, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Actor(Enum):
    """Who makes the next move."""

    COORDINATOR = "coordinator"  # The settlement processes: their recovery sweeps every half second.
    LEDGER = "ledger"  # The area's ledger process: it asks the coordinator about its holds.
    PUBLISHER = "publisher"  # The room's outbox publisher.
    PERSON = "person"
    RECEIVER = "receiver"  # The person to whose wallet a transfer goes.
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What it means, and what to do about it."""

    means: str
    act: str


NEXT_OF_PAYMENT: Final[dict[tuple[str, str], tuple[str, Actor]]] = {
    ("SETTLE", "TRYING"): (
        "at its deadline the coordinator aborts it by compare-and-set, then cancels at every ledger",
        Actor.COORDINATOR,
    ),
    ("SETTLE", "COMMITTED"): ("CONFIRM is sent again until every ledger has booked it", Actor.COORDINATOR),
    ("SETTLE", "ABORTED"): ("CANCEL is sent again until every ledger has let go", Actor.COORDINATOR),
    ("SETTLE", "DONE"): ("nothing; only a revocation or a reversal can follow", Actor.NOBODY),
    ("SETTLE", "CLOSED"): ("nothing; the cashier settles anew under a new msgid", Actor.NOBODY),
    ("TRANSFER", "TRYING"): (
        "at its deadline the coordinator aborts it by compare-and-set, then cancels at every ledger",
        Actor.COORDINATOR,
    ),
    ("TRANSFER", "COMMITTED"): ("CONFIRM is sent again until every ledger has booked it", Actor.COORDINATOR),
    ("TRANSFER", "ABORTED"): ("CANCEL is sent again until every ledger has let go", Actor.COORDINATOR),
    ("TRANSFER", "DONE"): ("nothing; the receiver has the money", Actor.NOBODY),
    ("TRANSFER", "CLOSED"): ("nothing; the money is the giver's again", Actor.NOBODY),
    ("CHARGE", "TRYING"): (
        "at its deadline the coordinator aborts it by compare-and-set, then cancels at every ledger",
        Actor.COORDINATOR,
    ),
    ("CHARGE", "COMMITTED"): ("CONFIRM is sent again until every ledger has booked it", Actor.COORDINATOR),
    ("CHARGE", "ABORTED"): ("CANCEL is sent again until every ledger has let go", Actor.COORDINATOR),
    ("CHARGE", "DONE"): ("nothing; only its being given back can follow", Actor.NOBODY),
    ("CHARGE", "CLOSED"): ("nothing; whoever pays asks anew", Actor.NOBODY),
    ("REFUND", "COMMITTED"): ("CREDIT is sent again until every ledger has booked it", Actor.COORDINATOR),
    ("REFUND", "DONE"): ("nothing; a refund that took effect stands", Actor.NOBODY),
    ("CREDIT", "COMMITTED"): ("CREDIT is sent again until the ledger has booked it", Actor.COORDINATOR),
    ("CREDIT", "DONE"): ("nothing", Actor.NOBODY),
    ("TOMBSTONE", "CLOSED"): ("nothing; a late original is answered PAYMENT_REVERSED", Actor.NOBODY),
}
"""By kind and state of a payment: what comes next, and who acts."""
NEXT_OF_PENDING: Final = (
    "the receiver accepts or declines, or the giver takes it back; at the deadline the coordinator aborts it",
    Actor.RECEIVER,
)
"""Of a transfer whose receiver is asked."""

QUARANTINE_NEXT: Final = "recovery asks the ledgers again with back-off, but a person must find out what happened there"

PAYMENT_QUARANTINE: Final = {
    "CONFIRMED_THOUGH_ABORTED": Meaning(
        "the coordinator aborted the payment, yet a ledger says that it booked it: money was taken for a bill that "
        "was refused",
        "Compare with `gongji payments explain`. Mostly a coordinator restored from an older backup: see the runbook, "
        "Restore. Never change a row by hand.",
    ),
    "RESTORED_UNCLEAR": Meaning(
        "a restore has lost its decision and every ledger holds it: its terminal may have been told OK or not",
        "Ask the institution for the terminal's record or the receipt, then `gongji restore decide ID commit` (it was "
        "paid) or `abort` (it was not, or no answer was seen). The terminal's own reversal aborts it as well.",
    ),
    "CONFIRM_CONTRADICTED": Meaning(
        "the payment is committed, yet a ledger cannot book it: the hospital was told OK and is not paid in full",
        "Mostly a ledger restored from an older backup: see the runbook, Restore. The coordinator's row holds all that "
        "must be booked again.",
    ),
    "CREDIT_CONTRADICTED": Meaning(
        "a ledger refuses a credit or refund that cannot be refused: money that is owed has not arrived",
        "Read the alarm of that ledger about the same id: it says which contradiction it saw.",
    ),
}
UNKNOWN_QUARANTINE: Final = Meaning(
    "a ledger answered as it never should", "Read the story with `gongji payments explain`, then call the engineers."
)

ALARM: Final = {
    "CONFIRM_WITHOUT_HOLD": Meaning(
        "a CONFIRM came for a payment that is not held here; nothing was booked",
        "Was this ledger restored from an older backup? `gongji restore compare`, then `gongji restore replay AREA`: "
        "see the runbook, Restore. Until then the payment stays open.",
    ),
    "CANCEL_AFTER_CONFIRM": Meaning(
        "a CANCEL came for a payment that is booked here; it stays booked",
        "Was the coordinator restored from an older backup? See the runbook, Restore.",
    ),
    "TRY_WITH_OTHER_CONTENT": Meaning(
        "the same payment came with other legs; the first content stands",
        "A fault of ours or a forged command: keep the logs of both processes by the trace id and call the engineers.",
    ),
    "CREDIT_WITH_OTHER_CONTENT": Meaning(
        "the same credit came with other amounts; the first content stands",
        "Compare the coordinator's legs with the ledger's in the story, then call the engineers.",
    ),
    "REFUND_WITHOUT_CHARGE": Meaning(
        "a refund came for a charge that is not booked here; nothing was credited",
        "Was this ledger restored from an older backup? The original must be booked first: see the runbook, Restore.",
    ),
    "REFUND_BEYOND_CHARGE": Meaning(
        "a refund would give back more than was charged; nothing was credited",
        "Run `gongji verify` (I8) and call the engineers; nobody loses money meanwhile.",
    ),
    "INQUIRE_UNKNOWN": Meaning(
        "money is held here for a payment that the coordinator does not know; the hold stays (protocol rule 4)",
        "Only a coordinator restored from an older backup leads here: see the runbook, Restore. Do not release it.",
    ),
}
UNKNOWN_ALARM: Final = Meaning(
    "a contradiction that this release of the command does not know", "Read the story, then call the engineers."
)

FAILED_COMMAND: Final = Meaning(
    "the command failed technically and got no reply; it is tried again for ever, and this ends once it passes",
    "Read the problem and the ledger's log. A full disk or a lost connection passes by itself; a violated constraint "
    "does not: call the engineers.",
)
SUSPENSE_TASK: Final = Meaning(
    "money was to go back to an account that is closed or moved; it waits in the area's suspense book",
    "An officer of the area finds out where it belongs, then `gongji suspense close`. Nothing blocks meanwhile.",
)
DEAD_LETTER_NEXT: Final = (
    "nobody tries again by itself: mend its cause, then `gongji deadletters redrive`; a projection heals with the next "
    "event of the aggregate"
)
OUTBOX_NEXT: Final = "published as soon as NATS answers; look at NATS and at the room's log"
HOLD_NEXT: Final = "the ledger asks the coordinator again and never lets go by itself"
ACCOUNT_COMMAND_NEXT: Final = "the command is sent to the ledger again until it answers"
