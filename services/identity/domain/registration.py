"""What a registration must hold, and when it speaks of somebody who is known already (domain §1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TypeAlias

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.certificate import Certificate, CertificateKind, Sex, parsed_certificate
from services.identity.domain.name import masked_name, parsed_name, same_name
from services.identity.domain.person import Enrolment, Person, birth_date_of, checked_given_number, enrolled, sex_of


@dataclass(frozen=True, slots=True)
class Registration:
    """A person as a form tells of him, checked; ``psn_no`` is None where the national platform gave none."""

    certificate: Certificate
    name: str = field(repr=False)
    brdy: date
    sex: Sex
    psn_no: PsnNo | None


@dataclass(frozen=True, slots=True)
class Row:
    """A registration, and where the person shall be insured, if that is said with it."""

    registration: Registration
    enrolment: Enrolment | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """The person who holds a certificate already."""

    psn_no: PsnNo
    name: str = field(repr=False)
    brdy: date
    sex: Sex


def checked_registration(
    *,
    kind: CertificateKind,
    certno: str,
    name: str,
    brdy: date | None,
    sex: Sex | None,
    psn_no: PsnNo | None,
    today: date,
) -> Registration:
    """A registration whose parts hold, each by itself and together.

    INVALID, in this order: CERTIFICATE_… (see ``parsed_certificate``), NAME_MALFORMED, BIRTH_DATE_… , SEX_… ,
    PERSON_NUMBER_IS_CERTIFICATE.
    """
    certificate = parsed_certificate(kind, certno, today=today)
    return Registration(
        certificate=certificate,
        name=parsed_name(name),
        brdy=birth_date_of(certificate, brdy, today=today),
        sex=sex_of(certificate, sex),
        psn_no=None if psn_no is None else checked_given_number(psn_no, today=today),
    )


def check_same_person(registered: Registered, registration: Registration) -> None:
    """The same certificate again is the same person; PERSON_DIFFERS (EXISTS) names the first field that says other.

    What is on record is not told: whoever knows a number alone learns no name by trying.
    """
    differs = (
        ("psn_name", not same_name(registered.name, registration.name)),
        ("psn_no", registration.psn_no not in {None, registered.psn_no}),
        ("brdy", registered.brdy != registration.brdy),
        ("gend", registered.sex is not registration.sex),
    )
    for name, other in differs:
        if other:
            raise Failure(Kind.EXISTS, "PERSON_DIFFERS", field=name)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a row: the person's number, and whether he was known before."""

    psn_no: PsnNo
    existed: bool


Outcome: TypeAlias = Taken | Failure


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody on record, with the name that a registration is compared with."""

    person: Person
    name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewPerson:
    """Somebody to be put on record; ``certno_index`` finds him."""

    person: Person
    registration: Registration
    certno_index: bytes = field(repr=False)


class Register:
    """As much of the register as some rows touch; takes the rows one after another and notes what is to be written.

    Each row meets what the rows before it left, so a batch ends as single calls in its order would.
    """

    def __init__(
        self, *, holders: Mapping[bytes, PsnNo], people: Mapping[PsnNo, Held], numbers: Mapping[PsnNo, bool]
    ) -> None:
        """Whose the certificates are, those people, and which of the given numbers exist (True: as a merged double)."""
        self._holders = dict(holders)
        self._people = dict(people)
        self._numbers = dict(numbers)
        self._before: dict[PsnNo, Person] = {}
        self._new: dict[PsnNo, NewPerson] = {}
        self.met: set[PsnNo] = set()
        """Who was known already when a row met him."""
        self.refused: set[PsnNo] = set()
        """Who was known already when a row that named him was refused."""

    def take(self, row: Row, certno_index: bytes, *, drawn: PsnNo) -> Taken:
        """The person's number, ``drawn`` if he is new and none was given, and whether he was known before.

        First that applies: PRECONDITION PERSON_MERGED (the number given is a double's); EXISTS PERSON_DIFFERS as
        ``check_same_person``, or PERSON_NUMBER_TAKEN if the number belongs to another certificate; PRECONDITION
        PERSON_DECEASED if he is to be enrolled. A refused row leaves nothing.
        """
        try:
            taken = self._take(row, certno_index, drawn)
        except Failure:
            known = self._people.keys() | self._numbers.keys()
            self.refused |= known & {self._holders.get(certno_index), row.registration.psn_no}
            raise
        if taken.existed:
            self.met.add(taken.psn_no)
        return taken

    def _take(self, row: Row, certno_index: bytes, drawn: PsnNo) -> Taken:
        registration = row.registration
        given = registration.psn_no
        if given is not None and self._numbers.get(given, False):
            raise Failure(Kind.PRECONDITION, "PERSON_MERGED", field="psn_no")
        psn_no = self._holders.get(certno_index)
        if psn_no is None:
            return Taken(self._take_new(row, certno_index, given or drawn), existed=False)
        held = self._people[psn_no]
        check_same_person(Registered(psn_no, held.name, held.person.brdy, held.person.sex), registration)
        self._enrol(psn_no, row.enrolment)
        return Taken(psn_no, existed=True)

    def _take_new(self, row: Row, certno_index: bytes, psn_no: PsnNo) -> PsnNo:
        registration = row.registration
        if psn_no in self._numbers:
            raise Failure(Kind.EXISTS, "PERSON_NUMBER_TAKEN", field="psn_no")
        person = Person(
            psn_no=psn_no,
            name_masked=masked_name(registration.name),
            brdy=registration.brdy,
            sex=registration.sex,
        )
        self._numbers[psn_no] = False
        self._holders[certno_index] = psn_no
        self._people[psn_no] = Held(person, registration.name)
        self._new[psn_no] = NewPerson(person, registration, certno_index)
        self._enrol(psn_no, row.enrolment)
        return psn_no

    def _enrol(self, psn_no: PsnNo, enrolment: Enrolment | None) -> None:
        if enrolment is None:
            return
        held = self._people[psn_no]
        after = enrolled(held.person, enrolment.insutype, enrolment.insuplc_admdvs, enrolment.psn_type)
        if after is held.person:
            return
        if psn_no in self._new:
            after = replace(after, version=1)  # Nobody has been told of him yet: his first version has it all.
            self._new[psn_no] = replace(self._new[psn_no], person=after)
        else:
            self._before.setdefault(psn_no, held.person)
        self._people[psn_no] = replace(held, person=after)

    @property
    def new(self) -> list[NewPerson]:
        """Who is to be added, as he is after the last row."""
        return list(self._new.values())

    @property
    def changed(self) -> list[tuple[Person, Person]]:
        """Who was known and is changed, before and after."""
        return [(before, self._people[psn_no].person) for psn_no, before in self._before.items()]
