"""How people go from a group: a member leaves or is removed, or the founder dissolves it (domain §2).

Whoever goes stays a member until the ledgers have closed every binding of his in the group, so that nobody is gone
while his money can still be drawn through it. He takes no part in anything new meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.failures import Failure, Kind
from kernel.ids import GroupId, PsnNo
from services.family.domain.bindings import Binding, BindingState
from services.family.domain.groups import Group, refuse_outsider

UNFINISHED: Final = frozenset({BindingState.OPENING, BindingState.ACTIVE, BindingState.CLOSING})
"""States of a binding whose authorisation a ledger may still keep open."""


class Cause(Enum):
    """Why a member goes."""

    LEFT = "LEFT"
    REMOVED = "REMOVED"  # By the founder.
    DISSOLVED = "DISSOLVED"  # With the group.
    MERGED = "MERGED"  # The number was a double: the one that counts is in his place.


@dataclass(frozen=True, slots=True)
class Departure:
    """A member who goes; ``done_at`` None until the ledgers have closed his bindings in the group.

    ``member_version`` is the version of the membership's event that tells it.
    """

    departure_id: UUID
    group_id: GroupId
    psn_no: PsnNo
    cause: Cause
    by: PsnNo
    began_at: datetime
    member_version: int
    done_at: datetime | None = None


def refuse_leaving(group: Group, psn_no: PsnNo) -> None:
    """NOT_A_MEMBER, FOUNDER_DISSOLVES: the founder's way out is to end the group."""
    refuse_outsider(group, psn_no)
    if psn_no == group.founder:
        raise Failure(Kind.PRECONDITION, "FOUNDER_DISSOLVES")


def refuse_removing(group: Group, psn_no: PsnNo, *, by: PsnNo) -> None:
    """NOT_THE_FOUNDER, NOT_A_MEMBER, FOUNDER_DISSOLVES."""
    refuse_dissolving(group, by=by)
    refuse_leaving(group, psn_no)


def refuse_dissolving(group: Group, *, by: PsnNo) -> None:
    """NOT_THE_FOUNDER."""
    if by != group.founder:
        raise Failure(Kind.FORBIDDEN, "NOT_THE_FOUNDER")


def bindings_of(psn_no: PsnNo, bindings: Iterable[Binding]) -> list[Binding]:
    """Those of the bindings that keep this person in the group: given or got by him, and not closed yet."""
    return [
        binding
        for binding in bindings
        if psn_no in {binding.funder, binding.beneficiary} and binding.state in UNFINISHED
    ]
