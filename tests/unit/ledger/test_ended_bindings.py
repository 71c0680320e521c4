"""A binding ends while bills are being paid: each had the money or was refused, and none gets any afterwards.

No sample: every order in which the commands of three payments and of the end can reach the funder's ledger is tried.
``make model`` searches one payment beside the end, with saga, network and family room; here several meet at the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias

from services.settlement.ledger.domain.commands import AuthorisationReply, CloseAuthorisation, Command
from services.settlement.ledger.domain.model import AuthorisationState, BranchState, CreditPurpose, EntryKind
from tests.unit.ledger.given import (
    FUNDER,
    Story,
    authorisation,
    cancel,
    confirm,
    credit,
    funder_leg,
    open_authorisation,
    payment,
    refund,
    try_,
)
from tests.unit.ledger.sequences import violations

BALANCE_FEN: Final = 100
AMOUNTS_FEN: Final = {1: 40, 2: 30, 3: 20}
"""What each payment takes from the funder: the money is enough for all, so that only the end can refuse one."""
END: Final = 0
Act: TypeAlias = Literal["TRY", "TRY again", "CONFIRM", "CANCEL", "REFUND", "CLOSE"]
ACTS: Final[Mapping[int, tuple[Act, ...]]] = {
    1: ("TRY", "TRY again", "CONFIRM"),
    2: ("TRY", "CANCEL"),
    3: ("TRY", "CONFIRM", "REFUND"),
    END: ("CLOSE",),
}
"""What is said of each payment, in this order: one is paid, one given up, one paid and taken back."""
Order: TypeAlias = tuple[tuple[int, Act], ...]


def orders(left: Mapping[int, tuple[Act, ...]]) -> Iterator[Order]:
    """Every order of all acts in which those of one payment keep theirs."""
    if not any(left.values()):
        yield ()
    for number, acts in left.items():
        if acts:
            for later in orders({**left, number: acts[1:]}):
                yield ((number, acts[0]), *later)


def told(number: int, act: Act, *, has_voted_held: bool) -> Command | None:
    """What the coordinator tells the ledger: it pays, and takes back, only what the ledger has held."""
    match act:
        case "TRY" | "TRY again":
            return try_(number, funder_leg(AMOUNTS_FEN[number]))
        case "CONFIRM" if has_voted_held:
            return confirm(number)
        case "REFUND":
            return refund(9, number, (1, FUNDER, AMOUNTS_FEN[number], 0)) if has_voted_held else None
        case _:
            return cancel(number)


def lived(order: Order) -> tuple[Story, set[int]]:
    """A ledger after all of it, and the payments that came before the end; each vote is judged as it is given."""
    story, before_end, ended = Story(), set[int](), False
    story.do(credit(1, (1, FUNDER, BALANCE_FEN, 0), purpose=CreditPurpose.CARRIED_OVER), open_authorisation(1))
    for number, act in order:
        if act == "CLOSE":
            reply = story.do(CloseAuthorisation(authorisation(1))).reply
            assert isinstance(reply, AuthorisationReply)
            assert reply.authorisation is not None
            assert reply.authorisation.state is AuthorisationState.CLOSED
            ended = True
            continue
        command = told(number, act, has_voted_held=number in before_end)
        if act == "TRY" and not ended:
            before_end.add(number)
        if act in {"TRY", "TRY again"}:
            assert command is not None
            vote = story.branch(command)
            expected = (
                (BranchState.HELD, None) if number in before_end else (BranchState.REFUSED, "AUTHORISATION_NOT_OPEN")
            )
            assert (vote.state, vote.refusal and vote.refusal.reason) == expected, order
        elif command is not None:
            story.do(command)
    return story, before_end


def test_at_every_interleaving_a_payment_had_the_money_or_was_refused_and_never_after_the_end() -> None:
    """Held before the end, it is paid to the fen also after it; asked for after the end, nothing is held or booked."""
    tried = 0
    for order in orders(ACTS):
        story, before_end = lived(order)
        paid = dict.fromkeys(AMOUNTS_FEN, 0)
        for entry in story.entries:
            if entry.kind is EntryKind.PAYMENT and entry.account == FUNDER:
                paid[next(number for number in paid if payment(number) == entry.source_id)] -= entry.amount_fen
        assert paid == {1: 40 if 1 in before_end else 0, 2: 0, 3: 20 if 3 in before_end else 0}, order
        assert (story.balance(FUNDER), story.held(FUNDER)) == ((BALANCE_FEN - paid[1], 0), (0, 0)), order
        assert violations(story.state, story.entries) == [], order
        tried += 1
    assert tried == 5_040
