"""What an approved claim comes to: the pooled fund's part, by table or as stated, and what the family's accounts give.

Only reads. The table is that of the day of care and what is open of it that year's, as it stands at the approval;
whoever writes the approval holds ``Pooled.version`` against the year that it locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kernel.clock import business_date, business_month, business_year
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.money import Fen
from kernel.policy import BenefitTable, ExternalBenefit, OpenBenefit
from services.settlement.domain.benefit_case import YearUse, case_of, use_of
from services.settlement.domain.bill import Bill, Burden, burden_of
from services.settlement.domain.claim import Assessment, Claim, check_as_computed, check_same_assessment
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import row_of, split
from services.settlement.domain.visit import Institution, circle_of, questions_of, visit_of
from services.settlement.operations.planning import read_areas
from services.settlement.operations.wallets import Room
from services.settlement.saga.requests import patient_busy_failure
from services.settlement.store import plans
from services.settlement.store import projections as projected

_GIVEN: Final = ExternalBenefit()
_PARTS: Final = ("medfee_sumamt", "fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "inscp_scp_amt")
"""Of the papers' bill; no other fund pays a claim."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """The funds' part of a claim, and out of which year's values it comes."""

    bill: Bill
    benefit: ExternalBenefit | OpenBenefit
    burden: Burden
    use: YearUse | None
    """None where nothing of the year is used."""
    year: int
    counts_for: PsnNo
    """The claimant's number that counts."""
    version: int | None
    """Of that number's year, as it was read; None where officers state the figures, which no year bounds."""
    institution: Institution

    @property
    def is_computed(self) -> bool:
        """Whether the area's benefit table gives the figures."""
        return self.version is not None


async def pooled_part(room: Room, claim: Claim, assessment: Assessment, now: datetime) -> Pooled:
    """The funds' part, which ``assessment`` states or which the area's benefit table gives.

    Refusals: INSTITUTION_UNKNOWN; CLAIM_ASSESSMENT_DIFFERS, or BENEFIT_CASE_UNKNOWN, BENEFIT_ROW_MISSING, PATIENT_BUSY
    (a settlement under a double, or another claim's family part, is under way) and CLAIM_FIGURES_COMPUTED; those of
    ``burden_of``.
    """
    asked, year = claim.asked, claim.asked.care_on.year
    async with room.desk.database.driver_connection() as connection:
        institution, _ = await projected.find_institution(connection, asked.fixmedins_code, now=now)
        filed_by = (await projected.people(connection, [asked.psn_no], now=now)).get(asked.psn_no)
        counts_for = asked.psn_no if filed_by is None else filed_by.merged_into or asked.psn_no
        known_year = await plans.patient_at(connection, psn_no=counts_for, year=year)
        person = (await projected.people(connection, [counts_for], now=now)).get(counts_for)
    if institution is None:
        raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN")
    enrolment = None if person is None else person.enrolment
    insutype = "" if enrolment is None else enrolment.insutype
    at_home = room.desk.policies.on(asked.care_on).for_area(claim.area)
    case = case_of(
        at_home,
        insutype=insutype,
        psn_type="" if enrolment is None else enrolment.psn_type,
        fixmedins_code=asked.fixmedins_code,
        level=institution.level,
        med_type=asked.med_type,
        used=known_year.used,
    )
    parts = {name: getattr(asked.bill, name) for name in _PARTS}
    benefit: ExternalBenefit | OpenBenefit = _GIVEN
    if case is not None and isinstance(at_home.benefit, BenefitTable):
        if known_year.is_undecided:
            raise patient_busy_failure()
        bill = Bill(**parts)
        benefit = row_of(at_home.benefit, insutype=insutype, case=case).open_after(case.year)
        burden = burden_of(bill, benefit)
        check_as_computed(assessment, act_pay_dedc=burden.act_pay_dedc, hifp_pay=burden.hifp_pay)
    else:
        check_same_assessment(claim, assessment)
        bill = Bill(**parts, act_pay_dedc=assessment.act_pay_dedc or 0, hifp_pay=assessment.hifp_pay or 0)
        burden = burden_of(bill, benefit)
    return Pooled(
        bill,
        benefit,
        burden,
        use=use_of(
            insutype=insutype,
            pool="" if case is None else case.pool,
            act_pay_dedc=burden.act_pay_dedc,
            hifp_pay=burden.hifp_pay,
            hifmi_pay=burden.hifmi_pay,
            hifob_pay=burden.hifob_pay,
        ),
        year=year,
        counts_for=counts_for,
        version=None if case is None else known_year.version,
        institution=institution,
    )


async def family_part(room: Room, claim: Claim, pooled: Pooled, now: datetime) -> tuple[PlanLeg, ...]:
    """What the family would give at the desk, by the policies, balances and bindings of today.

    Nothing while the claimant is suspended, nor where his number does not count any more. Refusals: those of
    ``circle_of`` and ``visit_of``.
    """
    asked = claim.asked
    async with room.desk.database.driver_connection() as connection:
        bindings = await projected.bindings_of(connection, asked.psn_no)
        people = await projected.people(connection, [asked.psn_no, *(each.funder for each in bindings)], now=now)
        patient_year = await plans.patient_at(connection, psn_no=asked.psn_no, year=business_year(now))
    claimant = people.get(asked.psn_no)
    if claimant is None or claimant.sanctioned or claimant.merged_into is not None or claimant.deceased:
        return ()
    circle, enrolment = circle_of(asked.psn_no, people, bindings)
    paused = room.desk.freshness.is_stale
    questions = questions_of(circle, enrolment, paused=paused, wallet_area=patient_year.wallet_area)
    readings = await read_areas(room.desk.ledgers, questions, frozenset(), month=business_month(now))
    visit = visit_of(
        circle,
        enrolment,
        institution=pooled.institution,
        bill=pooled.bill,
        readings=readings,
        year=business_year(now),
        paused=paused,
        wallet_area=patient_year.wallet_area,
    )
    parted = split(visit, room.desk.policies.on(business_date(now)), benefit=pooled.benefit)
    return tuple(
        PlanLeg(
            leg_no,
            source.role,
            source.psn_no,
            source.area,
            source.past_fen,
            source.current_fen,
            source.authorisation_id,
            source.floor_fen,
            tuple(sorted(source.floor_parts, key=lambda part: part.value)),
        )
        for leg_no, source in enumerate(parted.contributions, start=1)
    )


def amount_of(legs: tuple[PlanLeg, ...]) -> Fen:
    """What accounts and wallets give together."""
    return sum(leg.amount_fen for leg in legs)
