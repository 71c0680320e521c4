"""The keys that sign codes and ecTokens (Ed25519 JWS), their turns, and the check of a signature."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64encode

from kernel.failures import Failure, Kind
from services.identity.domain.credential import SigningKey

ALGORITHM: Final = "Ed25519"
SEED_BYTES: Final = 32
KEY_LEAD: Final = timedelta(minutes=10)
"""How long a further key is known to everyone before it signs."""
TOKEN_LENGTH_MAX: Final = 1024
_HEADERS: Final = frozenset({"alg", "kid", "typ"})


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A whole key pair, as only this room holds it. ``seed`` is the private half (RFC 8032)."""

    public: SigningKey
    seed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a good signature vouches for: the type it was signed as, and the claims."""

    type: object
    claims: Mapping[str, Any]


def new_key(kid: str, *, seed: bytes, held: Iterable[SigningKey], now: datetime, lifetime: timedelta) -> HeldKey:
    """A key that signs at once if no other can, else after KEY_LEAD; all that it signs ends within ``lifetime``."""
    not_before = now + KEY_LEAD if any(_signs(key, now) for key in held) else now
    public_key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return HeldKey(SigningKey(kid, public_key, not_before, now + lifetime), seed)


def needs_new_key(held: Iterable[SigningKey], *, now: datetime, overlap: timedelta) -> bool:
    """Whether the time of the youngest key ends so soon that its successor must be made now.

    ``overlap`` is longer than KEY_LEAD and a token's life together, so that no token outlives its key.
    """
    return all(key.not_after - now < overlap for key in held)


class KeyRing:
    """The keys held at a moment. Frozen: a change of keys is another ring."""

    def __init__(self, keys: Iterable[HeldKey]) -> None:
        self._keys = sorted(keys, key=lambda key: (key.public.not_before, key.public.kid))
        self._pairs = {key.public.kid: _imported(key) for key in self._keys}
        self._by_kid = {key.public.kid: key.public for key in self._keys}

    @property
    def kids(self) -> frozenset[str]:
        """The names of the keys held."""
        return frozenset(self._pairs)

    def sign(self, claims: Mapping[str, str | int], *, as_type: str, now: datetime) -> str:
        """A compact JWS by the youngest key whose time has come; UNAVAILABLE SIGNING_KEY_MISSING if there is none."""
        kid = next((key.public.kid for key in reversed(self._keys) if _signs(key.public, now)), None)
        if kid is None:
            raise Failure(Kind.UNAVAILABLE, "SIGNING_KEY_MISSING")
        header = {"alg": ALGORITHM, "kid": kid, "typ": as_type}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return jws.serialize_compact(header, payload, self._pairs[kid], algorithms=[ALGORITHM])

    def verify(self, token: str, *, now: datetime) -> Signed:
        """What the token says, if one of our keys signed it.

        UNAUTHENTICATED: CODE_MALFORMED (no compact JWS of ours in form), CODE_FORGED (a key that we do not know or
        that is over, or a signature that does not fit).
        """
        kid = key_id_of(token)
        pair = self._pairs.get(kid)
        if pair is None or self._by_kid[kid].not_after <= now:
            raise _refused("CODE_FORGED")
        try:
            signed = jws.deserialize_compact(token.encode("ascii"), pair, algorithms=[ALGORITHM])
        except (JoseError, ValueError):
            raise _refused("CODE_FORGED") from None
        # Signed by us, so the payload has the form that we gave it.
        return Signed(signed.headers().get("typ"), json.loads(signed.payload))


def key_id_of(token: str) -> str:
    """Which key a token names, before anything in it is believed; CODE_MALFORMED if it is no token."""
    if not token.isascii() or len(token) > TOKEN_LENGTH_MAX:
        raise _refused("CODE_MALFORMED")
    try:
        header: Any = jws.extract_compact(token.encode("ascii")).headers()
        kid = header["kid"]
        named = header.keys() == _HEADERS and header["alg"] == ALGORITHM and isinstance(kid, str)
    except (JoseError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise _refused("CODE_MALFORMED") from None
    if not named:
        raise _refused("CODE_MALFORMED")
    return str(kid)


def _signs(key: SigningKey, now: datetime) -> bool:
    return key.not_before <= now < key.not_after


def _imported(key: HeldKey) -> OKPKey:
    return OKPKey.import_key({"kty": "OKP", "crv": ALGORITHM, "x": _text(key.public.public_key), "d": _text(key.seed)})


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode("ascii")


def _refused(reason: str) -> Failure:
    return Failure(Kind.UNAUTHENTICATED, reason, field="code")
