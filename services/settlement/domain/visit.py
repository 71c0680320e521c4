"""A visit as settlement sees it: what other rooms told of the people, what the ledgers just read, put together.

``split`` judges money and eligibility; here the projected rows and the balances become its arguments, so that a live
plan and ``gongji plan`` go through the same pure function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, FixmedinsCode, PsnNo, province_of
from kernel.money import Fen
from kernel.policy import CareLevel
from services.settlement.domain.bill import Bill
from services.settlement.domain.lines import Line
from services.settlement.domain.med_types import OF_INPATIENTS, OF_PHARMACIES
from services.settlement.domain.split import (
    PSN_INSU_STAS_NORMAL,
    Binding,
    Person,
    SkipReason,
    Visit,
    check_patient,
)


class InstitutionState(Enum):
    """Whether an institution takes bills."""

    DESIGNATED = "DESIGNATED"  # Bills are taken.
    SUSPENDED = "SUSPENDED"  # No new bill; refunds go on.
    ENDED = "ENDED"  # As suspended, for good.


class BindingState(Enum):
    """Where a binding stands with family."""

    OPENING = "OPENING"
    ACTIVE = "ACTIVE"
    CLOSING = "CLOSING"
    UNBOUND = "UNBOUND"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True)
class Presented:
    """What the terminal states of a visit. ``ec_token`` is the patient's, decoded at this terminal."""

    fixmedins_code: FixmedinsCode
    infno: str
    terminal_no: str
    psn_no: PsnNo
    ec_token: str
    mdtrt_id: str
    med_type: str
    bill: Bill
    lines: tuple[Line, ...] = ()
    interim: bool = False
    """中途结算: the stay goes on."""
    agent_ec_token: str = ""
    """代买药: the agent's own, decoded at this terminal for this visit."""


@dataclass(frozen=True, slots=True)
class Institution:
    """A designated institution (定点医药机构)."""

    fixmedins_code: FixmedinsCode
    state: InstitutionState
    wallet_capable: bool
    inpatient: bool = True
    agreement_from: date | None = None
    agreement_to: date | None = None
    sanctioned: bool = False
    """Judged for the instant of the visit."""
    level: CareLevel | None = None
    """医院等级; None where it is not told, and of a pharmacy."""

    @property
    def area(self) -> AdmDvs:
        """就医地: the six digits after the letter."""
        return AdmDvs(self.fixmedins_code[1:7])


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal of an institution; ``sign_ends_at`` is None where nobody is signed in."""

    fixmedins_code: FixmedinsCode
    terminal_no: str
    in_service: bool
    sign_no: str
    sign_ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """参保信息 of one insutype."""

    insutype: str
    insuplc_admdvs: AdmDvs
    psn_insu_stas: str
    psn_type: str = ""
    """人员类别: 11 working, 12 retired …; empty = not told."""


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person as identity told of him; ``sanctioned`` is judged for the instant of the visit."""

    psn_no: PsnNo
    name_masked: str
    enrolments: tuple[Enrolment, ...]
    sanctioned: bool
    merged_into: PsnNo | None = None
    """The number that counts, where this one was found to be a double."""
    deceased: bool = False
    brdy: str = ""
    """yyyy-MM-dd, or empty where identity does not tell it."""

    def age_on(self, day: date) -> int | None:
        """Full years on that day; None where the birth date is not told."""
        try:
            born = date.fromisoformat(self.brdy)
        except ValueError:
            return None
        return max(day.year - born.year - ((day.month, day.day) < (born.month, born.day)), 0)

    @property
    def enrolment(self) -> Enrolment | None:
        """The enrolment that counts: a normal one before a paused or ended one, then employee before resident."""
        return min(
            self.enrolments,
            key=lambda enrolment: (enrolment.psn_insu_stas != PSN_INSU_STAS_NORMAL, enrolment.insutype),
            default=None,
        )


@dataclass(frozen=True, slots=True)
class KnownBinding:
    """A binding as family told of it."""

    funder: PsnNo
    state: BindingState
    cause: str
    relation: str
    order: int | None
    bound_at: datetime
    authorisation_id: AuthorisationId | None
    funder_area: AdmDvs


@dataclass(frozen=True, slots=True)
class AccountReading:
    """What a ledger says of one account: the money that is free at this moment (balance less held), in fen."""

    past_fen: Fen
    current_fen: Fen
    year: int
    frozen: bool

    def parts_in(self, year: int) -> tuple[Fen, Fen]:
        """What is free of past years and of this year, once the account stands in it (protocol, "Year turn").

        The ledger turns an account of last year when it is next written: its first hold finds all of it past.
        """
        turned = self.year < year
        return (self.past_fen + self.current_fen, 0) if turned else (self.past_fen, self.current_fen)


@dataclass(frozen=True, slots=True)
class AuthorisationReading:
    """What a ledger says of one authorisation; used is used and held together, of all months or of this one."""

    is_open: bool
    authorised_fen: Fen | None
    used_fen: Fen
    per_payment_fen: Fen | None = None
    per_month_fen: Fen | None = None
    month_used_fen: Fen = 0


@dataclass(frozen=True, slots=True)
class AreaReading:
    """One ledger's answer: accounts and authorisations that exist there, by whose they are."""

    accounts: Mapping[PsnNo, AccountReading]
    wallets: Mapping[PsnNo, AccountReading]
    authorisations: Mapping[AuthorisationId, AuthorisationReading]


@dataclass(frozen=True, slots=True)
class AreaQuestion:
    """What is to be read from one ledger."""

    accounts: tuple[PsnNo, ...] = ()
    wallets: tuple[PsnNo, ...] = ()
    authorisations: tuple[AuthorisationId, ...] = ()


@dataclass(frozen=True, slots=True)
class Circle:
    """The patient and everyone bound for him, the latest binding of each pair alone."""

    patient: KnownPerson
    bindings: tuple[KnownBinding, ...]
    people: Mapping[PsnNo, KnownPerson]


def known_institution(institution: Institution | None, *, fixmedins_code: FixmedinsCode, infno: str) -> Institution:
    """The institution, if identity has told of it and it may send this transaction at all.

    INSTITUTION_UNKNOWN; TRANSACTION_NOT_FOR_INSTITUTION (a pharmacy's transaction from a hospital or the other way
    round).
    """
    if institution is None:
        raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN", field="fixmedins_code", fixmedins_code=fixmedins_code)
    if fixmedins_code.startswith("P") != (infno in OF_PHARMACIES):
        raise Failure(
            Kind.INVALID, "TRANSACTION_NOT_FOR_INSTITUTION", field="infno", infno=infno, fixmedins_code=fixmedins_code
        )
    return institution


def check_takes_bills(institution: Institution, *, infno: str, today: date) -> None:
    """Whether a new bill is taken there for this transaction.

    Refusals in this order: INSTITUTION_NOT_DESIGNATED (suspended, ended, or outside the days of its agreement);
    INSTITUTION_SANCTIONED (domain §8: pay in full, claim later); TRANSACTION_NOT_FOR_INSTITUTION (住院 where there is
    none).
    """
    begins, ends = institution.agreement_from, institution.agreement_to
    within = (begins is None or begins <= today) and (ends is None or today <= ends)
    if institution.state is not InstitutionState.DESIGNATED or not within:
        raise Failure(
            Kind.PRECONDITION,
            "INSTITUTION_NOT_DESIGNATED",
            fixmedins_code=institution.fixmedins_code,
            state=institution.state.value,
        )
    if institution.sanctioned:
        raise Failure(Kind.PRECONDITION, "INSTITUTION_SANCTIONED", fixmedins_code=institution.fixmedins_code)
    if infno in OF_INPATIENTS and not institution.inpatient:
        raise Failure(
            Kind.INVALID,
            "TRANSACTION_NOT_FOR_INSTITUTION",
            field="infno",
            infno=infno,
            fixmedins_code=institution.fixmedins_code,
        )


def check_signed_in(terminal: Terminal | None, *, now: datetime) -> None:
    """Bills are planned at terminals where somebody is signed in (9001); refunds and queries need nobody.

    TERMINAL_UNKNOWN (never registered, or out of service); TERMINAL_NOT_SIGNED_IN.
    """
    if terminal is None or not terminal.in_service:
        raise Failure(Kind.NOT_FOUND, "TERMINAL_UNKNOWN", field="terminal_no")
    if terminal.sign_ends_at is None or terminal.sign_ends_at <= now:
        raise Failure(Kind.PRECONDITION, "TERMINAL_NOT_SIGNED_IN", fixmedins_code=terminal.fixmedins_code)


def known_patient(patient: PsnNo, people: Mapping[PsnNo, KnownPerson]) -> KnownPerson:
    """The patient as identity told of him; PATIENT_UNKNOWN."""
    known = people.get(patient)
    if known is None:
        raise Failure(Kind.NOT_FOUND, "PATIENT_UNKNOWN", field="psn_no")
    return known


def circle_of(
    patient: PsnNo, people: Mapping[PsnNo, KnownPerson], bindings: Iterable[KnownBinding]
) -> tuple[Circle, Enrolment]:
    """The patient's circle and his enrolment that counts; PATIENT_UNKNOWN, PATIENT_SANCTIONED, PATIENT_NOT_INSURED.

    A funder of whom identity has not told us yet is left out: nothing is known of him that would let him pay.
    """
    known = known_patient(patient, people)
    enrolment = known.enrolment
    if enrolment is None:
        raise Failure(Kind.PRECONDITION, "PATIENT_NOT_INSURED", field="psn_no")
    check_patient(_person(known, enrolment, enrolment.insuplc_admdvs))
    latest: dict[PsnNo, KnownBinding] = {}
    for binding in bindings:
        standing = latest.get(binding.funder)
        if binding.funder in people and (standing is None or binding.bound_at >= standing.bound_at):
            latest[binding.funder] = binding
    return Circle(known, tuple(latest.values()), people), enrolment


def questions_of(
    circle: Circle, enrolment: Enrolment, *, paused: bool = False, wallet_area: AdmDvs | None = None
) -> dict[AdmDvs, AreaQuestion]:
    """What to ask each ledger, by area: the patient's account and wallet, each active funder's account and leave.

    While mutual aid is ``paused``, nothing of the funders. ``wallet_area`` as ``visit_of`` has it.
    """
    accounts: dict[AdmDvs, list[PsnNo]] = {}
    authorisations: dict[AdmDvs, list[AuthorisationId]] = {}
    patient = circle.patient.psn_no
    accounts.setdefault(enrolment.insuplc_admdvs, []).append(patient)
    wallet_at = wallet_area or enrolment.insuplc_admdvs
    accounts.setdefault(wallet_at, [])
    for binding in () if paused else circle.bindings:
        if binding.state is BindingState.ACTIVE and binding.authorisation_id is not None:
            accounts.setdefault(binding.funder_area, []).append(binding.funder)
            authorisations.setdefault(binding.funder_area, []).append(binding.authorisation_id)
    return {
        area: AreaQuestion(
            accounts=tuple(persons),
            wallets=(patient,) if area == wallet_at else (),
            authorisations=tuple(authorisations.get(area, ())),
        )
        for area, persons in accounts.items()
    }


def visit_of(
    circle: Circle,
    enrolment: Enrolment,
    *,
    institution: Institution,
    bill: Bill,
    readings: Mapping[AdmDvs, AreaReading | None],
    year: int,
    paused: bool = False,
    wallet_area: AdmDvs | None = None,
) -> Visit:
    """The arguments of ``split``; a reading is None where the ledger kept silent.

    ``wallet_area``: where the patient's wallet is used, None where he has opened none; a silent ledger there leaves the
    wallet out. While mutual aid is ``paused``, every funder is left out: what is known of them is too old to rely on.
    OWN_AREA_UNREACHABLE when that is the patient's own: without his own money first there is no order of deduction.
    """
    at_home = readings.get(enrolment.insuplc_admdvs)
    if at_home is None:
        raise Failure(Kind.UNAVAILABLE, "OWN_AREA_UNREACHABLE", area=enrolment.insuplc_admdvs)
    patient = _person(circle.patient, enrolment, enrolment.insuplc_admdvs)
    at_wallet = at_home if wallet_area is None else readings.get(wallet_area)
    wallet = None if at_wallet is None else at_wallet.wallets.get(patient.psn_no)
    patient = replace(
        _with_money(patient, at_home.accounts.get(patient.psn_no), year),
        wallet_fen=0 if wallet is None else wallet.past_fen + wallet.current_fen,
        wallet_area=wallet_area,
    )
    bindings = (_binding(binding, circle.people[binding.funder], readings, year) for binding in circle.bindings)
    return Visit(
        patient=patient,
        area=institution.area,
        bill=bill,
        bindings=tuple(replace(binding, stale=paused) for binding in bindings if binding is not None),
        wallet_capable=institution.wallet_capable,
    )


def _binding(
    binding: KnownBinding, funder: KnownPerson, readings: Mapping[AdmDvs, AreaReading | None], year: int
) -> Binding | None:
    """The binding as ``split`` judges it; None where it gives nothing and nobody is to be told a reason for it."""
    enrolment = funder.enrolment
    if enrolment is None:
        enrolment = Enrolment("", binding.funder_area, "")
    # The money lies where the authorisation is, which a move inside the province does not change at once.
    moved_away = province_of(enrolment.insuplc_admdvs) != province_of(binding.funder_area)
    person = _person(funder, enrolment, enrolment.insuplc_admdvs if moved_away else binding.funder_area)
    judged = Binding(
        funder=person, bound_at=binding.bound_at, order=binding.order, authorisation_id=binding.authorisation_id
    )
    match binding.state:
        case BindingState.OPENING:
            return None
        case BindingState.CLOSING | BindingState.SUSPENDED if binding.cause:
            return _suspended(judged, binding.cause)
        case BindingState.CLOSING | BindingState.UNBOUND | BindingState.SUSPENDED:
            return replace(judged, unbound=True)
        case BindingState.ACTIVE:
            return _with_leave(judged, readings.get(binding.funder_area), year)


def _suspended(binding: Binding, cause: str) -> Binding | None:
    """A binding that stopped by itself: its funder gives nothing, and his own state tells why.

    Should family have heard of the cause before us, its word stands in for the state. A cause that is no reason of a
    skipped list (a kinship fact that fell) leaves the funder out in silence.
    """
    funder = replace(binding.funder, past_fen=0, current_fen=0)
    match cause:
        case SkipReason.SANCTIONED.value:
            funder = replace(funder, sanctioned=True)
        case SkipReason.NOT_INSURED.value:
            funder = replace(funder, psn_insu_stas="")
        case _:
            pass
    return replace(binding, funder=funder, authorised_fen=0)


def _with_leave(binding: Binding, reading: AreaReading | None, year: int) -> Binding:
    """The funder's free money and what his authorisation still lets through, as his ledger told it."""
    if reading is None:
        return replace(binding, funder=replace(binding.funder, reachable=False))
    funder = _with_money(binding.funder, reading.accounts.get(binding.funder.psn_no), year)
    leave = None if binding.authorisation_id is None else reading.authorisations.get(binding.authorisation_id)
    if leave is None or not leave.is_open:
        # The ledger has ended what family still calls active: family's word, with the reason, is on its way.
        return replace(binding, funder=funder, authorised_fen=0)
    return replace(
        binding,
        funder=funder,
        authorised_fen=leave.authorised_fen,
        used_fen=leave.used_fen,
        per_payment_fen=leave.per_payment_fen,
        per_month_fen=leave.per_month_fen,
        month_used_fen=leave.month_used_fen,
    )


def _with_money(person: Person, account: AccountReading | None, year: int) -> Person:
    if account is None:
        return person
    past_fen, current_fen = account.parts_in(year)
    return replace(person, past_fen=past_fen, current_fen=current_fen, frozen=account.frozen)


def _person(known: KnownPerson, enrolment: Enrolment, area: AdmDvs) -> Person:
    return Person(
        psn_no=known.psn_no,
        area=area,
        insutype=enrolment.insutype,
        psn_insu_stas=enrolment.psn_insu_stas,
        sanctioned=known.sanctioned,
    )


def funders_among(bindings: Collection[KnownBinding]) -> frozenset[PsnNo]:
    """Everyone who is or was bound for the patient: whose credential is refused by the name of a funder's."""
    return frozenset(binding.funder for binding in bindings)
