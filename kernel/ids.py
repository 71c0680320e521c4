"""One type for each kind of id, and the checks of those whose form the field defines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NewType
from uuid import UUID

from kernel.clock import SHANGHAI
from kernel.failures import Failure, Kind
from kernel.randomness import Randomness

PsnNo = NewType("PsnNo", str)
"""人员编号: the person's internal number."""
AdmDvs = NewType("AdmDvs", str)
"""医保区划: six digits; the first two name the province."""
FixmedinsCode = NewType("FixmedinsCode", str)
"""定点医药机构编号: H or P, the area's six digits, five more."""
Msgid = NewType("Msgid", str)
"""发送方报文ID: institution (12) + yyyyMMddHHmmss + 4 digits; the request key together with infno."""
PaymentId = NewType("PaymentId", UUID)
PlanId = NewType("PlanId", UUID)
AuthorisationId = NewType("AuthorisationId", UUID)
BindingId = NewType("BindingId", UUID)
GroupId = NewType("GroupId", UUID)

_ADMDVS: Final = re.compile(r"[1-9][0-9]{5}")
_FIXMEDINS_CODE: Final = re.compile(r"[HP][1-9][0-9]{10}")
_PSN_NO: Final = re.compile(r"[0-9]{10,30}")
_INSTITUTION_LENGTH: Final = 12
_TIME_LENGTH: Final = 14
_DATE_LENGTH: Final = 8
_MSGID: Final = re.compile(r"[HP][1-9][0-9]{10}[0-9]{14}[0-9]{4}")
_UUID_TIMESTAMP_BITS: Final = 48
_UUID_RANDOM_BITS: Final = 74


def parsed_admdvs(text: str, *, field: str) -> AdmDvs:
    """A six-digit area code (form only); AREA_MALFORMED otherwise."""
    if not _ADMDVS.fullmatch(text):
        raise Failure(Kind.INVALID, "AREA_MALFORMED", field=field)
    return AdmDvs(text)


def province_of(area: AdmDvs) -> AdmDvs:
    """``650500`` lies in ``650000``: provinces are told by the first two digits."""
    return AdmDvs(f"{area[:2]}0000")


def parsed_fixmedins_code(text: str, *, field: str) -> FixmedinsCode:
    """An institution's code (form only); INSTITUTION_CODE_MALFORMED otherwise."""
    if not _FIXMEDINS_CODE.fullmatch(text):
        raise Failure(Kind.INVALID, "INSTITUTION_CODE_MALFORMED", field=field)
    return FixmedinsCode(text)


def parsed_psn_no(text: str, *, field: str) -> PsnNo:
    """A person's number (form only); PERSON_NUMBER_MALFORMED otherwise."""
    if not _PSN_NO.fullmatch(text):
        raise Failure(Kind.INVALID, "PERSON_NUMBER_MALFORMED", field=field)
    return PsnNo(text)


@dataclass(frozen=True, slots=True)
class ParsedMsgid:
    """A msgid taken apart: who made it and when, by the terminal's own clock."""

    msgid: Msgid
    fixmedins_code: FixmedinsCode
    made_at: datetime


def parsed_msgid(text: str, *, field: str = "msgid") -> ParsedMsgid:
    """A msgid's parts (domain §6); MSGID_MALFORMED if a part is missing or its time is no time."""
    if not _MSGID.fullmatch(text):
        raise Failure(Kind.INVALID, "MSGID_MALFORMED", field=field)
    digits = text[_INSTITUTION_LENGTH : _INSTITUTION_LENGTH + _TIME_LENGTH]
    try:
        made_at = datetime.fromisoformat(f"{digits[:_DATE_LENGTH]}T{digits[_DATE_LENGTH:]}").replace(tzinfo=SHANGHAI)
    except ValueError:
        raise Failure(Kind.INVALID, "MSGID_MALFORMED", field=field) from None
    return ParsedMsgid(Msgid(text), FixmedinsCode(text[:_INSTITUTION_LENGTH]), made_at)


def time_ordered_uuid(now: datetime, randomness: Randomness) -> UUID:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then 74 of the given randomness.

    Ids that grow with time keep B-tree inserts on the right-hand page; time and randomness come from the caller.
    """
    milliseconds = int(now.timestamp() * 1000) & ((1 << _UUID_TIMESTAMP_BITS) - 1)
    random_bits = randomness.getrandbits(_UUID_RANDOM_BITS)
    high, low = random_bits >> 62, random_bits & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)
