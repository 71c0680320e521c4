"""Who looked whom up, when and why (domain §10): what a person is told of it, and what may be kept of who asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from kernel.failures import Failure, Kind
from services.identity.domain.certificate import looks_like_id_number

_PARTS: Final = re.compile(r"[:/]")


@dataclass(frozen=True, slots=True)
class Lookup:
    """One look-up. ``asked_by`` is what the caller said of itself; ``declared`` while nobody checked that."""

    number: int
    purpose: str
    asked_by: str
    declared: bool
    looked_up_at: datetime


def check_names_nobody(caller: str) -> None:
    """CALLER_MALFORMED (INVALID) if a part of the caller is an ID number: the audit is kept in clear and shown.

    The same holds for a ``psn_no`` (``checked_given_number``), so no sound person's caller is refused.
    """
    if any(looks_like_id_number(part, today=date.max) for part in _PARTS.split(caller)):
        raise Failure(Kind.INVALID, "CALLER_MALFORMED", field="gongji-caller")
