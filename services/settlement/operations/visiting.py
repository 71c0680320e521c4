"""1101: who stands at the desk, and out of what a bill of his could be paid; and what was billed. Only reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, FixmedinsCode, PaymentId
from kernel.money import Fen
from services.settlement.domain.bill import Bill
from services.settlement.domain.credential import Claims, check_holder, key_id_of, stated_holder
from services.settlement.domain.lines import Line
from services.settlement.domain.split import FamilyMember, family_of
from services.settlement.domain.visit import (
    Circle,
    Enrolment,
    KnownPerson,
    check_signed_in,
    circle_of,
    known_patient,
    questions_of,
    visit_of,
)
from services.settlement.operations.credentials import signed_claims
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import look_up
from services.settlement.operations.planning import Desk, KnownAround, asked_around, known_around, read_areas
from services.settlement.store import plans

NO_BILL: Final = Bill(0, 0, 0, 0, 0)
"""Who may pay is asked before there is anything to pay."""
INELIGIBLE: Final = frozenset({"PATIENT_SANCTIONED", "PATIENT_NOT_INSURED"})
"""Who is refused a plan by one of these is told so beforehand: pay in full, claim later (domain §8)."""


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """What is free of the person's own account."""

    area: AdmDvs
    past_fen: Fen
    current_fen: Fen
    frozen: bool


@dataclass(frozen=True, slots=True)
class OwnWallet:
    """What is free of the person's own wallet."""

    area: AdmDvs
    free_fen: Fen
    usable_here: bool


@dataclass(frozen=True, slots=True)
class PersonSeen:
    """1101's answer. Of an ineligible person, only who he is and why."""

    person: KnownPerson
    mdtrt_cert_type: str
    age: int | None
    gend: str
    ineligible_reason: str = ""
    account: OwnAccount | None = None
    wallet: OwnWallet | None = None
    circle: Circle | None = None
    family: tuple[FamilyMember, ...] = ()


@dataclass(frozen=True, slots=True)
class AtDesk:
    """Whose token was shown, and where."""

    fixmedins_code: FixmedinsCode
    terminal_no: str
    ec_token: str
    mdtrt_id: str

    @property
    def infno(self) -> str:
        """The transaction that a bill there would begin with."""
        return "2101" if self.fixmedins_code.startswith("P") else "2206"


async def see_person(desk: Desk, *, shown: AtDesk, now: datetime) -> PersonSeen:
    """1101: the holder of the credential, his enrolments, his own money and who of his family may pay.

    Failures: those of ``signed_claims``, ``check_holder``, ``known_around``, ``check_signed_in``; PATIENT_UNKNOWN;
    OWN_AREA_UNREACHABLE. Nobody's money but his own is read out.
    """
    found = await desk.company.around(
        asked_around(
            shown.fixmedins_code,
            stated_holder(shown.ec_token),
            now,
            terminal_no=shown.terminal_no,
            kid=key_id_of(shown.ec_token),
        )
    )
    claims = signed_claims(shown.ec_token, found.key, now=now)
    known = await known_around(
        desk, found, shown.fixmedins_code, shown.infno, claims.psn_no, now, mdtrt_id=shown.mdtrt_id
    )
    check_signed_in(known.terminal, now=now)
    check_holder(
        claims,
        fixmedins_code=shown.fixmedins_code,
        terminal_no=shown.terminal_no,
        mdtrt_id=shown.mdtrt_id,
        now=now,
    )
    person = known_patient(claims.psn_no, known.people)
    age = person.age_on(business_date(now))
    try:
        circle, enrolment = circle_of(claims.psn_no, known.people, known.bindings)
    except Failure as refusal:
        if refusal.reason not in INELIGIBLE:
            raise
        return PersonSeen(person, claims.mdtrt_cert_type, age, claims.gend, ineligible_reason=refusal.reason)
    return await _with_money(desk, known, claims, circle, enrolment, now=now)


async def _with_money(
    desk: Desk, known: KnownAround, claims: Claims, circle: Circle, enrolment: Enrolment, *, now: datetime
) -> PersonSeen:
    paused = desk.freshness.is_stale
    wallet_area = known.patient_year.wallet_area
    questions = questions_of(circle, enrolment, paused=paused, wallet_area=wallet_area)
    readings = await read_areas(desk.ledgers, questions, frozenset(), month=known.month)
    visit = visit_of(
        circle,
        enrolment,
        institution=known.institution,
        bill=NO_BILL,
        readings=readings,
        year=known.year,
        paused=paused,
        wallet_area=wallet_area,
    )
    policies = desk.policies.on(business_date(now))
    patient, at_home = visit.patient, readings[enrolment.insuplc_admdvs]
    has_account = at_home is not None and patient.psn_no in at_home.accounts
    wallet_at = wallet_area or patient.area
    at_wallet = readings.get(wallet_at)
    has_wallet = at_wallet is not None and (wallet_area is not None or patient.psn_no in at_wallet.wallets)
    takes_wallets = known.institution.wallet_capable and policies.for_area(visit.area, field="area").wallet
    return PersonSeen(
        person=circle.patient,
        mdtrt_cert_type=claims.mdtrt_cert_type,
        age=circle.patient.age_on(business_date(now)),
        gend=claims.gend,
        account=OwnAccount(patient.area, patient.past_fen, patient.current_fen, patient.frozen)
        if has_account
        else None,
        wallet=OwnWallet(wallet_at, patient.wallet_fen, takes_wallets) if has_wallet else None,
        circle=circle,
        family=family_of(visit, policies),
    )


async def bill_lines(engine: Engine, *, fixmedins_code: FixmedinsCode, setl_id: PaymentId) -> list[Line]:
    """The lines of one of the institution's own settlements, or of what one of them took back.

    SETTLEMENT_UNKNOWN, also if it is another institution's.
    """
    found = await look_up(engine, fixmedins_code=fixmedins_code, payment_id=setl_id)
    plan_id = (found.original or found.payment).plan_id
    if plan_id is None:
        raise Failure(Kind.NOT_FOUND, "SETTLEMENT_UNKNOWN")
    async with engine.database.driver_connection() as connection:
        return await plans.lines_of_plan(connection, plan_id)
