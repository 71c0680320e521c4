"""Pages of lists: how many entries, and the opaque token from which the next page goes on."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final
from uuid import UUID

from kernel.failures import Failure, Kind

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 200
TOKEN_LENGTH_MAX: Final = 128
_SEPARATOR: Final = "|"
_BASE64_BLOCK: Final = 4


def page_size(asked: int) -> int:
    """How many entries a page has; the usual number where nobody asked for another."""
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def token_of(*parts: str) -> str:
    """A token that brings these parts back; none of them holds the separator, and none tells who somebody is.

    ValueError if a part breaks that, or if the token would be longer than a request may carry.
    """
    if any(_SEPARATOR in part for part in parts):
        raise ValueError("a part of a page's token holds the separator")
    token = urlsafe_b64encode(_SEPARATOR.join(parts).encode()).decode("ascii").rstrip("=")
    if len(token) > TOKEN_LENGTH_MAX:
        raise ValueError("a page's token is longer than a request may carry")
    return token


def parts_of(token: str, count: int, *, field: str = "page_token") -> tuple[str, ...] | None:
    """So many parts of a token; None for the first page, PAGE_TOKEN_MALFORMED (INVALID) if we did not make it."""
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % _BASE64_BLOCK)
        parts = tuple(urlsafe_b64decode(padded.encode("ascii")).decode().split(_SEPARATOR))
    except ValueError:
        raise malformed(field) from None
    if len(parts) != count or not all(part.isprintable() for part in parts):
        raise malformed(field)
    return parts


def id_of(token: str) -> UUID | None:
    """The id that a page ended with, where an id is all of the token; None for the first page, else as ``parts_of``."""
    parts = parts_of(token, 1)
    if parts is None:
        return None
    try:
        return UUID(parts[0])
    except ValueError:
        raise malformed() from None


def malformed(field: str = "page_token") -> Failure:
    """The refusal of a token whose parts say nothing that a list of ours ends with."""
    return Failure(Kind.INVALID, "PAGE_TOKEN_MALFORMED", field=field)
