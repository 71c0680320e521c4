"""The permissions of deploy/nats/values.yaml are enough for the five processes, and no more than they use."""

from __future__ import annotations

import asyncio
import io
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import nats.errors
import pytest
from rich.console import Console

from chassis.bus import Bus, Stream
from gongji.identity.v1 import identity_pb2
from gongji.settlement.v1 import account_pb2
from kernel.callers import parsed_caller
from kernel.failures import Failure, Kind
from ops import household
from ops.demo.people import AREAS, HOSPITAL, PATIENT, URUMQI, WIFE
from ops.demo.story import MED_TYPE, Story
from ops.demo.view import View
from ops.desks import desks_at
from ops.embedded.databases import Databases
from ops.embedded.world import SERVICES, Starting, World
from ops.told import wait_until_told
from ops.visits import counter_at
from services.settlement.domain.bill import Bill
from tests.integration.deploy.guarded import GuardedNats, heard, matches, violations
from tests.patience import insisted
from tests.servers import new_folder
from tools.bus_permissions import permissions
from tools.make_bus_keys import make_keys

PREFIX: Final = "gongji"
INQUIRE: Final = "gongji.settlement.inquire"
WAIT_S: Final = 30.0


@dataclass
class Guarded:
    """A NATS server behind the permissions, and each process's key."""

    nats: GuardedNats
    keys: Path

    def nkey(self, process: str) -> Path:
        """The file with that process's seed."""
        return self.keys / f"{process}.seed"

    def told(self, process: str) -> dict[str, str]:
        """The setting that the manifests give in the same way."""
        return {"GONGJI_NATS_NKEY_FILE": str(self.nkey(process))}


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    """The server, freshly made."""
    keys = new_folder("keys")
    server = GuardedNats(new_folder("nats-guarded"), make_keys(keys))
    await server.start()
    yield Guarded(server, keys)
    await server.destroy()
    shutil.rmtree(keys)


@pytest.fixture
async def town(guarded: Guarded, postgres: Databases, starting: Starting) -> AsyncIterator[World]:
    """The five processes, each under its own key; nothing else of them is different."""
    name = f"w{uuid.uuid4().hex[:12]}"
    url = f"nats://{guarded.nats.address}"
    world = World(
        new_folder("world"),
        databases=postgres,
        nats_url=url,
        database_prefix=name,
        bus_prefix=PREFIX,
        areas=AREAS,
        starting=starting,
    )
    await world.start(iter(()))  # Folders, databases and secrets; the processes follow, each with its own key.
    await asyncio.gather(*(world.start_process(one.name, environment=guarded.told(one.name)) for one in SERVICES))
    yield world
    await world.stop()
    await world.drop_databases()
    shutil.rmtree(world.folder, ignore_errors=True)


async def until_inquired(log: Path) -> None:
    """Returns once the ledger has asked what became of a payment."""
    end = time.monotonic() + WAIT_S
    while INQUIRE not in heard(log)["ledger"].published:
        assert time.monotonic() < end, "the ledger never inquired"
        await asyncio.sleep(0.2)


def unused(log: Path) -> list[str]:
    """The permissions that no process has used so far."""
    said = heard(log)
    return [
        f"{process} may {verb} {permitted}"
        for process, allowed in permissions(PREFIX).items()
        for verb, some, subjects in (
            ("publish", allowed.publish, said[process].published),
            ("subscribe", allowed.subscribe, said[process].subscribed),
        )
        for permitted in sorted(some)
        if not any(matches(permitted, subject) for subject in subjects)
    ]


async def leave_undecided(story: Story, guarded: Guarded) -> None:
    """The coordinator dies before it decides, and comes back when the ledger has asked about its holds."""
    dying = {"GONGJI_ENVIRONMENT": "test", "GONGJI_FAULT_POINT": "settlement.decide.before_commit"}
    quick = {"GONGJI_VOTE_DEADLINE_S": "1", **guarded.told("settlement")}
    await story.world.restart_process("settlement", environment={**quick, **dying})
    bill = Bill(medfee_sumamt=30_000, fulamt_ownpay_amt=0, overlmt_selfpay=0, preselfpay_amt=0, inscp_scp_amt=30_000)
    plan = await story.counter.plan(patient=PATIENT.psn_no, med_type=MED_TYPE, bill=bill, mdtrt_id="UNDECIDED")
    paying = asyncio.create_task(story.counter.pay(plan, med_type=MED_TYPE))
    await until_inquired(guarded.nats.log)
    assert story.world.pid("settlement") is None
    await story.world.restart_process("settlement", environment=quick)
    with suppress(Failure):  # Paid or given up: either is an end.
        await paying
    assert await story.at_rest()


async def move_her_account(story: Story) -> None:
    """The wife lives in Ürümqi by now, and her account follows her; so does what it pays for others."""
    enrolment = identity_pb2.EnrolRequest(psn_no=WIFE.psn_no, insutype=WIFE.insutype, insuplc_admdvs=URUMQI)
    await story.desks.identity.Enrol(enrolment)
    await story.told()
    # Our channel may not have found the settlement process that was started again.
    await insisted(lambda: household.credit(story.desks, psn_no=WIFE.psn_no, area=URUMQI, past_fen=1))
    moving = account_pb2.MoveAccountRequest(
        psn_no=WIFE.psn_no, from_area=WIFE.area, to_area=URUMQI, request_id=str(uuid.uuid4())
    )
    assert (await story.desks.accounts.MoveAccount(moving)).closed


async def test_the_five_processes_need_exactly_the_permissions_they_have(
    town: World, guarded: Guarded, tmp_path: Path
) -> None:
    """The demo's bills, a hold that is asked about, an account that moves: no violation, and no permission unused."""
    view = View(Console(file=io.StringIO()))
    rooms = [town.database_url(name) for name in ("identity", "family", "settlement")]
    told = partial(wait_until_told, databases=rooms, nats_url=guarded.nats.observer_url, bus_prefix=PREFIX)
    async with (
        desks_at(town.address, caller=parsed_caller("operator:tester"), call_timeout_s=60) as desks,
        counter_at(
            desks, town.address, fixmedins_code=HOSPITAL, journal=tmp_path / "journal.sqlite", at_work=False
        ) as counter,
    ):
        story = Story(town, desks, counter, view, told)
        await story.family()
        await story.ordinary_bill()
        await story.changed_source()
        await leave_undecided(story, guarded)
        await move_her_account(story)
        await story.messages()
    assert view.problems == []

    end = time.monotonic() + WAIT_S
    # Some is said only when all is quiet.
    while unused(guarded.nats.log) and time.monotonic() < end:  # noqa: ASYNC110  No event tells of a log's lines.
        await asyncio.sleep(0.5)
    await town.stop()
    assert violations(guarded.nats.log) == []
    assert unused(guarded.nats.log) == []


async def test_a_process_cannot_speak_for_another(guarded: Guarded) -> None:
    """Identity says its own facts; family's facts, family's stream and the ledgers' commands are kept from it."""
    url = f"nats://{guarded.nats.address}"
    async with Bus(url, name="identity", prefix=PREFIX, nkey_file=guarded.nkey("identity")) as bus:
        own, other = Stream(PREFIX, "identity"), Stream(PREFIX, "family")
        await bus.ensure_stream(own)
        await bus.publish(own.subject("person_changed"), b"")
        assert violations(guarded.nats.log) == []
        # NATS drops what is not permitted without an answer, so each of these is a wait that ends.
        with suppress(nats.errors.TimeoutError):
            await bus.client.jetstream().publish(other.subject("binding_changed"), b"", timeout=0.3)
        with suppress(nats.errors.TimeoutError):
            await bus.client.jsm().stream_info(other.name)
        for refused in (f"{PREFIX}.ledger.650100.command", INQUIRE):
            with pytest.raises(Failure) as silence:
                await bus.request(refused, b"", wait_s=0.3)
            assert silence.value.kind is Kind.DEADLINE
        await bus.client.subscribe(other.subject(">"))
        await bus.client.flush()
    told = " ".join(violations(guarded.nats.log))
    for subject in (other.subject("binding_changed"), "STREAM.INFO.gongji-family", "650100.command", INQUIRE):
        assert subject in told
    assert f'Subject "{other.subject(">")}"' in told


async def test_a_stranger_is_not_let_in(guarded: Guarded) -> None:
    """Without a key, or with one that NATS was not told of, there is no connection."""
    strange = new_folder("strange-keys")
    make_keys(strange, ["identity"])
    for key in (None, strange / "identity.seed"):
        bus = Bus(f"nats://{guarded.nats.address}", name="identity", prefix=PREFIX, nkey_file=key)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bus.connect(), 2)
        await bus.close()
    shutil.rmtree(strange)
