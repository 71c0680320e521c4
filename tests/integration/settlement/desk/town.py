"""A town for the desk's tests: the settlement and ledger processes in this one, people, institutions, terminals."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import grpc
from joserfc import jws
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode

from chassis.bus import Bus
from chassis.db import Database
from chassis.following import FollowedFolder
from chassis.migrate import migrate
from chassis.process import Process
from chassis.settings import ProcessSettings
from gongji.identity.v1.person_pb2 import INSTITUTION_STATE_SUSPENDED
from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import account_pb2, settlement_pb2
from gongji.settlement.v1.account_pb2_grpc import AccountServiceStub
from gongji.settlement.v1.returns_pb2_grpc import ReturnServiceStub
from gongji.settlement.v1.settlement_pb2_grpc import SettlementServiceStub
from gongji_terminal import Journal, Patience, Terminal, TerminalRefusal, Unanswered
from gongji_terminal.failures import failure_of
from kernel.policy import PolicyBook
from ops.embedded.databases import Databases
from services.settlement import app
from services.settlement.ledger import app as ledger
from tests.integration.settlement.desk import said
from tests.patience import INSISTING, PATIENCE_S, insisted, until
from tests.servers import NatsServer

URUMQI: Final = "650100"
HAMI: Final = "650500"
SILENT: Final = "650900"
"""An area whose ledger does not run."""
HOSPITAL: Final = "H65010000001"
MDTRT_ID: Final = "m1"
OTHER_HOSPITAL: Final = "H65010000002"
SUSPENDED_HOSPITAL: Final = "H65010000003"
PHARMACY: Final = "P65010000001"
PAIR: Final = OKPKey.generate_key("Ed25519")
KID: Final = "test-key"
CALL_S: Final = 60.0
Settings = TypeVar("Settings", bound=ProcessSettings)
_KEPT_AS: Final = {
    "person": "persons WHERE psn_no = $1",
    "institution": "institutions WHERE fixmedins_code = $1",
    "terminal": "terminals WHERE fixmedins_code || '/' || terminal_no = $1",
    "key": "signing_keys WHERE kid = $1",
    "binding": "bindings WHERE binding_id = $1",
}
"""Where settlement keeps an aggregate, by what its id begins with."""
PATIENCE: Final = Patience(attempt_s=30, request_s=60, pause_first_s=0.02, pause_max_s=0.2)


def bill(total_fen: int, *, med_type: str = "11", **changes: int) -> settlement_pb2.Bill:
    """A bill of costs in scope alone, all of it the person's, unless changed."""
    amounts = {"medfee_sumamt": total_fen, "inscp_scp_amt": total_fen, **changes}
    return settlement_pb2.Bill(med_type=med_type, **amounts)


def token(
    psn_no: str,
    *,
    fixmedins_code: str = HOSPITAL,
    terminal_no: str = "T01",
    mdtrt_id: str = MDTRT_ID,
    kid: str = KID,
    **changes: Any,  # noqa: ANN401  Any claim.
) -> str:
    """An ecToken as identity signs it."""
    now = datetime.now(UTC)
    claims = {
        "iss": "gongji-identity",
        "sub": psn_no,
        "aud": fixmedins_code,
        "trm": terminal_no,
        "mct": "01",
        "biz": "02121" if fixmedins_code.startswith("P") else "01301",
        "vis": mdtrt_id,
        "gnd": "2",
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(hours=24)).timestamp()),
        "jti": str(uuid4()),
        **changes,
    }
    header = {"alg": "Ed25519", "kid": kid, "typ": "gongji-ectoken"}
    return jws.serialize_compact(header, json.dumps(claims).encode(), PAIR, algorithms=["Ed25519"])


@dataclass
class Town:
    """The running processes and what the tests say to them."""

    database: Database
    bus: Bus
    channel: grpc.aio.Channel
    port: int
    folder: Path
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    terminals: Any = field(default_factory=lambda: itertools.cycle(range(90)))
    ledger_urls: Mapping[str, str] = field(default_factory=dict)
    """The ledgers' databases, by area."""

    @property
    def desk(self) -> Any:  # noqa: ANN401  The stub's own type exists for the type checker alone.
        """SettlementService, raw."""
        return SettlementServiceStub(self.channel)

    @property
    def returns(self) -> Any:  # noqa: ANN401  As above.
        """ReturnService, raw."""
        return ReturnServiceStub(self.channel)

    @property
    def accounts(self) -> Any:  # noqa: ANN401  As above.
        """AccountService, raw."""
        return AccountServiceStub(self.channel)

    async def refused(self, call: Awaitable[object]) -> str:
        """The reason by which a raw call is refused."""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return failure_of(error).reason
        except (TerminalRefusal, Unanswered) as refusal:
            return refusal.reason
        raise AssertionError("the call was not refused")

    async def person(
        self, area: str = URUMQI, *, past: int = 0, current: int = 0, insutype: str = "310", psn_type: str = ""
    ) -> str:
        """A normally insured person of this test alone, with so much money."""
        psn_no = f"{area}{next(self.numbers):09d}"
        await self.tell(said.person(psn_no, (insutype, area, "1"), psn_type=psn_type, name_masked=f"某{psn_no[-1]}"))
        await self.credit(psn_no, area, past=past, current=current)
        return psn_no

    async def credit(self, psn_no: str, area: str, *, past: int = 0, current: int = 0, wallet: int = 0) -> None:
        """Brings money into the person's accounts."""
        parts = [
            (account_pb2.ACCOUNT_KIND_PERSONAL, account_pb2.ACCOUNT_PART_PAST, past),
            (account_pb2.ACCOUNT_KIND_PERSONAL, account_pb2.ACCOUNT_PART_CURRENT, current),
            (account_pb2.ACCOUNT_KIND_WALLET, account_pb2.ACCOUNT_PART_PAST, wallet),
        ]
        for kind, part, amount_fen in parts:
            if amount_fen:
                request = account_pb2.CreditAccountRequest(
                    psn_no=psn_no, account_kind=kind, part=part, amount_fen=amount_fen, row_id=str(uuid4()), area=area
                )
                await self.accounts.CreditAccount(request, timeout=CALL_S)

    async def bind(
        self,
        funder: str,
        patient: str,
        area: str,
        *,
        order: int,
        authorised_fen: int | None = None,
        per_payment_fen: int | None = None,
        per_month_fen: int | None = None,
    ) -> None:
        """An active binding whose authorisation the funder's ledger has opened."""
        command = ledger_pb2.OpenAuthorisationCommand(
            authorisation_id=said.authorisation_id(funder, patient).bytes,
            funder_psn_no=funder,
            beneficiary_psn_no=patient,
            authorised_fen=authorised_fen,
            per_payment_fen=per_payment_fen,
            per_month_fen=per_month_fen,
        )
        if area != SILENT:
            await self.command(area, ledger_pb2.Command(open_authorisation_command=command))
        await self.tell(said.binding(funder, patient, area=area, order=order))

    async def command(self, area: str, command: ledger_pb2.Command) -> ledger_pb2.Reply:
        """One command straight to a ledger."""
        batch = ledger_pb2.CommandBatch(commands=[command], epoch=1)
        subject = f"{self.bus.prefix}.ledger.{area}.command"
        answer = await insisted(lambda: self.bus.request(subject, batch.SerializeToString()))
        return ledger_pb2.ReplyBatch.FromString(answer).replies[0]

    async def tell(self, event: said.Event) -> None:
        """Says an event and waits until settlement knows."""
        kind, _, key = event.aggregate_id.partition(":")
        await said.say(self.bus, [event])
        statement = f"SELECT version FROM {_KEPT_AS[kind]}"  # noqa: S608  Our own names.

        async def known() -> bool:
            async with self.database.driver_connection() as connection:
                version = await connection.fetchval(statement, UUID(key) if kind == "binding" else key)
                return bool(version is not None and version >= event.version)

        await until(known)

    async def opens(self, code: str, **told: Any) -> None:  # noqa: ANN401  Whatever identity may tell of it.
        """A designated institution, with somebody signed in at its T01."""
        await self.tell(said.institution(code, **told))
        await self.tell(said.terminal(code))

    async def balance(self, psn_no: str, area: str, kind: int = account_pb2.ACCOUNT_KIND_PERSONAL) -> tuple[int, int]:
        """(past, current) less what is held."""
        request = account_pb2.GetBalanceRequest(psn_no=psn_no, account_kind=kind, area=area)  # type: ignore[arg-type]  # An enum's number.
        told = (await self.accounts.GetBalance(request, timeout=CALL_S)).balance
        assert told.held_fen == 0, "a hold is left"
        return told.past_fen, told.current_fen

    async def settled_down(self) -> None:
        """Waits until no payment of the ledgers that answer is open: holds confirmed or released, refunds credited."""

        async def none_open() -> bool:
            async with self.database.driver_connection() as connection:
                open_ = await connection.fetchval(
                    "SELECT count(*) FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED')"
                    " AND NOT legs @> jsonb_build_array(jsonb_build_object('area', $1::text))",
                    SILENT,
                )
                return bool(open_ == 0)

        await until(none_open)

    async def stored(self) -> dict[str, int]:
        """How many rows there are of everything that a call may write."""
        async with self.database.driver_connection() as connection:
            return {
                table: await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608  Our own names.
                for table in ("plans", "payments", "patient_years", "benefit_years", "outbox", "account_commands")
            }

    async def set_frozen(self, psn_no: str, area: str, *, frozen: bool) -> None:
        """Freezes or unfreezes the person's account."""
        facts = {"psn_no": psn_no, "area": area, "cause": "COURT_ORDER", "request_id": str(uuid4())}
        if frozen:
            await self.accounts.FreezeAccount(account_pb2.FreezeAccountRequest(**facts), timeout=CALL_S)
        else:
            await self.accounts.UnfreezeAccount(account_pb2.UnfreezeAccountRequest(**facts), timeout=CALL_S)

    def presented(self, psn_no: str, total_fen: int, **changes: Any) -> settlement_pb2.PreSettleRequest:  # noqa: ANN401  Any field.
        """A PreSettle of the hospital's T01 for the patient."""
        fields: dict[str, Any] = {
            "fixmedins_code": HOSPITAL,
            "infno": settlement_pb2.INFNO_2206,
            "terminal_no": "T01",
            "psn_no": psn_no,
            "mdtrt_id": uuid4().hex[:30],
            "bill": bill(total_fen),
            **changes,
        }
        if "ec_token" not in fields:
            fields["ec_token"] = token(psn_no, fixmedins_code=fields["fixmedins_code"], mdtrt_id=fields["mdtrt_id"])
        return settlement_pb2.PreSettleRequest(**fields)

    @asynccontextmanager
    async def terminal(
        self,
        *,
        fixmedins_code: str = HOSPITAL,
        number: int | None = None,
        channel: grpc.aio.Channel | None = None,
        patience: Patience = PATIENCE,
        journal: Path | None = None,
    ) -> AsyncIterator[tuple[Terminal, Journal]]:
        """A terminal and its journal; its number is its own unless given."""
        own = next(self.terminals) if number is None else number
        async with Journal(journal or self.folder / f"{uuid4().hex}.db") as opened:
            yield (
                Terminal(
                    settlement=channel or self.channel,
                    journal=opened,
                    fixmedins_code=fixmedins_code,
                    terminal_no="T01",
                    number=own,
                    patience=patience,
                ),
                opened,
            )


@asynccontextmanager
async def town(
    postgres: Databases,
    nats: NatsServer,
    folder: Path,
    *,
    stated: Mapping[str, str] = MappingProxyType({}),
    **told: Any,  # noqa: ANN401  Any setting.
) -> AsyncIterator[Town]:
    """Settlement and the ledgers of Ürümqi and Hami, running in this process, on databases and streams of their own.

    ``stated`` are policy files by name, ``told`` are more of settlement's settings.
    """
    name = f"t{uuid4().hex[:12]}"
    databases = [f"{name}_settlement", f"{name}_ledger_{URUMQI}", f"{name}_ledger_{HAMI}"]
    urls = [await postgres.create_database(database) for database in databases]
    await migrate(urls[0], app.MIGRATIONS)
    for url in urls[1:]:
        await migrate(url, ledger.MIGRATIONS)
    common: dict[str, Any] = {"nats_url": nats.url, "bus_prefix": name, "environment": "test", "log_level": "error"}
    ledger_settings = ledger.Settings(
        **common,
        ledger_areas=f"{URUMQI},{HAMI}",
        ledger_database_url_template=postgres.url(f"{name}_ledger_{{area}}"),
    )
    policies = folder / "policies"
    policies.mkdir()
    (policies / "default.yaml").write_text("area: default\npolicy: {}\n", encoding="utf-8")
    for file_name, content in stated.items():
        (policies / file_name).write_text(content, encoding="utf-8")
    settings = app.Settings(
        **{
            **common,
            "database_url": urls[0],
            "policies_folder": policies,
            "message_bytes_max": 64 << 10,
            "vote_deadline_s": 30,
            "balance_wait_s": 30,
            **told,
        }
    )
    followed = FollowedFolder(policies, PolicyBook.of_documents, what="policies")
    try:
        async with (
            _running("ledger", ledger_settings, ledger.serve),
            _running(
                "settlement",
                settings,
                lambda process, given: app.serve(process, given, policies=followed),
            ) as ports,
            Database(urls[0], pool_size=4, statement_timeout_s=PATIENCE_S, lock_timeout_s=PATIENCE_S) as database,
            Bus(nats.url, name="test", prefix=name) as bus,
            grpc.aio.insecure_channel(f"127.0.0.1:{ports['grpc']}", interceptors=INSISTING) as channel,
        ):
            ledger_urls = dict(zip((URUMQI, HAMI), urls[1:], strict=True))
            built = Town(database, bus, channel, ports["grpc"], folder, ledger_urls=ledger_urls)
            raw_key = urlsafe_b64decode(str(PAIR.as_dict(private=False)["x"]).encode())
            await built.tell(said.signing_key(KID, raw_key))
            for code in (HOSPITAL, OTHER_HOSPITAL, PHARMACY):
                await built.opens(code)
            await built.tell(said.institution(SUSPENDED_HOSPITAL, INSTITUTION_STATE_SUSPENDED))
            yield built
    finally:
        await nats.remove_streams(name)
        for database_name in databases:
            await postgres.drop_database(database_name)


@asynccontextmanager
async def _running(
    name: str, settings: Settings, serve: Callable[[Process, Settings], Coroutine[Any, Any, None]]
) -> AsyncIterator[dict[str, int]]:
    """A process of ours as a task of this one; the ports it listens on."""
    process = Process(name, settings)
    ports: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()
    ready = process.ready

    async def note(taken: dict[str, int]) -> None:
        await ready(taken)
        ports.set_result(dict(taken))

    process.ready = note  # type: ignore[method-assign, assignment]  # Instead of a ready file.
    task = asyncio.create_task(serve(process, settings))
    waiting: set[asyncio.Future[Any]] = {task, ports}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield ports.result()
    finally:
        process.stop()
        await task
        await process._leave()
        assert not process.crashed
