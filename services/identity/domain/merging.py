"""Two records that are one person: what must agree, and what becomes of the double (domain §1)."""

from __future__ import annotations

from dataclasses import replace

from kernel.failures import Failure, Kind
from services.identity.domain.person import Person, ended, writable


def is_merged(keep: Person | None, double: Person | None) -> bool:
    """Whether exactly this was done before; PERSON_UNKNOWN (NOT_FOUND) and PERSON_MERGED (PRECONDITION), by field."""
    if keep is not None and double is not None and double.merged_into == keep.psn_no:
        return True
    writable(keep, field="keep_psn_no")
    writable(double, field="double_psn_no")
    return False


def check_one_person(keep: Person, double: Person) -> None:
    """Whether the two may be one; PRECONDITION, first that applies.

    MERGE_DIFFERS (birth date or sex), MERGE_CONFLICT (one is dead and the other is not, or on another day).
    """
    if keep.brdy != double.brdy:
        raise Failure(Kind.PRECONDITION, "MERGE_DIFFERS", field="brdy")
    if keep.sex is not double.sex:
        raise Failure(Kind.PRECONDITION, "MERGE_DIFFERS", field="gend")
    if keep.death_date != double.death_date:
        raise Failure(Kind.PRECONDITION, "MERGE_CONFLICT", conflict="death_date")


def merged(keep: Person, double: Person) -> tuple[Person, Person]:
    """Both once they are one: the sanctions stand with the record that is kept, the insurance of the double ends."""
    kept = keep
    if double.sanctions:
        sanctions = sorted((*keep.sanctions, *double.sanctions), key=lambda each: each.sanction_id)
        kept = replace(keep, sanctions=tuple(sanctions), version=keep.version + 1)
    gone = replace(
        double,
        enrolments=ended(double.enrolments),
        sanctions=(),
        merged_into=keep.psn_no,
        version=double.version + 1,
    )
    return kept, gone


def led_on(earlier: Person, keep: Person) -> Person:
    """A double of the double: its number leads to the record that counts in one step, after any number of merges."""
    return replace(earlier, merged_into=keep.psn_no, version=earlier.version + 1)
