"""The family database: its schema, and what only time brings about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from chassis.db import Database, violated_constraint
from chassis.migrate import drift, migrate
from kernel.clock import year_start
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, BindingId, GroupId, PsnNo
from kernel.policy import Relation
from services.family.app import MIGRATIONS
from services.family.clients import Identity
from services.family.domain.bindings import Binding, BindingState
from services.family.domain.groups import GroupState, Invitation, InvitationState, Member
from services.family.domain.leaving import Cause, Departure
from services.family.domain.people import Enrolment, Person, Sanction
from services.family.operations.bindings import GRACE, take_doubted, take_due
from services.family.operations.invitations import expire_invitations
from services.family.operations.leaving import finish_all
from services.family.operations.people import People
from services.family.operations.projecting import doubt_former, keep_person
from services.family.store import bindings, departures, groups, people
from services.family.tables import METADATA, USES

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


async def test_what_the_pair_ended_counts_for_the_year_of_shanghai_in_which_it_ended(db: Database) -> None:
    """An end in the last second of the old year counts for that, though its ledger answers in the new one.

    What is open or has stopped by itself never counts.
    """
    midnight = datetime(2026, 12, 31, 16, 0, tzinfo=UTC)
    just_before = midnight - timedelta(seconds=1)
    async with db.transaction() as connection:
        for one in (
            replace(binding(BindingState.CLOSING), ended_at=just_before),
            replace(binding(BindingState.CLOSING), ended_at=midnight),
            replace(binding(BindingState.SUSPENDED), cause="DIED"),
            binding(BindingState.UNBOUND),
            replace(binding(BindingState.UNBOUND), funder=BENEFICIARY, beneficiary=FUNDER, ended_at=midnight),
            binding(),
        ):
            await bindings.add(connection, one, now=just_before, grace=GRACE)
            if one.state is BindingState.CLOSING:
                await bindings.save(connection, replace(one, state=BindingState.UNBOUND), now=midnight, grace=GRACE)
        counted = [
            await bindings.ended_of_pair(connection, FUNDER, BENEFICIARY, since=year_start(now))
            for now in (midnight - timedelta(seconds=1), midnight)
        ]
    assert counted == [2, 1]


async def test_who_doubts_bindings_waits_for_them_in_the_order_of_their_ids(db: Database) -> None:
    """While another holds the lower id, the higher is free, though its row lies first."""
    low, high = sorted([binding(), replace(binding(), funder=PsnNo("6500000003"))], key=lambda one: one.binding_id)
    async with db.transaction() as connection:
        for one in (high, low):
            await bindings.add(connection, one, now=NOW, grace=GRACE)

    async def doubted() -> None:
        async with db.transaction() as connection:
            await bindings.doubt_person(connection, BENEFICIARY)

    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.TaskGroup() as group, db.transaction() as connection:
        await bindings.load(connection, low.binding_id, lock=True)
        group.create_task(doubted())
        while not (await connection.execute(waits)).scalar_one():  # noqa: ASYNC110  Another connection waits.
            await asyncio.sleep(0.01)
        taking = sa.text("SELECT 1 FROM bindings WHERE binding_id = :binding_id FOR UPDATE NOWAIT")
        await connection.execute(taking, {"binding_id": high.binding_id})
    assert {one.binding_id for one in await take_doubted(database=db)} == {low.binding_id, high.binding_id}


def departure(psn_no: PsnNo) -> Departure:
    """The founder is ending his group, and this member goes with it."""
    return Departure(uuid4(), GROUP, psn_no, Cause.DISSOLVED, FUNDER, NOW, member_version=2)


async def test_a_departure_whose_request_died_is_finished_once_the_ledger_has_closed_everything(db: Database) -> None:
    """While a binding is CLOSING both stay and so does the group; then two sweeps at once let each go once."""
    closing = binding(BindingState.CLOSING)
    async with db.transaction() as connection:
        await bindings.add(connection, closing, now=NOW, grace=GRACE)
        for psn_no in (FUNDER, BENEFICIARY):
            await groups.insert_member(connection, group_id=GROUP, member=Member(psn_no, NOW))
            await departures.add(connection, departure(psn_no))
        await departures.begin_dissolving(connection, GROUP, now=NOW)
    assert await finish_all(database=db, now=NOW) == 0
    async with db.transaction() as connection:
        going = await groups.load_group(connection, GROUP)
        await bindings.save(connection, replace(closing, state=BindingState.UNBOUND), now=NOW, grace=GRACE)
    assert going is not None
    assert (going.state, [member.leaving for member in going.members]) == (GroupState.DISSOLVING, [True, True])
    assert sorted(await asyncio.gather(*(finish_all(database=db, now=NOW) for _ in range(2)))) == [0, 2]
    async with db.transaction() as connection:
        gone = await groups.load_group(connection, GROUP)
        said = await connection.execute(sa.text("SELECT subject, version FROM outbox ORDER BY aggregate"))
        assert [tuple(row) for row in said] == [("member_left", 2)] * 2
    assert gone is not None
    assert (gone.state, gone.members) == (GroupState.DISSOLVED, ())


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


class Ahead(Identity):
    """Identity, whose events are still on their way: it says at once that everybody's insurance is paused."""

    def __init__(self) -> None:
        """Nothing is connected."""

    async def person(self, psn_no: PsnNo) -> Person:
        """Paused."""
        return Person(psn_no, "王*", None, (Enrolment("310", AdmDvs("650500"), "2"),))


async def test_what_identity_answers_before_its_event_comes_stops_a_binding_all_the_same(db: Database) -> None:
    """Asked for another deed, family hears of the pause; the event then finds it known, and the binding is judged."""
    insured = Person(FUNDER, "王*", None, (Enrolment("310", AdmDvs("650500"), "1"),))
    active, identity = binding(BindingState.ACTIVE), Ahead()
    async with db.transaction() as connection:
        await bindings.add(connection, active, now=NOW, grace=GRACE)
        await keep_person(connection, person=insured, version=1)

    async def wants_an_amount(_: Mapping[PsnNo, Person]) -> None:
        raise Failure(Kind.PRECONDITION, "AUTHORISED_AMOUNT_REQUIRED")

    with pytest.raises(Failure, match="AUTHORISED_AMOUNT_REQUIRED"):
        await People(db, identity).decide([FUNDER], wants_an_amount)
    async with db.transaction() as connection:
        await keep_person(connection, person=await identity.person(FUNDER), version=2)
    assert [one.binding_id for one in await take_doubted(database=db)] == [active.binding_id]


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


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({"amount_fen": 0}, "uses_amount"),
        ({"amount_fen": -1}, "uses_amount"),
        ({"original_id": UUID(int=5)}, "uses_amount"),
        ({"beneficiary_psn_no": FUNDER}, "uses_two_people"),
        ({"institution_kind": "CLINIC"}, "uses_institution_kind"),
        ({"institution_area": "6501"}, "uses_institution_area"),
    ],
)
async def test_a_use_that_cannot_be_is_not_kept(db: Database, wrong: dict[str, Any], constraint: str) -> None:
    """A bill takes and a refund gives back, between two people, at a kind of institution and in an area."""
    right: dict[str, Any] = {
        "payment_id": UUID(int=4),
        "funder_psn_no": FUNDER,
        "beneficiary_psn_no": BENEFICIARY,
        "used_at": NOW,
        "institution_kind": "HOSPITAL",
        "institution_area": "650100",
        "amount_fen": 1,
    }
    async with db.transaction() as connection:
        await connection.execute(sa.insert(USES).values(right))
    with pytest.raises(IntegrityError) as caught:
        async with db.transaction() as connection:
            await connection.execute(sa.insert(USES).values(right | {"payment_id": UUID(int=6)} | wrong))
    assert violated_constraint(caught.value) == constraint


async def test_bindings_of_the_release_before_are_judged_once_within_a_day(db: Database) -> None:
    """One that stands, though nothing new is ever heard of its people; not at once, none that has ended, and once."""
    standing, over = binding(BindingState.ACTIVE), replace(binding(BindingState.SUSPENDED), cause="DIED")
    async with db.transaction() as connection:
        for one in (standing, over):
            await bindings.add(connection, one, now=NOW, grace=GRACE)
    due = sa.text(
        "SELECT binding_id, judge_at - now() BETWEEN interval '14 minutes' AND interval '25 hours'"
        " FROM bindings WHERE judge_at IS NOT NULL"
    )
    await doubt_former(database=db)
    async with db.transaction() as connection:
        assert [tuple(row) for row in await connection.execute(due)] == [(standing.binding_id, True)]
        await connection.execute(sa.text("UPDATE bindings SET judge_at = NULL"))
    await doubt_former(database=db)
    async with db.transaction() as connection:
        assert list(await connection.execute(due)) == []
