"""What an officer does at the counter for people without a smartphone: documents seen, and four eyes (domain §2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.policy import PolicySet
from services.family.domain.people import Person, policy_of
from services.family.domain.pledges import Channel
from services.family.domain.uses import Period

SEEN_WITHIN: Final = timedelta(days=1)
"""An officer enters what he saw on the same day; what he saw before that he looks at again."""
SKEW_MAX: Final = timedelta(minutes=5)
"""How far ahead the clock of a counter may be."""
CHILD_AGE: Final = 16
"""Below it the household register or the certificate of birth says who a person is: many have nothing else."""


class Deed(Enum):
    """What was done at the counter."""

    SIGN_PLEDGE = "SIGN_PLEDGE"
    CREATE_GROUP = "CREATE_GROUP"
    INVITE = "INVITE"
    ACCEPT = "ACCEPT"
    DECLINE = "DECLINE"
    WITHDRAW = "WITHDRAW"
    LEAVE = "LEAVE"
    REMOVE = "REMOVE"
    DISSOLVE = "DISSOLVE"
    BIND = "BIND"
    UNBIND = "UNBIND"
    AMEND = "AMEND"
    ORDER = "ORDER"
    TAKE_OVER = "TAKE_OVER"


class DocumentKind(Enum):
    """What kind of document was seen; its number is never kept."""

    RESIDENT_ID = "RESIDENT_ID"
    SOCIAL_SECURITY_CARD = "SOCIAL_SECURITY_CARD"
    RESIDENCE_PERMIT = "RESIDENCE_PERMIT"
    TRAVEL_PERMIT = "TRAVEL_PERMIT"
    HOUSEHOLD_REGISTER = "HOUSEHOLD_REGISTER"
    BIRTH_CERTIFICATE = "BIRTH_CERTIFICATE"
    MARRIAGE_CERTIFICATE = "MARRIAGE_CERTIFICATE"
    AUTHORISATION = "AUTHORISATION"


OWN: Final = frozenset(
    {
        DocumentKind.RESIDENT_ID,
        DocumentKind.SOCIAL_SECURITY_CARD,
        DocumentKind.RESIDENCE_PERMIT,
        DocumentKind.TRAVEL_PERMIT,
    }
)
"""Documents that say of themselves who somebody is."""
OF_A_CHILD: Final = OWN | {DocumentKind.HOUSEHOLD_REGISTER, DocumentKind.BIRTH_CERTIFICATE}


@dataclass(frozen=True, slots=True)
class Document:
    """Whose document of which kind an officer saw, and when."""

    psn_no: PsnNo
    kind: DocumentKind
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Counter:
    """The officer 经办人, the one who looked at it again 复核人, and what was seen."""

    opter: str
    second_opter: str | None
    documents: tuple[Document, ...]


_OF_BENEFICIARY: Final = "beneficiary:"


def subject_of_order(beneficiary: PsnNo) -> str:
    """What an order of deduction is set for: the one subject that names a person."""
    return f"{_OF_BENEFICIARY}{beneficiary}"


def person_in(subject: str) -> set[PsnNo]:
    """The person whom a subject names; of most there is none."""
    number = subject.removeprefix(_OF_BENEFICIARY)
    return {PsnNo(number)} if number != subject and number.isdecimal() else set()


@dataclass(frozen=True, slots=True)
class Done:
    """A deed as it was kept. ``subject``: what it was done to, ``binding:<id>`` and the like."""

    deed_no: int
    deed: str
    subject: str
    counter: Counter
    done_at: datetime

    @property
    def people(self) -> set[PsnNo]:
        """Whom it shows to who reads it: whose documents were seen, and whom its subject names."""
        return {document.psn_no for document in self.counter.documents} | person_in(self.subject)


_ALWAYS: Final = Period()


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDeeds:
    """Which deeds an officer asks for; whatever is not given lets all through."""

    psn_no: PsnNo | None = None
    opter: str = ""
    deed: str = ""
    subject: str = ""
    period: Period = _ALWAYS


@dataclass(frozen=True, slots=True)
class Lookup:
    """Who has read deeds that concern a person, and when."""

    lookup_no: int
    asked_by: str
    looked_at: datetime


def channel_of(counter: Counter | None) -> Channel:
    """Which way a request came."""
    return Channel.APP if counter is None else Channel.COUNTER


def refuse_unseen(
    counter: Counter | None,
    sides: Sequence[Person],
    *,
    beside: Collection[PsnNo] = (),
    policies: PolicySet,
    now: datetime,
) -> None:
    """What keeps an officer from acting for these people; nothing of it applies to who comes with his own phone.

    A document is needed of each of ``sides``. ``beside`` them stand those whom it concerns as well: their documents
    are not needed, and are kept when they were seen.

    The first that applies: SECOND_OPTER_IS_THE_FIRST, SECOND_OPTER_MISSING (``counter_four_eyes`` of the insured area
    of the one acted for, who is the first of ``sides``), DOCUMENT_OF_NO_PARTY, DOCUMENT_NOT_SEEN_TODAY (each with its
    ``position``, from 1), DOCUMENT_MISSING (``side``, from 1: a person of whom no document says who he is).
    """
    if counter is None:
        return
    if counter.second_opter is not None and counter.second_opter.casefold() == counter.opter.casefold():
        raise Failure(Kind.INVALID, "SECOND_OPTER_IS_THE_FIRST")
    if policy_of(sides[0], policies).counter_four_eyes and counter.second_opter is None:
        raise Failure(Kind.PRECONDITION, "SECOND_OPTER_MISSING")
    known = {*(side.psn_no for side in sides), *beside}
    for position, document in enumerate(counter.documents, start=1):
        if document.psn_no not in known:
            raise Failure(Kind.INVALID, "DOCUMENT_OF_NO_PARTY", position=position)
        if not now - SEEN_WITHIN <= document.seen_at <= now + SKEW_MAX:
            raise Failure(Kind.INVALID, "DOCUMENT_NOT_SEEN_TODAY", position=position)
    for number, side in enumerate(sides, start=1):
        suffices = OF_A_CHILD if side.is_younger_than(CHILD_AGE, today=business_date(now)) else OWN
        if not any(document.psn_no == side.psn_no and document.kind in suffices for document in counter.documents):
            raise Failure(Kind.PRECONDITION, "DOCUMENT_MISSING", side=number)
