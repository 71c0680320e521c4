"""Certificates and names at rest: sealed for the one record they belong to, opened from there alone."""

from __future__ import annotations

from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain.sealing import NONCE_BYTES, Sealed, Seals
from services.identity.operations.drawn import new_bytes
from services.identity.store.people import SealedPerson


def sealed_certno(psn_no: PsnNo, number: str, *, seals: Seals, randomness: Randomness) -> Sealed:
    """A certificate's number, to be kept with this person."""
    return seals.seal(number.encode(), place=_certno_place(psn_no), nonce=new_bytes(randomness, NONCE_BYTES))


def sealed_name(psn_no: PsnNo, name: str, *, seals: Seals, randomness: Randomness) -> Sealed:
    """A name, to be kept with this person."""
    return seals.seal(name.encode(), place=_name_place(psn_no), nonce=new_bytes(randomness, NONCE_BYTES))


def certno_of(sealed: SealedPerson, *, seals: Seals) -> str:
    """The number of the person's certificate."""
    return opened_certno(sealed.psn_no, sealed.certno, seals=seals)


def opened_certno(psn_no: PsnNo, certno: Sealed, *, seals: Seals) -> str:
    """The number of a certificate that was kept with this person, present or former."""
    return seals.open(certno, place=_certno_place(psn_no)).decode()


def name_of(sealed: SealedPerson, *, seals: Seals) -> str:
    """The person's name."""
    return seals.open(sealed.name, place=_name_place(sealed.psn_no)).decode()


def _certno_place(psn_no: PsnNo) -> str:
    return f"{psn_no}/certno"


def _name_place(psn_no: PsnNo) -> str:
    return f"{psn_no}/psn_name"
