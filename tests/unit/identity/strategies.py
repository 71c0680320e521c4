"""What hypothesis draws: valid certificates of every kind, names, and the families of the kinship properties."""

from __future__ import annotations

from datetime import date
from typing import Final

from hypothesis import strategies as st

from services.identity.domain.certificate import CertificateKind

TODAY: Final = date(2026, 7, 1)
_WEIGHTS: Final = [2**position % 11 for position in range(17, 0, -1)]
"""The weights by their definition in the standard, not as the code lists them."""


def with_check_character(seventeen: str) -> str:
    """The number completed so that the weighted sum is 1 modulo 11, found by trying."""
    for character, value in zip("0123456789X", range(11), strict=True):
        total = sum(int(digit) * weight for digit, weight in zip(seventeen, _WEIGHTS, strict=True)) + value
        if total % 11 == 1:
            return seventeen + character
    raise AssertionError(seventeen)


LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _digits(count: int) -> st.SearchStrategy[str]:
    return st.integers(0, 10**count - 1).map(lambda number: f"{number:0{count}}")


def _parts(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


def resident_numbers(*, first: str = "12345678") -> st.SearchStrategy[str]:
    """Valid 18-character numbers; those of foreign permanent residents begin with 9."""
    born = st.dates(date(1900, 1, 1), TODAY).map(lambda day: day.strftime("%Y%m%d"))
    return _parts(st.sampled_from(first), _digits(5), born, _digits(3)).map(with_check_character)


_LETTER: Final = st.sampled_from(LETTERS)
NUMBERS: Final = {
    CertificateKind.RESIDENT_ID: resident_numbers(),
    CertificateKind.FOREIGN_PERMANENT_RESIDENT: resident_numbers(first="9")
    | _parts(_LETTER, _LETTER, _LETTER, _digits(12)),
    CertificateKind.HK_MACAU_PERMIT: _parts(st.sampled_from("HM"), _digits(8)),
    CertificateKind.TAIWAN_PERMIT: _digits(8),
    CertificateKind.BIRTH_CERTIFICATE: _parts(_LETTER, _digits(9)),
}
"""Valid numbers of every kind."""
