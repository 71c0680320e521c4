"""Every scenario file, for real: its family built and its bill paid through gRPC, the ledgers' balances to the fen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from chassis.files import read_yaml
from gongji.settlement.v1 import account_pb2, settlement_pb2
from kernel.callers import parsed_caller
from kernel.ids import PsnNo
from ops.desks import Desks, desks_at
from ops.embedded.world import World
from ops.household import ScenarioFamily
from ops.places import Places
from ops.scenario import Scenario, parsed_scenario
from ops.told import wait_until_told
from ops.verify.run import verify
from ops.visits import begin_work, counter_at
from services.identity.domain.certificate import check_character
from tests.conftest import MakeWorld

SCENARIOS: Final = sorted((Path(__file__).parents[1] / "scenarios").glob("*.yaml"))
AREAS: Final = sorted({str(person["area"]) for file in SCENARIOS for person in read_yaml(file).data["persons"]})


def with_fresh_people(content: Mapping[str, Any], number: int) -> Scenario:
    """The file's scenario, told of people nobody has met: other numbers in the same order, other certificates."""
    text = json.dumps(content, ensure_ascii=False)
    for person in content["persons"]:
        psn_no, certno = person["psn"], person["certno"]
        text = text.replace(psn_no, f"{psn_no[:6]}{number:04d}{psn_no[-5:]}")
        first = f"{certno[:14]}{(int(certno[14:17]) + 20 * number) % 1000:03d}"
        text = text.replace(certno, first + check_character(first))
    return parsed_scenario(json.loads(text))


def written_policies(policies: Mapping[str, object], folder: Path) -> Path:
    """A folder that holds these policies and nothing else."""
    folder.mkdir(parents=True)
    for area, policy in {"default": {}, **policies}.items():
        content = yaml.safe_dump({"area": area, "policy": policy}, allow_unicode=True)
        (folder / f"{area}.yaml").write_text(content, encoding="utf-8")
    return folder


def as_plan(settlement: settlement_pb2.Settlement, plan: settlement_pb2.Plan) -> dict[str, Any]:
    """What was really paid, in the form of ``gongji plan --json``; who was skipped is said by the plan alone."""
    amounts = settlement.amounts
    return {
        "hifp_pay": amounts.hifp_pay,
        "act_pay_dedc": amounts.act_pay_dedc,
        "fund_pay_sumamt": amounts.fund_pay_sumamt,
        "psn_part_amt": amounts.psn_part_amt,
        "own_past": amounts.own_past_fen,
        "own_current": amounts.own_current_fen,
        "own_wallet": amounts.wallet_pay,
        "acct_mulaid_pay": amounts.acct_mulaid_pay,
        "acct_pay": amounts.acct_pay,
        "psn_cash_pay": amounts.psn_cash_pay,
        "funders": [
            {"psn": funder.psn_no, "past": funder.past_fen, "current": funder.current_fen}
            for funder in settlement.funders
        ],
        "skipped": [{"psn": funder.psn_no, "reason": funder.reason} for funder in plan.skipped],
    }


def left_by(scenario: Scenario, expect: Mapping[str, Any]) -> dict[PsnNo, tuple[int, int, int]]:
    """(past, current, wallet) that each person must have after the bill, in fen."""
    patient = scenario.visit.patient.psn_no
    taken = {funder["psn"]: (funder["past"], funder["current"], 0) for funder in expect["funders"]}
    taken[patient] = (expect["own_past"], expect["own_current"], expect["own_wallet"])
    left = {}
    for psn_no, entry in scenario.persons.items():
        past, current, wallet = taken.get(psn_no, (0, 0, 0))
        person = entry.person
        left[psn_no] = (person.past_fen - past, person.current_fen - current, person.wallet_fen - wallet)
    return left


async def balances_of(desks: Desks, scenario: Scenario) -> dict[PsnNo, tuple[int, int, int]]:
    """(past, current, wallet) as the ledgers tell them."""
    found = {}
    for psn_no, entry in scenario.persons.items():
        personal, wallet = [
            (
                await desks.accounts.GetBalance(
                    account_pb2.GetBalanceRequest(psn_no=psn_no, account_kind=kind, area=entry.person.area)
                )
            ).balance
            for kind in (account_pb2.ACCOUNT_KIND_PERSONAL, account_pb2.ACCOUNT_KIND_WALLET)
        ]
        found[psn_no] = (personal.past_fen, personal.current_fen, wallet.past_fen)
    return found


async def told(world: World) -> None:
    """Every room of this world has heard what the others said."""
    services = ("identity", "family", "settlement")
    await wait_until_told(
        databases=[world.database_url(name) for name in services], nats_url=world.nats_url, bus_prefix=world.bus_prefix
    )


@pytest.fixture(scope="module")
async def shared_world(module_world: MakeWorld, tmp_path_factory: pytest.TempPathFactory) -> World:
    """One world with the ledgers of all files; each file has people of its own and brings its own policies."""
    folder = tmp_path_factory.mktemp("policies") / "nothing-stated"
    return await module_world(areas=AREAS, policies=written_policies({}, folder))


@pytest.mark.parametrize(("number", "file"), list(enumerate(SCENARIOS, 1)), ids=[file.stem for file in SCENARIOS])
async def test_a_scenario_is_paid_for_real_as_it_is_planned(
    number: int, file: Path, shared_world: World, tmp_path: Path
) -> None:
    """The settlement of the scenario's bill, and every account afterwards, are what the file expects."""
    scenario = with_fresh_people(read_yaml(file).data, number)
    assert scenario.expect is not None
    policies = written_policies(scenario.stated_policies, tmp_path / "policies")
    await shared_world.restart_process("settlement", environment={"GONGJI_POLICIES_FOLDER": str(policies)})
    now = datetime.now(UTC)
    journal = tmp_path / "terminal.sqlite"
    async with (
        desks_at(shared_world.address, caller=parsed_caller("operator:tester"), call_timeout_s=60) as desks,
        counter_at(  # Its number is its own: two of one number make the same msgids in the same second.
            desks,
            shared_world.address,
            fixmedins_code=scenario.fixmedins_code,
            journal=journal,
            number=number,
            at_work=False,
        ) as counter,
    ):
        family = ScenarioFamily(desks, scenario, told=partial(told, shared_world))
        await family.build()
        await begin_work(desks, counter.terminal)
        await family.use(counter)
        await family.change(now=now)
        plan = await counter.plan(
            patient=family.patient, med_type=scenario.med_type, bill=scenario.visit.bill, mdtrt_id=f"M{number}"
        )
        settlement = await counter.pay(plan, med_type=scenario.med_type)
        assert isinstance(settlement, settlement_pb2.Settlement)
        assert as_plan(settlement, plan) == scenario.expect
        await told(shared_world)
        assert await balances_of(desks, scenario) == left_by(scenario, scenario.expect)
    ledgers = {area: shared_world.ledger_database_url(area) for area in AREAS}
    report = await verify(Places(shared_world.database_url("settlement"), ledgers), journals=[journal])
    assert report.as_json()["violations"] == 0
