"""What a terminal gets for what the patient shows, and who is refused (domain §1).

A code counts once, wherever it is shown. A card counts with its PIN, an identity card with the name that stands on it;
each of these decodings is on record beside those of codes, under the ecToken's own id.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from kernel.callers import Caller, terminal
from kernel.failures import Kind
from kernel.ids import FixmedinsCode, PsnNo
from kernel.values import value
from services.identity.domain.certificate import Certificate
from services.identity.domain.credential import CertType
from services.identity.domain.institution import TerminalStanding, check_decodes
from services.identity.domain.person import Person, living, writable
from services.identity.domain.sealing import Sealed

RECORDED_KINDS: Final = frozenset({Kind.UNAUTHENTICATED, Kind.PRECONDITION, Kind.NOT_FOUND})
"""The refusals that may be somebody's misuse; a request that is no request, or a service that is away, is none."""


@value
class Desk:
    """Where it is shown."""

    fixmedins_code: FixmedinsCode
    terminal_no: str

    @property
    def caller(self) -> Caller:
        """Who looks somebody up here: the terminal, whatever passes its call on."""
        return terminal(self.fixmedins_code, self.terminal_no)


NOWHERE: Final = Desk(FixmedinsCode(""), "")
"""No desk: in somebody's own app."""


@value
class CodeShown:
    """A dynamic code, as the picture says it."""

    code: str = field(repr=False)


@value
class CardShown:
    """A card with what is said to be its PIN."""

    card_no: str = field(repr=False)
    pin: str = field(repr=False)


@value
class CertificateShown:
    """A certificate with the name that stands on it."""

    certificate: Certificate
    name: str = field(repr=False)


Presented: TypeAlias = CodeShown | CardShown | CertificateShown
"""What the patient shows, nothing of it checked yet."""


@value
class Visit:
    """What it is shown for: the business, the visit, and who fetches the medicine if not the patient himself."""

    desk: Desk
    business_type: str
    mdtrt_id: str
    agent: CertificateShown | None


@value
class Shown:
    """What was shown, its signature, PIN or name checked; ``jti`` is the code's, or else the token's own."""

    psn_no: PsnNo
    jti: UUID
    token_jti: UUID
    desk: Desk
    mdtrt_cert_type: CertType
    business_type: str
    mdtrt_id: str
    shown_by: PsnNo | None
    agent: Sealed | None
    trace_id: str


@value
class Found:
    """What is on record of a desk and of whoever stands there; no person where nobody has that number."""

    standing: TerminalStanding
    person: Person | None


@value
class RefusedDecoding:
    """A refusal to be kept: where, why, and whose and which code it was if that is known."""

    desk: Desk
    reason: str
    psn_no: PsnNo | None
    jti: UUID | None


def admitted(found: Found, desk: Desk, *, now: datetime) -> Person:
    """The person, if anything of his counts at this desk now.

    Refusals in this order: as ``check_decodes``; PERSON_UNKNOWN, PERSON_MERGED, PERSON_DECEASED. All leave a code
    unused.
    """
    check_decodes(found.standing, fixmedins_code=desk.fixmedins_code, now=now)
    return living(writable(found.person, field="code"), field="code")


def agent_place(token_jti: UUID) -> str:
    """Where the certificate of an agent is sealed (代买药)."""
    return f"used_codes/{token_jti}/agent"
