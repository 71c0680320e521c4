"""Persons for a decision: from the projection, and from identity itself before anyone is refused for what it tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.failures import Failure
from kernel.ids import PsnNo
from services.family.clients import Identity
from services.family.domain.people import Person
from services.family.store import bindings
from services.family.store import people as store

Result = TypeVar("Result")

RESTS_ON_PERSONS: Final = frozenset(
    {
        "FOUNDER_LIVES",
        "FOUNDER_NOT_INSURED",
        "INVITER_NOT_INSURED",
        "INVITEE_NOT_INSURED",
        "FUNDER_NOT_INSURED",
        "BENEFICIARY_NOT_INSURED",
        "FUNDER_SANCTIONED",
        "BENEFICIARY_SANCTIONED",
        "BINDING_ACROSS_PROVINCES",
        "RELATION_NOT_ALLOWED",
        "INVITEE_IN_ANOTHER_PROVINCE",
        "GROUP_FULL",
        "GROUPS_TOO_MANY",
        "FUNDERS_TOO_MANY",
        "MINOR_ACTS_THROUGH_PARENT",
        "MINOR_JOINS_THROUGH_PARENT",
        "NOT_THE_GUARDIAN",
        "DOCUMENT_MISSING",
        "REBINDS_TOO_MANY",
        "FACE_NOT_SHOWN",
        "SECOND_OPTER_MISSING",
        "AUTHORISED_AMOUNT_REQUIRED",
    }
)
"""Refusals that follow from a person's enrolment, area, age or sanctions: they may rest on an event on its way."""


async def reconsider(connection: AsyncConnection, *, former: Person | None, person: Person) -> None:
    """Has what rests on a person judged anew if he is another than he was; for whoever keeps what identity tells."""
    if former is not None and person.rests_differently_from(former):
        await bindings.doubt_person(connection, person.psn_no)


class People:
    """Persons as family needs them for a decision."""

    def __init__(self, database: Database, identity: Identity) -> None:
        self._database = database
        self._identity = identity

    async def decide(
        self, psn_nos: Iterable[PsnNo], decide: Callable[[Mapping[PsnNo, Person]], Awaitable[Result]]
    ) -> Result:
        """Runs ``decide`` with these persons; if it refuses for what identity tells, once more with fresh ones.

        Raises what identity raises for a person it does not know, and UNAVAILABLE if it has to be asked and is away.
        """
        wanted = sorted(set(psn_nos))
        async with self._database.transaction() as connection:
            known = await store.load(connection, wanted)
        people = {psn_no: person for psn_no, (person, _) in known.items()}
        missing = [psn_no for psn_no in wanted if psn_no not in known]
        people |= await self._ask(missing, known)
        try:
            return await decide(people)
        except Failure as failure:
            if failure.reason not in RESTS_ON_PERSONS or not known:
                raise
        fresh = await self._ask(list(known), known)
        return await decide(people | fresh)

    async def _ask(self, psn_nos: Iterable[PsnNo], known: Mapping[PsnNo, tuple[Person, int]]) -> dict[PsnNo, Person]:
        told = {psn_no: await self._identity.person(psn_no) for psn_no in psn_nos}
        if told:
            async with self._database.transaction() as connection:
                for psn_no, person in sorted(told.items()):
                    former, version = known.get(psn_no, (None, None))
                    await store.put_asked(connection, person, version_seen=version)
                    # Not left to the event that is on its way: it will find nothing new.
                    await reconsider(connection, former=former, person=person)
        return told
