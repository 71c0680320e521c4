"""Premiums through gRPC alone, with identity's own word on relatives: paid in one area for a relative in another."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from gongji.identity.v1 import person_pb2
from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import premiums_pb2 as pb
from kernel.clock import business_date
from kernel.ids import AdmDvs
from ops import household
from tests.e2e.asking import refusal
from tests.e2e.town import HAMI, THEIR_PARENTS, Town, new_resident

AMOUNT_FEN = 4_000
ROOT = Path(__file__).resolve().parents[2]
RUN_S = 120.0
_LONG_AGO = """
UPDATE premium_tariffs SET opens_on = opens_on - 30, closes_on = closes_on - 30, revocable_until = revocable_until - 30
WHERE area = $1 AND year = $2"""


async def command(town: Town, *arguments: str) -> tuple[int | None, str, str]:
    """`gongji premiums …`, run to its end: exit code, what it printed, what it complained of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ops.main import main; main()", "premiums", *arguments,
        "--address", town.world.address("settlement"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(RUN_S):
        out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


def written_in(folder: Path) -> list[str]:
    """The names of its files, the hidden ones too."""
    return [file.name for file in folder.iterdir()]


async def test_a_mother_pays_her_sons_premium_and_takes_it_back(town: Town) -> None:
    """Her account in Hami pays what Ürümqi asks for; both are told; taken back it is hers again."""
    mother, son = new_resident(HAMI, past_fen=10_000, generation=THEIR_PARENTS), new_resident()
    await town.moves_in(mother)
    await town.moves_in(son, insutype="390")
    await town.told()
    await town.credited(mother)
    await household.prove_relation(town.desks, person=mother.psn_no, other=son.psn_no, relation="PARENT")
    desk, today = town.desks.premiums, business_date(datetime.now(UTC))
    year = (today + timedelta(days=2)).year
    days = {
        "opens_on": (today - timedelta(days=1)).isoformat(),
        "closes_on": (today + timedelta(days=1)).isoformat(),
        "revocable_until": (today + timedelta(days=2)).isoformat(),
    }
    await desk.SetPremiumTariff(
        pb.SetPremiumTariffRequest(area=son.area, year=year, amount_fen=AMOUNT_FEN, opter="zhang01", **days)
    )
    due = await desk.GetPremiumDue(pb.GetPremiumDueRequest(insured_psn_no=son.psn_no, year=year))
    asked = pb.PayPremiumRequest(
        request_id=str(uuid4()),
        payer_psn_no=mother.psn_no,
        pay_from=account_pb2.ACCOUNT_KIND_PERSONAL,
        insured_psn_no=son.psn_no,
        year=year,
        amount_fen=due.tariff.amount_fen,
    )
    paid = (await desk.PayPremium(asked)).premium
    assert (paid.state, paid.relation) == (pb.PREMIUM_STATE_PAID, person_pb2.RELATION_PARENT)
    again = pb.PayPremiumRequest()
    again.CopyFrom(asked)
    again.request_id = str(uuid4())
    assert (await refusal(desk.PayPremium(again))).reason == "PREMIUM_ALREADY_PAID"
    revoked = await desk.RevokePremium(pb.RevokePremiumRequest(payer_psn_no=mother.psn_no, premium_id=paid.premium_id))
    assert revoked.premium.state == pb.PREMIUM_STATE_REVOKED
    await town.at_rest()
    for resident in (mother, son):
        assert {"PREMIUM_PAID", "PREMIUM_REVOKED"} <= set(await town.topics(resident))
    statement = await town.desks.accounts.GetStatement(
        account_pb2.GetStatementRequest(psn_no=mother.psn_no, account_kind=account_pb2.ACCOUNT_KIND_PERSONAL, area=HAMI)
    )
    assert [line.amount_fen for line in statement.lines][-2:] == [-AMOUNT_FEN, AMOUNT_FEN]
    await town.check()


async def test_an_office_exports_the_list_of_payers_once_it_is_final(town: Town, tmp_path: Path) -> None:
    """Refused, with nothing written, while a payment can be taken back; then the same bytes each time."""
    area = "652300"
    payer, child = new_resident(HAMI, past_fen=10_000), new_resident(AdmDvs(area))
    await town.moves_in(payer)
    await town.moves_in(child, insutype="390")
    await town.told()
    await town.credited(payer)
    await household.prove_relation(town.desks, person=payer.psn_no, other=child.psn_no, relation="SIBLING")
    today = business_date(datetime.now(UTC))
    year = (today + timedelta(days=2)).year
    days = [(today + timedelta(days=ahead)).isoformat() for ahead in (-1, 1, 2)]
    flags = [part for pair in zip(("--opens", "--closes", "--revocable-until"), days, strict=True) for part in pair]
    code, printed, told = await command(town, "tariffs", area)
    assert (code, printed, "gongji premiums tariff says it" in told) == (0, "", True)
    assert (await command(town, "tariff", area, str(year), str(AMOUNT_FEN), *flags))[0] == 0
    asked = pb.PayPremiumRequest(
        request_id=str(uuid4()),
        payer_psn_no=payer.psn_no,
        pay_from=account_pb2.ACCOUNT_KIND_PERSONAL,
        insured_psn_no=child.psn_no,
        year=year,
        amount_fen=AMOUNT_FEN,
    )
    paid = (await town.desks.premiums.PayPremium(asked)).premium
    await town.at_rest()
    file, again = tmp_path / "paid.csv", tmp_path / "again.csv"
    code, _, told = await command(town, "paid", area, str(year), "--out", str(file))
    assert (code, "PREMIUM_LIST_NOT_FINAL" in told, written_in(tmp_path)) == (2, True, [])
    await town.settlement.execute(_LONG_AGO, area, year)
    code, printed, told = await command(town, "paid", area, str(year), "--out", str(file), "--json")
    assert code == 0, told
    header, line, *more = file.read_text(encoding="utf-8").splitlines()
    assert (line.split(",")[:5], more) == ([area, str(year), paid.premium_id, child.psn_no, str(AMOUNT_FEN)], [])
    assert header.split(",")[2:4] == ["premium_id", "insured_psn_no"]
    shown = json.loads(printed)
    assert (shown["premiums_count"], shown["total_fen"]) == (1, AMOUNT_FEN)
    assert shown["sha256"] == sha256(file.read_bytes()).hexdigest()
    assert (await command(town, "paid", area, str(year), "--out", str(again)))[0] == 0
    assert again.read_bytes() == file.read_bytes()
    assert (await command(town, "paid", area, str(year), "--out", str(file)))[0] == 2
