"""The identity process: settings on top, constructors from top to bottom, main."""

from __future__ import annotations

import os
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from chassis.bus import Bus, Stream
from chassis.clock import database_clock
from chassis.db import Database
from chassis.migrate import Migrations
from chassis.outbox import OutboxPublisher
from chassis.process import Process, run
from chassis.rpc.server import RpcServer
from chassis.settings import EXIT_BAD_SETTINGS, ServiceSettings, load
from kernel.randomness import SYSTEM_RANDOMNESS
from services.identity.api.credentials import CredentialApi
from services.identity.api.identity import IdentityApi
from services.identity.api.institutions import InstitutionApi
from services.identity.api.kinship import KinshipApi
from services.identity.api.rights import RightsApi
from services.identity.api.room import Room
from services.identity.api.sanctions import SanctionApi
from services.identity.domain.credential import CODE_LIFETIME_MAX_S, CODE_LIFETIME_MIN_S
from services.identity.domain.sealing import Seals, Secrets, new_secrets, parsed_secrets
from services.identity.operations.registry import BatchFileRegistry
from services.identity.operations.signing_keys import check_secrets
from services.identity.recovery import ExpiringFacts, SigningKeys

NAME: Final = "identity"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
MAKE_SECRETS: Final = "make-secrets"
_FIRST_KEY_ID: Final = "k1"
_OWNER_ONLY: Final = 0o600


def read_secrets(path: Path) -> Secrets:
    """The keys of a secrets file; ValueError says what is wrong and how to make one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        how = f"python -m services.identity.app {MAKE_SECRETS} FILE"
        raise ValueError(f"cannot be read ({type(error).__name__}); make one with: {how}") from None
    return parsed_secrets(text)


def make_secrets_file(path: Path) -> bool:
    """Makes a secrets file that only its owner can read; False, and nothing changed, if there is one already.

    The file appears whole or not at all, whoever else makes it at the same time.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(new_secrets(_FIRST_KEY_ID, secrets.token_bytes))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(unfinished)
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()
    return True


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
    process.supervise("signing keys", keys.run())
    facts = ExpiringFacts(database=database, clock=clock, randomness=randomness)
    process.supervise("expiring facts", facts.run())

    room = Room(
        database=database,
        seals=seals,
        keys=keys,
        clock=clock,
        randomness=randomness,
        code_lifetime_s=settings.code_lifetime_s,
        ec_token_lifetime=ec_token_lifetime,
    )
    server = RpcServer(settings, process.health)
    IdentityApi(room).add_to(server)
    CredentialApi(room).add_to(server)
    KinshipApi(room, BatchFileRegistry(database)).add_to(server)
    SanctionApi(room).add_to(server)
    RightsApi(room).add_to(server)
    InstitutionApi(room).add_to(server)
    await process.ready(await process.listen(server))
    await process.stopped()


def main() -> None:
    """``python -m services.identity.app``; with ``migrate`` or ``make-secrets FILE`` it does that and ends."""
    match sys.argv[1:]:
        case [command, file] if command == MAKE_SECRETS:
            made = make_secrets_file(Path(file))
            sys.stderr.write(f"{file}: {'made' if made else 'is there already; left as it is'}\n")
        case [] | ["migrate"]:
            settings = load(Settings)
            run(NAME, settings, serve, migrations=Migrations(MIGRATIONS, [settings.database_url]))
        case _:
            sys.stderr.write(f"usage: python -m services.identity.app [migrate | {MAKE_SECRETS} FILE]\n")
            sys.exit(EXIT_BAD_SETTINGS)


if __name__ == "__main__":
    main()
