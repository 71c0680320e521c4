"""What becomes of open invitations when one number of a person takes the place of another."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kernel.ids import PsnNo
from services.family.domain.groups import Group, Invitation, InvitationState


def readdressed(group: Group, *, double: PsnNo, keep: PsnNo, now: datetime) -> list[Invitation]:
    """The group's open invitations that name the double, under the number that counts.

    Withdrawn is one that has nobody to ask any more: he would invite himself, is a member, or is asked already.
    """
    asked = {invitation.invitee for invitation in group.invitations if invitation.is_open(now)}
    found = []
    for invitation in group.invitations:
        if not invitation.is_open(now) or double not in {invitation.inviter, invitation.invitee}:
            continue
        inviter, invitee = (keep if one == double else one for one in (invitation.inviter, invitation.invitee))
        changed = replace(invitation, version=invitation.version + 1)
        asked_twice = invitation.invitee == double and keep in asked
        if inviter == invitee or group.has(invitee) or asked_twice:
            found.append(replace(changed, state=InvitationState.WITHDRAWN))
        else:
            found.append(replace(changed, inviter=inviter, invitee=invitee))
    return found
