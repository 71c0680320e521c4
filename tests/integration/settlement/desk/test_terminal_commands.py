"""``gongji-terminal`` as a cashier's program calls it: each way a command can end, by its exit code and its answer."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care
from gongji_terminal.msgid import SHANGHAI
from gongji_terminal.visits import OpenVisits, Visit
from tests.integration.settlement.desk.counter import CounterProcess, counter
from tests.integration.settlement.desk.test_terminal import plan_of
from tests.integration.settlement.desk.town import HOSPITAL, MDTRT_ID, URUMQI, Town, bill, token

FOREVER: Final = "2999-01-01T00:00:00+00:00"
BILL: Final = ("med_type=11", "medfee_sumamt=1000", "inscp_scp_amt=1000")


def opened(at: CounterProcess, patient: str, *, fixmedins_code: str = HOSPITAL) -> None:
    """The patient has shown what he has to show."""
    ec_token = token(patient, fixmedins_code=fixmedins_code)
    OpenVisits(at.journal).keep(Visit(MDTRT_ID, patient, ec_token, FOREVER))


async def planned(at: CounterProcess, *options: str) -> str:
    """A plan by the command; its id."""
    code, answer = await at.said("plan", "--mdtrt-id", MDTRT_ID, *options, *BILL)
    assert (code, answer["outcome"]) == (0, "planned"), answer
    return str(answer["plan"]["plan_id"])


async def test_a_bill_from_plan_to_revocation(town: Town, tmp_path: Path) -> None:
    """Every command of it answers one JSON object with the contract's own names, and the books end at nothing."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        opened(at, patient)
        plan = await planned(at)
        code, paid = await at.said("pay", plan[-8:])
        settlement = paid["settlement"]
        assert (code, settlement["amounts"]["acct_pay"], settlement["clr_type"]) == (0, 1_000, "11")
        assert not (tmp_path / "gongji-terminal.sqlite.visits").exists()
        assert (await at.said("ask", settlement["setl_id"]))[1]["state"] == "SETTLED"
        assert (await at.said("ask", settlement["key"]["msgid"]))[1]["settlement"] == settlement
        assert (await at.said("revoke", settlement["setl_id"]))[0] == 0
        code, again = await at.said("revoke", settlement["setl_id"])
        assert (code, again["already"]) == (0, True)
        listed = (await at.listed("journal"))[1]
        assert [(line["infno"], line["state"]) for line in listed] == [("2207", "settled"), ("2208", "settled")]
        statement = (await at.listed("statement", "--day", again["settlement"]["setl_time"][:10]))[1][-1]
        assert (statement["settled"], statement["returned"], set(statement["sums"].values())) == (1, 1, {0})


async def test_a_refusal_tells_reason_and_texts(town: Town, tmp_path: Path) -> None:
    """Exit code 1; nothing was taken."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        opened(at, patient)
        code, answer = await at.said(
            "plan", "--mdtrt-id", MDTRT_ID, "med_type=11", "medfee_sumamt=9", "inscp_scp_amt=8"
        )
    assert (code, answer["outcome"], answer["reason"]) == (1, "refused", "BILL_DOES_NOT_ADD_UP")
    assert answer["zh"] != answer["en"]
    assert (answer["retry"], bool(answer["cashier"])) == ("new_request", True)


SENSELESS: Final = (
    ("plan", "--mdtrt-id", "m9", *BILL),
    ("plan", "--mdtrt-id", "../m1", *BILL),
    ("plan", "--mdtrt-id", MDTRT_ID),
    ("plan", "--mdtrt-id", MDTRT_ID, "medfee"),
    ("plan", "--mdtrt-id", MDTRT_ID, "medfee_sumamt=1.5"),
    ("plan", "--mdtrt-id", MDTRT_ID, "total=1"),
    ("plan", "--mdtrt-id", MDTRT_ID, "--bill", "nowhere.json"),
    ("plan", "--mdtrt-id", MDTRT_ID, "--bill", "gongji-terminal.toml"),
    ("pay", "abc"),
    ("pay", "00000000"),
    ("ask", "yesterday's"),
    ("ask", "H65010000001202611230000000199"),
    ("reverse", "H65010000002202611230000000199"),
    ("slip", "x"),
    ("sign-out",),
    ("reconcile", "--journal", "nowhere.sqlite"),
)


async def test_a_command_that_makes_no_sense_sends_nothing(town: Town, tmp_path: Path) -> None:
    """Exit code 2 and a sentence; the network hears nothing."""
    async with counter(town, tmp_path) as at:
        opened(at, await town.person())
        for begin in range(0, len(SENSELESS), 4):
            asked = SENSELESS[begin : begin + 4]
            told = await asyncio.gather(*(at.said(*command) for command in asked))
            ended = [(code, answer["outcome"], bool(answer["text"])) for code, answer in told]
            assert dict(zip(asked, ended, strict=True)) == dict.fromkeys(asked, (2, "wrong", True))
        assert at.gate.heard == 0


async def test_a_source_that_changed_brings_a_plan_that_can_be_paid(town: Town, tmp_path: Path) -> None:
    """Exit code 3, the new plan is paid by its own id, and the old one leads to it for ever."""
    patient, funder = await town.person(past=500), await town.person(past=5_000)
    await town.bind(funder, patient, URUMQI, order=1)
    async with counter(town, tmp_path) as at:
        opened(at, patient)
        old = await planned(at)
        await town.set_frozen(funder, URUMQI, frozen=True)
        code, answer = await at.said("pay", old)
        new = answer["plan"]["plan_id"]
        assert (code, answer["outcome"], answer["reason"]) == (3, "replanned", "ACCOUNT_FROZEN")
        assert (await at.said("pay", old))[1]["plan"]["plan_id"] == new
        assert (await at.said("pay", new))[0] == 0
        assert (await at.said("pay", new))[1]["already"] is True
        assert (await at.said("pay", old))[1]["plan"]["plan_id"] == new
        assert (await at.said("pay", new))[1]["already"] is True
    await town.settled_down()
    assert (await town.balance(patient, URUMQI), await town.balance(funder, URUMQI)) == ((0, 0), (5_000, 0))


async def test_a_visit_is_not_paid_by_a_second_plan_by_mistake(town: Town, tmp_path: Path) -> None:
    """The cashier has to say that another bill is meant."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        opened(at, patient)
        assert (await at.said("pay", await planned(at)))[0] == 0
        opened(at, patient)
        second = await planned(at)
        assert (await at.said("pay", second))[0] == 2
        assert (await at.said("pay", second, "--another"))[0] == 0
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (3_000, 0)


async def test_without_network_a_payment_waits_and_resume_finds_out(town: Town, tmp_path: Path) -> None:
    """Exit code 4 as long as nothing answers; then what was never sent is reversed, and the plan is paid once."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        plan = await at.shown(await plan_of(town, patient))
        at.gate.down = True
        code, answer = await at.said("pay", plan)
        assert (code, answer["outcome"]) == (4, "unanswered")
        assert (await at.said("pay", plan))[0] == 4
        assert (await at.said("resume"))[0] == 4
        assert at.rows("SELECT msgid, state FROM requests") == [(answer["msgid"], "WRITTEN")]
        at.gate.down = False
        code, resumed = await at.said("resume")
        assert (code, [(one["msgid"], one["outcome"]) for one in resumed["requests"]]) == (
            0,
            [(answer["msgid"], "reversed")],
        )
        assert (await at.said("pay", plan))[0] == 0
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)


async def test_without_network_a_reversal_waits(town: Town, tmp_path: Path) -> None:
    """Asked for in the dark it is sent before anything else; another terminal's request needs its transaction named."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at, town.terminal() as (other, _):
        paid = await other.settle(await plan_of(town, patient), care=Care.OUTPATIENT)
        msgid = paid.key.msgid  # type: ignore[union-attr]  # It was paid.
        at.gate.down = True
        assert (await at.said("reverse", msgid))[0] == 2
        code, answer = await at.said("reverse", "--infno", "2207", msgid)
        assert (code, answer["outcome"]) == (4, "queued")
        assert (await at.said("reverse", "--later", "--infno", "2207", msgid))[0] == 0
        at.gate.down = False
        code, resumed = await at.said("resume")
        assert (code, [one["outcome"] for one in resumed["requests"]]) == (0, ["reversed"])
        assert await at.said("resume") == (0, {"outcome": "resumed", "requests": []})
        books = at.rows("SELECT medfee_sumamt FROM records ORDER BY medfee_sumamt")
        assert books == [(-1_000,), (1_000,)]
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (5_000, 0)


async def test_a_reversal_that_is_put_off_goes_on_waiting(town: Town, tmp_path: Path) -> None:
    """A desk that is told of too many at once refuses for a while; the wish is kept until it is heard."""
    msgid = f"{HOSPITAL}{datetime.now(SHANGHAI):%Y%m%d%H%M%S}9901"
    async with counter(town, tmp_path) as at:
        at.gate.refuses = "TOO_MANY_REVERSALS"
        assert (await at.said("reverse", "--infno", "2207", msgid))[0] == 4
        code, answer = await at.said("resume")
        assert (code, answer["requests"][0]["reason"]) == (4, "TOO_MANY_REVERSALS")
        at.gate.refuses = ""
        assert (await at.said("resume"))[0] == 0
        assert at.rows("SELECT msgid, state FROM reversals") == [(msgid, "DONE")]


async def test_ctrl_c_leaves_the_request_in_the_journal(town: Town, tmp_path: Path) -> None:
    """Exit code 130, and the next command finds out."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        plan = await at.shown(await plan_of(town, patient))
        at.gate.hold_answers = "Settle"
        process = await at.begun("pay", plan)
        await asyncio.wait_for(at.gate.held.wait(), 15)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (130, b'{"outcome": "interrupted"}\n', b"")
        assert at.rows("SELECT state FROM requests") == [("WRITTEN",)]
        at.gate.hold_answers = ""
        code, answer = await at.said("pay", plan)
        assert (code, answer["already"]) == (0, True)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)


async def test_a_plan_paid_by_impatient_hands_is_paid_once(town: Town, tmp_path: Path) -> None:
    """Three processes at the same moment: one pays, the others are told what it did."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        plan = await at.shown(await plan_of(town, patient))
        told = await asyncio.gather(*(at.said("pay", plan) for _ in range(3)))
    assert [code for code, _ in told] == [0, 0, 0]
    assert sorted(answer["already"] for _, answer in told) == [False, True, True]
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)


async def test_a_day_reconciles_from_its_journals_and_shows_what_is_missing(town: Town, tmp_path: Path) -> None:
    """A bill of another terminal is a difference (exit code 6) until that terminal's journal is read as well."""
    institution = f"H650100{next(town.numbers) + 10_000:05d}"
    await town.opens(institution)
    patient = await town.person(past=5_000)
    theirs = tmp_path / "theirs.sqlite"
    async with counter(town, tmp_path, fixmedins_code=institution, straight=True) as at:
        opened(at, patient, fixmedins_code=institution)
        paid = (await at.said("pay", await planned(at)))[1]["settlement"]
        async with town.terminal(fixmedins_code=institution, journal=theirs) as (other, _):
            ec_token = token(patient, fixmedins_code=institution, mdtrt_id="m2")
            plan = await other.pre_settle(
                care=Care.OUTPATIENT, psn_no=patient, ec_token=ec_token, mdtrt_id="m2", bill=bill(500)
            )
            missing = await other.settle(plan, care=Care.OUTPATIENT)
            assert isinstance(missing, pb.Settlement)
        day = ("reconcile", "--day", paid["setl_time"][:10])
        code, lines = await at.listed(*day)
        assert (code, [line["outcome"] for line in lines]) == (6, ["totals", "records", "difference"]), lines
        assert (lines[-1]["kind"], lines[-1]["setl_id"]) == ("ONLY_OURS", missing.setl_id)
        code, lines = await at.listed(*day, "--journal", str(theirs), "--details")
        assert (code, [line["stmt_rslt"] for line in lines]) == (0, ["BALANCED", "BALANCED"])


async def test_a_listing_may_be_cut_off(town: Town, tmp_path: Path) -> None:
    """Who has read enough closes the pipe; that is no failure."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        plan = await at.shown(await plan_of(town, patient))
        assert (await at.said("pay", plan))[0] == 0
        shell = await asyncio.create_subprocess_shell(
            f"{sys.executable} -m gongji_terminal journal | true; exit ${{PIPESTATUS[0]}}",
            cwd=tmp_path,
            stderr=asyncio.subprocess.PIPE,
            executable="/bin/bash",
        )
        _, err = await shell.communicate()
    assert (shell.returncode, b"Traceback" in err) == (0, False)
