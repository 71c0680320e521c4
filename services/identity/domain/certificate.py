"""Certificates (人员证件): their forms, their checksum, and what they tell about their holder (domain §1)."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Final

from kernel.failures import Failure, Kind


class CertificateKind(Enum):
    """人员证件类型; the value is what the database keeps."""

    RESIDENT_ID = "RESIDENT_ID"  # 居民身份证, and the residence permits 81/82/83.
    FOREIGN_PERMANENT_RESIDENT = "FOREIGN_PERMANENT_RESIDENT"  # 外国人永久居留身份证, 18 characters or the older 15.
    HK_MACAU_PERMIT = "HK_MACAU_PERMIT"  # 港澳居民来往内地通行证.
    TAIWAN_PERMIT = "TAIWAN_PERMIT"  # 台湾居民来往大陆通行证.
    BIRTH_CERTIFICATE = "BIRTH_CERTIFICATE"  # 出生医学证明.


class Sex(Enum):
    """性别 gend, in the national values; needed to tell a paternal from a maternal grandparent."""

    MALE = "1"
    FEMALE = "2"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that has passed its checks. ``number`` is in capitals; birth date and sex where it tells them."""

    kind: CertificateKind
    number: str = field(repr=False)
    brdy: date | None
    sex: Sex | None


BIRTH_YEAR_MIN: Final = 1850
"""Nobody alive was born before; a certificate that says so has a slip in its date."""
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS: Final = "10X98765432"
_FIFTEEN_DIGITS: Final = re.compile(r"[0-9]{15}")
_EIGHTEEN: Final = re.compile(r"[1-9][0-9]{16}[0-9X]")
_FOREIGN_PREFIX: Final = "9"
_BIRTH_DATE: Final = slice(6, 14)
_SEX_DIGIT: Final = 16
_FORMS: Final = {
    CertificateKind.FOREIGN_PERMANENT_RESIDENT: re.compile(r"[A-Z]{3}[0-9]{12}"),
    CertificateKind.HK_MACAU_PERMIT: re.compile(r"[HM][0-9]{8}"),
    CertificateKind.TAIWAN_PERMIT: re.compile(r"[0-9]{8}"),
    CertificateKind.BIRTH_CERTIFICATE: re.compile(r"[A-Z][0-9]{9}"),
}
SHOWN_CHARACTERS: Final = 4
"""The last four tell two cards apart. More would be too much: with the first six and the birth date beside it,
which other rooms know, nothing would be hidden."""


def check_character(seventeen: str) -> str:
    """The 18th character over the first seventeen digits: mod 11-2 of GB 11643-1999."""
    total = sum(int(digit) * weight for digit, weight in zip(seventeen, _WEIGHTS, strict=True))
    return _CHECK_CHARACTERS[total % len(_CHECK_CHARACTERS)]


def parsed_certificate(kind: CertificateKind, text: str, *, today: date) -> Certificate:
    """A certificate whose form and, where it has one, checksum and birth date hold (domain §1).

    The first that applies is raised, as INVALID: CERTIFICATE_15_DIGITS (the old number, no longer issued),
    CERTIFICATE_MALFORMED, CERTIFICATE_OF_OTHER_KIND (a foreign card as a resident's or the other way round),
    CERTIFICATE_BIRTH_DATE_WRONG (no such day, or to come), CERTIFICATE_CHECKSUM_WRONG. The area of the first six
    digits is not looked up: areas are dissolved, their people's numbers stay.
    """
    number = text.upper() if text.isascii() else text
    match kind:
        case CertificateKind.RESIDENT_ID:
            if _FIFTEEN_DIGITS.fullmatch(number):
                raise _refused("CERTIFICATE_15_DIGITS")
            return _parsed_eighteen(kind, number, today=today)
        case CertificateKind.FOREIGN_PERMANENT_RESIDENT if not _FORMS[kind].fullmatch(number):
            return _parsed_eighteen(kind, number, today=today)
        case _:
            if not _FORMS[kind].fullmatch(number):
                raise _refused("CERTIFICATE_MALFORMED")
            return Certificate(kind, number, brdy=None, sex=None)


def _parsed_eighteen(kind: CertificateKind, number: str, *, today: date) -> Certificate:
    if not _EIGHTEEN.fullmatch(number):
        raise _refused("CERTIFICATE_MALFORMED")
    if number.startswith(_FOREIGN_PREFIX) != (kind is CertificateKind.FOREIGN_PERMANENT_RESIDENT):
        raise _refused("CERTIFICATE_OF_OTHER_KIND")
    digits = number[_BIRTH_DATE]
    try:
        brdy = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        raise _refused("CERTIFICATE_BIRTH_DATE_WRONG") from None
    if brdy > today or brdy.year < BIRTH_YEAR_MIN:
        raise _refused("CERTIFICATE_BIRTH_DATE_WRONG")
    if number[-1] != check_character(number[:-1]):
        raise _refused("CERTIFICATE_CHECKSUM_WRONG")
    sex = Sex.MALE if int(number[_SEX_DIGIT]) % 2 else Sex.FEMALE
    return Certificate(kind, number, brdy, sex)


def looks_like_id_number(digits: str, *, today: date) -> bool:
    """Whether a number that ought to mean nothing is in truth somebody's 18-character number, resident or foreigner."""
    for kind in (CertificateKind.RESIDENT_ID, CertificateKind.FOREIGN_PERMANENT_RESIDENT):
        with suppress(Failure):
            parsed_certificate(kind, digits, today=today)
            return True
    return False


def masked_number(number: str) -> str:
    """``**************4518``: the last four characters, the length kept (domain §10: last 4 where enough)."""
    return "*" * (len(number) - SHOWN_CHARACTERS) + number[-SHOWN_CHARACTERS:]


def _refused(reason: str) -> Failure:
    # The number itself is never part of a refusal: metadata is logged and shown.
    return Failure(Kind.INVALID, reason, field="certno")
