"""The form of a certificate number, as far as a file of invented people needs it (domain §1).

Whether a number belongs to a person, and whether a birth date lies in the future, is identity's to say: a dry run
gives the same answer on every day.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS: Final = "10X98765432"
_RESIDENT: Final = re.compile(r"[1-9][0-9]{5}([0-9]{4})([0-9]{2})([0-9]{2})[0-9]{3}[0-9X]")
_OTHERS: Final = (
    re.compile(r"[A-Z]{3}[0-9]{12}"),  # The older card of foreign permanent residents.
    re.compile(r"[HM][0-9]{8}"),  # 港澳来往内地通行证.
    re.compile(r"[0-9]{8}"),  # 台胞证.
    re.compile(r"[A-Z][0-9]{9}"),  # 出生医学证明, until a newborn has a number.
)


def check_character(first_seventeen: str) -> str:
    """The eighteenth character of a GB 11643 number: MOD 11-2 over the first seventeen digits."""
    total = sum(int(digit) * weight for digit, weight in zip(first_seventeen, _WEIGHTS, strict=True))
    return _CHECK_CHARACTERS[total % 11]


def is_certificate_number(text: str) -> bool:
    """Whether the text has the form of a certificate number, birth date and check character included."""
    match = _RESIDENT.fullmatch(text)
    if match is None:
        return any(pattern.fullmatch(text) for pattern in _OTHERS)
    try:
        date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return False
    return check_character(text[:-1]) == text[-1]
