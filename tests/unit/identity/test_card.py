"""Cards and PINs: which PINs are refused, what is kept of one, and what a card's state allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.card import (
    PIN_TRIES_MAX,
    Card,
    CardState,
    Pin,
    check_active,
    check_can_be_activated,
    check_digest,
    check_not_locked,
    check_pin,
    digest_of,
    is_right,
    linked_accounts,
    masked_card_no,
    pin_of,
    pin_wrong,
)
from services.identity.domain.person import Enrolment, InsuranceStatus, Insutype

BORN = date(1985, 3, 12)
CERTNO = "650103198503124518"
NOW = datetime(2026, 7, 1, 4, 30, tzinfo=UTC)
CARD = Card(
    UUID("00000000-0000-7000-8000-000000000001"), PsnNo("650100000000001"), "*****5678", CardState.ISSUED, issued_at=NOW
)
EMPLOYEE = Enrolment(Insutype.EMPLOYEE, AdmDvs("650100"), InsuranceStatus.NORMAL)
RESIDENT = Enrolment(Insutype.RESIDENT, AdmDvs("650500"), InsuranceStatus.NORMAL)
SALT = bytes(16)


@pytest.mark.parametrize(
    "pin",
    [
        "123456", "234567", "012345", "890123", "654321", "987654", "098765", "210987",
        "000000", "111111", "999999", "121212", "909090", "123123", "850850",
        "198503", "985031", "850312", "503124", "031285", "120385", "121985", "031219",
        "650103", "124518", "319850",
    ],
)  # fmt: skip
def test_a_pin_that_a_thief_tries_first_is_refused(pin: str) -> None:
    """Rows, repetitions, any piece of the birth date or of the certificate's number."""
    with pytest.raises(Failure) as refused:
        check_pin(pin, brdy=BORN, certno=CERTNO)
    assert refused.value == Failure(Kind.INVALID, "PIN_TRIVIAL", field="pin")


@pytest.mark.parametrize("pin", ["204857", "738104", "112358", "123457", "135790", "100001", "852013"])
def test_another_pin_is_taken(pin: str) -> None:
    """Six digits that are none of these."""
    assert check_pin(pin, brdy=BORN, certno=CERTNO) == pin


def pepper(content: bytes) -> bytes:
    """A pepper that changes everything a little."""
    return bytes(byte ^ 1 for byte in content)


def test_what_is_kept_proves_the_pin_and_no_other() -> None:
    """The right PIN proves itself; another, one of another card, one without the pepper or with another salt do not."""
    kept = pin_of(CARD.card_id, "204857", salt=SALT, pepper=pepper)
    assert is_right(kept, pin_of(CARD.card_id, "204857", salt=SALT, pepper=pepper))
    other_card = UUID("00000000-0000-7000-8000-000000000002")
    wrong = [
        pin_of(CARD.card_id, "204858", salt=SALT, pepper=pepper),
        pin_of(other_card, "204857", salt=SALT, pepper=pepper),
        pin_of(CARD.card_id, "204857", salt=SALT, pepper=bytes),
        pin_of(CARD.card_id, "204857", salt=b"1" * 16, pepper=pepper),
    ]
    assert not any(is_right(kept, each) for each in wrong)
    assert b"204857" not in kept.hash


def test_neither_a_pin_nor_its_proof_is_in_a_representation() -> None:
    """What ends up in a log by mistake tells nothing."""
    kept = pin_of(CARD.card_id, "204857", salt=SALT, pepper=pepper)
    assert repr(kept) == "Pin()"


@pytest.mark.parametrize(
    ("check", "reasons"),
    [
        (check_active, {"ISSUED": "CARD_NOT_ACTIVE", "ACTIVE": "", "LOST": "CARD_LOST", "ENDED": "CARD_ENDED"}),
        (
            check_can_be_activated,
            {"ISSUED": "", "ACTIVE": "CARD_ALREADY_ACTIVE", "LOST": "CARD_LOST", "ENDED": "CARD_ENDED"},
        ),
    ],
)
def test_what_a_cards_state_allows(check: Callable[[Card], Card], reasons: dict[str, str]) -> None:
    """Shown only while active, activated only while issued; lost and ended are for good."""
    for state in CardState:
        card = replace(CARD, state=state)
        if reasons[state.value]:
            with pytest.raises(Failure, match=reasons[state.value]):
                check(card)
        else:
            assert check(card) is card


def test_five_tries_lock_and_the_fifth_says_that_none_is_left() -> None:
    """A card with four begun tries is open, with five locked."""
    check_not_locked(replace(CARD, pin_tries=PIN_TRIES_MAX - 1))
    with pytest.raises(Failure, match="PIN_LOCKED"):
        check_not_locked(replace(CARD, pin_tries=PIN_TRIES_MAX))
    assert [pin_wrong(tries).metadata["tries_left"] for tries in (1, 5)] == ["4", "0"]


def test_linked_accounts_say_where_money_of_ones_own_stands() -> None:
    """310 has a personal account unless it was ended; 390 never has one."""
    ended = replace(EMPLOYEE, psn_insu_stas=InsuranceStatus.ENDED)
    assert [each.has_personal_account for each in linked_accounts([RESIDENT, EMPLOYEE])] == [True, False]
    assert [each.has_personal_account for each in linked_accounts([ended])] == [False]


@given(st.permutations([EMPLOYEE, RESIDENT]))
def test_the_digest_is_of_what_was_shown_however_it_was_found(enrolments: list[Enrolment]) -> None:
    """The order in which a database answers changes nothing; anything that was shown does."""
    digest = digest_of(CARD, "王*国", linked_accounts(enrolments))
    assert digest == digest_of(CARD, "王*国", linked_accounts([EMPLOYEE, RESIDENT]))
    check_digest(digest, digest)
    paused = replace(EMPLOYEE, psn_insu_stas=InsuranceStatus.PAUSED)
    moved = replace(EMPLOYEE, insuplc_admdvs=AdmDvs("652200"))
    for name, accounts in (
        ("李*", enrolments),
        ("王*国", [RESIDENT]),
        ("王*国", [paused, RESIDENT]),
        ("王*国", [moved]),
    ):
        with pytest.raises(Failure, match="ACTIVATION_STALE"):
            check_digest(digest, digest_of(CARD, name, linked_accounts(accounts)))


def test_a_card_number_is_masked_but_for_its_last_four() -> None:
    """Every character before the last four of a card's number is shown as a star."""
    assert masked_card_no("A12345678") == "*****5678"


def test_a_pin_kept_is_compared_whole() -> None:
    """A hash that only begins like the one kept is not that of the PIN."""
    kept = Pin(b"x" * 32, SALT)
    assert not is_right(kept, Pin(b"x" * 31, SALT))
