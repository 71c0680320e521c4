"""Plans: made at PreSettle, and made anew when a settlement was refused because a source had changed.

What is projected from other rooms is read from our own tables; what must be exact is read from the ledgers, all of
them at once and within a second (protocol, "A silent area"). The figures are ``split``'s alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from chassis.db import Database
from chassis.faults import fault_point
from kernel.clock import business_date, business_month, business_year
from kernel.failures import Failure
from kernel.ids import AdmDvs, FixmedinsCode, PlanId, PsnNo
from kernel.policy import Policies
from services.settlement.clients import Balance, LedgerClient
from services.settlement.domain.benefit_case import case_of
from services.settlement.domain.bill import Bill, check_bill
from services.settlement.domain.credential import check_claims, key_id_of
from services.settlement.domain.lines import Line, LinesRequired, check_lines, digest_of_lines
from services.settlement.domain.med_types import OF_INPATIENTS, check_agent_may, check_interim, check_med_type
from services.settlement.domain.plan import KnownFunder, Plan, PlannedVisit, StoredPlan, VisitFacts, canonical, plan_of
from services.settlement.domain.plan_inputs import digest_of_inputs, inputs_of
from services.settlement.domain.returning import GivenBack, with_less_used, with_returned
from services.settlement.domain.split import Role, split
from services.settlement.domain.stay import StayPart, check_open
from services.settlement.domain.visit import (
    AccountReading,
    AreaQuestion,
    AreaReading,
    AuthorisationReading,
    Enrolment,
    Institution,
    KnownBinding,
    KnownPerson,
    Presented,
    Terminal,
    check_signed_in,
    check_takes_bills,
    circle_of,
    funders_among,
    known_institution,
    questions_of,
    visit_of,
)
from services.settlement.operations.burying import Burials
from services.settlement.operations.company import Company
from services.settlement.operations.credentials import agent_of, signed_claims
from services.settlement.operations.freshness import Freshness
from services.settlement.operations.refusing import Refusals
from services.settlement.saga.requests import patient_busy_failure
from services.settlement.store import plans, stays
from services.settlement.store import projections as projected
from services.settlement.store.around import Around, AskedAround
from services.settlement.store.plans import PatientYear, PlanMade

AREA_UNREACHABLE: Final = "AREA_UNREACHABLE"


@dataclass(frozen=True, slots=True)
class Desk:
    """What planning works with: the room's database, the ledgers, the policies of every day, how recent the rest is."""

    database: Database
    ledgers: LedgerClient
    policies: Policies
    freshness: Freshness
    refusals: Refusals
    lines_required: LinesRequired = LinesRequired.NONE
    burials: Burials = field(default_factory=Burials)
    company: Company = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "company", Company(self.database))


@dataclass(frozen=True, slots=True)
class KnownAround:
    """What the projections say around one patient."""

    institution: Institution
    terminal: Terminal | None
    bindings: list[KnownBinding]
    people: Mapping[PsnNo, KnownPerson]
    year: int
    month: int
    """As yyyymm: that of a settlement which follows at once."""
    patient_year: PatientYear
    """Read before any balance: a settlement in between makes the plan stale, never the figures wrong."""
    stay: list[StayPart]
    """What stands of the stay's settlements, read after the version."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A bill to be planned, whose patient is known to stand at the desk."""

    patient: PsnNo
    infno: str
    mdtrt_id: str
    med_type: str
    bill: Bill
    facts: VisitFacts
    lines: Sequence[Line] = ()
    lines_of: PlanId | None = None
    """Whose lines are this bill's, where it was planned before."""
    trial: GivenBack | None = None
    """What is planned as if it were given back: nothing is stored then."""


async def pre_settle(
    desk: Desk, *, visit: Presented, plan_id: PlanId, now: datetime, trial: GivenBack | None = None
) -> StoredPlan:
    """2206 / 2101 / 2303: who would pay what for this bill. Stores the plan, moves nothing.

    A ``trial`` is planned as if that were given back; its plan is not stored and cannot be paid.

    Failures: those of ``check_bill``, ``known_institution``, ``check_takes_bills``, ``check_signed_in``,
    ``signed_claims``, ``check_claims``, ``check_med_type``, ``check_interim``, ``check_lines``, ``check_agent_may``,
    ``check_agent``, ``check_open``, ``circle_of``, ``visit_of`` and ``split``; PATIENT_BUSY while a settlement of the
    patient's double, or the family's part of a claim, is under way; no plan is stored then. What ``check_claims``
    refuses of somebody's credential is told to those who look for misuse.
    """
    check_bill(visit.bill)
    found = await desk.company.around(
        asked_around(
            visit.fixmedins_code, visit.psn_no, now, terminal_no=visit.terminal_no, kid=key_id_of(visit.ec_token)
        )
    )
    known = await known_around(
        desk, found, visit.fixmedins_code, visit.infno, visit.psn_no, now, mdtrt_id=visit.mdtrt_id
    )
    check_signed_in(known.terminal, now=now)
    claims = signed_claims(visit.ec_token, found.key, now=now)
    agent = None
    if visit.agent_ec_token:
        async with desk.database.driver_connection() as connection:
            agent = await agent_of(connection, visit.agent_ec_token, now=now)
    try:
        check_claims(
            claims,
            patient=visit.psn_no,
            funders=funders_among(known.bindings),
            fixmedins_code=visit.fixmedins_code,
            terminal_no=visit.terminal_no,
            mdtrt_id=visit.mdtrt_id,
            now=now,
        )
    except Failure as refusal:
        await desk.refusals.tell(visit, presented=claims.psn_no, reason=refusal.reason, now=now)
        raise
    check_med_type(visit.med_type, infno=visit.infno)
    check_interim(interim=visit.interim, infno=visit.infno)
    check_lines(visit.lines, bill=visit.bill, infno=visit.infno, required=desk.lines_required)
    facts = VisitFacts(
        mdtrt_cert_type=claims.mdtrt_cert_type,
        gend=claims.gend,
        interim=visit.interim,
        line_count=len(visit.lines),
        lines_digest=digest_of_lines(visit.lines) if visit.lines else "",
    )
    if agent is not None:
        check_agent_may(visit.infno)
        agent.check(visit, now=now)
        facts = agent.noted_in(facts)
    asked = _Asked(
        visit.psn_no,
        visit.infno,
        visit.mdtrt_id,
        visit.med_type,
        visit.bill,
        facts=facts,
        lines=visit.lines,
        trial=trial,
    )
    return await _planned(desk, known, asked, silent=frozenset(), plan_id=plan_id, now=now)


async def replan(
    desk: Desk, *, refused: Plan, silent: Collection[AdmDvs], plan_id: PlanId, now: datetime
) -> StoredPlan:
    """A new plan for the visit of a refused one, leaving the ``silent`` areas out as AREA_UNREACHABLE.

    The patient presented his credential for the refused plan and is still at the desk, so it is not asked for again.
    Failures: as ``pre_settle``; a plan cannot be made now.
    """
    visit = refused.visit
    found = await desk.company.around(asked_around(visit.fixmedins_code, visit.psn_no, now))
    known = await known_around(
        desk, found, visit.fixmedins_code, visit.infno, visit.psn_no, now, mdtrt_id=visit.mdtrt_id
    )
    asked = _Asked(
        visit.psn_no,
        visit.infno,
        visit.mdtrt_id,
        visit.med_type,
        visit.bill,
        facts=refused.facts,
        lines_of=refused.plan_id,
    )
    return await _planned(desk, known, asked, silent=frozenset(silent), plan_id=plan_id, now=now)


async def check_institution(database: Database, *, fixmedins_code: FixmedinsCode, infno: str, now: datetime) -> None:
    """INSTITUTION_UNKNOWN or TRANSACTION_NOT_FOR_INSTITUTION; one that no longer takes bills may still give back."""
    async with database.driver_connection() as connection:
        institution, _ = await projected.find_institution(connection, fixmedins_code, now=now)
    known_institution(institution, fixmedins_code=fixmedins_code, infno=infno)


async def stored_plan(database: Database, *, plan_id: PlanId) -> StoredPlan:
    """A plan that is known to be stored, expired or not."""
    stored = await plans.load(database, plan_id)
    if stored is None:
        raise LookupError(f"plan {plan_id} is referred to and not there")
    return stored


def asked_around(
    fixmedins_code: FixmedinsCode, patient: PsnNo, now: datetime, *, terminal_no: str = "", kid: str = ""
) -> AskedAround:
    """The question for what the projections say around a patient at this institution."""
    return AskedAround(fixmedins_code, terminal_no, patient, business_year(now), now, kid)


async def known_around(
    desk: Desk,
    found: Around,
    fixmedins_code: FixmedinsCode,
    infno: str,
    patient: PsnNo,
    now: datetime,
    *,
    mdtrt_id: str,
) -> KnownAround:
    """What was found around one patient, at an institution that may present this transaction; of a stay, its parts too.

    Failures: those of ``known_institution`` and ``check_takes_bills``.
    """
    institution = known_institution(found.institution, fixmedins_code=fixmedins_code, infno=infno)
    check_takes_bills(institution, infno=infno, today=business_date(now))
    stay: list[StayPart] = []
    if infno in OF_INPATIENTS:
        async with desk.database.driver_connection() as connection:
            stay = await stays.parts_of(connection, patient=patient, fixmedins_code=fixmedins_code, mdtrt_id=mdtrt_id)
    return KnownAround(
        institution,
        found.terminal,
        found.bindings,
        found.people,
        business_year(now),
        business_month(now),
        found.patient_year,
        stay,
    )


async def _planned(
    desk: Desk,
    known: KnownAround,
    asked: _Asked,
    *,
    silent: frozenset[AdmDvs],
    plan_id: PlanId,
    now: datetime,
) -> StoredPlan:
    paused = desk.freshness.is_stale
    check_open(known.stay)
    if known.patient_year.is_undecided:
        raise patient_busy_failure()
    circle, enrolment = circle_of(asked.patient, known.people, known.bindings)
    questions = questions_of(circle, enrolment, paused=paused, wallet_area=known.patient_year.wallet_area)
    readings = await read_areas(desk.ledgers, questions, silent, month=known.month)
    used = known.patient_year.used
    if asked.trial is not None:
        readings = with_returned(readings, asked.trial, month=known.month)
        used = with_less_used(used, asked.trial, year=known.year)
    visit = visit_of(
        circle,
        enrolment,
        institution=known.institution,
        bill=asked.bill,
        readings=readings,
        year=known.year,
        paused=paused,
        wallet_area=known.patient_year.wallet_area,
    )
    policies = desk.policies.on(business_date(now))
    case = case_of(
        policies.for_area(enrolment.insuplc_admdvs),
        insutype=enrolment.insutype,
        psn_type=enrolment.psn_type,
        fixmedins_code=known.institution.fixmedins_code,
        level=known.institution.level,
        med_type=asked.med_type,
        used=used,
    )
    visit = replace(visit, case=case)
    inputs = canonical(inputs_of(visit, policies, made_at=now))
    own = readings[enrolment.insuplc_admdvs]
    own_account = None if own is None else own.accounts.get(asked.patient)
    plan = plan_of(
        split(visit, policies),
        plan_id=plan_id,
        visit=_visit_planned(known.institution, asked, circle.patient, enrolment),
        year=known.year,
        patient_version=known.patient_year.version,
        own_balance_fen=None if own_account is None else own_account.past_fen + own_account.current_fen,
        funders={
            binding.funder: KnownFunder(circle.people[binding.funder].name_masked, binding.relation)
            for binding in circle.bindings
        },
        pool="" if case is None else case.pool,
        inputs_digest=digest_of_inputs(inputs),
        facts=replace(asked.facts, age=circle.patient.age_on(business_date(now)), psn_type=enrolment.psn_type),
    )
    if asked.trial is not None:
        return StoredPlan(plan, now, plan.digest)
    fault_point("settlement.plan.before_commit")
    stored = await desk.company.store(PlanMade.of(plan, inputs, lines=asked.lines, lines_of=asked.lines_of))
    fault_point("settlement.plan.after_commit")
    return stored


def _visit_planned(institution: Institution, asked: _Asked, patient: KnownPerson, enrolment: Enrolment) -> PlannedVisit:
    return PlannedVisit(
        fixmedins_code=institution.fixmedins_code,
        infno=asked.infno,
        mdtrt_id=asked.mdtrt_id,
        med_type=asked.med_type,
        psn_no=asked.patient,
        psn_name_masked=patient.name_masked,
        insutype=enrolment.insutype,
        insuplc_admdvs=enrolment.insuplc_admdvs,
        bill=asked.bill,
    )


async def read_areas(
    ledgers: LedgerClient, questions: Mapping[AdmDvs, AreaQuestion], silent: frozenset[AdmDvs], *, month: int
) -> dict[AdmDvs, AreaReading | None]:
    """Every ledger's answer, asked side by side; None for one that keeps silent or is known to."""

    async def read(area: AdmDvs, question: AreaQuestion) -> AreaReading | None:
        if area in silent:
            return None
        accounts = [(psn_no, Role.OWN) for psn_no in question.accounts]
        wallets = [(psn_no, Role.WALLET) for psn_no in question.wallets]
        try:
            balances, authorisations = await ledgers.balances(
                area, [*accounts, *wallets], question.authorisations, month=month
            )
        except Failure as failure:
            if failure.reason == AREA_UNREACHABLE:
                return None
            raise
        return AreaReading(
            accounts={b.psn_no: reading_of(b) for b in balances if b.exists and b.role is Role.OWN},
            wallets={b.psn_no: reading_of(b) for b in balances if b.exists and b.role is Role.WALLET},
            authorisations={
                a.authorisation_id: AuthorisationReading(
                    is_open=a.is_open,
                    authorised_fen=a.authorised_fen,
                    used_fen=a.used_fen + a.held_fen,
                    per_payment_fen=a.per_payment_fen,
                    per_month_fen=a.per_month_fen,
                    month_used_fen=a.month_used_fen,
                )
                for a in authorisations
            },
        )

    answers = await asyncio.gather(*(read(area, question) for area, question in questions.items()))
    return dict(zip(questions, answers, strict=True))


def reading_of(balance: Balance) -> AccountReading:
    """What is free of an account, as rules judge it."""
    return AccountReading(
        past_fen=balance.free_past_fen,
        current_fen=balance.free_current_fen,
        year=balance.year,
        frozen=balance.frozen,
    )
