"""Who takes a founder's place when he has died: the group lives on, and somebody must be able to end it (domain §2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.family.domain.acting import MAJORITY_AGE
from services.family.domain.counter import Counter
from services.family.domain.groups import Group, refuse_ended, refuse_going, refuse_outsider
from services.family.domain.leaving import refuse_dissolving
from services.family.domain.people import Person, insured_area
from services.family.domain.pledges import refuse_unsigned


def refuse_taking_over(group: Group, founder: Person, successor: Person, *, pledges: int, now: datetime) -> None:
    """What keeps a member from becoming the founder, the first that applies.

    NOT_A_MEMBER, GROUP_DISSOLVED, MEMBER_IS_LEAVING, FOUNDER_LIVES, SUCCESSOR_NOT_OF_AGE (18), PLEDGE_NOT_SIGNED,
    FOUNDER_NOT_INSURED: as who founds a group, he is insured, in whatever kind of insurance.
    """
    refuse_outsider(group, successor.psn_no)
    refuse_ended(group)
    refuse_going(group, successor.psn_no)
    if founder.died_on is None:
        raise Failure(Kind.PRECONDITION, "FOUNDER_LIVES")
    if successor.is_younger_than(MAJORITY_AGE, today=business_date(now)):
        raise Failure(Kind.PRECONDITION, "SUCCESSOR_NOT_OF_AGE", years=MAJORITY_AGE)
    refuse_unsigned(pledges)
    if insured_area(successor) is None:
        raise Failure(Kind.PRECONDITION, "FOUNDER_NOT_INSURED")


def refuse_ending(
    group: Group, known: Mapping[PsnNo, Person], *, by: PsnNo, was_member: bool, counter: Counter | None
) -> None:
    """NOT_THE_FOUNDER; before an officer a member may end the group as well, if the founder has died: FOUNDER_LIVES.

    So a group in which nobody may take over (children, say) can be ended all the same. ``was_member``: whether the
    group was ended with him in it, for a request that is sent again.
    """
    if by == group.founder or counter is None or not (group.has(by) or was_member):
        refuse_dissolving(group, by=by)
        return
    founder = known.get(group.founder)
    if founder is None or founder.died_on is None:
        raise Failure(Kind.PRECONDITION, "FOUNDER_LIVES")
