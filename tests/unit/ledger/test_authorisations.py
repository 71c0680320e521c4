"""Authorisations and freezes are decided once, in whatever order their commands arrive."""

from __future__ import annotations

import pytest

from services.settlement.ledger.domain.commands import (
    AccountReply,
    AmendAuthorisation,
    AuthorisationReply,
    CloseAuthorisation,
    Command,
    OpenAuthorisation,
    SetFrozen,
)
from services.settlement.ledger.domain.model import AuthorisationState, BranchState, FreezeId
from tests.unit.ledger.given import (
    FUNDER,
    OTHER_FUNDER,
    OWN,
    Story,
    account,
    authorisation,
    confirm,
    funder_leg,
    open_authorisation,
    own_leg,
    payment,
    refund,
    try_,
)

CLOSE = CloseAuthorisation(authorisation(1))


def amend(version: int, limit: int | None) -> AmendAuthorisation:
    """A new limit."""
    return AmendAuthorisation(authorisation(1), version, limit)


def answer(story: Story, command: Command) -> AuthorisationReply:
    """The reply to a command on an authorisation."""
    reply = story.do(command).reply
    assert isinstance(reply, AuthorisationReply)
    return reply


def reason(reply: AuthorisationReply | AccountReply) -> str | None:
    """Why it was refused; None if it was not."""
    return reply.refusal.reason if reply.refusal else None


def test_open_repeated_gets_the_first_answer() -> None:
    """Whatever was used or amended since, the repetition of OPEN tells what OPEN told."""
    story = Story(account(FUNDER, past=100))
    first = answer(story, open_authorisation(1, 50))
    story.do(try_(1, funder_leg(10)), confirm(1), amend(2, 80))
    assert answer(story, open_authorisation(1, 50)) == first


def test_an_id_is_opened_with_one_content_only() -> None:
    """The id with another limit, another funder or another use is refused and changes nothing."""
    story = Story()
    story.do(open_authorisation(1, 50))
    before = dict(story.state.authorisations)
    others = [open_authorisation(1, 51), open_authorisation(1, 50, key=OTHER_FUNDER), open_authorisation(1, 50, used=1)]
    assert [reason(answer(story, other)) for other in others] == ["AUTHORISATION_CONTENT_DIFFERS"] * 3
    assert story.state.authorisations == before


def test_open_after_close_is_refused() -> None:
    """An id that was closed is never opened again, also not by a late repetition."""
    story = Story()
    story.do(open_authorisation(1, 50), CLOSE)
    assert reason(answer(story, open_authorisation(1, 50))) == "AUTHORISATION_CLOSED"


def test_close_that_overtakes_open_leaves_it_closed() -> None:
    """CLOSE before OPEN leaves CLOSED; the late OPEN is refused and no hold can be placed."""
    story = Story(account(FUNDER, past=100))
    closed = answer(story, CLOSE)
    assert closed.authorisation is not None
    assert closed.authorisation.state is AuthorisationState.CLOSED
    assert reason(answer(story, open_authorisation(1, 50))) == "AUTHORISATION_CLOSED"
    assert story.branch(try_(1, funder_leg(1))).state is BranchState.REFUSED


def test_close_repeated_is_told_how_the_closed_authorisation_stands() -> None:
    """What was held at the time ends, and counts as used: a binding that moves waits for it."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(1, 50), try_(1, funder_leg(10)))
    told = [answer(story, CLOSE).authorisation]
    story.do(confirm(1))
    told.append(answer(story, CLOSE).authorisation)
    assert [one and (one.state, one.used_fen, one.held_fen) for one in told] == [
        (AuthorisationState.CLOSED, 0, 10),
        (AuthorisationState.CLOSED, 10, 0),
    ]


def test_a_carried_over_use_counts_against_the_limit() -> None:
    """OPEN with used_fen leaves only the rest; used beyond the limit is refused."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(1, 50, used=45))
    assert story.branch(try_(1, funder_leg(6))).state is BranchState.REFUSED
    assert reason(answer(story, open_authorisation(2, 50, used=51))) == "AUTHORISED_AMOUNT_BELOW_USE"
    assert authorisation(2) not in story.state.authorisations


def test_amend_raises_and_lowers_the_limit() -> None:
    """Each new version is in force at once."""
    story = Story()
    story.do(open_authorisation(1, 50), amend(2, 80))
    assert story.state.authorisations[authorisation(1)].authorised_fen == 80
    story.do(amend(3, None))
    assert story.state.authorisations[authorisation(1)].authorised_fen is None


def test_an_older_version_is_ignored() -> None:
    """A version that was overtaken has no effect when it arrives late, and is not refused."""
    story = Story()
    story.do(open_authorisation(1, 50), amend(3, 90))
    late = answer(story, amend(2, 10))
    assert late.authorisation is not None
    assert (reason(late), late.authorisation.version, late.authorisation.authorised_fen) == (None, 3, 90)


def test_the_limit_never_falls_below_what_is_used_and_held() -> None:
    """Used and held count together."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(1, 50), try_(1, funder_leg(10)), confirm(1), try_(2, funder_leg(15)))
    refused = answer(story, amend(2, 24))
    assert refused.refusal is not None
    assert (reason(refused), refused.refusal.metadata) == (
        "AUTHORISED_AMOUNT_BELOW_USE",
        {"used_fen": "10", "held_fen": "15"},
    )
    assert reason(answer(story, amend(3, 25))) is None


def test_a_refused_version_stays_refused() -> None:
    """A late repetition is not decided afresh, even though it would pass by now (protocol rule 5)."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(1, 50), try_(1, funder_leg(30)), confirm(1))
    refused = answer(story, amend(2, 10))
    story.do(refund(1, 1, (1, FUNDER, 30, 0)))
    assert answer(story, amend(2, 10)) == refused
    assert story.state.authorisations[authorisation(1)].authorised_fen == 50


def test_a_version_has_one_content_only() -> None:
    """The same version with another limit is refused."""
    story = Story()
    story.do(open_authorisation(1, 50), amend(2, 80))
    assert reason(answer(story, amend(2, 81))) == "AUTHORISATION_CONTENT_DIFFERS"


def test_amend_before_open_may_come_again() -> None:
    """An unknown authorisation is no decision: the same AMEND passes after OPEN."""
    story = Story()
    assert reason(answer(story, amend(2, 80))) == "AUTHORISATION_UNKNOWN"
    story.do(open_authorisation(1, 50))
    assert reason(answer(story, amend(2, 80))) is None


def test_amend_after_close_is_refused() -> None:
    """A closed authorisation has no limit to change."""
    story = Story()
    story.do(open_authorisation(1, 50), CLOSE)
    assert reason(answer(story, amend(2, 80))) == "AUTHORISATION_CLOSED"


def freeze(number: int, *, frozen: bool, cause: str = "COURT_ORDER") -> SetFrozen:
    """Freeze or unfreeze the patient's account."""
    return SetFrozen(FreezeId(payment(0x500 + number)), OWN.psn_no, frozen, cause)


def test_a_late_repetition_of_freeze_does_not_freeze_again() -> None:
    """FREEZE, UNFREEZE, FREEZE again by the same id: the account stays free and the first answer is told."""
    story = Story(account(OWN, past=10))
    first = story.do(freeze(1, frozen=True)).reply
    story.do(freeze(2, frozen=False))
    assert story.do(freeze(1, frozen=True)).reply == first
    assert story.branch(try_(1, own_leg(1))).state is BranchState.HELD


def test_a_freeze_id_has_one_content_only() -> None:
    """The same id with another cause is refused."""
    story = Story(account(OWN, past=10))
    story.do(freeze(1, frozen=True))
    reply = story.do(freeze(1, frozen=True, cause="OTHER_CAUSE")).reply
    assert isinstance(reply, AccountReply)
    assert reason(reply) == "FREEZE_CONTENT_DIFFERS"


def is_frozen(story: Story) -> bool:
    """Whether the account takes no hold."""
    return story.state.accounts[OWN].frozen


@pytest.mark.parametrize("first_lifted", ["COURT_ORDER", "FRAUD_SUSPECTED"])
def test_a_freeze_is_lifted_by_its_own_cause_alone(first_lifted: str) -> None:
    """An account that two have frozen is free once both have let go, in either order; the answer says which it is."""
    causes = ("COURT_ORDER", "FRAUD_SUSPECTED")
    story = Story(account(OWN, past=10))
    story.do(*(freeze(n, frozen=True, cause=cause) for n, cause in enumerate(causes)))
    reply = story.do(freeze(2, frozen=False, cause=first_lifted)).reply
    assert isinstance(reply, AccountReply)
    assert reply.account is not None
    assert (reply.account.frozen, is_frozen(story)) == (True, True)
    assert story.branch(try_(1, own_leg(1))).state is BranchState.REFUSED
    (last,) = set(causes) - {first_lifted}
    story.do(freeze(3, frozen=False, cause=last))
    assert not is_frozen(story)
    assert story.do(freeze(2, frozen=False, cause=first_lifted)).reply == reply


def test_a_cause_stands_once_however_often_it_was_said() -> None:
    """Two freezes of one cause end by one lifting; a cause that does not stand is refused and lifts nothing."""
    story = Story(account(OWN, past=10))
    other = freeze(2, frozen=False, cause="FRAUD_SUSPECTED")
    reply = story.do(*(freeze(n, frozen=True) for n in range(2)), other).reply
    assert isinstance(reply, AccountReply)
    assert (reason(reply), is_frozen(story)) == ("FREEZE_OF_OTHER_CAUSE", True)
    story.do(freeze(3, frozen=False))
    assert not is_frozen(story)
    reply = story.do(other).reply
    assert isinstance(reply, AccountReply)
    assert (reply.refusal, is_frozen(story)) == (None, False)


def test_what_was_lifted_does_not_come_back_with_another_freeze() -> None:
    """Of a free account no cause stands, whatever was said of it before."""
    story = Story(account(OWN, past=10))
    story.do(freeze(1, frozen=True), freeze(2, frozen=False), freeze(3, frozen=True, cause="FRAUD_SUSPECTED"))
    story.do(freeze(4, frozen=False, cause="FRAUD_SUSPECTED"))
    assert not is_frozen(story)


def test_an_account_that_is_not_there_cannot_be_frozen() -> None:
    """It is told so, and nothing is kept: the same command passes once the account is open."""
    story = Story()
    reply = story.do(freeze(1, frozen=True)).reply
    assert isinstance(reply, AccountReply)
    assert (reason(reply), story.state.freezes) == ("ACCOUNT_NOT_FOUND", {})


def test_opening_tells_who_and_how_much() -> None:
    """The answer to OPEN is the authorisation, open, with its limit and version 1."""
    reply = answer(Story(), OpenAuthorisation(authorisation(1), FUNDER.psn_no, OWN.psn_no, 50))
    assert reply.authorisation is not None
    assert (reply.authorisation.state, reply.authorisation.authorised_fen, reply.authorisation.version) == (
        AuthorisationState.OPEN,
        50,
        1,
    )
