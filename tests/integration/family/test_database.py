"""The family database: its schema, and what only time brings about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from chassis.db import Database, violated_constraint
from chassis.migrate import drift, migrate
from kernel.ids import AdmDvs, AuthorisationId, BindingId, GroupId, PsnNo
from kernel.policy import Relation
from services.family.app import MIGRATIONS
from services.family.domain.bindings import Binding, BindingState
from services.family.domain.groups import Invitation, InvitationState
from services.family.domain.people import Enrolment, Person, Sanction
from services.family.operations.bindings import GRACE, take_due
from services.family.operations.groups import expire_invitations
from services.family.store import bindings, groups, people
from services.family.tables import METADATA

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
FUNDER, BENEFICIARY = PsnNo("6500000001"), PsnNo("6500000002")
GROUP = GroupId(UUID(int=1))


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    """A migrated family database with one group."""
    await migrate(database, MIGRATIONS)
    async with Database(database, pool_size=2) as opened:
        async with opened.transaction() as connection:
            await groups.insert_group(connection, group_id=GROUP, founder=FUNDER, request_id=uuid4(), now=NOW)
        yield opened


def invitation(*, expires_at: datetime) -> Invitation:
    """An open invitation."""
    return Invitation(
        uuid4(), GROUP, FUNDER, BENEFICIARY, Relation.SIBLING, InvitationState.PENDING, expires_at=expires_at
    )


def binding(state: BindingState = BindingState.OPENING) -> Binding:
    """A binding that has just been asked for."""
    return Binding(
        binding_id=BindingId(uuid4()),
        group_id=GROUP,
        funder=FUNDER,
        beneficiary=BENEFICIARY,
        relation=Relation.SIBLING,
        state=state,
        authorised_fen=100,
        bound_at=NOW,
        authorisation_id=AuthorisationId(uuid4()),
        funder_area=AdmDvs("650500"),
        request_id=uuid4(),
        requested_fen=100,
    )


async def test_the_migrations_make_the_tables_that_the_code_names(database: str) -> None:
    """A migrated database differs in nothing from tables.py."""
    await migrate(database, MIGRATIONS)
    assert await drift(database, METADATA) == []


async def test_an_invitation_ends_at_its_time_and_says_so_once(db: Database) -> None:
    """The sweep ends what is over, leaves what is open, and puts one event for each into the outbox."""
    over, still_open = invitation(expires_at=NOW), invitation(expires_at=NOW + timedelta(seconds=1))
    async with db.transaction() as connection:
        for one in (over, still_open):
            await groups.insert_invitation(connection, one, request_id=uuid4(), now=NOW)
    assert [await expire_invitations(database=db, now=NOW) for _ in range(2)] == [1, 0]
    async with db.transaction() as connection:
        states = [await groups.load_invitation(connection, one.invitation_id) for one in (over, still_open)]
        told = await connection.execute(sa.text("SELECT aggregate, version FROM outbox"))
        assert [(row.aggregate, row.version) for row in told] == [(f"invitation:{over.invitation_id}", 2)]
    assert [one.state if one else None for one in states] == [InvitationState.EXPIRED, InvitationState.PENDING]


async def test_the_sweep_leaves_a_fresh_row_to_its_request_and_then_waits_longer_each_time(db: Database) -> None:
    """Within the grace nothing is due; afterwards a row is taken once and comes again after a growing pause."""
    opening = binding()
    async with db.transaction() as connection:
        await bindings.add(connection, opening, now=NOW, grace=GRACE)
    assert list(await take_due(database=db)) == []
    pauses = []
    for _ in range(7):
        async with db.transaction() as connection:
            await connection.execute(sa.text("UPDATE bindings SET next_drive_at = now()"))
        assert [one.binding_id for one in await take_due(database=db)] == [opening.binding_id]
        assert list(await take_due(database=db)) == []
        async with db.transaction() as connection:
            row = await connection.execute(sa.text("SELECT next_drive_at - now() FROM bindings"))
            pauses.append(round(row.scalar_one().total_seconds()))
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


async def test_the_database_knows_one_live_binding_for_a_pair(db: Database) -> None:
    """A second live binding of the same two is refused by name; one beside an ended one is not."""
    async with db.transaction() as connection:
        await bindings.add(connection, binding(BindingState.UNBOUND), now=NOW, grace=GRACE)
        await bindings.add(connection, binding(), now=NOW, grace=GRACE)
    with pytest.raises(IntegrityError) as caught:
        async with db.transaction() as connection:
            await bindings.add(connection, binding(BindingState.ACTIVE), now=NOW, grace=GRACE)
    assert violated_constraint(caught.value) == "bindings_live_pair"


async def test_a_person_comes_back_as_he_was_kept(db: Database) -> None:
    """Enrolments, sanctions and birth survive the database; an older event changes nothing."""
    person = Person(
        FUNDER,
        "王*国",
        datetime(1980, 5, 1, tzinfo=UTC).date(),
        (Enrolment("310", AdmDvs("650500"), "1"),),
        (Sanction(NOW, NOW + timedelta(days=90)),),
    )
    async with db.transaction() as connection:
        await people.put(connection, person, version=3)
        await people.put(connection, Person(FUNDER, "李*", None), version=2)
        assert await people.load(connection, [FUNDER, BENEFICIARY]) == {FUNDER: (person, 3)}


async def test_an_answer_overtaken_by_an_event_is_not_kept(db: Database) -> None:
    """What identity answered when version 3 was known does not replace version 4, but does replace version 3."""
    asked, newer = Person(FUNDER, "asked", None), Person(FUNDER, "event", None)
    async with db.transaction() as connection:
        await people.put(connection, newer, version=4)
        await people.put_asked(connection, asked, version_seen=3)
        assert (await people.load(connection, [FUNDER]))[FUNDER] == (newer, 4)
        await people.put_asked(connection, asked, version_seen=4)
        assert (await people.load(connection, [FUNDER]))[FUNDER] == (asked, 4)
        await people.put_asked(connection, Person(BENEFICIARY, "asked", None), version_seen=None)
        await people.put(connection, Person(BENEFICIARY, "event", None), version=1)
        assert (await people.load(connection, [BENEFICIARY]))[BENEFICIARY][0].name_masked == "event"
