"""What must never be seen: certificates, names, codes and keys, at rest, in errors, in the log."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from chassis.migrate import drift, migrate
from chassis.rpc.client import channel
from gongji.identity.v1 import (
    credentials_pb2,
    credentials_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    institutions_pb2,
    institutions_pb2_grpc,
    person_pb2,
)
from kernel.failures import Failure
from services.identity.app import MIGRATIONS
from services.identity.domain.sealing import Seals, WrongKeyError
from services.identity.operations.secrets_file import make_secrets_file, read_secrets
from services.identity.operations.signing_keys import check_secrets
from services.identity.tables import METADATA
from tests.integration.identity.conftest import HOSPITAL, LI, WANG, Identity
from tests.servers import NatsServer

ROOT = Path(__file__).resolve().parents[3]
START_S = 30.0


async def everything_stored(identity: Identity) -> str:
    """Every row of every table as text, binary columns both as PostgreSQL shows them and as they are."""
    parts: list[str] = []
    async with identity.database.driver_connection() as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in tables:
            for row in await connection.fetch(f'SELECT * FROM "{table}"'):  # noqa: S608  A table's own name.
                parts += [
                    value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value) for value in row
                ]
    return "\n".join(parts)


async def test_no_certificate_name_code_or_private_key_lies_open(identity: Identity) -> None:
    """Searching all rows of all tables for what must be secret finds nothing."""
    await identity.register(**WANG)
    await identity.register(**LI)
    await identity.hospital()
    code = await identity.code(WANG["psn_no"])
    token = (await identity.decode(code)).ec_token
    stored = await everything_stored(identity)
    assert WANG["psn_no"] in stored
    assert "王*国" in stored
    secrets = [WANG["certno"], LI["certno"], WANG["psn_name"], LI["psn_name"], code, token]
    assert [secret for secret in secrets if secret in stored or secret.encode().hex() in stored] == []


async def test_a_certificate_moved_to_another_person_does_not_open(identity: Identity) -> None:
    """Sealed columns swapped between rows are found out, and the answer tells nothing of it."""
    await identity.register(**WANG)
    await identity.register(**LI)
    async with identity.database.driver_connection() as connection:
        await connection.execute(
            "UPDATE persons SET certno_sealed = (SELECT certno_sealed FROM persons WHERE psn_no = $1)"
            " WHERE psn_no = $2",
            WANG["psn_no"],
            LI["psn_no"],
        )
    with pytest.raises(Exception, match="the called service answered INTERNAL"):
        await identity.person(LI["psn_no"])


async def test_no_refusal_repeats_what_was_sent(identity: Identity) -> None:
    """Certificates and names are in no metadata and no text of a refusal."""
    await identity.register(**WANG)
    wrong = [
        WANG | {"certno": "650103198503124517"},
        WANG | {"psn_name": "王建军"},
        WANG | {"psn_name": "王建国650103198503124518"},
        WANG | {"psn_no": WANG["certno"]},
        WANG | {"certno": "X" * 31},
        LI | {"psn_no": WANG["psn_no"]},
    ]
    for fields in wrong:
        with pytest.raises(Failure) as refused:
            await identity.register(**fields)
        shown = json.dumps([str(refused.value), refused.value.metadata], ensure_ascii=False)
        assert not any(part in shown for part in (fields["certno"], "王建", "李秀英"))


async def test_an_error_of_the_database_does_not_repeat_its_values(identity: Identity) -> None:
    """The text of a failed statement, which ends up in the log, holds none of its values."""
    with pytest.raises(sa.exc.DBAPIError) as failed:
        async with identity.database.transaction() as connection:
            await connection.execute(sa.text("INSERT INTO nowhere VALUES (:name)"), {"name": WANG["psn_name"]})
    assert WANG["psn_name"] not in str(failed.value)


async def test_other_secrets_do_not_fit_the_database(identity: Identity, tmp_path: Path) -> None:
    """Secrets that a database was not written with are refused before a single person is."""
    other = tmp_path / "other.json"
    assert make_secrets_file(other)
    with pytest.raises(WrongKeyError, match="other secrets: blind_index, encryption:k1"):
        await check_secrets(database=identity.database, seals=Seals(read_secrets(other)))


async def test_the_schema_is_what_the_tables_say(database: str) -> None:
    """A database that the migrations made differs in nothing from what the code declares."""
    await migrate(database, MIGRATIONS)
    assert await drift(database, METADATA) == []


def test_a_secrets_file_is_its_owners_alone_and_made_once(tmp_path: Path) -> None:
    """The file has mode 0600, and making it again changes nothing."""
    path = tmp_path / "identity.json"
    assert make_secrets_file(path)
    content = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not make_secrets_file(path)
    assert path.read_text() == content
    assert [each.name for each in tmp_path.iterdir()] == ["identity.json"]


class App:
    """``python -m services.identity.app`` as a process."""

    def __init__(self, process: asyncio.subprocess.Process, ready_file: Path) -> None:
        self._process = process
        self._ready_file = ready_file

    async def port(self) -> int:
        """Its gRPC port, once it is ready."""
        async with asyncio.timeout(START_S):
            while not self._ready_file.exists():
                if self._process.returncode is not None:
                    pytest.fail(f"ended: {await self.ended()}")
                await asyncio.sleep(0.05)
        return int(json.loads(self._ready_file.read_text())["ports"]["grpc"])

    async def ended(self, *, stop: bool = False) -> tuple[int | None, str]:
        """Its exit code and all that it wrote, asked to stop or not."""
        if stop:
            self._process.terminate()
        async with asyncio.timeout(START_S):
            out, error = await self._process.communicate()
        return self._process.returncode, (out + error).decode()


StartApp = Callable[..., Awaitable[App]]


@pytest.fixture
async def start_app(database: str, nats: NatsServer, bus_prefix: str, tmp_path: Path) -> AsyncIterator[StartApp]:
    """Starts the process with these arguments and settings; none is left at the end."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str, **variables: str) -> App:
        ready_file = tmp_path / f"ready-{len(processes)}"
        settings = {
            "GONGJI_DATABASE_URL": database,
            "GONGJI_NATS_URL": nats.url,
            "GONGJI_BUS_PREFIX": bus_prefix,
            "GONGJI_READY_FILE": str(ready_file),
            "GONGJI_MIGRATE_AT_START": "true",
            "GONGJI_LOG_LEVEL": "debug",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.identity.app", *arguments,
            cwd=ROOT,
            env={**os.environ, **settings, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        return App(process, ready_file)

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_the_process_serves_and_its_log_holds_nothing_personal(start_app: StartApp, secrets_file: Path) -> None:
    """Started as in production it registers, decodes, refuses, stops with 0, and its log names nobody."""
    app = await start_app(GONGJI_IDENTITY_SECRETS_FILE=str(secrets_file))
    async with channel(f"127.0.0.1:{await app.port()}", caller=None, call_timeout_s=60) as opened:
        stub = identity_pb2_grpc.IdentityServiceStub(opened)
        resident = person_pb2.CERTIFICATE_TYPE_RESIDENT_ID
        await stub.RegisterPerson(identity_pb2.RegisterPersonRequest(psn_cert_type=resident, **WANG))
        with pytest.raises(Failure):
            await stub.RegisterPerson(
                identity_pb2.RegisterPersonRequest(psn_cert_type=resident, **(WANG | {"psn_name": "王建军"}))
            )
        hospital = person_pb2.Institution(
            fixmedins_code=HOSPITAL, fixmedins_name="共济医院", state=person_pb2.INSTITUTION_STATE_DESIGNATED
        )
        institutions = institutions_pb2_grpc.InstitutionServiceStub(opened)
        await institutions.RegisterInstitution(
            institutions_pb2.RegisterInstitutionRequest(institution=hospital, opter="zhang01")
        )
        await institutions.RegisterTerminal(
            institutions_pb2.RegisterTerminalRequest(
                fixmedins_code=HOSPITAL, terminal_no="T1", terminal_name="收费一窗口", opter="li01"
            )
        )
        await institutions.SignIn(
            institutions_pb2.SignInRequest(fixmedins_code=HOSPITAL, terminal_no="T1", opter="li01")
        )
        credentials = credentials_pb2_grpc.CredentialServiceStub(opened)
        code = (await credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=WANG["psn_no"]))).code
        decode = credentials_pb2.DecodeCredentialRequest(
            code=code, fixmedins_code=HOSPITAL, terminal_no="T1", business_type="01301", mdtrt_id="M1"
        )
        token = (await credentials.DecodeCredential(decode)).ec_token
        with pytest.raises(Failure, match="CODE_ALREADY_USED"):
            await credentials.DecodeCredential(decode)
    exit_code, log = await app.ended(stop=True)
    assert exit_code == 0
    assert "CODE_ALREADY_USED" in log
    personal = [WANG["certno"], WANG["psn_name"], "王建军", "王*国", WANG["psn_no"], code, token]
    assert [each for each in personal if each in log] == []


async def test_without_usable_secrets_the_process_does_not_start(start_app: StartApp, tmp_path: Path) -> None:
    """A missing or broken file ends with exit code 2, the variable, the reason and what to do."""
    missing = await start_app(GONGJI_IDENTITY_SECRETS_FILE=str(tmp_path / "nowhere.json"))
    broken_file = tmp_path / "broken.json"
    broken_file.write_text('{"encryption": {}}')
    broken = await start_app(GONGJI_IDENTITY_SECRETS_FILE=str(broken_file))
    (missing_code, missing_text), (broken_code, broken_text) = await missing.ended(), await broken.ended()
    assert (missing_code, broken_code) == (2, 2)
    assert "GONGJI_IDENTITY_SECRETS_FILE: cannot be read" in missing_text
    assert "make-secrets" in missing_text
    assert "GONGJI_IDENTITY_SECRETS_FILE: the secrets file lacks" in broken_text


async def test_the_command_makes_secrets_and_leaves_those_that_are_there(start_app: StartApp, tmp_path: Path) -> None:
    """``make-secrets`` needs no setting, makes a usable file, and without a file's name says how it is used."""
    path, kept = tmp_path / "made.json", tmp_path / "kept.json"
    make_secrets_file(kept)
    content = kept.read_text()
    apps = [await start_app("make-secrets", *files) for files in ([str(path)], [str(kept)], [])]
    made, left, unclear = [await app.ended() for app in apps]
    assert (made[0], left[0], unclear[0]) == (0, 0, 2)
    assert read_secrets(path).current == "k1"
    assert kept.read_text() == content
    assert "left as it is" in left[1]
    assert "usage: " in unclear[1]
