"""Certificates: every kind, every refusal, by table and by generation."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernel.failures import Failure, Kind
from services.identity.domain.certificate import (
    CertificateKind,
    Sex,
    looks_like_id_number,
    masked_number,
    parsed_certificate,
)
from tests.unit.identity.strategies import NUMBERS, TODAY, resident_numbers, with_check_character

RESIDENT = CertificateKind.RESIDENT_ID
FOREIGN = CertificateKind.FOREIGN_PERMANENT_RESIDENT
HK_MACAU = CertificateKind.HK_MACAU_PERMIT
TAIWAN = CertificateKind.TAIWAN_PERMIT
BIRTH = CertificateKind.BIRTH_CERTIFICATE


@pytest.mark.parametrize(
    ("kind", "number", "brdy", "sex"),
    [
        pytest.param(RESIDENT, "650103198503124518", date(1985, 3, 12), Sex.MALE, id="a man"),
        pytest.param(RESIDENT, "652201198707250027", date(1987, 7, 25), Sex.FEMALE, id="a woman"),
        pytest.param(RESIDENT, "11010519491231002X", date(1949, 12, 31), Sex.FEMALE, id="the standard's example"),
        pytest.param(RESIDENT, "11010519491231002x", date(1949, 12, 31), Sex.FEMALE, id="a small x"),
        pytest.param(RESIDENT, with_check_character("81000019900101001"), date(1990, 1, 1), Sex.MALE, id="Hong Kong"),
        pytest.param(RESIDENT, with_check_character("82000020000229002"), date(2000, 2, 29), Sex.FEMALE, id="Macau"),
        pytest.param(RESIDENT, with_check_character("83000019700131003"), date(1970, 1, 31), Sex.MALE, id="Taiwan"),
        pytest.param(RESIDENT, with_check_character("65010320260701001"), TODAY, Sex.MALE, id="born today"),
        pytest.param(FOREIGN, with_check_character("91101519850312001"), date(1985, 3, 12), Sex.MALE, id="new card"),
        pytest.param(FOREIGN, "CAN110105850312", None, None, id="older card"),
        pytest.param(FOREIGN, "can110105850312", None, None, id="older card, small letters"),
        pytest.param(HK_MACAU, "H12345678", None, None, id="from Hong Kong"),
        pytest.param(HK_MACAU, "m87654321", None, None, id="from Macau"),
        pytest.param(TAIWAN, "01234567", None, None, id="from Taiwan"),
        pytest.param(BIRTH, "S650123456", None, None, id="newborn"),
    ],
)
def test_a_right_certificate_tells_what_it_tells(
    kind: CertificateKind, number: str, brdy: date | None, sex: Sex | None
) -> None:
    """A valid number is taken in capitals, with the birth date and sex that it tells."""
    certificate = parsed_certificate(kind, number, today=TODAY)
    assert (certificate.kind, certificate.number) == (kind, number.upper())
    assert (certificate.brdy, certificate.sex) == (brdy, sex)


@pytest.mark.parametrize(
    ("kind", "number", "reason"),
    [
        pytest.param(RESIDENT, "650103850312451", "CERTIFICATE_15_DIGITS", id="15 digits"),
        pytest.param(RESIDENT, "", "CERTIFICATE_MALFORMED", id="nothing"),
        pytest.param(RESIDENT, "65010319850312451", "CERTIFICATE_MALFORMED", id="17 characters"),
        pytest.param(RESIDENT, "6501031985031245180", "CERTIFICATE_MALFORMED", id="19 characters"),
        pytest.param(RESIDENT, " 650103198503124518", "CERTIFICATE_MALFORMED", id="a blank before"),
        pytest.param(RESIDENT, "650103198503124518\n", "CERTIFICATE_MALFORMED", id="a line's end"),
        pytest.param(RESIDENT, "\uff1650103198503124518", "CERTIFICATE_MALFORMED", id="a wide digit"),
        pytest.param(RESIDENT, "٦٥٠١٠٣١٩٨٥٠٣١٢٤٥١٨", "CERTIFICATE_MALFORMED", id="Arabic digits"),
        pytest.param(RESIDENT, "050103198503124518", "CERTIFICATE_MALFORMED", id="no province begins with 0"),
        pytest.param(RESIDENT, "65010319850312X518", "CERTIFICATE_MALFORMED", id="X in the middle"),
        pytest.param(RESIDENT, "65010319850312451Y", "CERTIFICATE_MALFORMED", id="Y at the end"),
        pytest.param(RESIDENT, with_check_character("91101519850312001"), "CERTIFICATE_OF_OTHER_KIND", id="foreign"),
        pytest.param(RESIDENT, with_check_character("65010319850230001"), "CERTIFICATE_BIRTH_DATE_WRONG", id="30 Feb"),
        pytest.param(RESIDENT, with_check_character("65010319000229001"), "CERTIFICATE_BIRTH_DATE_WRONG", id="1900"),
        pytest.param(RESIDENT, with_check_character("65010300000101001"), "CERTIFICATE_BIRTH_DATE_WRONG", id="year 0"),
        pytest.param(
            RESIDENT, with_check_character("65010318490101001"), "CERTIFICATE_BIRTH_DATE_WRONG", id="long ago"
        ),
        pytest.param(
            RESIDENT, with_check_character("65010320260702001"), "CERTIFICATE_BIRTH_DATE_WRONG", id="tomorrow"
        ),
        pytest.param(RESIDENT, "650103198502304518", "CERTIFICATE_BIRTH_DATE_WRONG", id="no such day, no sum either"),
        pytest.param(RESIDENT, "650103198503124517", "CERTIFICATE_CHECKSUM_WRONG", id="another last digit"),
        pytest.param(RESIDENT, "650103198503124581", "CERTIFICATE_CHECKSUM_WRONG", id="two digits swapped"),
        pytest.param(FOREIGN, "650103198503124518", "CERTIFICATE_OF_OTHER_KIND", id="a resident's as foreign"),
        pytest.param(FOREIGN, "911015198503120010", "CERTIFICATE_CHECKSUM_WRONG", id="new card, no sum"),
        pytest.param(FOREIGN, "CA1110105850312", "CERTIFICATE_MALFORMED", id="older card with two letters"),
        pytest.param(FOREIGN, "110105850312451", "CERTIFICATE_MALFORMED", id="15 digits as foreign"),
        pytest.param(HK_MACAU, "T12345678", "CERTIFICATE_MALFORMED", id="neither H nor M"),
        pytest.param(HK_MACAU, "H1234567", "CERTIFICATE_MALFORMED", id="seven digits"),
        pytest.param(TAIWAN, "1234567", "CERTIFICATE_MALFORMED", id="seven digits, Taiwan"),
        pytest.param(TAIWAN, "A1234567", "CERTIFICATE_MALFORMED", id="a letter, Taiwan"),
        pytest.param(BIRTH, "S65012345", "CERTIFICATE_MALFORMED", id="eight digits"),
        pytest.param(BIRTH, "6501234567", "CERTIFICATE_MALFORMED", id="no letter"),
    ],
)
def test_a_wrong_certificate_is_refused_by_name(kind: CertificateKind, number: str, reason: str) -> None:
    """Each slip has its reason, and the refusal never holds the number."""
    with pytest.raises(Failure) as refused:
        parsed_certificate(kind, number, today=TODAY)
    assert refused.value == Failure(Kind.INVALID, reason, field="certno")


@given(st.sampled_from(CertificateKind).flatmap(lambda kind: st.tuples(st.just(kind), NUMBERS[kind])))
def test_every_valid_number_is_taken(drawn: tuple[CertificateKind, str]) -> None:
    """A number made by the standard's rule is taken, whatever it is."""
    kind, number = drawn
    assert parsed_certificate(kind, number, today=TODAY).number == number


@given(resident_numbers(), st.data())
def test_one_wrong_digit_is_always_found(number: str, data: st.DataObject) -> None:
    """No number with a single character changed is taken (mod 11-2 finds every one)."""
    place = data.draw(st.integers(0, 17))
    character = data.draw(st.sampled_from("0123456789" if place < 17 else "0123456789X"))
    assume(character != number[place])
    with pytest.raises(Failure):
        parsed_certificate(RESIDENT, number[:place] + character + number[place + 1 :], today=TODAY)


EIGHTEEN = st.tuples(st.just(RESIDENT), resident_numbers()) | st.tuples(st.just(FOREIGN), resident_numbers(first="9"))


@given(EIGHTEEN, st.integers(0, 17), st.characters(min_codepoint=32, max_codepoint=0x2FFF))
def test_no_slip_of_one_character_is_taken(drawn: tuple[CertificateKind, str], place: int, character: str) -> None:
    """A resident's or a foreigner's 18 characters with any one of them replaced by any other are refused."""
    kind, number = drawn
    assume(character.upper() != number[place])
    with pytest.raises(Failure):
        parsed_certificate(kind, number[:place] + character + number[place + 1 :], today=TODAY)


@given(EIGHTEEN, st.integers(0, 17), st.sampled_from("0123456789X"))
def test_no_character_is_lost_or_doubled(drawn: tuple[CertificateKind, str], place: int, character: str) -> None:
    """A number that lacks a character, or has one more, is refused, whatever stands in the place."""
    kind, number = drawn
    for wrong in (number[:place] + number[place + 1 :], number[:place] + character + number[place:]):
        with pytest.raises(Failure):
            parsed_certificate(kind, wrong, today=TODAY)


@given(st.sampled_from(CertificateKind).flatmap(lambda kind: st.tuples(st.just(kind), NUMBERS[kind])), st.data())
def test_a_number_is_of_one_kind(drawn: tuple[CertificateKind, str], data: st.DataObject) -> None:
    """A valid number of one kind is refused as any other kind."""
    kind, number = drawn
    other = data.draw(st.sampled_from([each for each in CertificateKind if each is not kind]))
    with pytest.raises(Failure):
        parsed_certificate(other, number, today=TODAY)


@given(resident_numbers(first="8"))
def test_a_residence_permit_is_read_as_a_resident_number_is(number: str) -> None:
    """What a residence permit's number (81, 82, 83) tells is its own birth date and the sex of its 17th digit."""
    certificate = parsed_certificate(RESIDENT, number, today=TODAY)
    assert certificate.brdy is not None
    assert certificate.brdy.strftime("%Y%m%d") == number[6:14]
    assert certificate.sex is (Sex.MALE if number[16] in "13579" else Sex.FEMALE)


@given(resident_numbers(), st.integers(0, 16))
def test_two_neighbours_swapped_are_always_found(number: str, place: int) -> None:
    """No number with two neighbouring characters swapped is taken."""
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    assume(swapped != number)
    with pytest.raises(Failure):
        parsed_certificate(RESIDENT, swapped, today=TODAY)


@given(st.sampled_from(CertificateKind), st.text(max_size=30))
def test_no_text_breaks_the_check(kind: CertificateKind, text: str) -> None:
    """Any text at all is taken or refused by name."""
    try:
        parsed_certificate(kind, text, today=TODAY)
    except Failure as failure:
        assert failure.kind is Kind.INVALID  # noqa: PT017  Either outcome is right.


@given(resident_numbers(), st.integers(1, 400))
def test_a_certificate_is_never_older_than_its_holder(number: str, days: int) -> None:
    """A number is refused on every day before its birth date."""
    brdy = parsed_certificate(RESIDENT, number, today=TODAY).brdy
    assert brdy is not None
    with pytest.raises(Failure, match="CERTIFICATE_BIRTH_DATE_WRONG"):
        parsed_certificate(RESIDENT, number, today=brdy - timedelta(days=days))


def test_the_mask_shows_the_last_four_at_most() -> None:
    """Nothing but the last four characters of a number is shown."""
    assert masked_number("650103198503124518") == "**************4518"
    assert masked_number("H12345678") == "*****5678"


def test_a_certificate_does_not_show_its_number() -> None:
    """The number stays out of the representation, which ends up in tracebacks."""
    assert "4518" not in repr(parsed_certificate(RESIDENT, "650103198503124518", today=TODAY))


def test_a_number_that_means_nothing_is_told_from_an_id_number() -> None:
    """A resident's or foreigner's ID number in another field is recognised, other digits are not."""
    assert looks_like_id_number("650103198503124518", today=TODAY)
    assert looks_like_id_number(with_check_character("91101519850312001"), today=TODAY)
    assert not looks_like_id_number("650100000000001", today=TODAY)
    assert not looks_like_id_number("650103198503124517", today=TODAY)
