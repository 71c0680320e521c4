"""Money is a whole number of fen (分); a ratio is an exact decimal. Nothing here knows a float."""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext
from typing import Final, TypeAlias

from kernel.failures import Failure, Kind

Fen: TypeAlias = int

FEN_PER_YUAN: Final = 100
AMOUNT_MAX_FEN: Final[Fen] = 10**16 - 1
"""The interface type N16,2: sixteen digits, two of them after the point."""

_RATIO_TEXT: Final = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_RATIO_TEXT_LENGTH_MAX: Final = 16
_PRECISION_DIGITS: Final = 60


def checked_amount(amount_fen: object, *, field: str) -> Fen:
    """The amount itself, if it is a whole number within N16,2 and not negative; AMOUNT_OUT_OF_RANGE otherwise."""
    if isinstance(amount_fen, bool) or not isinstance(amount_fen, int) or not 0 <= amount_fen <= AMOUNT_MAX_FEN:
        raise Failure(Kind.INVALID, "AMOUNT_OUT_OF_RANGE", field=field, min_fen=0, max_fen=AMOUNT_MAX_FEN)
    return amount_fen


def parsed_ratio(text: str, *, field: str) -> Decimal:
    """A ratio between 0 and 1 from its decimal text ("0.70"); RATIO_OUT_OF_RANGE otherwise."""
    if len(text) > _RATIO_TEXT_LENGTH_MAX or not _RATIO_TEXT.fullmatch(text) or Decimal(text) > 1:
        raise Failure(Kind.INVALID, "RATIO_OUT_OF_RANGE", field=field, min="0", max="1")
    return Decimal(text)


def share_half_up(amount_fen: Fen, ratio: Decimal) -> Fen:
    """``amount × ratio``, rounded half up once (domain §6: HALF_UP)."""
    with localcontext() as context:
        context.prec = _PRECISION_DIGITS
        return int((Decimal(amount_fen) * ratio).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def share_floor(amount_fen: Fen, ratio: Decimal) -> Fen:
    """``amount × ratio``, cut down to the whole fen (domain §6: the cap on what funders give)."""
    with localcontext() as context:
        context.prec = _PRECISION_DIGITS
        return int((Decimal(amount_fen) * ratio).quantize(Decimal(1), rounding=ROUND_FLOOR))


def yuan_text(amount_fen: Fen) -> str:
    """``123456`` fen as ``1,234.56``; for people's eyes only."""
    sign = "-" if amount_fen < 0 else ""
    yuan, fen = divmod(abs(amount_fen), FEN_PER_YUAN)
    return f"{sign}{yuan:,}.{fen:02d}"
