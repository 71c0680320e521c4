"""亲情账户 through gRPC: a guardian shows the code of a child or parent, and of nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from gongji.identity.v1 import credentials_pb2, identity_pb2
from services.identity.api.room import NOBODY
from services.identity.domain.attestation import Purpose
from services.identity.domain.certificate import check_character
from tests.integration.identity.attesting import attested
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, SetClock, StartIdentity, refusal
from tests.integration.identity.test_kinship import OLD_LI, REVOKED, WEDDING, proven, review


@pytest.fixture
async def family(identity: Identity) -> Identity:
    """A couple, their child of eight, the wife's mother, and a hospital."""
    await populated(identity)
    return identity


async def populated(identity: Identity) -> None:
    """As above."""
    for person in (WANG, LI, CHILD, OLD_LI):
        await identity.register(**person)
    await identity.hospital()


async def add(
    identity: Identity,
    guardian: dict[str, str],
    ward: dict[str, str],
    **fields: Any,  # noqa: ANN401  Any field.
) -> credentials_pb2.Ward:
    """The guardian shows his face, and the ward his if ``consenting``."""
    standard = {"guardian_attestation_id": await attested(identity, guardian["psn_no"], Purpose.ADD_WARD)}
    if fields.pop("consenting", False):
        standard["ward_attestation_id"] = await attested(identity, ward["psn_no"], Purpose.BE_WARD)
    request = credentials_pb2.AddWardRequest(
        guardian_psn_no=guardian["psn_no"], ward_psn_no=ward["psn_no"], **(standard | fields)
    )
    return (await identity.credentials.AddWard(request)).ward


async def wards(identity: Identity, guardian: dict[str, str]) -> list[str]:
    """Whose codes the guardian may show."""
    request = credentials_pb2.ListWardsRequest(guardian_psn_no=guardian["psn_no"])
    return [ward.ward_psn_no for ward in (await identity.credentials.ListWards(request)).wards]


async def shown_by(identity: Identity, guardian: dict[str, str], ward: dict[str, str]) -> str:
    """The ward's code on the guardian's phone."""
    return await identity.code(ward["psn_no"], guardian_psn_no=guardian["psn_no"])


async def test_a_mother_shows_her_childs_code(family: Identity) -> None:
    """The token is the child's; that the mother showed it is on record."""
    await proven(family, LI, CHILD)
    ward = await add(family, LI, CHILD)
    assert (ward.ward_psn_no, ward.name_masked) == (CHILD["psn_no"], "王*明")
    assert await wards(family, LI) == [CHILD["psn_no"]]
    decoded = await family.decode(await shown_by(family, LI, CHILD))
    assert decoded.person.psn_no == CHILD["psn_no"]
    async with family.database.driver_connection() as connection:
        assert await connection.fetchval("SELECT shown_by FROM used_codes") == LI["psn_no"]


async def test_a_parent_consents_with_a_face_of_her_own(family: Identity) -> None:
    """From fourteen on the ward's own face is needed beside the guardian's."""
    await proven(family, OLD_LI, LI)
    missing = ("FAILED_PRECONDITION", "WARD_CONSENT_MISSING", "ward_attestation_id")
    assert await refusal(add(family, LI, OLD_LI)) == missing
    await add(family, LI, OLD_LI, consenting=True)
    assert (await family.decode(await shown_by(family, LI, OLD_LI))).person.psn_no == OLD_LI["psn_no"]


async def test_a_face_shown_to_add_wards_of_ones_own_is_no_consent_to_be_one(family: Identity) -> None:
    """Nor does the consent to be a ward make anybody a guardian."""
    await proven(family, OLD_LI, LI)
    wrong = ("UNAUTHENTICATED", "ATTESTATION_OF_ANOTHER_PURPOSE", "attestation_id")
    to_add = await attested(family, OLD_LI["psn_no"], Purpose.ADD_WARD)
    assert await refusal(add(family, LI, OLD_LI, ward_attestation_id=to_add)) == wrong
    to_be_one = await attested(family, LI["psn_no"], Purpose.BE_WARD)
    assert await refusal(add(family, LI, OLD_LI, guardian_attestation_id=to_be_one, consenting=True)) == wrong
    await add(family, LI, OLD_LI, consenting=True)


async def test_nobody_but_a_child_or_parent_becomes_a_ward(family: Identity) -> None:
    """Not a spouse, not a mother-in-law, not a stranger, not oneself."""
    await proven(family, WANG, LI, **WEDDING)
    await proven(family, OLD_LI, LI)
    for ward in (LI, OLD_LI, CHILD, WANG):
        assert (await refusal(add(family, WANG, ward, consenting=True)))[1] == "WARD_NOT_RELATED"
    assert await wards(family, WANG) == []


async def test_only_somebodys_ward_is_shown_on_his_phone(family: Identity) -> None:
    """A child that was not added, one that was removed: no code. Who removed it stays on record, once."""
    await proven(family, LI, CHILD)
    unknown = ("NOT_FOUND", "WARD_UNKNOWN", "psn_no")
    assert await refusal(shown_by(family, LI, CHILD)) == unknown
    await add(family, LI, CHILD)
    await shown_by(family, LI, CHILD)
    removal = credentials_pb2.RemoveWardRequest(guardian_psn_no=LI["psn_no"], ward_psn_no=CHILD["psn_no"])
    remover = f"person:{LI['psn_no']}"
    for _ in range(2):
        await family.credentials.RemoveWard(removal, metadata=(("gongji-caller", remover),))
    assert await refusal(shown_by(family, LI, CHILD)) == unknown
    async with family.database.driver_connection() as connection:
        changes = await connection.fetch("SELECT change, changed_by FROM ward_changes ORDER BY id")
    assert [tuple(row) for row in changes] == [("ADDED", NOBODY), ("REMOVED", remover)]


async def test_a_fact_that_falls_takes_the_ward_with_it(family: Identity) -> None:
    """The relation is asked at each issue: after the fact is revoked no code is shown, though the ward stands."""
    fact_id = await proven(family, LI, CHILD)
    await add(family, LI, CHILD)
    await review(family, fact_id, REVOKED, "误")
    assert await refusal(shown_by(family, LI, CHILD)) == ("FAILED_PRECONDITION", "WARD_NOT_RELATED", "ward_psn_no")


async def test_a_child_that_turns_fourteen_is_added_anew(family: Identity) -> None:
    """On the birthday the guardian's consent ends; with the ward's own face it goes on."""
    await proven(family, LI, CHILD)
    await add(family, LI, CHILD)
    family.clock.instant = family.clock.instant.replace(year=2032, month=5, day=6, hour=4)
    await family.keys.refresh()
    assert (await refusal(shown_by(family, LI, CHILD)))[1] == "WARD_CONSENT_MISSING"
    await add(family, LI, CHILD, consenting=True)
    await shown_by(family, LI, CHILD)


async def test_the_dead_neither_show_nor_are_shown(family: Identity) -> None:
    """After a death on either side no code is issued and nobody is added."""
    await proven(family, LI, CHILD)
    await proven(family, OLD_LI, LI)
    await add(family, LI, CHILD)
    await family.stub.ReportDeath(
        identity_pb2.ReportDeathRequest(
            psn_no=LI["psn_no"],
            death_date="2026-06-30",
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        )
    )
    dead = ("FAILED_PRECONDITION", "PERSON_DECEASED", "guardian_psn_no")
    assert await refusal(shown_by(family, LI, CHILD)) == dead
    assert await refusal(add(family, LI, CHILD)) == dead


async def test_a_face_adds_one_ward_and_no_other(family: Identity) -> None:
    """The attestation of one ward does not serve for a second; for the same one again it does."""
    await proven(family, LI, CHILD)
    await proven(family, OLD_LI, LI)
    face = await attested(family, LI["psn_no"], Purpose.ADD_WARD)
    await add(family, LI, CHILD, guardian_attestation_id=face)
    await add(family, LI, CHILD, guardian_attestation_id=face)
    used = ("FAILED_PRECONDITION", "ATTESTATION_USED", "attestation_id")
    assert await refusal(add(family, LI, OLD_LI, guardian_attestation_id=face, consenting=True)) == used
    assert await wards(family, LI) == [CHILD["psn_no"]]


def child(number: int) -> dict[str, str]:
    """A child nobody has heard of yet."""
    seventeen = f"65010320190101{number:03d}"
    certno = seventeen + check_character(seventeen)
    return {"certno": certno, "psn_name": "王小明", "psn_no": f"6501000000009{number:02d}"}


async def test_of_eight_children_added_at_once_six_are_wards(start_identity: StartIdentity) -> None:
    """The limit holds over two replicas at once."""
    clock = SetClock()
    replicas = [await start_identity(clock), await start_identity(clock)]
    await populated(replicas[0])
    children = [child(number) for number in range(1, 9)]
    for each in children:
        await replicas[0].register(**each)
        await proven(replicas[0], LI, each)
    answers = await asyncio.gather(
        *(add(replicas[n % 2], LI, each) for n, each in enumerate(children)), return_exceptions=True
    )
    assert Counter(getattr(answer, "reason", "") for answer in answers) == {"": 6, "WARDS_TOO_MANY": 2}
    assert len(await wards(replicas[0], LI)) == 6


async def test_a_ward_that_was_removed_is_not_added_with_the_old_faces(family: Identity) -> None:
    """Whoever took the consent back is asked anew: sent again, or mixed with one fresh face, the old one is used up."""
    await proven(family, OLD_LI, LI)
    faces = {
        "guardian_attestation_id": await attested(family, LI["psn_no"], Purpose.ADD_WARD),
        "ward_attestation_id": await attested(family, OLD_LI["psn_no"], Purpose.BE_WARD),
    }
    added = await add(family, LI, OLD_LI, **faces)
    family.clock.advance(minutes=1)
    assert await add(family, LI, OLD_LI, **faces) == added
    await family.credentials.RemoveWard(
        credentials_pb2.RemoveWardRequest(guardian_psn_no=LI["psn_no"], ward_psn_no=OLD_LI["psn_no"])
    )
    used = ("FAILED_PRECONDITION", "ATTESTATION_USED", "attestation_id")
    assert await refusal(add(family, LI, OLD_LI, **faces)) == used
    fresh = await attested(family, LI["psn_no"], Purpose.ADD_WARD)
    assert await refusal(add(family, LI, OLD_LI, **(faces | {"guardian_attestation_id": fresh}))) == used
    assert await wards(family, LI) == []
    await add(family, LI, OLD_LI, consenting=True)
