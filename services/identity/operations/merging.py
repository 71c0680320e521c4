"""Two records become one: everything the double holds goes to the record that is kept, or ends, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain import merging as rules
from services.identity.domain.person import Person, PersonChange
from services.identity.operations import lookups
from services.identity.operations.kinship_ground import Ground, locked_ground, merge_facts
from services.identity.operations.particulars import Writing
from services.identity.operations.sealed import certno_of, opened_certno, sealed_certno
from services.identity.operations.telling import tell
from services.identity.store import certificates, corrections, people
from services.identity.store import merging as store
from services.identity.store.certificates import FormerCertificate
from services.identity.store.endings import end_credentials
from services.identity.wire.people import person_changed

MERGED: Final = "PERSONS_MERGED"
"""The purpose in the audit."""
ENDED_BY_MERGING: Final = "MERGED"
"""Why a double's cards end, and what it asked to have put right is refused."""


async def merge_persons(
    *, database: Database, keep: PsnNo, double: PsnNo, asked_by: str, writing: Writing
) -> tuple[Person, Person]:
    """The record that is kept, and the double as it is from now on; the same again changes nothing.

    Doubles of the double are those of the other from now on, so a number leads to the one that counts in one step.
    First that applies: INVALID MERGE_WITH_SELF; as ``is_merged``; as ``check_one_person``; PRECONDITION MERGE_CONFLICT
    with the refusal that a kinship fact of the double would meet beside those of the other. A refusal leaves everything
    as it was. What a double waits to have put right is refused: it is asked for anew under the number that counts.
    """
    if keep == double:
        raise Failure(Kind.INVALID, "MERGE_WITH_SELF", field="double_psn_no")
    async with lookups.on_record(database, purpose=MERGED, asked_by=asked_by, now=writing.now) as (connection, met):
        met.update({keep, double})
        locked = {keep, double, *await store.doubles_of(connection, double)}
        ground = await locked_ground(connection, locked, steps=2)
        earlier = await store.doubles_of(connection, double)
        if not earlier <= locked:
            # Somebody merged another record into this one while we waited for it.
            raise Failure(Kind.CONFLICT, "KINSHIP_BUSY")
        found = await people.load_people(connection, locked, lock=True)
        before, gone = found.get(keep), found.get(double)
        if not rules.is_merged(before, gone) and before is not None and gone is not None:
            rules.check_one_person(before, gone)
            led_on = [(found[each], rules.led_on(found[each], before)) for each in sorted(earlier)]
            found = await _merge(connection, ground, before, gone, led_on, writing, asked_by=asked_by)
        return found[keep], found[double]


async def _merge(
    connection: AsyncConnection,
    ground: Ground,
    before: Person,
    gone: Person,
    led_on: Sequence[tuple[Person, Person]],
    writing: Writing,
    *,
    asked_by: str,
) -> dict[PsnNo, Person]:
    now, randomness = writing.now, writing.randomness
    keep, double = before.psn_no, gone.psn_no
    after, ended = rules.merged(before, gone)
    try:
        await merge_facts(connection, ground, keep=keep, double=double, now=now, randomness=randomness)
    except Failure as refusal:
        if refusal.kind is Kind.CONFLICT:
            raise
        raise Failure(Kind.PRECONDITION, "MERGE_CONFLICT", conflict=refusal.reason) from None
    doubles = [double, *(each.psn_no for each, _ in led_on)]
    # Before the numbers are taken from the doubles: an officer who decides has a correction's lock already, and his
    # look-up would wait for whoever changes a person's key.
    await corrections.refuse_waiting(connection, doubles, opter=writing.opter, cause=ENDED_BY_MERGING, now=now)
    await _move_certificates(connection, keep, double, writing)
    for number in doubles:
        await store.save_merged(connection, number, keep)
    await store.move_sanctions(connection, double, keep)
    await end_credentials(connection, double, opter=writing.opter, cause=ENDED_BY_MERGING, asked_by=asked_by, now=now)
    changed = [(one, other) for one, other in ((before, after), (gone, ended), *led_on) if one is not other]
    await people.save_people(connection, changed, now=now)
    for psn_no, other, change in (
        *((number, keep, PersonChange.MERGED) for number in doubles),
        *((keep, number, PersonChange.DOUBLE_TAKEN_IN) for number in doubles),
    ):
        await people.insert_change(
            connection, psn_no, change, other_psn_no=other, opter=writing.opter, cause=writing.cause, now=now
        )
    for _, person in changed:
        await tell(connection, [person_changed(person, now=now)], now=now, randomness=randomness)
    return {keep: after, double: ended}


async def _move_certificates(connection: AsyncConnection, keep: PsnNo, double: PsnNo, writing: Writing) -> None:
    """Every certificate of the double, present and former, finds the record that is kept from now on."""
    sealed = await people.sealed_person(connection, double)
    present = await certificates.certno_index_of(connection, double)
    numbers = [
        (former, opened_certno(double, former.certno, seals=writing.seals))
        for former in await certificates.former_certificates(connection, double)
    ]
    if present is not None:
        former = FormerCertificate(present, sealed.kind, sealed.certno, writing.now)
        numbers.append((former, certno_of(sealed, seals=writing.seals)))
    for former, number in numbers:
        ours = sealed_certno(keep, number, seals=writing.seals, randomness=writing.randomness)
        await certificates.put_former(
            connection, keep, FormerCertificate(former.certno_index, former.kind, ours, former.until_at)
        )
