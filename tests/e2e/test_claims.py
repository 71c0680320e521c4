"""Claims through gRPC and the officers' commands, with every room beside: from the papers to the file of payout."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from gongji.settlement.v1 import claims_pb2 as pb
from gongji.settlement.v1 import settlement_pb2
from kernel.clock import business_date
from tests.e2e.asking import refusal
from tests.e2e.town import HAMI, HOSPITAL, URUMQI, Resident, Town, new_resident

GONGJI: Final = "from ops.main import main; main()"
LARGE_FEN: Final = 1_500_000
SMALL_FEN: Final = 4_000


async def says(town: Town, *arguments: str, operator: str = "zhang01") -> tuple[int | None, str, str]:
    """`gongji claims …` against the running service: its exit code, and what it wrote on both streams."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", GONGJI, "claims", *arguments),
        *("--address", town.world.address("settlement"), "--operator", operator),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, problem = await process.communicate()
    return process.returncode, out.decode(), problem.decode()


async def told(town: Town, *arguments: str, operator: str = "zhang01") -> Any:  # noqa: ANN401  JSON.
    """What a command that succeeds says with --json."""
    code, out, problem = await says(town, *arguments, "--json", operator=operator)
    assert code == 0, problem
    return json.loads(out)


def paper_of(claimant: Resident, total_fen: int) -> pb.SubmitClaimRequest:
    """A bill of today, all of it in scope."""
    return pb.SubmitClaimRequest(
        request_id=str(uuid4()),
        psn_no=claimant.psn_no,
        fixmedins_code=HOSPITAL,
        invoice_no=uuid4().hex.upper(),
        bill=settlement_pb2.Bill(med_type="11", medfee_sumamt=total_fen, inscp_scp_amt=total_fen),
        documents=[pb.ClaimDocument(kind="INVOICE", sha256=bytes(32), bytes_count=1)],
        care_on=business_date(datetime.now(UTC)).isoformat(),
    )


async def test_a_large_claim_goes_from_the_papers_to_the_file_of_payout(town: Town, tmp_path: Path) -> None:
    """Two officers approve it, the family gives, its file is written once more to the byte, and everybody is told."""
    family = await town.family(
        new_resident(past_fen=1_000, current_fen=2_000), new_resident(HAMI, past_fen=10_000), relation="SIBLING"
    )
    claimant, funder = family.patient, family.funders[0]
    claim = (await town.desks.claims.SubmitClaim(paper_of(claimant, LARGE_FEN))).claim
    assert claim.claim_id in [each["claim_id"] for each in await told(town, "list", URUMQI)]
    decide = ("decide", claim.claim_id, "approve", "--cause", "in order", "--hifp-fen", "1000000")
    assert (await told(town, *decide))["state"] == "SECOND_LOOK"
    assert await town.money(family) == [(1_000, 2_000), (10_000, 0)]
    code, _, problem = await says(town, *decide[:-1], "999999", operator="li02")
    assert (code, "CLAIM_ASSESSMENT_DIFFERS" in problem) == (2, True)
    approved = await told(town, *decide, operator="li02")
    assert (approved["state"], approved["fund_pay_sumamt"], approved["family_pay_fen"]) == (
        "PAYABLE",
        1_000_000,
        13_000,
    )
    assert await told(town, *decide, operator="li02") == approved
    await town.at_rest()
    assert await town.money(family) == [(0, 0), (0, 0)]
    code, shown, _ = await says(town, "show", claim.claim_id)
    assert (code, shown.count("approved by")) == (0, 2)
    assert f"care on {claim.care_on}, med_type 11" in shown
    assert "medfee_sumamt 15,000.00, inscp_scp_amt 15,000.00" in shown
    assert f"INVOICE, 1 bytes, SHA-256 {bytes(32).hex()}" in shown
    assert "deductible 0.00, pooled fund 10,000.00" in shown
    assert "approved by zhang01: in order" in shown

    first, again = tmp_path / "first.csv", tmp_path / "again.csv"
    code, out, problem = await says(town, "payouts", URUMQI, "--out", str(first))
    assert code == 0, problem
    assert sha256(first.read_bytes()).hexdigest() in out
    order_id = problem.split()[1]
    assert f"{order_id},{URUMQI},{claim.claim_id},{claimant.psn_no},1000000,13000,1013000" in first.read_text()
    code, _, problem = await says(town, "payouts", URUMQI, "--order", order_id, "--out", str(again))
    assert (code, again.read_bytes()) == (0, first.read_bytes()), problem
    code, _, problem = await says(town, "payouts", URUMQI, "--order", order_id, "--out", str(again))
    assert (code, "exists already" in problem) == (2, True)
    code, _, problem = await says(town, "payouts", URUMQI, "--out", str(tmp_path / "none.csv"))
    assert (code, "CLAIMS_NONE_PAYABLE" in problem) == (2, True)
    assert (await told(town, "show", claim.claim_id))["payout_order_id"] == order_id
    await town.at_rest()
    assert {"CLAIM_DECIDED", "ACCOUNT_PAID"} <= set(await town.topics(claimant))
    funders = await town.topics(funder)
    assert "ACCOUNT_PAID" in funders
    assert "CLAIM_DECIDED" not in funders
    await town.check()


async def test_a_refusal_is_appealed_against_once_and_judged_by_another_officer(town: Town) -> None:
    """Who refused has no word in it; the other approves, out of the claimant's own account."""
    claimant = new_resident(past_fen=3_000)
    await town.family(claimant)
    desk = town.desks.claims
    claim = (await desk.SubmitClaim(paper_of(claimant, SMALL_FEN))).claim
    refuse = ("decide", claim.claim_id, "refuse", "--cause", "no prescription")
    for _ in range(2):
        assert (await told(town, *refuse))["state"] == "REFUSED"
    appeal = pb.AppealClaimRequest(claim_id=claim.claim_id, psn_no=claimant.psn_no, objection="it is on page two")
    for _ in range(2):
        assert (await desk.AppealClaim(appeal)).claim.state == pb.CLAIM_STATE_SUBMITTED
    approve = ("decide", claim.claim_id, "approve", "--cause", "it is", "--hifp-fen", "3000")
    code, _, problem = await says(town, *approve)
    assert (code, "CLAIM_NEEDS_ANOTHER_OFFICER" in problem) == (2, True)
    approved = await told(town, *approve, operator="li02")
    assert (approved["state"], approved["family_pay_fen"], approved["appeal"]) == (
        "PAYABLE",
        1_000,
        "it is on page two",
    )
    late = pb.AppealClaimRequest(claim_id=claim.claim_id, psn_no=claimant.psn_no, objection="once more")
    assert (await refusal(desk.AppealClaim(late))).reason == "CLAIM_NOT_REFUSED"
    await town.at_rest()
    assert len([topic for topic in await town.topics(claimant) if topic == "CLAIM_DECIDED"]) == 2
    await town.check()


async def test_what_cannot_be_is_said_in_a_sentence(town: Town) -> None:
    """An unknown claim, a place where nobody answers, an area that is none: exit code 2 and no traceback."""
    unknown = str(uuid4())
    assert await says(town, "list", "110000") == (0, "", "110000 has none of these claims\n")
    for arguments, sentence in (
        (("show", unknown), "CLAIM_UNKNOWN"),
        (("decide", unknown, "approve", "--cause", "x"), "CLAIM_UNKNOWN"),
        (("show", "nonsense"), "claims show --help"),
        (("list", "Hami"), "field=area"),
        (("list", URUMQI, "--state", "LOST"), "LOST"),
    ):
        code, _, problem = await says(town, *arguments)
        assert code == 2, arguments
        assert sentence in problem
        assert "Traceback" not in problem
