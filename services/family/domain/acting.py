"""Who speaks for whom: everybody for himself, a parent for a minor (domain §1, age lines; §2)."""

from __future__ import annotations

from datetime import date
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.policy import RegionPolicy, Relation
from services.family.domain.groups import Kinship
from services.family.domain.people import Person, refuse_child

MAJORITY_AGE: Final = 18
"""Full civil capacity (domain §1): until then a parent may act beside or instead of the person."""


def refuse_other(person: Person, by: PsnNo, kinship: Kinship | None, *, policy: RegionPolicy, today: date) -> None:
    """What keeps ``by`` from acting for ``person``; ``kinship`` is what ``by`` is to him, None if it is he himself.

    MINOR_ACTS_THROUGH_PARENT: he himself is below his area's ``consent_age``. NOT_THE_GUARDIAN: somebody else who is
    no parent of his, or he is of age.
    """
    if by == person.psn_no:
        refuse_child(person, policy, today=today)
    elif (
        kinship is None
        or kinship.relation is not Relation.PARENT
        or not person.is_younger_than(MAJORITY_AGE, today=today)
    ):
        raise Failure(Kind.FORBIDDEN, "NOT_THE_GUARDIAN")
