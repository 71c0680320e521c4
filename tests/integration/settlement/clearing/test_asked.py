"""ClearingService over the wire, and `gongji clearing` as an officer types it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from chassis.rpc.client import channel
from chassis.rpc.pages import token_of
from chassis.rpc.server import Health, RpcServer
from chassis.settings import ProcessSettings
from gongji.settlement.v1 import clearing_pb2 as pb
from gongji.settlement.v1.clearing_pb2_grpc import ClearingServiceStub
from kernel.callers import parsed_caller
from kernel.clock import SystemClock
from kernel.failures import Failure
from services.settlement.api.clearing import ClearingApi
from services.settlement.domain.split import Role
from services.settlement.store import clearing as store
from tests.integration.payments.conftest import Said, run_gongji
from tests.integration.settlement.clearing.book import HAMI, HANGZHOU, URUMQI, Book, at, leg
from tests.patience import until
from tests.servers import NatsServer

MARCH: Final = "2025-03"
CALL_S: Final = 60.0
NOBODY_WAITS: Final = """
SELECT NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'clearing_runs'::regclass AND mode = 'ExclusiveLock')"""


@dataclass(frozen=True, slots=True)
class Face:
    """The service over a book of payments."""

    book: Book
    stub: Any  # The stub's own type exists for the type checker alone.
    address: str

    async def refusal(self, method: str, request: object) -> str:
        """Why a call is refused."""
        with pytest.raises(Failure) as refused:
            await getattr(self.stub, method)(request, timeout=CALL_S)
        return refused.value.reason

    async def pairs(self, **asked: Any) -> list[pb.ClearingPair]:  # noqa: ANN401  Any field.
        """Every statement, page by page."""
        found: list[pb.ClearingPair] = []
        token = ""
        while True:
            request = pb.ListClearingPairsRequest(period=MARCH, page_token=token, **asked)
            page = await self.stub.ListClearingPairs(request, timeout=CALL_S)
            found += page.pairs
            token = page.next_page_token
            if not token:
                return found

    async def file(self, **asked: str) -> list[bytes]:
        """The parts of an exported file."""
        request = pb.ExportClearingRequest(period=MARCH, **asked)
        return [part.csv async for part in self.stub.ExportClearing(request, timeout=CALL_S)]

    async def types(self, *arguments: str) -> Said:
        """Runs ``gongji clearing …`` against it."""
        return await run_gongji("clearing", *arguments, "--address", self.address, "--operator", "li04")


@pytest.fixture
async def face(book: Book, nats: NatsServer) -> AsyncIterator[Face]:
    """Nine settlements of March, one revoked, between three areas; nothing is run yet."""
    for number in range(9):
        area = (HAMI, HANGZHOU, URUMQI)[number % 3]
        institution = ("H65010000001", "H65050000001", "P33010000001")[number // 3]
        await book.settled(
            at(f"2025-03-{number + 1:02d}"),
            leg(Role.FUNDER, area, 1_000 + number),
            institution=institution,
            infno="2102" if institution.startswith("P") else "2304" if number == 4 else "2207",
            insured=HAMI,
            fund_fen=20_000,
        )
    await book.revoked(book.written[-1], at("2025-03-20"))
    server = RpcServer(ProcessSettings(nats_url=nats.url, environment="test"), Health())
    ClearingApi(book.database, SystemClock()).add_to(server)
    ports = await server.start()
    address = f"127.0.0.1:{ports['grpc']}"
    async with channel(address, caller=parsed_caller("officer:650100/wang01"), call_timeout_s=60) as opened:
        yield Face(book, ClearingServiceStub(opened), address)
    await server.stop(0)


async def test_a_run_is_told_with_who_asked_and_what_it_came_to(face: Face) -> None:
    """The answer names who asked; the second one says that it was run before and is the same."""
    first = await face.stub.RunClearing(pb.RunClearingRequest(period=MARCH), timeout=CALL_S)
    again = await face.stub.RunClearing(pb.RunClearingRequest(period=MARCH, carry_reason="no need"), timeout=CALL_S)
    assert (first.existed, again.existed, first.run) == (False, True, again.run)
    assert (first.run.run_by, first.run.payments_count, first.run.carry_reason) == ("officer:650100/wang01", 10, "")
    # Each bill's fund is Hami's and each third funder lives where the bill was made; the last one was given back.
    assert (first.run.lines_count, first.run.local_fen) == (14, 3 * 20_000 + 1_002 + 1_003 + 1_007)
    told = await face.stub.GetClearing(pb.GetClearingRequest(period=MARCH), timeout=CALL_S)
    assert told.run == first.run
    assert sum(position.net_fen for position in told.positions) == 0
    listed = await face.stub.ListClearings(pb.ListClearingsRequest(), timeout=CALL_S)
    assert (list(listed.runs), listed.next_period, listed.next_page_token) == ([first.run], "2025-04", "")


async def test_a_run_whose_caller_is_gone_leaves_nothing_and_no_lock(face: Face) -> None:
    """The deadline passes after the lines were written: none of them stands, and the next call runs the month."""
    async with face.book.database.driver_transaction() as holding:
        await holding.execute("LOCK TABLE clearing_pairs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Failure, match="ANSWER_UNKNOWN"):
            await face.stub.RunClearing(pb.RunClearingRequest(period=MARCH), timeout=2)

        async def is_over() -> bool:
            return bool(await holding.fetchval(NOBODY_WAITS))

        await until(is_over)
        assert await face.book.lines(MARCH) == []
    ran = await face.stub.RunClearing(pb.RunClearingRequest(period=MARCH), timeout=CALL_S)
    assert (ran.existed, ran.run.lines_count) == (False, 14)


async def test_statements_come_in_pages_and_add_up_to_the_lines(face: Face) -> None:
    """Page by page nothing is missing or double, and charges less refunds of a pair are its lines' sum."""
    await face.stub.RunClearing(pb.RunClearingRequest(period=MARCH), timeout=CALL_S)
    whole = await face.pairs()
    assert await face.pairs(page_size=2) == whole
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    for line in await face.book.lines(MARCH):
        key = (line["debtor_area"], line["creditor_area"], line["part"], line["clr_type"])
        sums.setdefault(key, []).append(line["amount_fen"])
    assert {
        (pair.debtor_area, pair.creditor_area, pb.SharePart.Name(pair.part).rpartition("_")[2], pair.clr_type): (
            pair.charges_count + pair.refunds_count,
            pair.charged_fen - pair.refunded_fen,
            pair.owed_fen,
        )
        for pair in whole
    } == {key: (len(amounts), sum(amounts), sum(amounts)) for key, amounts in sums.items()}
    assert {pair.clr_type for pair in whole} == {"11", "21", "41"}
    only = await face.pairs(debtor_area=HAMI, creditor_area=URUMQI)
    assert only == [pair for pair in whole if (pair.debtor_area, pair.creditor_area) == (HAMI, URUMQI)]
    assert only
    assert await face.pairs(debtor_area="110000") == []


async def test_the_exported_file_is_the_one_whose_digest_is_kept(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its parts, together they have the run's SHA-256; a pair's file is a selection of the same lines."""
    monkeypatch.setattr(store, "LINES_AT_ONCE", 4)
    ran = await face.stub.RunClearing(pb.RunClearingRequest(period=MARCH), timeout=CALL_S)
    parts = await face.file()
    content = b"".join(parts)
    assert len(parts) == 1 + 4
    assert hashlib.sha256(content).digest() == ran.run.lines_sha256
    header, *lines = content.decode().splitlines()
    assert header.split(",")[:4] == ["line_no", "period", "debtor_area", "creditor_area"]
    some = b"".join(await face.file(debtor_area=HAMI, creditor_area=HANGZHOU)).decode().splitlines()
    chosen = [line for line in lines if line.split(",")[2:4] == [HAMI, HANGZHOU]]
    assert some == [header, *chosen]
    assert len(chosen) > 2


async def test_every_line_leads_to_its_settlement(face: Face) -> None:
    """The trace of a settlement has its lines and those of its revocation; of another id it is empty."""
    await face.stub.RunClearing(pb.RunClearingRequest(period=MARCH), timeout=CALL_S)
    *_, settled, revoked = face.book.written
    traced = await face.stub.TraceClearing(pb.TraceClearingRequest(setl_id=str(settled.payment_id)), timeout=CALL_S)
    assert {(line.setl_id, line.original_setl_id, line.leg_no, line.amount_fen) for line in traced.lines} == {
        (str(settled.payment_id), "", 0, 20_000),
        (str(settled.payment_id), "", 1, 1_008),
        (str(revoked.payment_id), str(settled.payment_id), 0, -20_000),
        (str(revoked.payment_id), str(settled.payment_id), 1, -1_008),
    }
    nothing = await face.stub.TraceClearing(pb.TraceClearingRequest(setl_id=str(uuid4())), timeout=CALL_S)
    assert not nothing.lines


async def test_refusals_have_names(face: Face) -> None:
    """What cannot be answered is refused by its reason, and nothing is run."""
    unknown = "2025-02"
    for method, request, reason in (
        ("GetClearing", pb.GetClearingRequest(period=unknown), "CLEARING_UNKNOWN"),
        ("ListClearingPairs", pb.ListClearingPairsRequest(period=unknown), "CLEARING_UNKNOWN"),
        ("RunClearing", pb.RunClearingRequest(period=unknown), "CLEARING_OUT_OF_ORDER"),
        ("RunClearing", pb.RunClearingRequest(period="2099-12"), "CLEARING_PERIOD_NOT_OVER"),
        ("RunClearing", pb.RunClearingRequest(period="2025-13"), "REQUEST_INVALID"),
        ("ListClearings", pb.ListClearingsRequest(page_token="!"), "PAGE_TOKEN_MALFORMED"),  # noqa: S106  No password.
        ("ListClearings", pb.ListClearingsRequest(page_token=token_of("x")), "PAGE_TOKEN_MALFORMED"),
    ):
        assert await face.refusal(method, request) == reason, method
    with pytest.raises(Failure, match="CLEARING_UNKNOWN"):
        await face.file()
    assert await face.book.lines(MARCH) == []


async def test_an_officer_runs_shows_and_exports_a_month(face: Face, tmp_path: Path) -> None:
    """The commands tell the same as the service, and the exported file has the digest that the run was told with."""
    early = await face.types("show", MARCH)
    assert (early.exit_code, early.out) == (2, "")
    assert "CLEARING_UNKNOWN" in early.problem
    ran = await face.types("run", MARCH, "--json")
    assert (ran.exit_code, ran.document["run"]["run_by"], ran.document["existed"]) == (0, "operator:li04", False)
    shown = await face.types("show", MARCH)
    assert shown.exit_code == 0, shown
    assert "2025-03 was run" in shown.out
    assert ran.document["run"]["lines_sha256"] in shown.out
    file = tmp_path / "march.csv"
    exported = await face.types("export", MARCH, "--out", str(file))
    assert (exported.exit_code, hashlib.sha256(file.read_bytes()).hexdigest()) == (
        0,
        ran.document["run"]["lines_sha256"],
    ), exported
    again = await face.types("export", MARCH, "--out", str(file))
    assert again.exit_code == 2
    listed = await face.types("list", "--json")
    assert ([run["period"] for run in listed.document["runs"]], listed.document["next_period"]) == ([MARCH], "2025-04")
    traced = await face.types("trace", str(face.book.written[0].payment_id))
    assert HAMI in traced.out
    refused = await face.types("run", "2099-12")
    assert (refused.exit_code, "CLEARING_PERIOD_NOT_OVER" in refused.problem) == (2, True)
