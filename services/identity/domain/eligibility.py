"""2001 人员待遇享受检查: may somebody fund, benefit, settle online on a date, and which rules say no (domain §1, §8).

What is asked is judged as of one instant: now for today, the end of the day for any other. Limits between two people
(relation, province, authorised amount) and those of a region's policy are not of this room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import Enum
from types import MappingProxyType
from typing import Final

from kernel.clock import SHANGHAI, business_date
from services.identity.domain.institution import Institution, InstitutionState, is_within
from services.identity.domain.person import Enrolment, EnrolmentChange, InsuranceStatus, Insutype, enrolments_at
from services.identity.domain.sanction import Sanction


class Use(Enum):
    """What somebody may do."""

    FUND = "FUND"  # Pay relatives' bills from his own account.
    BENEFIT = "BENEFIT"  # Have his bills paid from relatives' accounts.
    NETWORKED_SETTLEMENT = "NETWORKED_SETTLEMENT"  # Have his bills settled online.


class HindranceReason(Enum):
    """Why not; the order is that in which several are told."""

    NOT_BORN = "NOT_BORN"
    DECEASED = "DECEASED"
    MERGED = "MERGED"
    SANCTIONED = "SANCTIONED"
    NOT_ENROLLED = "NOT_ENROLLED"
    INSURANCE_PAUSED = "INSURANCE_PAUSED"
    INSURANCE_ENDED = "INSURANCE_ENDED"
    INSTITUTION_UNKNOWN = "INSTITUTION_UNKNOWN"
    INSTITUTION_NOT_DESIGNATED = "INSTITUTION_NOT_DESIGNATED"
    INSTITUTION_SANCTIONED = "INSTITUTION_SANCTIONED"


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule behind a reason: which text says so, and what a person reads."""

    source: str
    zh: str
    en: str


_SANCTION_SOURCE: Final = "条例 art. 41"
RULES: Final[Mapping[HindranceReason, Rule]] = MappingProxyType(
    {
        HindranceReason.NOT_BORN: Rule("domain §1", "该日期早于出生日期。", "The date is before the birth."),
        HindranceReason.DECEASED: Rule(
            "domain §1", "参保人已身故，医保待遇终止。", "The person has died; nothing is paid from that day on."
        ),
        HindranceReason.MERGED: Rule(
            "domain §1",
            "该人员编号为重复登记，已并入其他编号。",
            "The number was a double and has been merged into another.",
        ),
        HindranceReason.SANCTIONED: Rule(
            _SANCTION_SOURCE,
            "已被暂停联网结算，医疗费用须全额垫付后申请报销。",
            "Networked settlement is suspended: pay in full, claim later.",
        ),
        HindranceReason.NOT_ENROLLED: Rule(
            "domain §1",
            "未参加所需的基本医疗保险（出资人须参加职工医保）。",
            "There is no enrolment of the kind needed (a funder is insured as an employee, 310).",
        ),
        HindranceReason.INSURANCE_PAUSED: Rule("domain §1", "参保状态为暂停。", "The enrolment is paused."),
        HindranceReason.INSURANCE_ENDED: Rule("domain §1", "参保状态为终止。", "The enrolment has ended."),
        HindranceReason.INSTITUTION_UNKNOWN: Rule(
            "domain §1", "该医药机构未登记。", "The institution is not registered."
        ),
        HindranceReason.INSTITUTION_NOT_DESIGNATED: Rule(
            "domain §1",
            "该医药机构不在定点协议有效状态。",
            "The institution is suspended, ended or outside its agreement.",
        ),
        HindranceReason.INSTITUTION_SANCTIONED: Rule(
            _SANCTION_SOURCE,
            "该医药机构已被暂停联网结算，医疗费用须全额垫付后申请报销。",
            "The institution is suspended from networked settlement: pay in full, claim later.",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Hindrance:
    """One rule that says no. ``until`` is the first day on which it no longer counts; None: until something changes."""

    reason: HindranceReason
    source: str
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A person as of the instant that is asked about: ``enrolments`` as they were then, every sanction there is."""

    brdy: date
    death_date: date | None
    merged: bool
    enrolments: tuple[Enrolment, ...]
    sanctions: tuple[Sanction, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """Where the bill shall be settled; None if the code that was given is no institution's.

    Its state is that of the instant that is asked about; its agreement's days are as they are on record now.
    """

    institution: Institution | None


Eligibilities = Mapping[Use, tuple[Hindrance, ...]]


def judged_at(on_date: date, *, now: datetime) -> datetime:
    """The instant as of which a day is judged: now for today, its last microsecond in Shanghai for any other day."""
    return now if on_date == business_date(now) else datetime.combine(on_date, time.max, SHANGHAI)


def insured_at(
    own: Iterable[EnrolmentChange], of_doubles: Iterable[Iterable[EnrolmentChange]], at: datetime
) -> tuple[Enrolment, ...]:
    """How a person was insured at an instant, under his number and under those of doubles before they were merged.

    What ended under a double's number says nothing of him: every enrolment of a double ends when it is merged.
    """
    under_doubles = (each for changes in of_doubles for each in enrolments_at(changes, at))
    lasting = (each for each in under_doubles if each.psn_insu_stas is not InsuranceStatus.ENDED)
    return (*enrolments_at(own, at), *lasting)


def eligibilities(standing: Standing, site: Site | None, *, at: datetime) -> Eligibilities:
    """For each use every rule that says no, in the order of ``HindranceReason``; none means yes.

    Somebody funds as a normally insured employee (310, 1); he benefits and settles online with any normal enrolment.
    A death counts from its day on. An institution stands in the way of networked settlement alone.
    """
    personal = tuple(_personal(standing, at))
    insured = tuple(_uninsured(standing.enrolments))
    employed = tuple(_uninsured([each for each in standing.enrolments if each.insutype is Insutype.EMPLOYEE]))
    return {
        Use.FUND: (*personal, *employed),
        Use.BENEFIT: (*personal, *insured),
        Use.NETWORKED_SETTLEMENT: (*personal, *insured, *_at_site(site, at)),
    }


def _personal(standing: Standing, at: datetime) -> Iterator[Hindrance]:
    day = business_date(at)
    if day < standing.brdy:
        yield _hindrance(HindranceReason.NOT_BORN, until=standing.brdy)
    if standing.death_date is not None and day >= standing.death_date:
        yield _hindrance(HindranceReason.DECEASED)
    if standing.merged:
        yield _hindrance(HindranceReason.MERGED)
    yield from _sanctioned(HindranceReason.SANCTIONED, standing.sanctions, at)


def _uninsured(enrolments: list[Enrolment] | tuple[Enrolment, ...]) -> Iterator[Hindrance]:
    """Nothing if one enrolment is normal; else why none of them is."""
    statuses = {each.psn_insu_stas for each in enrolments}
    if InsuranceStatus.NORMAL in statuses:
        return
    if not statuses:
        yield _hindrance(HindranceReason.NOT_ENROLLED)
    if InsuranceStatus.PAUSED in statuses:
        yield _hindrance(HindranceReason.INSURANCE_PAUSED)
    if InsuranceStatus.ENDED in statuses:
        yield _hindrance(HindranceReason.INSURANCE_ENDED)


def _at_site(site: Site | None, at: datetime) -> Iterator[Hindrance]:
    if site is None:
        return
    institution = site.institution
    if institution is None:
        yield _hindrance(HindranceReason.INSTITUTION_UNKNOWN)
        return
    day, first = business_date(at), institution.agreement_from
    if institution.state is not InstitutionState.DESIGNATED:
        yield _hindrance(HindranceReason.INSTITUTION_NOT_DESIGNATED)
    elif not is_within(first, institution.agreement_to, day):
        to_come = first is not None and day < first
        yield _hindrance(HindranceReason.INSTITUTION_NOT_DESIGNATED, until=first if to_come else None)
    yield from _sanctioned(HindranceReason.INSTITUTION_SANCTIONED, institution.sanctions, at)


def _sanctioned(reason: HindranceReason, sanctions: tuple[Sanction, ...], at: datetime) -> Iterator[Hindrance]:
    """One for each decision in force, with the clause on which it rests."""
    for sanction in sorted(sanctions, key=lambda each: (each.to_at, each.sanction_id)):
        if sanction.was_in_force(at):
            ends_at = min(sanction.to_at, sanction.lifted_at or sanction.to_at)
            yield Hindrance(reason, sanction.basis_clause or _SANCTION_SOURCE, until=business_date(ends_at))


def _hindrance(reason: HindranceReason, *, until: date | None = None) -> Hindrance:
    return Hindrance(reason, RULES[reason].source, until)
