"""ID numbers and names at rest: sealed with AES-256-GCM, found by a keyed blind index (domain §10).

PINs are not sealed, for nobody ever reads one; what proves them is mixed with a pepper out of the same secrets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kernel.failures import Failure, Kind
from services.identity.domain.certificate import Certificate

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_KEY_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")
_CHECK_TEXT: Final = b"gongji-identity"


class WrongKeyError(Exception):
    """Something sealed does not open: another key, or a row that was tampered with or moved."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value: which key opens it, and nonce with ciphertext."""

    key_id: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Secrets:
    """The keys of the secrets file. New values are sealed with ``current``; older keys still open older ones."""

    current: str
    encryption_keys: Mapping[str, bytes] = field(repr=False)
    blind_index_key: bytes = field(repr=False)
    pin_pepper: bytes | None = field(repr=False, default=None)
    """None in a file of before there were cards: no PIN can be set or checked then."""


class Seals:
    """Seals and opens single values, each bound to its place: a sealed value copied to another row does not open."""

    def __init__(self, secrets: Secrets) -> None:
        self._current = secrets.current
        self._keys = {key_id: AESGCM(key) for key_id, key in secrets.encryption_keys.items()}
        self._encryption_keys = secrets.encryption_keys
        self._blind_index_key = secrets.blind_index_key
        self._pin_pepper = secrets.pin_pepper

    def seal(self, plain: bytes, *, place: str, nonce: bytes) -> Sealed:
        """The sealed value for this place (``<psn_no>/certno``). A nonce must never be used twice."""
        return Sealed(self._current, nonce + self._keys[self._current].encrypt(nonce, plain, place.encode()))

    def open(self, sealed: Sealed, *, place: str) -> bytes:
        """The value; WrongKeyError if it was sealed with a key we do not hold, for another place, or was changed."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise WrongKeyError(f"the secrets file has no encryption key {sealed.key_id!r}")
        try:
            return key.decrypt(sealed.content[:NONCE_BYTES], sealed.content[NONCE_BYTES:], place.encode())
        except InvalidTag:
            raise WrongKeyError(f"what was sealed with key {sealed.key_id!r} does not open") from None

    def blind_index(self, certificate: Certificate) -> bytes:
        """The same 32 bytes for the same certificate, which tell nothing to whoever lacks the key (HMAC-SHA-256)."""
        return self._hmac(f"{certificate.kind.value}:{certificate.number}".encode())

    def card_index(self, card_no: str) -> bytes:
        """As ``blind_index``, for a card's number."""
        return self._hmac(f"CARD:{card_no}".encode())

    def peppered(self, content: bytes) -> bytes:
        """32 bytes that nobody makes of this content without the pepper; refusal as ``check_pins``."""
        return hmac.digest(self._pepper(), content, hashlib.sha256)

    def check_pins(self) -> None:
        """Whether a PIN can be set or looked at at all; UNAVAILABLE PIN_PEPPER_MISSING."""
        self._pepper()

    def fingerprints(self) -> dict[str, bytes]:
        """What tells, without telling the keys, whether a database was written with these keys."""
        prints = {
            f"encryption:{key_id}": hmac.digest(key, _CHECK_TEXT, hashlib.sha256)
            for key_id, key in self._encryption_keys.items()
        }
        if self._pin_pepper is not None:
            prints["pin_pepper"] = hmac.digest(self._pin_pepper, _CHECK_TEXT, hashlib.sha256)
        return prints | {"blind_index": self._hmac(_CHECK_TEXT)}

    def _pepper(self) -> bytes:
        if self._pin_pepper is None:
            raise Failure(Kind.UNAVAILABLE, "PIN_PEPPER_MISSING")
        return self._pin_pepper

    def _hmac(self, content: bytes) -> bytes:
        return hmac.digest(self._blind_index_key, content, hashlib.sha256)


def parsed_secrets(text: str) -> Secrets:
    """The keys out of a secrets file's JSON; ValueError says what is wrong, never with a key in it."""
    try:
        document: Any = json.loads(text)
    except ValueError:
        raise ValueError("the secrets file is not JSON") from None
    match document:
        case {
            "encryption": {"current": str(current), "keys": dict(keys)},
            "blind_index": {"key": str(blind_index_key)},
        }:
            pass
        case _:
            raise ValueError("the secrets file lacks encryption.current, encryption.keys or blind_index.key")
    if not keys.keys() >= {current} or not all(_KEY_ID.fullmatch(key_id) for key_id in keys):
        raise ValueError("encryption.current must name one of encryption.keys; names are letters, digits, - and _")
    return Secrets(
        current=current,
        encryption_keys=MappingProxyType({key_id: _key(key, key_id) for key_id, key in keys.items()}),
        blind_index_key=_key(blind_index_key, "blind_index"),
        pin_pepper=_pepper(document),
    )


def new_secrets(key_id: str, draw: Callable[[int], bytes]) -> str:
    """A secrets file's JSON with fresh keys; ``draw(n)`` gives n bytes nobody can guess."""
    document = {
        "encryption": {"current": key_id, "keys": {key_id: _text(draw(KEY_BYTES))}},
        "blind_index": {"key": _text(draw(KEY_BYTES))},
        "pin": {"pepper": _text(draw(KEY_BYTES))},
    }
    return json.dumps(document, indent=2) + "\n"


def with_pin_pepper(text: str, draw: Callable[[int], bytes]) -> str | None:
    """A secrets file of before there were cards, with a fresh pepper in it; None if it has one already.

    ValueError as ``parsed_secrets``.
    """
    if parsed_secrets(text).pin_pepper is not None:
        return None
    document = json.loads(text) | {"pin": {"pepper": _text(draw(KEY_BYTES))}}
    return json.dumps(document, indent=2) + "\n"


def _pepper(document: Mapping[str, Any]) -> bytes | None:
    match document.get("pin"):
        case None:
            return None
        case {"pepper": str(pepper)}:
            return _key(pepper, "pin.pepper")
        case _:
            raise ValueError("the secrets file's section pin lacks its pepper")


def _key(text: object, name: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key {name!r} must be {KEY_BYTES} bytes in base64")
    return key


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii")
