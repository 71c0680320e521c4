"""What happens in one seed: the operations that people ask for, and the faults that strike meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Final

from kernel.clock import SHANGHAI

COORDINATORS: Final = ("c1", "c2")
AREAS: Final = ("650100", "650200", "650500")
LEDGERS: Final = tuple(f"ledger {area}" for area in AREAS)
NODES: Final = (*COORDINATORS, *LEDGERS)
PERSONS: Final = 9
"""Person n lives in area n % 3; the first four are patients, and anyone may fund."""
PATIENTS: Final = 4
CALM_MS: Final = 60_000
"""From here on no fault begins; the last ones end soon after."""
START: Final = datetime(2026, 6, 1, 12, 0, tzinfo=SHANGHAI)
NEW_YEARS_EVE: Final = datetime(2026, 12, 31, 23, 59, 35, tzinfo=SHANGHAI)
"""The year turns in the middle of the operations."""


@dataclass(frozen=True, slots=True)
class Share:
    """One leg that a bill or a transfer asks for; ``role`` is OWN, WALLET, FUNDER or RECEIVER."""

    role: str
    person: int
    past_fen: int
    current_fen: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that somebody asks for.

    A SETTLE is sent at ``at_ms``; its terminal, when no answer comes, does what ``style`` says (retry, ask, reverse).
    ``then`` follows: revoke or reverse ``then_ms`` after the first sending (a reversal may come before it), or both, or
    unrevoke (a revocation and its own reversal), or other (the same key with other content).

    A TRANSFER's receiver has ``accept_within_ms`` and answers ``answer_ms`` after it was first sent, as ``style``
    says: accept, decline, both (a yes and a no at once), or silent. ``then`` withdraw: its giver takes it back at
    ``then_ms``.
    """

    number: int
    at_ms: int
    kind: str  # SETTLE, TRANSFER, CREDIT, FREEZE or CLOSE.
    person: int
    shares: tuple[Share, ...] = ()
    style: str = "retry"
    then: str = ""
    then_ms: int = 0
    accept_within_ms: int = 0
    answer_ms: int = 0

    def __str__(self) -> str:
        legs = ", ".join(f"{it.role.lower()} {it.person}: {it.past_fen}+{it.current_fen}" for it in self.shares)
        then = f", then {self.then} at {self.then_ms:+} ms" if self.then else ""
        if self.kind == "TRANSFER":
            then = f" after {self.answer_ms} of {self.accept_within_ms} ms{then}"
        return f"{self.at_ms:>6} ms  #{self.number} {self.kind} of person {self.person} [{legs}] ({self.style}{then})"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    STORM: messages are lost and doubled and late (per mille) for a while. PARTITION: ``node`` hears and says nothing.
    CRASH: its memory is gone, it starts again ``for_ms`` later. CRASH_AT: the same before or after its nth commit.
    NO_ACK: while it lasts, commits of ``node`` may stay without an acknowledgement, having happened or not.
    """

    kind: str
    node: str = ""
    at_ms: int = 0
    for_ms: int = 0
    lost: int = 0
    doubled: int = 0
    late: int = 0
    nth: int = 0
    after: bool = False

    def __str__(self) -> str:
        match self.kind:
            case "STORM":
                what = f"storm for {self.for_ms} ms: {self.lost}‰ lost, {self.doubled}‰ doubled, {self.late}‰ late"
            case "CRASH_AT":
                return (
                    f"   any ms  {self.node} dies {'after' if self.after else 'before'} its commit no. {self.nth},"
                    f" for {self.for_ms} ms"
                )
            case "CRASH":
                what = f"{self.node} dies, for {self.for_ms} ms"
            case "PARTITION":
                what = f"{self.node} is cut off for {self.for_ms} ms"
            case _:
                what = f"commits of {self.node} may stay without an acknowledgement for {self.for_ms} ms"
        return f"{self.at_ms:>6} ms  {what}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that one run is made of; ``seed`` also decides the fate of every single message and commit."""

    seed: int
    start: datetime
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]


def scenario_of(seed: int, payments: int) -> Scenario:
    """The scenario of a seed; the same for ever. Every fourth seed sees the year turn."""
    random = Random(seed)
    start = NEW_YEARS_EVE if seed % 4 == 3 else START
    crowds = [random.randrange(500, CALM_MS - 12_000) for _ in range(6)]
    operations = tuple(_operation(random, number, crowds) for number in range(1, payments + 1))
    return Scenario(seed, start, operations, _faults(random))


TRANSFER_EACH: Final = 8
ENDS_OF_TRANSFERS: Final = ("accept", "decline", "silent", "withdraw", "both")
"""Every eighth operation is a transfer; the first ones of a seed end in each of these ways, the others as it comes."""


def _operation(random: Random, number: int, crowds: list[int]) -> Operation:
    """Half of them come in crowds, within a second or so, so that they meet on the same accounts."""
    at_ms = (
        random.choice(crowds) + random.randrange(1_500) if random.random() < 0.5 else random.randrange(CALM_MS - 10_000)
    )
    if number % TRANSFER_EACH == 0:
        nth = number // TRANSFER_EACH - 1
        ending = ENDS_OF_TRANSFERS[nth] if nth < len(ENDS_OF_TRANSFERS) else random.choice(ENDS_OF_TRANSFERS)
        return _transfer(random, number, at_ms, ending)
    chance = random.random()
    if chance < 0.08:
        role = random.choice(["OWN", "OWN", "WALLET"])
        past = random.randrange(1, 4_000) if role == "WALLET" or random.random() < 0.5 else 0
        person = random.randrange(PERSONS)
        share = Share(role, person, past, 0 if past else random.randrange(1, 4_000))
        return Operation(number, at_ms, "CREDIT", person, (share,))
    if chance < 0.14:
        return Operation(number, at_ms, "FREEZE", random.randrange(PERSONS), then_ms=random.randrange(500, 15_000))
    patient = random.randrange(PATIENTS)
    if chance < 0.18:
        funder = random.randrange(PERSONS)
        return Operation(number, at_ms, "CLOSE", patient, (Share("FUNDER", funder, 0, 0),))
    style = random.choice(["retry", "retry", "ask", "reverse"])
    then = random.choices(["", "revoke", "reverse", "both", "unrevoke", "other"], [40, 20, 20, 8, 5, 7])[0]
    then_ms = random.choice([-800, -20, 5, 40, 200, 1_500, 6_000, 15_000]) if then else 0
    if then in {"revoke", "both", "unrevoke", "other"}:
        then_ms = abs(then_ms)
    return Operation(number, at_ms, "SETTLE", patient, _shares(random, patient), style, then, then_ms)


def _transfer(random: Random, number: int, at_ms: int, ending: str) -> Operation:
    """From the own account, the wallet, or both, to somebody's wallet; sometimes more than is there."""
    giver, receiver = random.sample(range(PERSONS), 2)
    sources = random.choice([["OWN"], ["OWN"], ["WALLET"], ["OWN", "WALLET"]])
    most = 60_000 if random.random() < 0.05 else 3_000
    taken = [Share(role, giver, random.randrange(1, most), 0) for role in sources]
    if "OWN" in sources and random.random() < 0.5:
        taken[0] = Share("OWN", giver, taken[0].past_fen, random.randrange(1, 1_500))
    total = sum(share.past_fen + share.current_fen for share in taken)
    within_ms = random.choice([1_000, 4_000, 12_000, 20_000])
    # The last two come about when the deadline passes: it is the ledgers' 8 s and then the receiver's own.
    answers_ms = [30, 60, 1_000, within_ms // 2, within_ms + random.randrange(7_500, 8_600)]
    answer_ms = random.choice([*answers_ms, within_ms + random.randrange(7_900, 8_500)])
    if ending == "accept" and random.random() < 0.7:
        answer_ms = random.choice(answers_ms[:4])
    withdrawn_ms = random.choice([-800, -20, 5, 40, 200, 2_000, 9_000])
    return Operation(
        number,
        at_ms,
        "TRANSFER",
        giver,
        (*taken, Share("RECEIVER", receiver, total, 0)),
        random.choice(["accept", "silent"]) if ending == "withdraw" else ending,
        "withdraw" if ending == "withdraw" else "",
        withdrawn_ms if ending == "withdraw" else 0,
        within_ms,
        answer_ms,
    )


def _shares(random: Random, patient: int) -> tuple[Share, ...]:
    shares = []
    if random.random() < 0.7:
        shares.append(Share("OWN", patient, random.randrange(1, 2_500), random.choice([0, random.randrange(1, 2_500)])))
    if random.random() < 0.25:
        shares.append(Share("WALLET", patient, random.randrange(1, 1_200), 0))
    others = [person for person in range(PERSONS) if person != patient]
    for funder in random.sample(others, random.choice([0, 1, 1, 2, 3]) if shares else random.choice([1, 2, 3])):
        past, current = random.choice([(1, 0), (1, 1), (0, 1)])
        shares.append(Share("FUNDER", funder, past * random.randrange(1, 2_500), current * random.randrange(1, 2_500)))
    return tuple(shares)


def _faults(random: Random) -> tuple[Fault, ...]:
    faults = []
    for _ in range(random.randrange(1, 4)):
        lost, doubled, late = (
            random.choice([20, 100, 300]),
            random.choice([20, 100, 400]),
            random.choice([20, 100, 300]),
        )
        at_ms, for_ms = _when(random, 30_000)
        faults.append(Fault("STORM", at_ms=at_ms, for_ms=for_ms, lost=lost, doubled=doubled, late=late))
    for _ in range(random.randrange(4)):
        at_ms, for_ms = _when(random, 15_000)
        faults.append(Fault("PARTITION", random.choice(NODES), at_ms, for_ms))
    for _ in range(random.randrange(5)):
        at_ms, for_ms = _when(random, 12_000)
        faults.append(Fault("CRASH", random.choice(NODES), at_ms, for_ms))
    for _ in range(random.randrange(6)):
        node, nth = random.choice(NODES), random.randrange(1, 60)
        faults.append(Fault("CRASH_AT", node, for_ms=random.randrange(50, 8_000), nth=nth, after=random.random() < 0.5))
    for _ in range(random.randrange(3)):
        at_ms, for_ms = _when(random, 10_000)
        faults.append(Fault("NO_ACK", random.choice(NODES), at_ms, for_ms))
    return tuple(faults)


def _when(random: Random, for_ms_max: int) -> tuple[int, int]:
    at_ms = random.randrange(CALM_MS)
    return at_ms, min(random.randrange(50, for_ms_max), CALM_MS + 5_000 - at_ms)
