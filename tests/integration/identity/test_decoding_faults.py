"""Decoding while one of a batch stands in the way of the others, and while the database is cut off."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from chassis.db import Database
from gongji.identity.v1 import credentials_pb2
from kernel.failures import Failure
from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain.credential import CertType
from services.identity.domain.decoding import Desk, Shown
from services.identity.operations.decoding import Decoder
from tests.fault.tcp_proxy import Line, proxy_before, url_through
from tests.integration.identity.conftest import HOSPITAL, LI, WANG, Identity

SLOW_USE = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON used_codes FOR EACH STATEMENT EXECUTE FUNCTION slow();"""

UNDER_WAY = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND query ~ 'INTO used_codes' AND pid <> pg_backend_pid()"""


@pytest.fixture
async def desk(identity: Identity) -> Identity:
    """A room with two people and a hospital."""
    for person in (WANG, LI):
        await identity.register(**person)
    await identity.hospital()
    return identity


async def test_one_whose_record_is_held_keeps_nobody_else_from_being_decoded(desk: Identity) -> None:
    """While LI's certificate is being changed, codes in one batch with hers are decoded; hers is good afterwards."""
    hers, *others = [await desk.code(person["psn_no"]) for person in (LI, *[WANG] * 8)]
    async with desk.database.transaction() as connection:
        # As ChangeCertificate and MergePersons do: nobody can write anything that names her until they are done.
        await connection.execute(
            text("UPDATE persons SET certno_index = decode(repeat('00', 32), 'hex') WHERE psn_no = :psn_no"),
            {"psn_no": LI["psn_no"]},
        )
        answers = await asyncio.gather(
            *(desk.decode(code) for code in (*others[:4], hers, *others[4:])), return_exceptions=True
        )
    told = [
        each.person.psn_no
        if isinstance(each, credentials_pb2.DecodeCredentialResponse)
        else getattr(each, "reason", each)
        for each in answers
    ]
    assert told == [WANG["psn_no"]] * 4 + ["DATABASE_UNAVAILABLE"] + [WANG["psn_no"]] * 4
    assert (await desk.decode(hers)).person.psn_no == LI["psn_no"]


async def test_calls_that_are_cancelled_take_nothing_from_the_others(desk: Identity) -> None:
    """Every second caller hangs up at some moment: the others get their tokens, and no code is used twice."""
    codes = [await desk.code(WANG["psn_no"]) for _ in range(40)]
    calls = [asyncio.ensure_future(desk.decode(code, mdtrt_id=f"M{n}")) for n, code in enumerate(codes)]
    for call in calls[1::2]:
        await asyncio.sleep(0.001)
        call.cancel()
    answers = await asyncio.gather(*calls[::2])
    assert [answer.person.psn_no for answer in answers] == [WANG["psn_no"]] * 20
    again = await asyncio.gather(*(desk.decode(code, mdtrt_id="M") for code in codes), return_exceptions=True)
    assert {getattr(each, "reason", "") for each in again[::2]} == {"CODE_ALREADY_USED"}
    assert {getattr(each, "reason", "") for each in again[1::2]} <= {"CODE_ALREADY_USED", ""}
    async with desk.database.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM used_codes") == len(codes)


async def test_a_line_cut_after_the_commit_costs_nobody_his_code(desk: Identity, migrated: str) -> None:
    """The answer was lost, the use was not: it is found again under its own token, and counts for nobody else."""
    async with desk.database.driver_connection() as connection:
        await connection.execute(SLOW_USE)
    code = uuid4()
    async with proxy_before(migrated) as line, Database(url_through(line, migrated)) as cut_off:
        decoder = Decoder(cut_off, desk.clock)
        decoding = asyncio.create_task(decoder.use(shown(code)))
        await until(desk, UNDER_WAY, 1)
        line.becomes(Line.SWALLOWS)
        await until(desk, "SELECT count(*) FROM used_codes", 1)
        line.becomes(Line.SOUND)
        line.cut()
        assert (await decoding).psn_no == WANG["psn_no"]
        with pytest.raises(Failure, match="CODE_ALREADY_USED"):
            await decoder.use(shown(code))


def shown(code: UUID) -> Shown:
    """WANG's code at the hospital's first terminal."""
    return Shown(
        psn_no=PsnNo(WANG["psn_no"]),
        jti=code,
        token_jti=uuid4(),
        desk=Desk(FixmedinsCode(HOSPITAL), "T1"),
        mdtrt_cert_type=CertType.CODE,
        business_type="01301",
        mdtrt_id="M1",
        shown_by=None,
        agent=None,
        trace_id="",
    )


async def until(identity: Identity, statement: str, count: int) -> None:
    """Waits until so many are counted."""
    async with asyncio.timeout(60), identity.database.driver_connection() as connection:
        while await connection.fetchval(statement) < count:  # noqa: ASYNC110  The database has no event for it.
            await asyncio.sleep(0.01)
