"""What somebody outside knows of a town's relations by replaying the events in the order in which they were put out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import sqlalchemy as sa

from chassis.db import Database
from gongji.identity.v1 import events_pb2, kinship_pb2, person_pb2
from tests.integration.identity.conftest import Identity

Relations: TypeAlias = dict[tuple[str, str], str]
"""What the first is to the second, by the relation's name."""


async def told_of_kinship(database: Database) -> list[events_pb2.IdentityEvent]:
    """Every event of kinship in the outbox, in its order."""
    async with database.transaction() as connection:
        rows = await connection.execute(
            sa.text("SELECT payload FROM outbox WHERE subject = 'kinship_changed' ORDER BY id")
        )
        return [events_pb2.IdentityEvent.FromString(row.payload) for row in rows]


async def replayed(database: Database) -> Relations:
    """The relations by replay; each change must start from what the one before it left."""
    known: Relations = {}
    for event in await told_of_kinship(database):
        for change in event.kinship_changed.relations:
            pair = change.psn_no, change.other_psn_no
            assert known.pop(pair, "UNSPECIFIED") == relation_name(change.before)
            assert change.before != change.after
            if change.after:
                known[pair] = relation_name(change.after)
    return known


async def asked(identity: Identity, numbers: Iterable[str]) -> Relations:
    """The relations by asking about everybody."""
    found: Relations = {}
    people = list(numbers)
    for one in people:
        for other in people:
            request = kinship_pb2.VerifyKinshipRequest(psn_no=one, other_psn_no=other)
            answer = await identity.kinship.VerifyKinship(request)
            if answer.relation:
                found[one, other] = relation_name(answer.relation)
    return found


def relation_name(relation: person_pb2.Relation.ValueType) -> str:
    """``PATERNAL_GRANDPARENT``."""
    return person_pb2.Relation.Name(relation).removeprefix("RELATION_")
