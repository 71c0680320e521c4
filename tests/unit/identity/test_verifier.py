"""Keys of verifiers: under which of them anybody could vouch for anyone."""

from __future__ import annotations

from itertools import count
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kernel.failures import Failure, Kind
from ops.sandbox_verifier import SandboxKey
from services.identity.domain.verifier import check_key

PRIME: Final = 2**255 - 19
CURVE_D: Final = -121665 * pow(121666, -1, PRIME) % PRIME
SIGN_BIT: Final = 1 << 255
IDENTITY: Final = (1).to_bytes(32, "little")


def small_order_ys() -> list[int]:
    """The y of each point whose eighth multiple is nothing: 1, -1, 0, and the roots of dy^4 + 2y^2 = 1."""
    root = pow(1 + CURVE_D, (PRIME + 3) // 8, PRIME)
    if pow(root, 2, PRIME) != (1 + CURVE_D) % PRIME:
        root = root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert pow(root, 2, PRIME) == (1 + CURVE_D) % PRIME
    ys = [0, 1, PRIME - 1]
    for square in ((-1 + root) * pow(CURVE_D, -1, PRIME) % PRIME, (-1 - root) * pow(CURVE_D, -1, PRIME) % PRIME):
        y = pow(square, (PRIME + 3) // 8, PRIME)
        y = y if pow(y, 2, PRIME) == square else y * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
        if pow(y, 2, PRIME) == square:
            ys += [y, PRIME - y]
    return ys


def forms_of(y: int) -> list[bytes]:
    """Every key that reads as this y: with either sign, and beyond the prime where 255 bits have room for it."""
    return [
        (each | sign).to_bytes(32, "little") for each in (y, y + PRIME) if each < SIGN_BIT for sign in (0, SIGN_BIT)
    ]


WEAK_KEYS: Final = [form for y in small_order_ys() for form in forms_of(y)]


@pytest.mark.parametrize("public_key", WEAK_KEYS, ids=bytes.hex)
def test_a_key_under_which_anybody_signs_is_refused(public_key: bytes) -> None:
    """A key of small order is refused in each of its encodings, those that are not canonical too."""
    with pytest.raises(Failure) as refused:
        check_key(public_key)
    assert refused.value == Failure(Kind.INVALID, "VERIFIER_KEY_WEAK", field="public_key")


def test_these_are_all_of_them_and_no_key_that_was_made() -> None:
    """Five values of y; a key pair of anybody's is none of them."""
    assert len(set(small_order_ys())) == 5
    for seed in range(20):
        check_key(SandboxKey("house", "f1", bytes([seed]) * 32).public_key)


def test_zeros_in_place_of_a_key_would_let_anybody_sign() -> None:
    """Why they are refused: a signature that nobody made fits one of a few texts."""
    zeros = Ed25519PublicKey.from_public_bytes(bytes(32))

    def fits(number: int) -> bool:
        try:
            zeros.verify(IDENTITY + bytes(32), b"%d" % number)
        except InvalidSignature:
            return False
        return True

    assert next(number for number in count() if fits(number)) < 100
