"""The keys that sign codes (HS256) and ecTokens (Ed25519), their turns, and the check of a signature.

An ecToken is verified by settlement, which holds the public half alone. A code is verified where it was made, so a MAC
does, under a key that follows from the private half: less work, and a smaller picture on the phone (ADR 21).

Every code at every desk passes here, so a compact JWS is put together and taken apart by hand: the header has one form,
made once for each key and type, and is compared as it stands. What has another form is named by the slower way.
"""

from __future__ import annotations

import binascii
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.errors import JoseError

from kernel.failures import Failure, Kind
from kernel.values import value
from services.identity.domain.credential import CODE_TYPE, EC_TOKEN_TYPE, SigningKey

ALGORITHMS: Final = MappingProxyType({CODE_TYPE: "HS256", EC_TOKEN_TYPE: "Ed25519"})
"""What each type is signed with (RFC 7518, RFC 9864); a token that names the other one is none of ours."""
SEED_BYTES: Final = 32
KEY_LEAD: Final = timedelta(minutes=10)
"""How long a further key is known to everyone before it signs."""
TOKEN_LENGTH_MAX: Final = 1024
_CODE_MAC: Final = b"gongji-code"
"""Makes the MAC's key another one than the seed, which signs elsewhere."""
_HEADERS: Final = frozenset({"alg", "kid", "typ"})
_FROM_URL: Final = str.maketrans("-_", "+/")
_TO_URL: Final = str.maketrans("+/", "-_")


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A whole key pair, as only this room holds it. ``seed`` is the private half (RFC 8032)."""

    public: SigningKey
    seed: bytes = field(repr=False)


@value
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


def ended_key(key: SigningKey, *, now: datetime) -> SigningKey:
    """The key, its time over from now on; one that is over stays as it is.

    One whose time has not come began a moment ago: here and in the other rooms no key ends before it begins.
    """
    if key.not_after <= now:
        return key
    return replace(key, not_before=min(key.not_before, now - timedelta.resolution), not_after=now)


def lacks_signer(held: Iterable[SigningKey], *, now: datetime, lasting: timedelta) -> bool:
    """Whether no key of these signs now and can do so until its successor does.

    ``lasting`` is KEY_LEAD and a token's life together.
    """
    return not any(_signs(key, now) and key.not_after - now >= lasting for key in held)


class KeyRing:
    """The keys held at a moment. Frozen: a change of keys is another ring."""

    def __init__(self, keys: Iterable[HeldKey]) -> None:
        self._pairs = [_Pair(key) for key in sorted(keys, key=lambda key: (key.public.not_before, key.public.kid))]
        self._by_header = {header: (pair, type_) for pair in self._pairs for type_, header in pair.headers.items()}

    @property
    def kids(self) -> frozenset[str]:
        """The names of the keys held."""
        return frozenset(pair.public.kid for pair in self._pairs)

    @property
    def public_keys(self) -> list[SigningKey]:
        """The public halves, oldest first."""
        return [pair.public for pair in self._pairs]

    def holds_key_of(self, token: str) -> bool:
        """Whether a token begins as one that a key of this ring has signed; nothing of it is believed for that."""
        return token.partition(".")[0] in self._by_header

    def signer(self, *, now: datetime) -> Signer:
        """The youngest key whose time has come; UNAVAILABLE SIGNING_KEY_MISSING if there is none.

        Whoever uses something up for what shall be signed asks for it first.
        """
        pair = next((pair for pair in reversed(self._pairs) if _signs(pair.public, now)), None)
        if pair is None:
            raise Failure(Kind.UNAVAILABLE, "SIGNING_KEY_MISSING")
        return pair

    def verify(self, token: str, *, now: datetime) -> Signed:
        """What the token says, if one of our keys signed it.

        UNAUTHENTICATED: CODE_MALFORMED (no compact JWS of ours in form), CODE_FORGED (a key that we do not know or
        that is over, or a signature that does not fit).
        """
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        found = self._by_header.get(header)
        if found is None or len(token) > TOKEN_LENGTH_MAX or not payload or "." in payload:
            key_id_of(token)
            raise _refused("CODE_FORGED")
        pair, type_ = found
        if pair.public.not_after <= now:
            raise _refused("CODE_FORGED")
        try:
            proof = _decoded(signature)
            if _encoded(proof) != signature:  # The same bytes in other letters: no token has two forms.
                raise _refused("CODE_FORGED")
            pair.check(proof, signed.encode("ascii"), as_type=type_)
            # Signed by us, so the payload has the form that we gave it.
            return Signed(type_, json.loads(_decoded(payload)))
        except (InvalidSignature, ValueError):
            raise _refused("CODE_FORGED") from None


class Signer(Protocol):
    """A key that may sign now."""

    def sign(self, claims: Mapping[str, str | int], *, as_type: str) -> str:
        """A compact JWS of these claims."""
        ...


class _Pair:
    """A key pair, imported once, with the headers of what it signs."""

    def __init__(self, key: HeldKey) -> None:
        self.public = key.public
        self._private = Ed25519PrivateKey.from_private_bytes(key.seed)
        self._public_key = self._private.public_key()
        self._code_key = hmac.digest(key.seed, _CODE_MAC, "sha256")
        self.headers = {type_: _header(key.public.kid, type_) for type_ in ALGORITHMS}

    def sign(self, claims: Mapping[str, str | int], *, as_type: str) -> str:
        """As ``Signer``; the signature of a code has 32 bytes, that of an ecToken 64."""
        text = f"{self.headers[as_type]}.{_encoded(json.dumps(claims, separators=(',', ':')).encode())}"
        signed = text.encode("ascii")
        return f"{text}.{_encoded(self._code_mac(signed) if as_type == CODE_TYPE else self._private.sign(signed))}"

    def check(self, signature: bytes, signed: bytes, *, as_type: str) -> None:
        """InvalidSignature if it is not this key's signature of these bytes as this type."""
        if as_type != CODE_TYPE:
            self._public_key.verify(signature, signed)
        elif not hmac.compare_digest(signature, self._code_mac(signed)):
            raise InvalidSignature

    def _code_mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._code_key, signed, "sha256")


def key_id_of(token: str) -> str:
    """Which key a token names, before anything in it is believed; CODE_MALFORMED if it is no token."""
    if not token.isascii() or len(token) > TOKEN_LENGTH_MAX:
        raise _refused("CODE_MALFORMED")
    try:
        header: Any = jws.extract_compact(token.encode("ascii")).headers()
        kid = header["kid"]
        named = header.keys() == _HEADERS and header["alg"] == ALGORITHMS[header["typ"]] and isinstance(kid, str)
    except (JoseError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise _refused("CODE_MALFORMED") from None
    if not named:
        raise _refused("CODE_MALFORMED")
    return str(kid)


def _signs(key: SigningKey, now: datetime) -> bool:
    return key.not_before <= now < key.not_after


def _header(kid: str, type_: str) -> str:
    return _encoded(json.dumps({"alg": ALGORITHMS[type_], "kid": kid, "typ": type_}, separators=(",", ":")).encode())


def _encoded(raw: bytes) -> str:
    text = binascii.b2a_base64(raw, newline=False).decode("ascii")
    return text.translate(_TO_URL).rstrip("=")


def _decoded(text: str) -> bytes:
    padded = text.translate(_FROM_URL) + "=" * (-len(text) % 4)
    return binascii.a2b_base64(padded, strict_mode=True)


def _refused(reason: str) -> Failure:
    return Failure(Kind.UNAUTHENTICATED, reason, field="code")
