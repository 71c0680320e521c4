"""Who holds a code, a card or a face, as far as credentials need to know him."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo


@dataclass(frozen=True, slots=True)
class Holder:
    """A person on record: alive unless ``death_date`` is set, a double of ``merged_into`` if that is."""

    psn_no: PsnNo
    brdy: date
    death_date: date | None = None
    merged_into: PsnNo | None = None


def person_unknown(field: str = "psn_no") -> Failure:
    """The refusal of a number that nobody has."""
    return Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field=field)


def check_holder(holder: Holder | None, *, field: str = "psn_no") -> Holder:
    """The person, if credentials may be his.

    First that applies: PERSON_UNKNOWN (NOT_FOUND), PRECONDITION PERSON_MERGED (his other number counts),
    PERSON_DECEASED.
    """
    if holder is None:
        raise person_unknown(field)
    if holder.merged_into is not None:
        raise Failure(Kind.PRECONDITION, "PERSON_MERGED", field=field)
    if holder.death_date is not None:
        raise Failure(Kind.PRECONDITION, "PERSON_DECEASED", field=field)
    return holder
