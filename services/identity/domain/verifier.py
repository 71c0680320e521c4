"""Verifiers (人脸核身服务方): houses whose word about a face counts, registered by an officer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kernel.failures import Failure, Kind

_PRIME: Final = 2**255 - 19
_Y_BITS: Final = 2**255 - 1
"""A key is y in 255 bits, little end first, and the sign of x in the last one."""
_ORDER_8_Y: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y: Final = frozenset({0, 1, _PRIME - 1, _ORDER_8_Y, _PRIME - _ORDER_8_Y})


@dataclass(frozen=True, slots=True)
class Verifier:
    """A house that verifies faces; a sandbox verifier vouches for whoever asks and counts in development alone."""

    verifier_no: str
    name: str
    is_sandbox: bool
    ended: bool = False


def check_same_verifier(known: Verifier | None, wanted: Verifier) -> Verifier:
    """The verifier as it is on record, if the registration says the same of it.

    First that applies: VERIFIER_DIFFERS (EXISTS: another name, or a sandbox where it is none), VERIFIER_ENDED
    (PRECONDITION): an end is for good.
    """
    known = known_verifier(known)
    if (known.name, known.is_sandbox) != (wanted.name, wanted.is_sandbox):
        raise Failure(Kind.EXISTS, "VERIFIER_DIFFERS", field="verifier_no")
    if known.ended:
        raise Failure(Kind.PRECONDITION, "VERIFIER_ENDED", field="verifier_no")
    return known


def check_same_key(known: bytes | None, wanted: bytes, *, ended: bool) -> None:
    """A key that is on record under its name: VERIFIER_DIFFERS if it is another one, VERIFIER_ENDED if it was ended."""
    if known != wanted:
        raise Failure(Kind.EXISTS, "VERIFIER_DIFFERS", field="kid")
    if ended:
        raise Failure(Kind.PRECONDITION, "VERIFIER_ENDED", field="kid")


def check_key(public_key: bytes) -> None:
    """VERIFIER_KEY_WEAK (INVALID) for a key under which anybody makes signatures that fit: zeros, say, sent for a key.

    These are the points of small order of the curve (RFC 8032, 5.1), in whatever of their forms.
    """
    y = int.from_bytes(public_key, "little") & _Y_BITS
    if y % _PRIME in _SMALL_ORDER_Y:
        raise Failure(Kind.INVALID, "VERIFIER_KEY_WEAK", field="public_key")


def known_verifier(verifier: Verifier | None) -> Verifier:
    """The verifier; VERIFIER_UNKNOWN (NOT_FOUND) if there is none."""
    if verifier is None:
        raise Failure(Kind.NOT_FOUND, "VERIFIER_UNKNOWN", field="verifier_no")
    return verifier
