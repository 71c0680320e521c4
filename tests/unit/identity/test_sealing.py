"""Sealing: what opens where, and which secrets files are taken."""

from __future__ import annotations

import base64
import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.failures import Failure
from services.identity.domain.certificate import Certificate, CertificateKind
from services.identity.domain.sealing import (
    NONCE_BYTES,
    Sealed,
    Seals,
    WrongKeyError,
    new_secrets,
    parsed_secrets,
    with_pin_pepper,
)

NONCE = bytes(NONCE_BYTES)
PLACE = "650100000000001/certno"


def secrets_of(fill: int, key_id: str = "k1") -> str:
    """A secrets file whose keys are made of one byte."""
    counter = iter(range(fill, fill + 3))
    return new_secrets(key_id, lambda count: bytes([next(counter)]) * count)


SEALS = Seals(parsed_secrets(secrets_of(1)))


@given(st.binary(max_size=100), st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES))
def test_what_is_sealed_opens_in_its_place(plain: bytes, nonce: bytes) -> None:
    """Sealing and opening gives back the value, and the sealed form is longer by nonce and tag."""
    sealed = SEALS.seal(plain, place=PLACE, nonce=nonce)
    assert SEALS.open(sealed, place=PLACE) == plain
    assert len(sealed.content) == NONCE_BYTES + len(plain) + 16


def test_nothing_opens_elsewhere_or_changed_or_with_another_key() -> None:
    """A value moved to another row or column, a flipped bit, another key: none opens."""
    sealed = SEALS.seal(b"650103198503124518", place=PLACE, nonce=NONCE)
    flipped = Sealed(sealed.key_id, sealed.content[:-1] + bytes([sealed.content[-1] ^ 1]))
    for place in ("650100000000002/certno", "650100000000001/psn_name"):
        with pytest.raises(WrongKeyError, match="does not open"):
            SEALS.open(sealed, place=place)
    with pytest.raises(WrongKeyError, match="does not open"):
        SEALS.open(flipped, place=PLACE)
    with pytest.raises(WrongKeyError, match="does not open"):
        Seals(parsed_secrets(secrets_of(7))).open(sealed, place=PLACE)
    with pytest.raises(WrongKeyError, match="has no encryption key 'k0'"):
        SEALS.open(Sealed("k0", sealed.content), place=PLACE)


def test_an_older_key_still_opens_what_it_sealed() -> None:
    """After a change of keys, new values take the current key and old ones open with theirs."""
    document = json.loads(secrets_of(1))
    document["encryption"]["keys"]["k2"] = base64.b64encode(bytes(32)).decode()
    document["encryption"]["current"] = "k2"
    both = Seals(parsed_secrets(json.dumps(document)))
    assert both.open(SEALS.seal(b"old", place=PLACE, nonce=NONCE), place=PLACE) == b"old"
    assert both.seal(b"new", place=PLACE, nonce=NONCE).key_id == "k2"


def test_the_blind_index_tells_kinds_and_keys_apart() -> None:
    """The same certificate gives the same index; another kind, number or key gives another."""
    permit = Certificate(CertificateKind.TAIWAN_PERMIT, "12345678", None, None)
    indexes = {
        SEALS.blind_index(permit),
        SEALS.blind_index(Certificate(CertificateKind.TAIWAN_PERMIT, "12345678", date(2000, 1, 1), None)),
        SEALS.blind_index(Certificate(CertificateKind.TAIWAN_PERMIT, "12345679", None, None)),
        SEALS.blind_index(Certificate(CertificateKind.RESIDENT_ID, "12345678", None, None)),
        Seals(parsed_secrets(secrets_of(7))).blind_index(permit),
    }
    assert len(indexes) == 4


def test_fingerprints_tell_keys_apart() -> None:
    """Other secrets have other fingerprints under the same names, and none holds a key."""
    mine, other = SEALS.fingerprints(), Seals(parsed_secrets(secrets_of(7))).fingerprints()
    assert mine.keys() == other.keys() == {"encryption:k1", "blind_index", "pin_pepper"}
    assert all(mine[name] != other[name] for name in mine)
    assert not {bytes([fill]) * 32 for fill in (1, 2, 3)} & set(mine.values())


def changed(*path: str, to: object) -> str:
    """The secrets file with one member changed or, with None, left out."""
    document: Any = json.loads(secrets_of(1))
    place = document
    for name in path[:-1]:
        place = place[name]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not JSON"),
        ("[]", "lacks"),
        ("{}", "lacks"),
        (changed("blind_index", to=None), "lacks"),
        (changed("encryption", "keys", to={}), "must name one"),
        (changed("encryption", "current", to="k9"), "must name one"),
        (changed("encryption", "keys", to={"k1": "AAAA"}), "'k1' must be 32 bytes"),
        (changed("encryption", "keys", to={"k1": 7}), "'k1' must be 32 bytes"),
        (changed("encryption", "keys", to={"k1": "x", "k 2": "x"}), "names are letters"),
        (changed("blind_index", "key", to="not base64!"), "'blind_index' must be 32 bytes"),
        (changed("pin", to={}), "section pin lacks its pepper"),
        (changed("pin", to="x"), "section pin lacks its pepper"),
        (changed("pin", "pepper", to="AAAA"), "'pin.pepper' must be 32 bytes"),
    ],
)
def test_a_secrets_file_that_is_not_right_is_refused(text: str, complaint: str) -> None:
    """Each slip is named, and the complaint never holds a key."""
    with pytest.raises(ValueError, match=complaint):
        parsed_secrets(text)


def test_a_file_of_before_there_were_cards_serves_all_but_pins_until_a_pepper_is_added() -> None:
    """Without the section nothing is peppered; added, it stays as it is, and every other key with it."""
    older = changed("pin", to=None)
    with pytest.raises(Failure, match="PIN_PEPPER_MISSING"):
        Seals(parsed_secrets(older)).peppered(b"204857")
    assert "pin_pepper" not in Seals(parsed_secrets(older)).fingerprints()
    newer = with_pin_pepper(older, lambda count: b"\x09" * count)
    assert newer is not None
    assert with_pin_pepper(newer, bytes) is None
    assert json.loads(newer)["encryption"] == json.loads(older)["encryption"]
    seals = Seals(parsed_secrets(newer))
    assert seals.peppered(b"204857") != SEALS.peppered(b"204857")
    assert seals.card_index("A12345678") == SEALS.card_index("A12345678") != SEALS.card_index("A12345679")


def test_secrets_do_not_show_their_keys() -> None:
    """Keys and sealed content stay out of representations."""
    assert "\\x01" not in repr(parsed_secrets(secrets_of(1)))
    assert "\\x" not in repr(SEALS.seal(b"", place=PLACE, nonce=NONCE))
