"""Institutions and the snapshot, through gRPC."""

from __future__ import annotations

import asyncio

import pytest

from gongji.identity.v1 import identity_pb2, institutions_pb2, person_pb2
from services.identity.store import events
from tests.integration.identity.conftest import HOSPITAL, LI, WANG, Identity, refusal

AGGREGATE = f"institution:{HOSPITAL}"


async def test_an_institution_is_told_when_it_changes_and_only_then(identity: Identity) -> None:
    """Registering the same twice is one event; each change is one more, with the whole institution."""
    await identity.hospital()
    await identity.hospital()
    await identity.hospital(fixmedins_name="共济总医院")
    suspended = await identity.hospital("SUSPENDED", fixmedins_name="共济总医院", wallet_capable=False)
    told = await identity.told(AGGREGATE, 3)
    assert [event.version for event in told] == [1, 2, 3]
    assert [event.institution_changed.institution.fixmedins_name for event in told] == [
        "共济医院",
        "共济总医院",
        "共济总医院",
    ]
    assert told[-1].institution_changed.institution == suspended


async def test_an_end_is_for_good(identity: Identity) -> None:
    """An ended institution is not designated again."""
    await identity.hospital("ENDED")
    assert (await identity.hospital("ENDED")).state == person_pb2.INSTITUTION_STATE_ENDED
    assert (await refusal(identity.hospital()))[:2] == ("FAILED_PRECONDITION", "INSTITUTION_ENDED")


@pytest.mark.parametrize("code", ["X65010000001", "H05010000001", "H6501000000", "H650100000011", "h65010000001", ""])
async def test_a_wrong_code_is_refused(identity: Identity, code: str) -> None:
    """A code is H or P, six digits of an area, five more."""
    assert (await refusal(identity.hospital(fixmedins_code=code)))[:2] == ("INVALID_ARGUMENT", "REQUEST_INVALID")


async def test_a_name_that_cannot_be_shown_is_refused(identity: Identity) -> None:
    """A control character in a name is a named refusal, not an error."""
    refused = ("INVALID_ARGUMENT", "TEXT_MALFORMED", "institution.fixmedins_name")
    assert await refusal(identity.hospital(fixmedins_name="共济\x00医院")) == refused
    missing = identity.institutions.RegisterInstitution(institutions_pb2.RegisterInstitutionRequest())
    assert (await refusal(missing))[:2] == ("INVALID_ARGUMENT", "REQUEST_INVALID")


async def test_registered_many_times_at_once_it_is_one(identity: Identity) -> None:
    """Twenty registrations at once that differ in two ways end in one row and versions in a row."""
    names = ["共济医院", "共济总医院"]
    await asyncio.gather(*(identity.hospital(fixmedins_name=names[n % 2]) for n in range(20)))
    latest = (await identity.snapshot())[AGGREGATE]
    told = await identity.told(AGGREGATE, latest.version)
    assert sorted(event.version for event in told) == list(range(1, latest.version + 1))
    assert max(told, key=lambda event: event.version) == latest


async def test_the_snapshot_holds_the_latest_event_of_everything(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every aggregate once, as it was told last, over more than one page."""
    monkeypatch.setattr(events, "SNAPSHOT_PAGE_SIZE_MAX", 2)
    await identity.register(**WANG)
    await identity.register(**LI)
    await identity.stub.Enrol(identity_pb2.EnrolRequest(psn_no=WANG["psn_no"], insutype="310", insuplc_admdvs="650100"))
    await identity.hospital()
    snapshot = await identity.snapshot()
    (kid,) = identity.keys.ring.kids
    assert {name: event.version for name, event in snapshot.items()} == {
        f"person:{WANG['psn_no']}": 2,
        f"person:{LI['psn_no']}": 1,
        AGGREGATE: 1,
        f"key:{kid}": 1,
    }
    for name, event in snapshot.items():
        assert (await identity.told(name, event.version))[-1] == event


async def test_a_snapshot_shows_one_moment(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while the snapshot is read is not in it."""
    monkeypatch.setattr(events, "SNAPSHOT_PAGE_SIZE_MAX", 1)
    await identity.register(**WANG)
    pages = events.snapshot(identity.database)
    first = await anext(pages)
    await identity.register(**LI)
    rest = [page async for page in pages]
    assert len([*first, *(payload for page in rest for payload in page)]) == 2
    assert len(await identity.snapshot()) == 3
