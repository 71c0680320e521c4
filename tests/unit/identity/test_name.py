"""Names: the one form they are kept in, and what others see of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.failures import Failure, Kind
from services.identity.domain.name import masked_name, parsed_name, same_name


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("王建国", "王*国"),
        ("李娜", "李*"),
        ("张王小明", "张**明"),
        ("欧阳修", "欧阳*"),
        ("欧阳建国", "欧阳*国"),
        ("司徒王建国", "司徒**国"),
        ("爱新觉罗溥仪", "爱新觉罗*仪"),
        ("欧阳", "欧*"),
        ("王", "*"),
        ("阿依古丽·买买提", "阿*·买*"),
        ("古丽·阿不都·买买提", "古*·阿*·买*"),
        ("Maria Garcia Lopez", "M* G* L*"),
        ("Jean-Pierre O'Neill", "J* O*"),
        ("Madonna", "M*"),
        ("J. R. Smith", "J* R* S*"),
        ("A", "*"),
        ("Иван Петров", "И* П*"),
        ("张Maria", "张*"),
        ("𠮷田", "𠮷*"),
        ("王〇国", "王*国"),
    ],
)
def test_a_name_is_masked_as_people_do_it(name: str, masked: str) -> None:
    """The mask keeps the surname, or the first letter of each part."""
    assert masked_name(parsed_name(name)) == masked


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  王建国 ", "王建国"),
        ("阿依古丽•买买提", "阿依古丽·买买提"),
        ("阿依古丽・买买提", "阿依古丽·买买提"),
        ("阿依古丽.买买提", "阿依古丽·买买提"),
        ("Maria   Lopez", "Maria Lopez"),
        ("Jose\u0301 Diaz Jr.", "José Diaz Jr."),
        ("ئايگۈل", "ئايگۈل"),
    ],
)
def test_a_name_is_kept_in_one_form(typed: str, kept: str) -> None:
    """What keyboards do differently is made equal."""
    assert parsed_name(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "王1",
        "1",
        "王<国>",
        "王\x00国",
        "王\n\n国\x07",
        "·王",
        "王·",
        "-王",
        "王\ue000",
        "☺",
        "王" * 51,
        "650103198503124518",
    ],
)
def test_what_is_no_name_is_refused(typed: str) -> None:
    """Digits, signs, control and private characters, and endless names are refused without being repeated."""
    with pytest.raises(Failure) as refused:
        parsed_name(typed)
    assert refused.value == Failure(Kind.INVALID, "NAME_MALFORMED", field="psn_name")


def test_capitals_do_not_make_another_name() -> None:
    """A name in capitals, as cards print it, is the same name."""
    assert same_name("MARIA LOPEZ", "Maria Lopez")
    assert not same_name("王建国", "王建军")


@given(st.text(max_size=60))
def test_a_mask_always_hides_something(text: str) -> None:
    """Whatever the name, its mask is not the name, and the kept form is stable."""
    try:
        name = parsed_name(text)
    except Failure:
        return
    assert "*" in masked_name(name)
    assert masked_name(name) != name
    assert parsed_name(name) == name
