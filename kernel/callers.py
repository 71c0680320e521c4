"""Who asks: what a caller says of itself, kept with every look-up of a person (domain §10)."""

from __future__ import annotations

import re
from typing import Final, NewType

from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode

Caller = NewType("Caller", str)
"""``officer:650100/zhang01``, ``service:family``, ``terminal:H65010000001/T1``, ``person:650100000000001``."""

_FORMS: Final = {
    "officer": r"[1-9][0-9]{5}/[0-9A-Za-z_-]{1,32}",  # The area of his office, and his opter there.
    "operator": r"[0-9A-Za-z_-]{1,32}",  # Who runs the `gongji` command.
    "person": r"[0-9]{10,30}",  # Somebody in his own app.
    "service": r"[a-z][a-z0-9-]{0,31}",
    "terminal": r"[HP][1-9][0-9]{10}/[0-9A-Za-z_-]{1,32}",
}
_CALLER: Final = re.compile("|".join(f"{kind}:{form}" for kind, form in _FORMS.items()))


def parsed_caller(text: str) -> Caller:
    """The caller in one of the forms above; CALLER_MALFORMED (INVALID) otherwise, without repeating what was said.

    It is a declaration: who may call at all is the network's to see to, until callers sign in.
    """
    if not _CALLER.fullmatch(text):
        raise Failure(Kind.INVALID, "CALLER_MALFORMED", field="gongji-caller")
    return Caller(text)


def terminal(fixmedins_code: FixmedinsCode, terminal_no: str) -> Caller:
    """A terminal as it says who it is; both parts are checked already."""
    return Caller(f"terminal:{fixmedins_code}/{terminal_no}")


def service(name: str) -> Caller:
    """One of our own rooms, as it says who it is."""
    return parsed_caller(f"service:{name}")
