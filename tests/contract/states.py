"""Provider states: what ``given`` and ``happens`` of a case file mean in the world in which the cases are replayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.family.v1 import family_pb2
from gongji.identity.v1 import identity_pb2, institutions_pb2, person_pb2, sanctions_pb2
from gongji.settlement.v1 import account_pb2, premiums_pb2
from gongji_terminal.stub_cases import Case, made_up
from kernel.clock import SHANGHAI, business_date
from kernel.ids import AdmDvs, FixmedinsCode, PsnNo
from ops import household
from tests.e2e.town import (
    AUTHORISED_FEN,
    OF_WORKING_AGE,
    OUTPATIENT,
    THEIR_PARENTS,
    Resident,
    Town,
    bill_of,
    new_resident,
)

GENERATIONS: Final = {"working": OF_WORKING_AGE, "parents": THEIR_PARENTS}
OPTER: Final = "contract"
SANCTION_LENGTH: Final = timedelta(days=150)

_PLAN_DATED_BACK: Final = """
UPDATE plans SET created_at = created_at - $2::interval, expires_at = expires_at - $2::interval WHERE plan_id = $1"""
_PAYMENT_DATED_BACK: Final = """
UPDATE payments SET created_at = created_at - $2::interval, deadline_at = deadline_at - $2::interval,
                    decided_at = decided_at - $2::interval, finished_at = finished_at - $2::interval
WHERE payment_id = $1"""


async def prepare(town: Town, cases: Iterable[Case]) -> None:
    """What the cases presuppose, of all of them at once: people, then their money and bindings, then the rest."""
    given = [state for case in cases for entry in case.given for state in entry.items()]

    def all_of(kind: str) -> list[Any]:
        return [facts for name, facts in given if name == kind]

    for facts in all_of("person"):
        await moved_in(town, **facts)
    for facts in all_of("terminal"):
        await terminal(town, **facts)
    await town.told()
    for facts in all_of("person"):
        await credited(town, **facts)
    orders: dict[str, list[str]] = {}
    for facts in all_of("bound"):
        await bound(town, **facts)
        orders.setdefault(facts["beneficiary"], []).append(facts["funder"])
    for beneficiary, funders in orders.items():
        order = family_pb2.SetDeductOrderRequest(beneficiary_psn_no=beneficiary, funder_psn_nos=funders)
        if len(funders) > 1:
            await town.desks.family.SetDeductOrder(order)
    await town.told()
    for kind, facts in given:
        if kind not in {"person", "terminal", "bound"}:
            await happen(town, {kind: facts})


async def moved_in(
    town: Town,
    *,
    psn_no: str,
    name: str,
    area: str,
    insutype: str = "310",
    psn_type: str = "",
    generation: str = "working",
    **_: int,
) -> Resident:
    """A normally insured person; ``psn_type`` is 人员类别, untold when left out."""
    stranger = new_resident(AdmDvs(area), generation=GENERATIONS[generation])
    stranger = replace(stranger, psn_no=PsnNo(psn_no), name=name)
    resident = await town.moves_in(stranger, insutype=insutype)
    if psn_type:
        await town.desks.identity.Enrol(
            identity_pb2.EnrolRequest(psn_no=psn_no, insutype=insutype, insuplc_admdvs=area, psn_type=psn_type)
        )
    return resident


async def credited(town: Town, *, psn_no: str, area: str, past_fen: int = 0, current_fen: int = 0, **_: str) -> None:
    """The money on his account."""
    await household.credit(
        town.desks, psn_no=PsnNo(psn_no), area=AdmDvs(area), past_fen=past_fen, current_fen=current_fen
    )


async def terminal(town: Town, *, fixmedins_code: str, terminal_no: str) -> None:
    """A terminal at which nobody has signed in."""
    await town.desks.institutions.RegisterTerminal(
        institutions_pb2.RegisterTerminalRequest(
            fixmedins_code=fixmedins_code, terminal_no=terminal_no, terminal_name="契约窗口", opter="contract"
        )
    )


async def institution(town: Town, *, fixmedins_code: str, level: str) -> None:
    """One more hospital, of this level, with somebody signed in at its T01."""
    told = person_pb2.Institution(
        fixmedins_code=fixmedins_code,
        fixmedins_name="共济医疗机构",
        state=person_pb2.INSTITUTION_STATE_DESIGNATED,
        level=person_pb2.InstitutionLevel.Value(level),
    )
    desk = town.desks.institutions
    await desk.RegisterInstitution(institutions_pb2.RegisterInstitutionRequest(institution=told, opter=OPTER))
    await desk.RegisterTerminal(
        institutions_pb2.RegisterTerminalRequest(
            fixmedins_code=fixmedins_code, terminal_no="T01", terminal_name="01号窗口", opter=OPTER
        )
    )
    await desk.SignIn(institutions_pb2.SignInRequest(fixmedins_code=fixmedins_code, terminal_no="T01", opter=OPTER))


async def tariff(town: Town, *, area: str, amount_fen: int) -> None:
    """The area asks this for the next civil year, from today on for ten days; payments are taken back for twenty."""
    today = business_date(datetime.now(UTC))
    await town.desks.premiums.SetPremiumTariff(
        premiums_pb2.SetPremiumTariffRequest(
            area=area,
            year=today.year + 1,
            amount_fen=amount_fen,
            opens_on=today.isoformat(),
            closes_on=(today + timedelta(days=10)).isoformat(),
            revocable_until=(today + timedelta(days=20)).isoformat(),
            opter=OPTER,
        )
    )


async def planned_long_ago(town: Town, *, psn_no: str, fixmedins_code: str) -> None:
    """A bill that was planned in the month before last, before any other, and never paid."""
    planned = await town.counters[FixmedinsCode(fixmedins_code)].plan(
        patient=PsnNo(psn_no), med_type=OUTPATIENT, bill=bill_of(1), mdtrt_id=made_up("visit")
    )
    await town.settlement.execute(_PLAN_DATED_BACK, UUID(planned.plan_id), _since_month_before_last())


async def dated_back(town: Town, *, setl_id: str) -> None:
    """A settlement is one of the month before last: nobody can wait two months, so its rows are dated back."""
    await town.at_rest()
    await town.settlement.execute(_PAYMENT_DATED_BACK, UUID(setl_id), _since_month_before_last())


def _since_month_before_last() -> timedelta:
    """How long ago the last day of that month was, at this time of the day."""
    now = datetime.now(SHANGHAI)
    last_month = (now.replace(day=1) - timedelta(days=1)).replace(day=1)
    return now - (last_month - timedelta(days=1))


async def bound(
    town: Town, *, funder: str, beneficiary: str, relation: str, authorised_fen: int = AUTHORISED_FEN
) -> None:
    """The funder pays for the beneficiary, whose relation he is."""
    group = await household.found_group(town.desks, founder=PsnNo(beneficiary))
    await household.prove_relation(town.desks, person=PsnNo(funder), other=PsnNo(beneficiary), relation=relation)
    await household.bring_in(
        town.desks, group_id=group, inviter=PsnNo(beneficiary), invitee=PsnNo(funder), relation=relation
    )
    await household.bind(
        town.desks,
        group_id=group,
        funder=PsnNo(funder),
        beneficiary=PsnNo(beneficiary),
        authorised_fen=authorised_fen,
    )


async def happen(town: Town, happening: Mapping[str, Any]) -> None:
    """Something changes at the provider; every room has heard of it afterwards."""
    for kind, facts in happening.items():
        match kind:
            case "frozen":
                request = account_pb2.FreezeAccountRequest(
                    **facts, cause="COURT_ORDER", request_id=household.request_id("contract", *facts.values())
                )
                await town.desks.accounts.FreezeAccount(request)
            case "paused":
                await town.desks.identity.ChangeInsuranceStatus(
                    identity_pb2.ChangeInsuranceStatusRequest(**facts, psn_insu_stas="2")
                )
            case "sanctioned":
                await sanctioned(town, **facts)
            case "institution":
                await institution(town, **facts)
            case "related":
                await household.prove_relation(
                    town.desks,
                    person=PsnNo(facts["person"]),
                    other=PsnNo(facts["other"]),
                    relation=facts["relation"],
                )
            case "tariff":
                await tariff(town, **facts)
            case "planned_long_ago":
                await planned_long_ago(town, **facts)
            case "dated_back":
                await dated_back(town, **facts)
            case _:
                raise AssertionError(f"no such state: {kind}")
    await town.told()


async def sanctioned(town: Town, *, psn_no: str) -> None:
    """Online settlement is suspended for this person from yesterday on."""
    begin, end = Timestamp(), Timestamp()
    begin.FromDatetime(datetime.now(UTC) - timedelta(days=1))
    end.FromDatetime(datetime.now(UTC) - timedelta(days=1) + SANCTION_LENGTH)
    await town.desks.sanctions.ImposeSanction(
        sanctions_pb2.ImposeSanctionRequest(
            psn_no=psn_no,
            from_time=begin,
            to_time=end,
            basis_clause="条例 art. 41",
            decision_no=f"C-{psn_no}",
            organ="乌鲁木齐市医疗保障局",
            opter="contract",
        )
    )
