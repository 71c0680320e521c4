"""The identity process: settings on top, constructors from top to bottom, main."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from chassis.bus import Bus, Stream
from chassis.clock import database_clock
from chassis.db import Database
from chassis.migrate import Migrations
from chassis.outbox import OutboxPublisher
from chassis.process import Process, run
from chassis.rpc.server import RpcServer
from chassis.settings import EXIT_BAD_SETTINGS, ServiceSettings, load
from kernel.randomness import SYSTEM_RANDOMNESS
from services.identity import consumer
from services.identity.api.attestations import AttestationApi
from services.identity.api.cards import CardApi
from services.identity.api.credentials import CredentialApi
from services.identity.api.identity import IdentityApi
from services.identity.api.institutions import InstitutionApi
from services.identity.api.kinship import KinshipApi
from services.identity.api.rights import RightsApi
from services.identity.api.risk import RiskApi
from services.identity.api.room import Room, check_caller
from services.identity.api.sanctions import SanctionApi
from services.identity.domain.credential import CODE_LIFETIME_MAX_S, CODE_LIFETIME_MIN_S
from services.identity.domain.risk import Thresholds
from services.identity.domain.sealing import Seals
from services.identity.operations.cards import CardRoom
from services.identity.operations.credentials import Presentation
from services.identity.operations.decoding import LOCK_TIMEOUT_S, Decoder
from services.identity.operations.pins import Pins
from services.identity.operations.registry import BatchFileRegistry
from services.identity.operations.secrets_file import (
    ADD_PIN_PEPPER,
    MAKE_SECRETS,
    add_pin_pepper,
    make_secrets_file,
    read_secrets,
)
from services.identity.operations.signing_keys import SigningKeys, check_secrets
from services.identity.recovery import ExpiringFacts, RiskSweep, refresh_keys

NAME: Final = "identity"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
DESK_POOL_SIZE: Final = 4
"""Two batches, refusals, and a card: whoever decodes never waits for the other calls' connections."""


def _checked_secrets_file(path: Path) -> Path:
    read_secrets(path)
    return path


class Settings(ServiceSettings):
    """What the identity process is told."""

    identity_secrets_file: Annotated[Path, AfterValidator(_checked_secrets_file)] = Field(
        description="The keys that seal certificates and names and find them again. Lost keys mean lost ID numbers.",
        examples=["/run/secrets/gongji/identity.json"],
    )
    code_lifetime_s: int = Field(
        default=CODE_LIFETIME_MAX_S,
        ge=CODE_LIFETIME_MIN_S,
        le=CODE_LIFETIME_MAX_S,
        description="How long a dynamic code can be decoded.",
    )
    ec_token_lifetime_h: int = Field(default=24, ge=1, le=48, description="How long a visit's ecToken counts.")
    signing_key_days: int = Field(
        default=90, ge=7, le=730, description="How long a signing key counts; its successor is made days before."
    )
    risk_sweep_s: float = Field(
        default=15.0, gt=0, le=600, description="Pause between two looks for what an officer should see."
    )
    risk_travel_kmh: int = Field(
        default=500,
        ge=400,
        le=1_200,
        description="Faster nobody is from desk to desk: the hours at airports halve an airliner's speed.",
    )
    risk_small_buy_max_fen: int = Field(
        default=10_000,
        ge=100,
        le=100_000,
        description="A pharmacy bill of which a funder's account gave at most this is small: what adds up unseen.",
    )
    risk_small_buys: int = Field(
        default=6,
        ge=2,
        le=1_000,
        description="So many small pharmacy bills out of a funder's account are told; a sick family has two or three.",
    )
    risk_small_buys_window_h: int = Field(
        default=24, ge=1, le=720, description="Within how long they count together: by default a day."
    )
    risk_refused_at_terminal: int = Field(
        default=20,
        ge=2,
        le=10_000,
        description="So many refused codes at one terminal are told; a bad line makes a few, a thief many.",
    )
    risk_refused_of_person: int = Field(
        default=6, ge=2, le=10_000, description="So many of one person are told: one more than a card's PIN has tries."
    )
    risk_refused_window_min: int = Field(
        default=10, ge=1, le=1_440, description="Within how long they count together: as long as one stands at a desk."
    )

    sandbox_verifiers: bool = Field(
        default=False,
        description="Whether verifiers count that vouch for any face that is asked for: in development alone.",
    )

    @field_validator("sandbox_verifiers")
    @classmethod
    def _not_in_production(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  Pydantic hands it so.
        if value and info.data.get("environment") == "production":
            raise ValueError("is refused where GONGJI_ENVIRONMENT is production")
        return value

    def risk_thresholds(self) -> Thresholds:
        """From when on something is told to an officer."""
        return Thresholds(
            travel_kmh=self.risk_travel_kmh,
            small_buy_max_fen=self.risk_small_buy_max_fen,
            small_buys_min=self.risk_small_buys,
            small_buys_window=timedelta(hours=self.risk_small_buys_window_h),
            refused_at_terminal_min=self.risk_refused_at_terminal,
            refused_of_person_min=self.risk_refused_of_person,
            refused_window=timedelta(minutes=self.risk_refused_window_min),
        )


async def serve(process: Process, settings: Settings) -> None:
    """Runs the process until it is asked to stop."""
    randomness = SYSTEM_RANDOMNESS
    seals = Seals(read_secrets(settings.identity_secrets_file))
    ec_token_lifetime = timedelta(hours=settings.ec_token_lifetime_h)
    database = await process.enter(
        Database(settings.database_url, application=process.name, pool_size=settings.database_pool_size)
    )
    clock = await database_clock(process, database)
    bus = await process.enter(
        Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix, nkey_file=settings.nats_nkey_file)
    )
    stream = Stream(settings.bus_prefix, NAME, settings.stream_replicas)
    process.supervise("outbox", OutboxPublisher(database, bus, stream).run())
    await check_secrets(database=database, seals=seals)
    keys = SigningKeys(
        database=database,
        seals=seals,
        lifetime=timedelta(days=settings.signing_key_days),
        token_lifetime=ec_token_lifetime,
        clock=clock,
        randomness=randomness,
    )
    await keys.refresh()
    process.supervise("signing keys", refresh_keys(keys))
    thresholds = settings.risk_thresholds()
    heard = consumer.settlements(database, bus, small_buy_max_fen=thresholds.small_buy_max_fen)
    process.supervise("settlements", heard.run())
    risks = RiskSweep(
        database=database,
        thresholds=thresholds,
        pause_s=settings.risk_sweep_s,
        clock=clock,
        randomness=randomness,
    )
    process.supervise("risks", risks.run())
    facts = ExpiringFacts(database=database, clock=clock, randomness=randomness)
    process.supervise("expiring facts", facts.run())

    room = Room(
        database=database,
        seals=seals,
        keys=keys,
        clock=clock,
        randomness=randomness,
        code_lifetime_s=settings.code_lifetime_s,
        sandbox_verifiers=settings.sandbox_verifiers,
    )
    desks = Database(
        settings.database_url,
        application=process.name,
        pool_size=DESK_POOL_SIZE,
        lock_timeout_s=LOCK_TIMEOUT_S,
        by_key=True,
    )
    decoder = Decoder(await process.enter(desks), clock)
    cards = CardRoom(database, seals, Pins(seals), decoder, randomness)
    server = RpcServer(settings, process.health, check_call=check_caller)
    _add_faces(server, room, cards, Presentation(cards, keys, ec_token_lifetime))
    await process.ready(await process.listen(server))
    await process.stopped()


def _add_faces(server: RpcServer, room: Room, cards: CardRoom, presentation: Presentation) -> None:
    IdentityApi(room).add_to(server)
    CredentialApi(room, presentation).add_to(server)
    CardApi(room, cards).add_to(server)
    AttestationApi(room).add_to(server)
    KinshipApi(room, BatchFileRegistry(room.database)).add_to(server)
    SanctionApi(room).add_to(server)
    RightsApi(room).add_to(server)
    RiskApi(room).add_to(server)
    InstitutionApi(room).add_to(server)


def main() -> None:
    """``python -m services.identity.app``; with a command, it does that and ends."""
    match sys.argv[1:]:
        case [command, file] if command == MAKE_SECRETS:
            made = make_secrets_file(Path(file))
            sys.stderr.write(f"{file}: {'made' if made else 'is there already; left as it is'}\n")
        case [command, file] if command == ADD_PIN_PEPPER:
            added = add_pin_pepper(Path(file))
            sys.stderr.write(f"{file}: {'the secret for PINs was added' if added else 'has one already'}\n")
        case [] | ["migrate"]:
            settings = load(Settings)
            run(NAME, settings, serve, migrations=Migrations(MIGRATIONS, [settings.database_url]))
        case _:
            sys.stderr.write(
                f"usage: python -m services.identity.app [migrate | {MAKE_SECRETS} FILE | {ADD_PIN_PEPPER} FILE]\n"
            )
            sys.exit(EXIT_BAD_SETTINGS)


if __name__ == "__main__":
    main()
