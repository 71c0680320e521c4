"""Rows taken one after another, in memory: what each finds, and what is written in the end."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import Certificate, CertificateKind, Sex
from services.identity.domain.person import Enrolment, InsuranceStatus, Insutype, Person, enrolled
from services.identity.domain.registration import Held, Outcome, Register, Registration, Row, Taken

URUMQI, HAMI = AdmDvs("650100"), AdmDvs("650500")
IN_URUMQI = Enrolment(Insutype.EMPLOYEE, URUMQI, InsuranceStatus.NORMAL)
IN_HAMI = Enrolment(Insutype.EMPLOYEE, HAMI, InsuranceStatus.NORMAL)
DRAWN = PsnNo("1234567890123456789012")
WANG = Person(PsnNo("650100000000001"), "王*国", date(1985, 3, 12), Sex.MALE, version=4)


def row(letter: str, psn_no: str | None = None, enrolment: Enrolment | None = None, **changes: Any) -> Row:  # noqa: ANN401  Any part of a registration.
    """A registration by the certificate that this letter stands for."""
    certificate = Certificate(CertificateKind.BIRTH_CERTIFICATE, f"{letter}000000000", None, None)
    registration = Registration(
        certificate, "王建国", date(1985, 3, 12), Sex.MALE, None if psn_no is None else PsnNo(psn_no)
    )
    return Row(replace(registration, **changes), enrolment)


def index(taken: Row) -> bytes:
    """Stands for the blind index."""
    return taken.registration.certificate.number.encode()


def outcome(register: Register, taken: Row) -> Outcome:
    """What becomes of a row."""
    try:
        return register.take(taken, index(taken), drawn=DRAWN)
    except Failure as refusal:
        return refusal


def registered(*people: tuple[str, Person]) -> Register:
    """A register in which each letter's certificate is that person's."""
    return Register(
        holders={index(row(letter)): person.psn_no for letter, person in people},
        people={person.psn_no: Held(person, "王建国") for _, person in people},
        numbers={person.psn_no: person.merged_into is not None for _, person in people},
    )


def test_a_new_person_is_put_on_record_once_with_his_enrolment() -> None:
    """His first version has it all, since nobody was told of him before."""
    register = registered()
    assert outcome(register, row("A", enrolment=IN_URUMQI)) == Taken(DRAWN, existed=False)
    [new] = register.new
    assert (new.person.psn_no, new.person.version, new.person.enrolments) == (DRAWN, 1, (IN_URUMQI,))
    assert (register.changed, register.met) == ([], set())


def test_the_same_certificate_twice_in_a_batch_is_one_person() -> None:
    """The second row meets whom the first put on record, and may move him."""
    register = registered()
    answers = [outcome(register, row("A", enrolment=each)) for each in (IN_URUMQI, None, IN_HAMI)]
    assert answers == [Taken(DRAWN, existed=False), Taken(DRAWN, existed=True), Taken(DRAWN, existed=True)]
    assert [(new.person.version, new.person.enrolments) for new in register.new] == [(1, (IN_HAMI,))]


def test_a_known_person_is_met_and_changed_only_by_what_differs() -> None:
    """An enrolment that he has already is no change; another one is one, from what he was before the batch."""
    known = enrolled(WANG, Insutype.EMPLOYEE, URUMQI)
    register = registered(("A", known))
    assert outcome(register, row("A", enrolment=IN_URUMQI)) == Taken(known.psn_no, existed=True)
    assert register.changed == []
    outcome(register, row("A", enrolment=IN_HAMI))
    outcome(register, row("A", enrolment=Enrolment(Insutype.RESIDENT, HAMI, InsuranceStatus.NORMAL)))
    [(before, after)] = register.changed
    assert (before, after.version, len(after.enrolments)) == (known, known.version + 2, 2)
    assert register.met == {known.psn_no}


@pytest.mark.parametrize(
    ("refused_row", "refusal"),
    [
        (row("A", "650100000000009"), Failure(Kind.EXISTS, "PERSON_DIFFERS", field="psn_no")),
        (row("A", name="李秀英"), Failure(Kind.EXISTS, "PERSON_DIFFERS", field="psn_name")),
        (row("A", brdy=date(1985, 3, 13)), Failure(Kind.EXISTS, "PERSON_DIFFERS", field="brdy")),
        (row("A", sex=Sex.FEMALE), Failure(Kind.EXISTS, "PERSON_DIFFERS", field="gend")),
        (row("B", "650100000000001"), Failure(Kind.EXISTS, "PERSON_NUMBER_TAKEN", field="psn_no")),
        (row("B", "650100000000003"), Failure(Kind.PRECONDITION, "PERSON_MERGED", field="psn_no")),
        (row("D", enrolment=IN_URUMQI), Failure(Kind.PRECONDITION, "PERSON_DECEASED", field="psn_no")),
    ],
)
def test_a_refused_row_leaves_nothing(refused_row: Row, refusal: Failure) -> None:
    """The refusal is that of a single call, and nothing is written for the row."""
    dead = replace(WANG, psn_no=PsnNo("650100000000004"), death_date=date(2026, 6, 1))
    double = replace(WANG, psn_no=PsnNo("650100000000003"), merged_into=WANG.psn_no)
    register = registered(("A", WANG), ("C", double), ("D", dead))
    assert outcome(register, refused_row) == refusal
    assert (register.new, register.changed, register.met) == ([], [], set())


def test_a_number_given_twice_in_a_batch_is_the_first_ones() -> None:
    """The second certificate with it is refused, and may come again without it."""
    register = registered()
    answers = [outcome(register, each) for each in (row("A", "650100000000007"), row("B", "650100000000007"), row("B"))]
    assert answers == [
        Taken(PsnNo("650100000000007"), existed=False),
        Failure(Kind.EXISTS, "PERSON_NUMBER_TAKEN", field="psn_no"),
        Taken(DRAWN, existed=False),
    ]


ROWS = st.builds(
    row,
    st.sampled_from("ABC"),
    st.sampled_from([None, "650100000000001", "650100000000005"]),
    st.sampled_from([None, IN_URUMQI, IN_HAMI]),
    sex=st.sampled_from(Sex),
)


@given(st.lists(ROWS, max_size=12), st.integers(0, 12))
def test_a_batch_cut_anywhere_ends_the_same(rows: list[Row], cut: int) -> None:
    """Whether rows come in one batch or in two, each is answered alike and the same people stand at the end."""

    def after(register: Register) -> dict[PsnNo, tuple[tuple[Enrolment, ...], Sex]]:
        people = [new.person for new in register.new] + [person for _, person in register.changed]
        return {person.psn_no: (person.enrolments, person.sex) for person in people}

    def batch(register: Register, part: list[Row]) -> list[Outcome]:
        found: list[Outcome] = []
        for each in part:
            drawn = PsnNo(index(each).hex().translate(str.maketrans("abcdef", "123456")))
            try:
                found.append(register.take(each, index(each), drawn=drawn))
            except Failure as refusal:
                found.append(refusal)
        return found

    whole = registered(("A", WANG))
    first = registered(("A", WANG))
    together = batch(whole, rows)
    begun = batch(first, rows[:cut])
    known = {new.person.psn_no: Held(new.person, "王建国") for new in first.new}
    known |= {person.psn_no: Held(person, "王建国") for _, person in first.changed}
    holders = {new.certno_index: new.person.psn_no for new in first.new} | {index(row("A")): WANG.psn_no}
    people = {WANG.psn_no: Held(WANG, "王建国")} | known
    second = Register(holders=holders, people=people, numbers=dict.fromkeys(people, False))
    assert begun + batch(second, rows[cut:]) == together
    assert after(first) | after(second) == after(whole)
