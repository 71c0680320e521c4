"""From projections and ledgers' answers to the arguments of the split: what a live plan rests on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from chassis.files import read_yaml
from kernel.failures import Failure
from kernel.ids import AdmDvs, AuthorisationId, FixmedinsCode, PsnNo
from kernel.policy import PolicySet
from ops.plan import plan_as_json
from ops.scenario import parsed_scenario
from services.settlement.domain.bill import Bill
from services.settlement.domain.split import Binding, Person, SkipReason, Visit, split
from services.settlement.domain.visit import (
    AccountReading,
    AreaReading,
    AuthorisationReading,
    BindingState,
    Circle,
    Enrolment,
    Institution,
    InstitutionState,
    KnownBinding,
    KnownPerson,
    Terminal,
    check_signed_in,
    check_takes_bills,
    circle_of,
    known_institution,
    questions_of,
    visit_of,
)
from tests.unit.split.contents import SCENARIOS

YEAR: Final = 2026
BOUND_AT: Final = datetime(2026, 1, 2, tzinfo=UTC)
URUMQI: Final = AdmDvs("650100")
HAMI: Final = AdmDvs("650500")
LANZHOU: Final = AdmDvs("620100")
PATIENT: Final = PsnNo("650100000000001")
FUNDER: Final = PsnNo("650500000000003")
LEAVE: Final = AuthorisationId(UUID(int=7))
HOSPITAL: Final = Institution(FixmedinsCode("H65010000001"), InstitutionState.DESIGNATED, wallet_capable=True)
WINDOW: Final = Terminal(
    HOSPITAL.fixmedins_code, "T01", in_service=True, sign_no="S1", sign_ends_at=BOUND_AT + timedelta(seconds=1)
)
TODAY: Final = date(2026, 7, 1)
DAY: Final = timedelta(days=1)
BILL: Final = Bill(medfee_sumamt=10_000, fulamt_ownpay_amt=0, overlmt_selfpay=0, preselfpay_amt=0, inscp_scp_amt=10_000)
EMPLOYEE: Final = Enrolment("310", URUMQI, "1")


def known(psn_no: PsnNo, *enrolments: Enrolment, sanctioned: bool = False) -> KnownPerson:
    """A person as identity tells of him."""
    return KnownPerson(psn_no, "某*", enrolments, sanctioned)


def bound(state: BindingState = BindingState.ACTIVE, **changes: object) -> KnownBinding:
    """The funder's binding in Hami."""
    binding = KnownBinding(FUNDER, state, "", "SPOUSE", None, BOUND_AT, LEAVE, HAMI)
    return replace(binding, **changes)  # type: ignore[arg-type]  # Fields of the binding, each by its name.


def account(past_fen: int = 0, current_fen: int = 0, year: int = YEAR, *, frozen: bool = False) -> AccountReading:
    """An account as its ledger reads it out."""
    return AccountReading(past_fen, current_fen, year, frozen)


def reading(**accounts: AccountReading) -> AreaReading:
    """A ledger with these accounts (``p<psn_no>``) and the funder's open, unlimited authorisation."""
    return AreaReading(
        accounts={PsnNo(name[1:]): told for name, told in accounts.items()},
        wallets={},
        authorisations={LEAVE: AuthorisationReading(is_open=True, authorised_fen=None, used_fen=0)},
    )


HOME: Final = reading(p650100000000001=account(1_000, 500))
AWAY: Final = reading(p650500000000003=account(3_000, 4_000))


def assembled(
    *bindings: KnownBinding,
    funder: KnownPerson | None = None,
    away: AreaReading | None = AWAY,
    home: AreaReading | None = HOME,
) -> Visit:
    """The visit of the patient in Ürümqi, with the funder in Hami as given."""
    people = {
        PATIENT: known(PATIENT, EMPLOYEE),
        FUNDER: funder or known(FUNDER, Enrolment("310", HAMI, "1")),
    }
    circle, enrolment = circle_of(PATIENT, people, bindings)
    return visit_of(circle, enrolment, institution=HOSPITAL, bill=BILL, readings={URUMQI: home, HAMI: away}, year=YEAR)


def only(visit: Visit) -> Binding:
    """The visit's one binding."""
    (binding,) = visit.bindings
    return binding


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_a_live_plan_gives_the_figures_of_the_scenario(file: Path) -> None:
    """Told as projections and readings instead of as a file, the same family gives the same split."""
    scenario = parsed_scenario(read_yaml(file).data)
    stated = scenario.visit
    people = {person.psn_no: _told(person) for person in (stated.patient, *(b.funder for b in stated.bindings))}
    leaves = {binding.funder.psn_no: AuthorisationId(UUID(int=n)) for n, binding in enumerate(stated.bindings, 1)}
    bindings = [_binding(binding, leaves[binding.funder.psn_no]) for binding in stated.bindings]
    circle, enrolment = circle_of(stated.patient.psn_no, people, bindings)
    institution = Institution(
        FixmedinsCode(f"H{stated.area}00001"), InstitutionState.DESIGNATED, wallet_capable=stated.wallet_capable
    )
    visit = visit_of(
        circle,
        enrolment,
        institution=institution,
        bill=stated.bill,
        readings={area: _reading(area, stated, leaves) for area in questions_of(circle, enrolment)},
        year=YEAR,
    )
    assert plan_as_json(split(visit, scenario.policies)) == scenario.expect


def _told(person: Person) -> KnownPerson:
    return known(
        person.psn_no, Enrolment(person.insutype, person.area, person.psn_insu_stas), sanctioned=person.sanctioned
    )


def _binding(binding: Binding, leave: AuthorisationId) -> KnownBinding:
    return KnownBinding(
        funder=binding.funder.psn_no,
        state=BindingState.UNBOUND if binding.unbound else BindingState.ACTIVE,
        cause="",
        relation="SPOUSE",
        order=binding.order,
        bound_at=binding.bound_at,
        authorisation_id=leave,
        funder_area=binding.funder.area,
    )


def _reading(area: AdmDvs, visit: Visit, leaves: dict[PsnNo, AuthorisationId]) -> AreaReading:
    there = [p for p in (visit.patient, *(b.funder for b in visit.bindings)) if p.area == area]
    return AreaReading(
        accounts={p.psn_no: account(p.past_fen, p.current_fen, frozen=p.frozen) for p in there},
        wallets={p.psn_no: account(p.wallet_fen) for p in there},
        authorisations={
            leaves[binding.funder.psn_no]: AuthorisationReading(
                is_open=True,
                authorised_fen=binding.authorised_fen,
                used_fen=binding.used_fen,
                per_payment_fen=binding.per_payment_fen,
                per_month_fen=binding.per_month_fen,
                month_used_fen=binding.month_used_fen,
            )
            for binding in visit.bindings
        },
    )


def test_an_active_funder_brings_his_free_money_and_his_leave() -> None:
    """Balances and authorisation are the ledger's, not the projection's."""
    leave = AuthorisationReading(
        is_open=True, authorised_fen=900, used_fen=200, per_payment_fen=500, per_month_fen=600, month_used_fen=70
    )
    binding = only(assembled(bound(), away=replace(AWAY, authorisations={LEAVE: leave})))
    assert (binding.funder.past_fen, binding.funder.current_fen) == (3_000, 4_000)
    assert (binding.authorised_fen, binding.used_fen, binding.authorisation_id) == (900, 200, LEAVE)
    assert (binding.per_payment_fen, binding.per_month_fen, binding.month_used_fen) == (500, 600, 70)


@pytest.mark.parametrize(
    ("state", "unbound"),
    [(BindingState.ACTIVE, False), (BindingState.CLOSING, True), (BindingState.UNBOUND, True)],
)
def test_a_binding_that_a_person_ends_is_unbound_at_once(state: BindingState, *, unbound: bool) -> None:
    """CLOSING counts as UNBOUND: no new bill is paid while the ledger closes the authorisation."""
    assert only(assembled(bound(state))).unbound is unbound


def test_a_binding_not_yet_open_is_not_spoken_of() -> None:
    """OPENING stands in neither list, even where an older binding of the pair was ended."""
    ended = bound(BindingState.UNBOUND, bound_at=BOUND_AT - timedelta(days=9))
    assert assembled(ended, bound(BindingState.OPENING)).bindings == ()


@pytest.mark.parametrize(
    ("funder", "cause", "reason"),
    [
        (known(FUNDER, Enrolment("310", HAMI, "1"), sanctioned=True), "SANCTIONED", SkipReason.SANCTIONED),
        (known(FUNDER, Enrolment("310", HAMI, "1")), "SANCTIONED", SkipReason.SANCTIONED),
        (known(FUNDER, Enrolment("310", HAMI, "2")), "NOT_INSURED", SkipReason.NOT_INSURED),
        (known(FUNDER, Enrolment("310", HAMI, "1")), "NOT_INSURED", SkipReason.NOT_INSURED),
        (known(FUNDER, Enrolment("310", LANZHOU, "1")), "OTHER_PROVINCE", SkipReason.OTHER_PROVINCE),
        (known(FUNDER), "DIED", SkipReason.NOT_INSURED),
    ],
)
def test_a_suspended_funder_is_left_out_with_his_own_states_reason(
    funder: KnownPerson, cause: str, reason: SkipReason
) -> None:
    """The person's state tells the reason; family's cause stands in where identity's word is still on its way."""
    visit = assembled(bound(BindingState.SUSPENDED, cause=cause), funder=funder)
    found = split(visit, parsed_scenario(read_yaml(SCENARIOS[0]).data).policies)
    assert [skipped.reason for skipped in found.skipped] == [reason]
    assert found.funders == ()


@pytest.mark.parametrize("state", [BindingState.CLOSING, BindingState.SUSPENDED])
def test_a_suspension_without_a_reason_of_the_list_gives_nothing_in_silence(state: BindingState) -> None:
    """A kinship fact that fell leaves the funder in neither list, also before his ledger has closed: nobody unbound."""
    visit = assembled(bound(state, cause="KINSHIP_NOT_PROVEN"))
    found = split(visit, parsed_scenario(read_yaml(SCENARIOS[0]).data).policies)
    assert (found.funders, found.skipped) == ((), ())


def test_a_silent_area_is_named_and_left_out() -> None:
    """Where the funder's ledger does not answer, the funder is AREA_UNREACHABLE."""
    visit = assembled(bound(), away=None)
    found = split(visit, parsed_scenario(read_yaml(SCENARIOS[0]).data).policies)
    assert [skipped.reason for skipped in found.skipped] == [SkipReason.AREA_UNREACHABLE]


def test_without_the_patients_own_area_there_is_no_plan() -> None:
    """The patient's own money comes first, so a silent own area is a refusal, not a plan without it."""
    with pytest.raises(Failure) as refused:
        assembled(bound(), home=None)
    assert refused.value.reason == "OWN_AREA_UNREACHABLE"


def test_an_authorisation_that_the_ledger_has_closed_gives_nothing() -> None:
    """The ledger's word on the authorisation is newer than the projection's on the binding."""
    closed = AuthorisationReading(is_open=False, authorised_fen=None, used_fen=0)
    for authorisations in ({LEAVE: closed}, {}):
        binding = only(assembled(bound(), away=replace(AWAY, authorisations=authorisations)))
        assert (binding.authorised_fen, binding.unbound) == (0, False)


def test_money_of_a_year_that_is_over_counts_as_past() -> None:
    """After new year, before the ledger has turned the account, its current part is read as past."""
    old = reading(p650500000000003=account(3_000, 4_000, YEAR - 1))
    funder = only(assembled(bound(), away=old)).funder
    assert (funder.past_fen, funder.current_fen) == (7_000, 0)


def test_money_lies_where_the_authorisation_is_after_a_move_inside_the_province() -> None:
    """A funder who moved from Hami to Ürümqi still pays from Hami's ledger until his money follows."""
    moved = known(FUNDER, Enrolment("310", URUMQI, "1"))
    assert only(assembled(bound(), funder=moved)).funder.area == HAMI


def test_a_funder_of_whom_identity_has_not_told_is_left_out() -> None:
    """Nothing is known that would let him pay."""
    circle, _ = circle_of(PATIENT, {PATIENT: known(PATIENT, EMPLOYEE)}, [bound()])
    assert circle.bindings == ()


@pytest.mark.parametrize(
    ("enrolments", "counts"),
    [
        ((Enrolment("390", URUMQI, "1"), EMPLOYEE), EMPLOYEE),
        ((Enrolment("310", URUMQI, "2"), Enrolment("390", HAMI, "1")), Enrolment("390", HAMI, "1")),
        ((Enrolment("390", URUMQI, "4"), Enrolment("310", HAMI, "4")), Enrolment("310", HAMI, "4")),
        ((), None),
    ],
)
def test_a_normal_enrolment_counts_first_then_the_employees(
    enrolments: tuple[Enrolment, ...], counts: Enrolment | None
) -> None:
    """Of several enrolments a normal one goes before a paused one, and 310 before 390."""
    assert known(PATIENT, *enrolments).enrolment == counts


@pytest.mark.parametrize(
    ("people", "reason"),
    [
        ({}, "PATIENT_UNKNOWN"),
        ({PATIENT: known(PATIENT)}, "PATIENT_NOT_INSURED"),
        ({PATIENT: known(PATIENT, Enrolment("310", URUMQI, "2"))}, "PATIENT_NOT_INSURED"),
        ({PATIENT: known(PATIENT, EMPLOYEE, sanctioned=True)}, "PATIENT_SANCTIONED"),
    ],
)
def test_a_patient_who_may_not_settle_online_is_refused_by_name(people: dict[PsnNo, KnownPerson], reason: str) -> None:
    """Unknown, not insured and sanctioned patients get the refusal, not a plan."""
    with pytest.raises(Failure) as refused:
        circle_of(PATIENT, people, [])
    assert refused.value.reason == reason


def test_each_ledger_is_asked_once_and_only_for_what_counts() -> None:
    """The own area is asked for account and wallet, a funder's for account and leave; ended bindings for nothing."""
    people = {PATIENT: known(PATIENT, EMPLOYEE), FUNDER: known(FUNDER, Enrolment("310", HAMI, "1"))}
    circle, enrolment = circle_of(PATIENT, people, [bound()])
    questions = questions_of(circle, enrolment)
    assert {area: (q.accounts, q.wallets, q.authorisations) for area, q in questions.items()} == {
        URUMQI: ((PATIENT,), (PATIENT,), ()),
        HAMI: ((FUNDER,), (), (LEAVE,)),
    }
    ended = Circle(circle.patient, (bound(BindingState.CLOSING),), people)
    assert list(questions_of(ended, enrolment)) == [URUMQI]


@pytest.mark.parametrize(
    ("code", "infno", "reason"),
    [
        ("H65010000001", "2101", "TRANSACTION_NOT_FOR_INSTITUTION"),
        ("P65010000001", "2206", "TRANSACTION_NOT_FOR_INSTITUTION"),
        ("P65010000001", "2305", "TRANSACTION_NOT_FOR_INSTITUTION"),
        ("H65010000001", "2206", None),
        ("P65010000001", "2103", None),
    ],
)
def test_a_transaction_belongs_to_hospitals_or_to_pharmacies(code: str, infno: str, reason: str | None) -> None:
    """2101, 2102 and 2103 are a pharmacy's, all others a hospital's."""
    institution = Institution(FixmedinsCode(code), InstitutionState.DESIGNATED, wallet_capable=False)
    try:
        assert known_institution(institution, fixmedins_code=institution.fixmedins_code, infno=infno) is institution
        found = None
    except Failure as failure:
        found = failure.reason
    assert found == reason


def test_an_institution_that_nobody_told_of_is_unknown() -> None:
    """It is refused by name, whatever it sends."""
    with pytest.raises(Failure, match="INSTITUTION_UNKNOWN"):
        known_institution(None, fixmedins_code=HOSPITAL.fixmedins_code, infno="2206")


@pytest.mark.parametrize(
    ("institution", "infno", "reason"),
    [
        (HOSPITAL, "2206", None),
        (replace(HOSPITAL, state=InstitutionState.SUSPENDED), "2206", "INSTITUTION_NOT_DESIGNATED"),
        (replace(HOSPITAL, state=InstitutionState.ENDED, sanctioned=True), "2206", "INSTITUTION_NOT_DESIGNATED"),
        (replace(HOSPITAL, agreement_from=TODAY + DAY), "2206", "INSTITUTION_NOT_DESIGNATED"),
        (replace(HOSPITAL, agreement_to=TODAY - DAY, sanctioned=True), "2206", "INSTITUTION_NOT_DESIGNATED"),
        (replace(HOSPITAL, agreement_from=TODAY, agreement_to=TODAY), "2206", None),
        (replace(HOSPITAL, sanctioned=True, inpatient=False), "2303", "INSTITUTION_SANCTIONED"),
        (replace(HOSPITAL, inpatient=False), "2303", "TRANSACTION_NOT_FOR_INSTITUTION"),
        (replace(HOSPITAL, inpatient=False), "2206", None),
    ],
)
def test_new_bills_come_from_designated_institutions_that_may_send_them(
    institution: Institution, infno: str, reason: str | None
) -> None:
    """The first reason that applies is the one told; both days of an agreement belong to it."""
    try:
        check_takes_bills(institution, infno=infno, today=TODAY)
        found = None
    except Failure as failure:
        found = failure.reason
    assert found == reason


@pytest.mark.parametrize(
    ("terminal", "reason"),
    [
        (None, "TERMINAL_UNKNOWN"),
        (replace(WINDOW, in_service=False), "TERMINAL_UNKNOWN"),
        (replace(WINDOW, sign_no="", sign_ends_at=None), "TERMINAL_NOT_SIGNED_IN"),
        (replace(WINDOW, sign_ends_at=BOUND_AT), "TERMINAL_NOT_SIGNED_IN"),
        (WINDOW, None),
    ],
)
def test_bills_are_planned_at_signed_in_terminals(terminal: Terminal | None, reason: str | None) -> None:
    """One that is unknown or out of service is another matter than one where nobody is at work."""
    try:
        check_signed_in(terminal, now=BOUND_AT)
        found = None
    except Failure as failure:
        found = failure.reason
    assert found == reason


def test_while_mutual_aid_is_paused_every_funder_is_left_out_and_none_is_asked_for() -> None:
    """Whatever else is known of them, the reason is the same; the patient's own money goes on."""
    people = {PATIENT: known(PATIENT, EMPLOYEE), FUNDER: known(FUNDER, Enrolment("310", HAMI, "1"), sanctioned=True)}
    circle, enrolment = circle_of(PATIENT, people, [bound()])
    assert list(questions_of(circle, enrolment, paused=True)) == [URUMQI]
    visit = visit_of(
        circle, enrolment, institution=HOSPITAL, bill=BILL, readings={URUMQI: HOME}, year=YEAR, paused=True
    )
    result = split(visit, PolicySet.of({}))
    assert [(skipped.psn_no, skipped.reason) for skipped in result.skipped] == [(FUNDER, SkipReason.IDENTITY_STALE)]
    assert (result.own.amount_fen, result.funders, result.psn_cash_pay) == (1_500, (), 8_500)
