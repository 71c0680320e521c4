"""Open invitations when one number of a person takes the place of another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from services.family.domain.groups import Invitation, InvitationState
from services.family.domain.merging import readdressed
from tests.unit.family.given import AUNT, CHILD, MOTHER, NOW, STRANGER, group, invitation


def outcome(*members: str, invitations: tuple[Invitation, ...]) -> list[tuple[str, str, InvitationState, int]]:
    """What becomes of them when AUNT was a double of STRANGER."""
    found = readdressed(group(*members, invitations=invitations), double=AUNT, keep=STRANGER, now=NOW)  # type: ignore[arg-type]  # Numbers.
    return [(each.inviter, each.invitee, each.state, each.version) for each in found]


def test_an_open_invitation_goes_on_under_the_number_that_counts() -> None:
    """To it and of it, in a version of its own."""
    to, of = invitation(), replace(invitation(invitee=CHILD), inviter=AUNT)
    assert outcome(MOTHER, invitations=(to, of)) == [
        (MOTHER, STRANGER, InvitationState.PENDING, 2),
        (STRANGER, CHILD, InvitationState.PENDING, 2),
    ]


def test_who_is_a_member_or_asked_already_or_asks_himself_is_not_asked_again() -> None:
    """It is withdrawn: nobody is invited to where he is, twice, or by himself."""
    withdrawn = InvitationState.WITHDRAWN
    assert outcome(MOTHER, STRANGER, invitations=(invitation(),)) == [(MOTHER, AUNT, withdrawn, 2)]
    twice = (invitation(), replace(invitation(invitee=STRANGER), invitation_id=UUID(int=8)))
    assert outcome(MOTHER, invitations=twice) == [(MOTHER, AUNT, withdrawn, 2)]
    by_himself = replace(invitation(), inviter=STRANGER)
    assert outcome(STRANGER, invitations=(by_himself,)) == [(STRANGER, AUNT, withdrawn, 2)]


def test_what_is_answered_or_over_or_of_others_stays_as_it_was() -> None:
    """It is history, or none of his."""
    answered = invitation(state=InvitationState.DECLINED)
    over = invitation(expires_at=NOW - timedelta(seconds=1))
    others = invitation(invitee=CHILD)
    assert outcome(MOTHER, invitations=(answered, over, others)) == []
