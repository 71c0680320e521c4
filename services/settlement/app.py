"""The settlement process: settings on top, constructors from top to bottom, main."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

import grpc
from pydantic import Field, ValidationInfo, field_validator

from chassis.bus import Bus, Stream
from chassis.clock import database_clock
from chassis.db import Database
from chassis.following import FollowedFolder
from chassis.inbox import ACK_WAIT_S
from chassis.migrate import Migrations
from chassis.outbox import OutboxPublisher
from chassis.process import Process, run
from chassis.rpc.client import channel
from chassis.rpc.server import RpcServer
from chassis.settings import Address, ServiceSettings, load, made_at_start
from kernel.callers import service
from kernel.clock import Clock
from kernel.ids import AdmDvs, PlanId, time_ordered_uuid
from kernel.policy import PolicyBook, PolicyShelf
from kernel.randomness import SYSTEM_RANDOMNESS
from services.settlement import recovery
from services.settlement.api.account import AccountApi
from services.settlement.api.claims import ClaimApi
from services.settlement.api.clearing import ClearingApi
from services.settlement.api.premiums import PremiumApi
from services.settlement.api.reconciliation import ReconciliationApi
from services.settlement.api.returns import ReturnApi
from services.settlement.api.settlement import SettlementApi
from services.settlement.api.visits import VisitApi
from services.settlement.api.wallets import WalletApi
from services.settlement.clients import READ_TIMEOUT_S, Identity, LedgerClient
from services.settlement.consumer import events, inquire
from services.settlement.domain.lines import LinesRequired
from services.settlement.domain.payment import RETENTION_DEFAULT
from services.settlement.domain.plan import Plan
from services.settlement.operations.burying import PER_MINUTE_DEFAULT, Burials
from services.settlement.operations.engine import Engine, EngineSettings
from services.settlement.operations.freshness import Freshness
from services.settlement.operations.payments import PlanDocument
from services.settlement.operations.planning import Desk, replan
from services.settlement.operations.reconciling import Books
from services.settlement.operations.refusing import Refusals
from services.settlement.operations.wallets import Room
from services.settlement.saga.payment import Payment
from services.settlement.store.payments import read_standing

NAME: Final = "settlement"
INQUIRE_MARGIN_S: Final = 2.0
"""How much later than the votes' deadline a ledger begins to ask: by then the coordinator has mostly decided."""
WRITER_SILENT_MAX_S: Final = 8.0
"""How long a coordinator that hangs keeps a patient's lock from the others; the outbox may wait for NATS within it."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Settings(ServiceSettings):
    """What the settlement process is told."""

    policies_folder: Path = Field(
        description="The folder of region policies (YAML, one file for each area or province).",
        examples=["/etc/gongji/policies"],
    )
    policies_poll_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="How often that folder is looked at: changed files count without a restart, once they are sound.",
        examples=["10"],
    )
    policies_preset: str | None = Field(
        default=None,
        description="The preset laid above all areas; none if empty.",
        examples=["intra-province-strict"],
    )
    identity_address: Address | None = Field(
        default=None,
        validate_default=True,
        description="Where identity answers: what changed there is asked for every few seconds. Production needs it.",
        examples=["identity:7001"],
    )
    identity_sweep_s: float = Field(
        default=4.0,
        gt=0,
        le=60,
        description="How often identity is asked what changed; with the answer's time, how late a sanction may count.",
        examples=["4"],
    )
    identity_age_max_s: float = Field(
        default=30.0,
        validate_default=True,
        gt=0,
        le=3600,
        description="When identity was not heard for so long, mutual aid pauses rather than pay a sanctioned person.",
        examples=["30"],
    )
    family_address: Address | None = Field(
        default=None,
        description="Where family answers: its snapshot is read once, when this database is new.",
        examples=["family:7001"],
    )
    vote_deadline_s: float = Field(
        default=8.0,
        gt=0,
        le=600,
        description="How long the ledgers of a payment may take to vote before it is aborted.",
        examples=["8"],
    )
    balance_wait_s: float = Field(
        default=READ_TIMEOUT_S,
        gt=0,
        le=60,
        description="How long a ledger may take to tell balances before a plan is made without it.",
        examples=["1"],
    )
    recovery_lease_s: float = Field(
        default=3.0,
        gt=0,
        le=60,
        description="How long recovery leaves a payment to the coordinator that wrote it last.",
        examples=["3"],
    )
    event_ack_wait_s: float = Field(
        default=ACK_WAIT_S,
        gt=0,
        le=300,
        description="After this an event that a consumer took and did not acknowledge is delivered again.",
        examples=["30"],
    )
    answer_retention_days: int = Field(
        default=RETENTION_DEFAULT.days,
        ge=1,
        le=3650,
        description="How long the answer to a request key is kept; an older msgid is refused.",
        examples=["180"],
    )
    tombstones_per_minute: int = Field(
        default=PER_MINUTE_DEFAULT,
        ge=1,
        le=1_000_000,
        description="How many unseen msgids of an institution a process lets 2601 block in a minute: rows for ever.",
        examples=["600"],
    )
    statement_retention_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="How long the rows that an institution sent for a day's reconciliation are kept.",
        examples=["30"],
    )

    lines_required: Literal["none", "pharmacies", "all"] = Field(
        default="none",
        description="Whose bills are refused without their lines: none, pharmacies or all.",
        examples=["pharmacies"],
    )

    @field_validator("identity_address")
    @classmethod
    def _needed_in_production(cls, address: str | None, info: ValidationInfo) -> str | None:
        if address is None and info.data.get("environment") == "production":
            raise ValueError("is needed in production: without it nobody would notice that sanctions are missed")
        return address

    @field_validator("identity_age_max_s")
    @classmethod
    def _longer_than_a_sweep(cls, age_max_s: float, info: ValidationInfo) -> float:
        if age_max_s <= info.data.get("identity_sweep_s", 0):
            raise ValueError("must be above GONGJI_IDENTITY_SWEEP_S")
        return age_max_s


async def serve(process: Process, settings: Settings, *, policies: FollowedFolder[PolicyBook]) -> None:
    """Runs the process until it is asked to stop."""
    database = await process.enter(
        Database(
            settings.database_url,
            application=process.name,
            pool_size=settings.database_pool_size,
            idle_in_transaction_timeout_s=WRITER_SILENT_MAX_S,
            by_key=True,
        )
    )
    clock = await database_clock(process, database)
    bus = await process.enter(
        Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix, nkey_file=settings.nats_nkey_file)
    )
    stream = Stream(settings.bus_prefix, NAME, settings.stream_replicas)
    process.supervise("outbox", OutboxPublisher(database, bus, stream).run())
    await events.read_snapshots(
        database, identity_address=settings.identity_address, family_address=settings.family_address
    )
    for consumer in events.consumers(database, bus, ack_wait_s=settings.event_ack_wait_s):
        process.supervise("events", consumer.run())
    identity = await identity_at(process, settings)
    freshness = await followed(process, settings, database, identity)

    async with database.driver_connection() as connection:
        standing = await read_standing(connection)
    ledgers = LedgerClient(bus, epoch=standing.epoch, read_timeout_s=settings.balance_wait_s)
    shelf = PolicyShelf(policies.built)
    process.supervise("policies", policies.follow(shelf.exchange, poll_s=settings.policies_poll_s))
    lines_required, burials = LinesRequired(settings.lines_required), Burials(settings.tombstones_per_minute)
    desk = Desk(database, ledgers, shelf, freshness, Refusals(database), lines_required, burials)

    def new_id() -> UUID:
        return time_ordered_uuid(clock.now(), SYSTEM_RANDOMNESS)

    engine = await process.enter(engine_of(settings, desk, new_id, clock))
    engine.stand(standing)
    await inquire.serve(bus, engine)
    books = Books(database, new_id, timedelta(days=settings.statement_retention_days))
    recover(process, engine, books, clock)

    server = RpcServer(settings, process.health)
    room = Room(desk, engine, Identity(identity))
    for face in (
        SettlementApi(desk, engine, clock, new_id),
        ReturnApi(desk, engine, clock, new_id),
        VisitApi(desk, engine, clock),
        AccountApi(desk, engine),
        ClearingApi(database, clock),
        ReconciliationApi(books, clock),
        WalletApi(room, clock),
        PremiumApi(room, clock),
        ClaimApi(room, clock),
    ):
        face.add_to(server)
    await process.ready(await process.listen(server))
    await process.stopped()


def engine_of(settings: Settings, desk: Desk, new_id: Callable[[], UUID], clock: Clock) -> Engine:
    """The engine, which makes a new plan at the desk where a settlement was refused."""

    async def replan_refused(_: Payment, refused: PlanDocument, silent: frozenset[AdmDvs]) -> PlanId:
        plan_id, plan = PlanId(new_id()), Plan.of_document(refused)
        return (await replan(desk, refused=plan, silent=silent, plan_id=plan_id, now=clock.now())).plan.plan_id

    return Engine(
        desk.database,
        desk.ledgers,
        replan=replan_refused,
        new_id=new_id,
        clock=clock,
        settings=EngineSettings(
            vote_deadline_s=settings.vote_deadline_s,
            inquire_after_s=settings.vote_deadline_s + INQUIRE_MARGIN_S,
            lease_s=settings.recovery_lease_s,
            retention=timedelta(days=settings.answer_retention_days),
        ),
    )


def recover(process: Process, engine: Engine, books: Books, clock: Clock) -> None:
    """Everything that the clock sees to, beside the calls."""
    for sweep in (
        recovery.watch_standing(engine),
        recovery.sweep_payments(engine),
        recovery.sweep_account_commands(engine),
        recovery.sweep_account_endings(engine),
        recovery.sweep_wallet_moves(engine, clock),
        recovery.purge_statements(books),
    ):
        process.supervise("recovery", sweep)


async def identity_at(process: Process, settings: Settings) -> grpc.aio.Channel | None:
    """The way to identity; None where the room was told of none."""
    address = settings.identity_address
    return None if address is None else await process.enter(channel(address, caller=service(NAME)))


async def followed(
    process: Process, settings: Settings, database: Database, identity: grpc.aio.Channel | None
) -> Freshness:
    """Identity, asked now and then by the clock; how recently it was heard."""
    if identity is None:
        return Freshness(age_max_s=math.inf)
    freshness = Freshness(age_max_s=settings.identity_age_max_s)
    await recovery.hear_before_serving(database, identity, freshness)
    following = recovery.follow_identity(database, identity, freshness, pause_s=settings.identity_sweep_s)
    process.supervise("recovery", following)
    return freshness


def main() -> None:
    """``python -m services.settlement.app``, with ``migrate`` to bring the database to the newest schema and end."""
    settings = load(Settings)
    build = partial(PolicyBook.of_documents, preset=settings.policies_preset)
    policies = made_at_start(
        lambda: FollowedFolder(
            settings.policies_folder, build, what="policies", check_change=PolicyBook.check_followed_by
        ),
        what="policies",
    )
    run(
        NAME,
        settings,
        partial(serve, policies=policies),
        migrations=Migrations(MIGRATIONS, [settings.database_url]),
    )


if __name__ == "__main__":
    main()
