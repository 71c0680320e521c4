"""The civil registry's batch file: what it confirms is verified at once, what it denies or does not know waits."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from gongji.identity.v1 import identity_pb2, kinship_pb2, person_pb2
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import SYSTEM_RANDOMNESS
from services.identity.domain.kinship import Evidence, Fact, FactKind
from services.identity.domain.registry import Finding
from services.identity.operations import kinship
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, refusal
from tests.integration.identity.test_kinship import (
    MARRIED_TO,
    OLD_LI,
    SUBMITTED,
    VERIFIED,
    WEDDING,
    ZHAO,
    answer,
    none,
    proven,
    review,
    submit,
    verify,
)
from tests.integration.identity.test_kinship_life import fact_of

CONFIRMED = kinship_pb2.REGISTRY_FINDING_CONFIRMED
DENIED = kinship_pb2.REGISTRY_FINDING_DENIED
NOTHING = kinship_pb2.REGISTRY_FINDING_UNKNOWN


@pytest.fixture
async def family(identity: Identity) -> Identity:
    """A room that knows five people and nothing of their kinship."""
    for person in (WANG, LI, CHILD, OLD_LI, ZHAO):
        await identity.register(**person)
    return identity


def row(
    kind: str, one: dict[str, str], other: dict[str, str], begin: str = "", end: str = ""
) -> kinship_pb2.RegistryRow:
    """A row of the registry's file."""
    return kinship_pb2.RegistryRow(
        kind=kind, certno_a=one["certno"], certno_b=other["certno"], from_date=begin, to_date=end
    )


async def load(identity: Identity, *rows: kinship_pb2.RegistryRow) -> tuple[int, int, list[tuple[int, str, str]]]:
    """How many rows were taken and known, and what was refused."""
    found = await identity.kinship.LoadRegistryRows(kinship_pb2.LoadRegistryRowsRequest(rows=rows))
    return found.taken, found.known, [(each.row, each.reason, each.field) for each in found.refused]


async def check(identity: Identity, fact_id: str) -> tuple[int, int, str]:
    """Asks the registry once more."""
    found = await identity.kinship.CheckWithRegistry(kinship_pb2.CheckWithRegistryRequest(fact_id=fact_id))
    return found.state, found.finding, found.obstacle


async def test_what_the_registry_confirms_is_verified_at_once(family: Identity) -> None:
    """No officer is asked; the decision says that the registry took it."""
    assert await load(family, row("PARENT_OF", WANG, CHILD)) == (1, 0, [])
    fact = await submit(family, WANG, CHILD)
    assert (fact.state, fact.finding) == (VERIFIED, CONFIRMED)
    assert await verify(family, WANG, CHILD) == answer("PARENT", fact.fact_id)
    assert [event.version for event in await family.told(f"fact:{fact.fact_id}", 1)] == [1]
    (decision,) = (await fact_of(family, fact.fact_id)).decisions
    assert (decision.decider, decision.opter) == (kinship_pb2.KINSHIP_DECIDER_REGISTRY, "")


async def test_what_it_denies_waits_for_an_officer_with_the_finding(family: Identity) -> None:
    """Nothing is rejected by a machine: the queue shows what the registry said, and the officer decides."""
    await load(family, row("MARRIED_TO", LI, ZHAO, "2009-01-01"))
    fact = await submit(family, WANG, LI, **WEDDING)
    assert (fact.state, fact.finding) == (SUBMITTED, DENIED)
    (waiting,) = (await family.kinship.ListReviews(kinship_pb2.ListReviewsRequest())).facts
    assert (waiting.fact_id, waiting.finding) == (fact.fact_id, DENIED)
    assert await review(family, fact.fact_id) == VERIFIED


async def test_what_it_does_not_know_waits_until_a_later_file_knows(family: Identity) -> None:
    """UNKNOWN at first; the next file that knows it verifies it, and nobody need ask about it again."""
    fact = await submit(family, WANG, LI, **WEDDING)
    other = await submit(family, WANG, CHILD)
    assert (fact.state, fact.finding) == (SUBMITTED, NOTHING)
    assert await check(family, fact.fact_id) == (SUBMITTED, NOTHING, "")
    assert await load(family, row("MARRIED_TO", LI, WANG, "2010-05-20")) == (1, 0, [])
    assert await verify(family, WANG, LI) == answer("SPOUSE", fact.fact_id)
    (decision,) = (await fact_of(family, fact.fact_id)).decisions
    assert decision.decider == kinship_pb2.KINSHIP_DECIDER_REGISTRY
    assert (await fact_of(family, other.fact_id)).state == SUBMITTED
    request = kinship_pb2.CheckWithRegistryRequest(fact_id=fact.fact_id)
    assert (await refusal(family.kinship.CheckWithRegistry(request)))[1] == "FACT_NOT_REVIEWABLE"


async def test_a_row_that_is_known_is_heard_again(family: Identity) -> None:
    """A file that was cut off behind its rows is loaded again: it verifies what it would have verified then."""
    await load(family, row("PARENT_OF", WANG, CHILD))
    fact = await submitted_unasked(family)
    assert await load(family, row("PARENT_OF", WANG, CHILD)) == (0, 1, [])
    assert await verify(family, WANG, CHILD) == answer("PARENT", str(fact.fact_id))


async def test_a_newer_file_changes_what_the_officer_sees(family: Identity) -> None:
    """What the registry denies since then waits with that finding, by whichever certificate it names somebody."""
    fact = await submit(family, WANG, LI, **WEDDING)
    await family.stub.ChangeCertificate(
        identity_pb2.ChangeCertificateRequest(
            psn_no=LI["psn_no"],
            psn_cert_type=person_pb2.CERTIFICATE_TYPE_HK_MACAU_PERMIT,
            certno="H87654321",
            opter="zhang01",
            cause="换证",
        )
    )
    await load(family, row("MARRIED_TO", LI, ZHAO, "2009-01-01"))
    found = await fact_of(family, fact.fact_id)
    assert (found.state, found.finding) == (SUBMITTED, DENIED)


async def test_a_confirmed_fact_that_contradicts_the_record_waits(family: Identity) -> None:
    """The registry's word does not make somebody twice married: the officer sees which rule stands against it."""
    fact = await submit(family, WANG, LI, **WEDDING)
    await proven(family, WANG, ZHAO, kind=MARRIED_TO, from_date="2020-01-01")
    await load(family, row("MARRIED_TO", WANG, LI, "2010-05-20"))
    assert await check(family, fact.fact_id) == (SUBMITTED, CONFIRMED, "SPOUSE_ALREADY")
    assert await verify(family, WANG, LI) == none("NO_CHAIN")


async def test_a_row_is_taken_once_and_a_wedding_gets_its_end(family: Identity) -> None:
    """The same rows again say nothing new, whoever is named first; an end is added and never taken back."""
    lasting, ended = row("MARRIED_TO", WANG, LI, "2010-05-20"), row("MARRIED_TO", LI, WANG, "2010-05-20", "2025-06-30")
    parent = row("PARENT_OF", WANG, CHILD)
    assert await load(family, lasting, parent, parent) == (2, 1, [])
    assert await load(family, row("MARRIED_TO", LI, WANG, "2010-05-20"), parent) == (0, 2, [])
    assert await load(family, ended) == (1, 0, [])
    assert await load(family, ended, lasting) == (0, 2, [])
    fact = await submit(family, WANG, LI, **WEDDING, to_date="2025-06-30")
    assert (fact.state, fact.finding) == (VERIFIED, CONFIRMED)


async def test_a_row_names_who_loaded_what_it_says(family: Identity) -> None:
    """Whoever loads the same again has said nothing; whoever gives the wedding its end has."""
    request = kinship_pb2.LoadRegistryRowsRequest(rows=[row("MARRIED_TO", WANG, LI, "2010-05-20")])
    ended = kinship_pb2.LoadRegistryRowsRequest(rows=[row("MARRIED_TO", WANG, LI, "2010-05-20", "2025-06-30")])
    said = []
    for content, operator in ((request, "zhang01"), (request, "li02"), (ended, "wu03")):
        await family.kinship.LoadRegistryRows(content, metadata=(("gongji-caller", f"operator:{operator}"),))
        async with family.database.driver_connection() as connection:
            said.append(await connection.fetchval("SELECT loaded_by FROM registry_rows"))
    assert said == ["operator:zhang01", "operator:zhang01", "operator:wu03"]


async def test_refused_rows_keep_no_other_back(family: Identity) -> None:
    """Each is named by its place, its reason and its column; the sound rows of the batch are taken."""
    sound = row("PARENT_OF", WANG, CHILD)
    broken = {"certno": "650103198503124519"}
    assert await load(
        family,
        row("PARENT_OF", broken, CHILD),
        sound,
        row("COUSIN", WANG, CHILD),
        row("MARRIED_TO", WANG, LI, "2010-02-30"),
        row("MARRIED_TO", WANG, LI, "20100520"),
        row("MARRIED_TO", WANG, LI, "2010-W20-4"),
        row("SIBLING_OF", WANG, WANG),
        row("PARENT_OF", WANG, {"certno": "\x00"}),
    ) == (
        1,
        0,
        [
            (0, "CERTIFICATE_CHECKSUM_WRONG", "certno_a"),
            (2, "REGISTRY_KIND_UNKNOWN", "kind"),
            (3, "DATE_MALFORMED", "from_date"),
            (4, "DATE_MALFORMED", "from_date"),
            (5, "DATE_MALFORMED", "from_date"),
            (6, "KINSHIP_WITH_SELF", "certno_b"),
            (7, "CERTIFICATE_MALFORMED", "certno_b"),
        ],
    )


async def test_the_registry_keeps_no_number(family: Identity) -> None:
    """What stands in the database does not tell whom a row is about."""
    await load(family, row("PARENT_OF", WANG, CHILD))
    async with family.database.transaction() as connection:
        kept = str(await connection.scalar(sa.text("SELECT registry_rows::text FROM registry_rows")))
    for person in (WANG, CHILD):
        assert person["certno"] not in kept
        assert person["certno"].encode().hex() not in kept


async def test_a_person_is_found_by_a_former_certificate(family: Identity) -> None:
    """A newborn's birth certificate stands in the registry; the number that took its place finds the row."""
    newborn = {"certno": "S650123456", "psn_name": "王小宝", "psn_no": "650100000000010"}
    await family.register(
        **newborn, psn_cert_type=person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE, brdy="2018-05-06", gend="1"
    )
    await load(family, row("PARENT_OF", WANG, newborn))
    await family.stub.ChangeCertificate(
        identity_pb2.ChangeCertificateRequest(
            psn_no=newborn["psn_no"],
            psn_cert_type=person_pb2.CERTIFICATE_TYPE_RESIDENT_ID,
            certno="650103201805063436",
            opter="zhang01",
            cause="取得身份证号",
        )
    )
    fact = await submit(family, WANG, newborn)
    assert (fact.state, fact.finding) == (VERIFIED, CONFIRMED)


async def test_a_fact_checked_many_times_at_once_is_verified_once(family: Identity) -> None:
    """Ten questions at once, and the file that brings the answer, are one decision and one event."""
    fact = await submit(family, WANG, CHILD)
    answers = await asyncio.gather(
        *(load(family, row("PARENT_OF", WANG, CHILD)) for _ in range(5)),
        *(check(family, fact.fact_id) for _ in range(10)),
        return_exceptions=True,
    )
    assert not any(isinstance(each, BaseException) for each in answers[:5])
    taken = [each for each in answers[5:] if not isinstance(each, BaseException)]
    assert set(taken) <= {(VERIFIED, CONFIRMED, ""), (SUBMITTED, NOTHING, "")}
    assert {str(each) for each in answers if isinstance(each, BaseException)} <= {
        "FACT_NOT_REVIEWABLE (state=VERIFIED)"
    }
    assert [event.version for event in await family.told(f"fact:{fact.fact_id}", 1)] == [1]
    assert len((await fact_of(family, fact.fact_id)).decisions) == 1


class AbsentRegistry:
    """A registry that is asked by a call and does not answer."""

    async def check(self, _: Fact) -> Finding:
        """It cannot be asked just now."""
        raise Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")


def asking(identity: Identity) -> dict[str, Any]:
    """What an operation needs to ask a registry that is away."""
    return {
        "database": identity.database,
        "registry": AbsentRegistry(),
        "asked_by": "officer:650100/zhang01",
        "now": identity.clock.now(),
        "randomness": SYSTEM_RANDOMNESS,
    }


async def submitted_unasked(identity: Identity) -> Fact:
    """A father submitted while the registry was away."""
    new = Fact(
        UUID("01a1ffe7-da17-7fff-bfff-000000000001"),
        FactKind.PARENT_OF,
        PsnNo(WANG["psn_no"]),
        PsnNo(CHILD["psn_no"]),
        Evidence.HOUSEHOLD_REGISTER,
    )
    checked = await kinship.submit_fact(fact=new, **asking(identity))
    assert (checked.fact, checked.finding) == (new, None)
    return new


async def test_a_registry_that_is_away_keeps_nobody_from_submitting(family: Identity) -> None:
    """The fact waits without a finding; whoever asks once more is told; an officer may decide."""
    new = await submitted_unasked(family)
    with pytest.raises(Failure, match="SERVICE_BUSY"):
        await kinship.check_with_registry(fact_id=new.fact_id, **asking(family))
    assert (await fact_of(family, str(new.fact_id))).finding == kinship_pb2.REGISTRY_FINDING_UNSPECIFIED
    assert await review(family, str(new.fact_id)) == VERIFIED
