"""A signing key that leaked is ended: nothing that it signed counts, and another one signs in the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from typing import Final
from uuid import UUID, uuid4

import pytest

from gongji.identity.v1 import credentials_pb2 as pb
from gongji.identity.v1 import events_pb2
from kernel.ids import PsnNo
from services.identity.domain.credential import CODE_TYPE, code_claims, new_code
from services.identity.domain.signing import KEY_LEAD
from services.identity.recovery import KEY_CHECK_S, refresh_keys
from tests.integration.identity.conftest import START, WANG, Identity, SetClock, StartIdentity, refusal
from tests.integration.identity.test_changes import asked
from tests.integration.identity.test_credentials import kid_of

FORGED: Final = ("UNAUTHENTICATED", "CODE_FORGED", "code")
EVERYWHERE_MAX_S: Final = 5.0
"""What "within seconds" means here: one look of the other replica, with room for a busy machine."""
CAUSE: Final = "备份介质遗失"


async def end(identity: Identity, kid: str, *, opter: str = "zhang01", cause: str = CAUSE) -> pb.SigningKey:
    """The officer on call ends a key."""
    request = pb.EndSigningKeyRequest(kid=kid, opter=opter, cause=cause)
    return (await identity.credentials.EndSigningKey(request)).key


def the_key(identity: Identity) -> str:
    """The one key that this replica holds."""
    (kid,) = identity.keys.ring.kids
    return kid


def forged(identity: Identity) -> str:
    """A code of WANG's that whoever has the leaked key makes, before it is ended."""
    now = identity.clock.now()
    code = new_code(PsnNo(WANG["psn_no"]), jti=UUID(bytes=uuid4().bytes, version=4), now=now, lifetime_s=60)
    return identity.keys.ring.signer(now=now).sign(code_claims(code), as_type=CODE_TYPE)


async def told(identity: Identity, kid: str, version: int = 1) -> events_pb2.SigningKeyActivated:
    """What was told of this key in this version."""
    events = await identity.told(f"key:{kid}", version)
    return next(event for event in events if event.version == version).signing_key_activated


async def kept(identity: Identity) -> list[tuple[object, ...]]:
    """Which keys were ended, by whom, why and when."""
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT kid, ended_by, end_cause, ended_at FROM signing_keys ORDER BY created_at")
    return [tuple(row) for row in rows if row["ended_at"] is not None]


@asynccontextmanager
async def looking_after_its_keys(identity: Identity) -> AsyncIterator[None]:
    """The replica looks at the keys by the clock, as its process does."""
    task = asyncio.create_task(refresh_keys(identity.keys))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def replicas(start_identity: StartIdentity) -> tuple[Identity, Identity]:
    """Two replicas with one clock, a person and a hospital."""
    clock = SetClock()
    one, other = await start_identity(clock), await start_identity(clock)
    await one.register(**WANG)
    await one.hospital()
    return one, other


async def test_an_ended_keys_codes_are_forgeries_at_once_and_its_successor_signs(
    replicas: tuple[Identity, Identity],
) -> None:
    """Where it is ended by the answer: a code made with it is refused, the next one decodes to another key's token."""
    one, _ = replicas
    leaked = the_key(one)
    stolen = forged(one)
    ended = await end(one, leaked)
    assert (ended.kid, ended.not_after_time.ToDatetime(tzinfo=UTC)) == (leaked, START)
    assert await refusal(one.decode(stolen)) == FORGED
    successor = the_key(one)
    code = await one.code(WANG["psn_no"])
    assert kid_of(code) == kid_of((await one.decode(code)).ec_token) == successor != leaked
    served = (await one.credentials.ListSigningKeys(pb.ListSigningKeysRequest())).keys
    assert [key.kid for key in served] == [successor]


async def test_every_replica_takes_its_codes_no_more_within_seconds(replicas: tuple[Identity, Identity]) -> None:
    """The other one was told by nobody: it looks by the clock, and then signs with the successor itself."""
    one, other = replicas
    leaked = the_key(other)
    stolen = forged(other)
    assert KEY_CHECK_S < EVERYWHERE_MAX_S
    async with looking_after_its_keys(other):
        await end(one, leaked)
        async with asyncio.timeout(EVERYWHERE_MAX_S):
            while leaked in other.keys.ring.kids:  # noqa: ASYNC110  What is waited for is the replica's own clock.
                await asyncio.sleep(0.02)
    assert await refusal(other.decode(stolen)) == FORGED
    code = await other.code(WANG["psn_no"])
    assert kid_of(code) == the_key(one)
    assert (await one.decode(code)).person.psn_no == WANG["psn_no"]


async def test_the_end_and_the_successor_are_told_to_everyone(replicas: tuple[Identity, Identity]) -> None:
    """The ended key in its next version, over since then; the successor without a lead. Who asks hears it as well."""
    one, other = replicas
    leaked = the_key(one)
    _, cursor, _ = await asked(other)
    before = await told(one, leaked)
    await end(one, leaked)
    after, next_key = await told(one, leaked, 2), await told(one, the_key(one))
    assert (after.kid, after.public_key) == (before.kid, before.public_key)
    assert after.not_after_time.ToDatetime(tzinfo=UTC) == START < before.not_after_time.ToDatetime(tzinfo=UTC)
    assert after.not_before_time.ToDatetime(tzinfo=UTC) < START  # Every room refuses a key that begins after its end.
    assert next_key.not_before_time.ToDatetime(tzinfo=UTC) == START
    snapshot = await one.snapshot()
    assert snapshot[f"key:{leaked}"].signing_key_activated == after
    changed, _, _ = await asked(other, cursor)
    assert (changed[f"key:{leaked}"], changed[f"key:{the_key(one)}"]) == (2, 1)


async def test_the_same_end_again_changes_nothing(replicas: tuple[Identity, Identity]) -> None:
    """Who ended it first, and why, stays on record; no further key is made, none told anew."""
    one, other = replicas
    leaked = the_key(one)
    first = await end(one, leaked)
    successor = the_key(one)
    one.clock.advance(seconds=5)
    assert await end(other, leaked, opter="li01", cause="又一次") == first
    assert await kept(one) == [(leaked, "zhang01", CAUSE, START)]
    assert the_key(one) == the_key(other) == successor
    snapshot = await one.snapshot()
    assert snapshot[f"key:{leaked}"].version == 2


async def test_ended_by_two_at_once_a_key_has_one_successor(replicas: tuple[Identity, Identity]) -> None:
    """Two officers, two replicas: the end is one, and both replicas sign with the same key."""
    leaked = the_key(replicas[0])
    await asyncio.gather(*(end(replica, leaked, opter=f"li{n}") for n, replica in enumerate(replicas)))
    assert len(await kept(replicas[0])) == 1
    assert the_key(replicas[0]) == the_key(replicas[1]) != leaked


async def test_a_key_that_waits_for_its_turn_is_ended_before_it_signs(replicas: tuple[Identity, Identity]) -> None:
    """It is told as one whose time is over; the key that signs goes on until another successor, known to all, does."""
    one, _ = replicas
    first = the_key(one)
    one.clock.advance(days=88)
    await one.keys.refresh()
    (waiting,) = one.keys.ring.kids - {first}
    await end(one, waiting)
    over = await told(one, waiting, 2)
    assert over.not_before_time.ToNanoseconds() < over.not_after_time.ToNanoseconds()
    assert kid_of(await one.code(WANG["psn_no"])) == first
    one.clock.advance(seconds=(2 * KEY_LEAD).total_seconds())
    await one.signed_in()
    code = await one.code(WANG["psn_no"])
    assert kid_of(code) not in {first, waiting}


async def test_while_the_next_key_waits_another_signs_at_once(replicas: tuple[Identity, Identity]) -> None:
    """The next one was told and its time has not come: nobody waits for it."""
    one, _ = replicas
    first = the_key(one)
    one.clock.advance(days=88)
    await one.keys.refresh()
    (waiting,) = one.keys.ring.kids - {first}
    await end(one, first)
    assert kid_of(await one.code(WANG["psn_no"])) not in {first, waiting}
    one.clock.advance(seconds=KEY_LEAD.total_seconds())
    assert kid_of(await one.code(WANG["psn_no"])) == waiting


async def test_a_key_soon_over_is_no_stand_in_for_one_that_was_ended(replicas: tuple[Identity, Identity]) -> None:
    """The former key still counts, but not for as long as a token lives: a new one signs at once."""
    one, _ = replicas
    first = the_key(one)
    one.clock.advance(days=88)
    await one.keys.refresh()
    (second,) = one.keys.ring.kids - {first}
    one.clock.advance(days=1)
    await end(one, second)
    assert kid_of(await one.code(WANG["psn_no"])) not in {first, second}


async def test_the_last_key_may_be_ended_while_its_successor_signs(replicas: tuple[Identity, Identity]) -> None:
    """No further key is needed then."""
    one, _ = replicas
    first = the_key(one)
    one.clock.advance(days=88)
    await one.keys.refresh()
    one.clock.advance(hours=1)
    (second,) = one.keys.ring.kids - {first}
    await end(one, first)
    assert the_key(one) == second == kid_of(await one.code(WANG["psn_no"]))


async def test_a_key_whose_time_is_over_stays_as_it_is(replicas: tuple[Identity, Identity]) -> None:
    """Its end would come later than its time did: nothing it signed counts anyway."""
    one, _ = replicas
    first = the_key(one)
    one.clock.advance(days=88)
    await one.keys.refresh()
    one.clock.advance(days=3)
    assert (await end(one, first)).not_after_time.ToDatetime(tzinfo=UTC) == START + timedelta(days=90)
    assert await kept(one) == []


async def test_a_key_that_nobody_made_cannot_be_ended(replicas: tuple[Identity, Identity]) -> None:
    """Named; and an end needs who and why."""
    one, _ = replicas
    assert await refusal(end(one, "k1")) == ("NOT_FOUND", "SIGNING_KEY_UNKNOWN", "kid")
    assert await refusal(end(one, the_key(one), cause="")) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "cause")
    assert await refusal(end(one, the_key(one), opter="")) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "opter")
    assert await kept(one) == []
